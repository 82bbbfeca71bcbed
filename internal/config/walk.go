package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// position is a place in the file, both counted from 1, in characters.
type position struct{ line, column int }

// source is one file while it is read.
type source struct {
	file string
	dir  string
	// ends holds the number of characters of each line.
	ends     []int
	problems []Problem
	warnings []Problem
	omitted  int
	at       map[string]position
}

// field is one key of a mapping and the function that reads its value.
type field[T any] struct {
	name string
	read func(s *source, n *yaml.Node, key string, into *T)
}

// place keeps a position within the file.
func (s *source) place(line, column int) position {
	line = min(max(line, 1), max(len(s.ends), 1))
	end := 0
	if line <= len(s.ends) {
		end = s.ends[line-1]
	}
	return position{line, min(max(column, 1), end+1)}
}

func (s *source) problem(p position, key, message, next string) Problem {
	p = s.place(p.line, p.column)
	return Problem{File: s.file, Line: p.line, Column: p.column, Key: key, Message: message, Next: next}
}

func (s *source) add(p Problem) {
	if len(s.problems) >= maxProblems {
		s.omitted++
		return
	}
	s.problems = append(s.problems, p)
}

// fail reports an error at a node.
func (s *source) fail(n *yaml.Node, key, message, next string) {
	s.add(s.problem(position{n.Line, n.Column}, key, message, next))
}

// failKey reports an error at a key that was read, or at the nearest key
// above it.
func (s *source) failKey(key, message, next string) {
	s.add(s.problem(locate(s.at, key), key, message, next))
}

func (s *source) warn(n *yaml.Node, key, message, next string) {
	if len(s.warnings) < maxProblems {
		s.warnings = append(s.warnings, s.problem(position{n.Line, n.Column}, key, message, next))
	}
}

// locate finds the place of a key, or of the nearest one above it.
func locate(at map[string]position, key string) position {
	for key != "" {
		if p, ok := at[key]; ok {
			return p
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return position{1, 1}
}

// maxDepth is how deep a file may nest; no key needs more than seven levels.
const maxDepth = 32

// lint reports what YAML can say and this file may not, wherever it stands.
func (s *source) lint(n *yaml.Node, key string, depth int) {
	if depth > maxDepth {
		s.fail(n, key, "is nested too deep", "nothing in this file needs more than seven levels")
		return
	}
	if n.Anchor != "" {
		s.fail(n, key, "has an anchor (&"+short(n.Anchor)+")", "write the value out in each place: anchors and aliases are refused")
	}
	if n.Style&yaml.TaggedStyle != 0 {
		s.fail(n, key, "has a tag (!…)", "leave the tag out: the key decides the type of its value")
	}
	switch n.Kind {
	case yaml.AliasNode:
		s.fail(n, key, "is an alias (*"+short(n.Value)+")", "write the value out here: anchors and aliases are refused")
	case yaml.SequenceNode:
		for i, item := range n.Content {
			s.lint(item, index(key, i), depth+1)
		}
	case yaml.MappingNode:
		seen := make(map[string]int, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			at := join(key, k.Value)
			if k.Anchor != "" || k.Kind == yaml.AliasNode {
				s.lint(k, at, depth+1)
			}
			switch {
			case k.Kind == yaml.AliasNode:
			case k.Kind != yaml.ScalarNode:
				s.fail(k, key, "has a key that is not plain text", "write the key as one word")
			case k.Tag == "!!merge":
				s.fail(k, at, "is a merge key", "write the keys out here: merge keys are refused")
			default:
				if line, dup := seen[k.Value]; dup {
					s.fail(k, at, fmt.Sprintf("is written twice (first on line %d)", line), "keep one of the two")
				} else {
					seen[k.Value] = k.Line
				}
			}
			s.lint(v, at, depth+1)
		}
	}
}

// members calls each for the pairs of a mapping: of equal keys the first, and
// none that lint refused. It reports whether n is a mapping.
func (s *source) members(n *yaml.Node, key string, each func(name string, k, v *yaml.Node)) bool {
	if n.Kind == yaml.AliasNode {
		return false
	}
	if n.Kind != yaml.MappingNode {
		s.fail(n, key, "must be a mapping of keys to values, and is "+kind(n), "write its keys below it, each further in than "+last(key))
		return false
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || seen[k.Value] {
			continue
		}
		seen[k.Value] = true
		each(k.Value, k, v)
	}
	return true
}

// readMapping reads a mapping whose keys are the fields.
func readMapping[T any](s *source, n *yaml.Node, key string, fields []field[T], into *T) {
	s.members(n, key, func(name string, k, v *yaml.Node) {
		at := join(key, name)
		for _, f := range fields {
			if f.name == name {
				s.at[at] = position{v.Line, v.Column}
				f.read(s, v, at, into)
				return
			}
		}
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		s.fail(k, at, "is not a key that this build knows", unknownNext(name, names))
	})
}

func unknownNext(name string, names []string) string {
	if near := nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	return "keys here are " + strings.Join(names, ", ")
}

// items calls each for the members of a list. It reports whether n is a list.
func (s *source) items(n *yaml.Node, key string, each func(at string, item *yaml.Node)) bool {
	if n.Kind == yaml.AliasNode {
		return false
	}
	if n.Kind != yaml.SequenceNode {
		s.fail(n, key, "must be a list, and is "+kind(n), "write "+last(key)+": [ … ], even for one")
		return false
	}
	for i, item := range n.Content {
		at := index(key, i)
		s.at[at] = position{item.Line, item.Column}
		each(at, item)
	}
	return true
}

// join makes the path of a key within another.
func join(key, name string) string {
	name = short(name)
	if key == "" {
		return name
	}
	return key + "." + name
}

func index(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

// last is the last name of a path.
func last(key string) string {
	if key == "" {
		return "the file's first column"
	}
	return key[strings.LastIndexByte(key, '.')+1:]
}

// kind names what a node is, for messages.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return "empty"
		case "!!bool":
			return "true or false"
		case "!!int", "!!float":
			return "a number"
		case "!!timestamp":
			return "a date"
		}
		return "text"
	}
	return "something else"
}

// nearest finds the name that was probably meant, or nothing.
func nearest(name string, names []string) string {
	if len(name) > 40 {
		return ""
	}
	folded := strings.ReplaceAll(strings.ToLower(name), "-", "_")
	best, at := "", max(2, len(name)/3)+1
	for _, n := range names {
		if d := distance(folded, n); d < at && d < len(n) {
			best, at = n, d
		}
	}
	return best
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// Package minimize takes out of a JSON value what a rule says may not come back.
//
// Threat: a tool that answers with more than its caller needs: the whole record
// of a customer where the name would do. Whoever may call it then holds the rest
// as well, and so does every model, log and later prompt that the answer reaches.
//
// It guarantees, for the fields that rules name: names are compared without
// regard to case, compatibility forms, marks and what does not show; arrays are
// looked through; JSON inside of a string is JSON; several rules for one field
// leave what all of them leave. What was taken out of a field is taken out of
// the other texts of the same answer as well, also where it is separated, spaced,
// escaped, percent-encoded, reversed, or written in base64 or hexadecimal. Text
// of which it cannot be known what it repeats is withheld.
//
// It does not guarantee anything about what no rule names, about a value that is
// retold in other words, or against a server that wants to get data out: it has
// the data, and words enough. It is for honest servers that say too much.
package minimize

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Action is what becomes of a field. The zero Action is none.
type Action uint8

// Actions. Drop takes the member away. The others leave a text in its place:
// Mask a fixed one, Hash a keyed digest by which equal values are seen to be
// equal, Last4 its last four letters or digits, Truncate its first characters.
const (
	Drop Action = iota + 1
	Mask
	Hash
	Last4
	Truncate
)

// Rule is what becomes of the fields of one path.
type Rule struct {
	Path   Path
	Action Action
	// Length is how many characters Truncate leaves.
	Length int
}

// Rules are what may come back of one answer. A nil *Rules lets everything
// through. It is immutable.
type Rules struct {
	rules []Rule
	// only are lists of paths; what is not on each of them is dropped.
	only [][]Path
	// freeform lets text, images and other content without fields through.
	freeform bool
}

// MaxPaths bounds the paths of one permit.
const MaxPaths = 200

// New makes rules. Of each list in only, a field must be on one path. freeform
// says that content without fields may pass where its values are not known.
func New(rules []Rule, only [][]Path, freeform bool) *Rules {
	if len(rules) == 0 && len(only) == 0 {
		return nil
	}
	return &Rules{rules: slices.Clone(rules), only: slices.Clone(only), freeform: freeform}
}

// Join returns rules that leave what both leave; content without fields passes
// only if both let it.
func Join(a, b *Rules) *Rules {
	if a == nil || a == b {
		return b
	}
	if b == nil {
		return a
	}
	return &Rules{rules: slices.Concat(a.rules, b.rules), only: slices.Concat(a.only, b.only), freeform: a.freeform && b.freeform}
}

// Path leads to a field: names from the outside in. Arrays on the way need no
// step of their own.
type Path struct{ steps []step }

type step struct {
	name  string // folded
	index int    // of an array; -1 for none
	any   bool   // one name, or one element
	deep  bool   // any number of names
}

// ParsePath reads a path. customer.ssn and /customer/ssn (RFC 6901) are the same;
// * is any one name, ** any number of them. A name that has a dot, a comma or a
// star needs the second form, in which ~2 is a comma and ~3 a star.
func ParsePath(s string) (Path, error) {
	var parts []string
	pointer := strings.HasPrefix(s, "/")
	if pointer {
		parts = strings.Split(s[1:], "/")
	} else {
		parts = strings.Split(s, ".")
	}
	var p Path
	for _, part := range parts {
		st := step{index: -1}
		switch {
		case part == "":
			return p, fmt.Errorf("%q has an empty step: write names and dots between them, as in customer.ssn", s)
		case part == "**":
			st.deep = true
		case part == "*":
			st.any = true
		case strings.Contains(part, "*"):
			return p, fmt.Errorf("%q: a star stands for a whole name; in a name it is written ~3, in the form /…", s)
		default:
			if pointer {
				var err error
				if part, err = unescape(part); err != nil {
					return p, err
				}
			} else if strings.Contains(part, "~") {
				return p, fmt.Errorf("%q: a name with a ~ needs the form /…, where it is written ~0", s)
			}
			if st.name = fold(part); st.name == "" {
				return p, fmt.Errorf("%q: the step %q has no letter or digit that could be compared", s, part)
			}
			if n, err := strconv.Atoi(part); err == nil && n >= 0 && strconv.Itoa(n) == part {
				st.index = n
			}
		}
		p.steps = append(p.steps, st)
	}
	if len(p.steps) > 32 {
		return p, fmt.Errorf("%q has more than 32 steps", s)
	}
	if p.steps[len(p.steps)-1].deep {
		return p, fmt.Errorf("%q ends in **: name the field, or write * for all of them", s)
	}
	return p, nil
}

var errEscape = errors.New("a ~ in a path is followed by 0 (for ~), 1 (for /), 2 (for a comma) or 3 (for a star)")

func unescape(part string) (string, error) {
	if !strings.Contains(part, "~") {
		return part, nil
	}
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if part[i] != '~' {
			b.WriteByte(part[i])
			continue
		}
		if i++; i == len(part) || part[i] < '0' || part[i] > '3' {
			return "", errEscape
		}
		b.WriteByte("~/,*"[part[i]-'0'])
	}
	return b.String(), nil
}

// String writes the path with dots.
func (p Path) String() string {
	parts := make([]string, len(p.steps))
	for i, s := range p.steps {
		switch {
		case s.deep:
			parts[i] = "**"
		case s.any:
			parts[i] = "*"
		default:
			parts[i] = s.name
		}
	}
	return strings.Join(parts, ".")
}

// place is how far along a path one is: steps behind, or all of them.
type place struct {
	path int
	at   int
}

// advance returns the places that a member's name, or an element's index, leads
// to. An element also leaves one where one was.
func advance(paths []Path, from []place, name string, index int) []place {
	var to []place
	add := func(p place) {
		if !slices.Contains(to, p) {
			to = append(to, p)
		}
	}
	for _, p := range from {
		steps := paths[p.path].steps
		if index >= 0 {
			add(p)
		}
		for at := p.at; at < len(steps); at++ {
			s := steps[at]
			if s.deep {
				add(place{p.path, at})
				continue // ** may also be no name at all
			}
			if s.any || index < 0 && s.name == name || index >= 0 && s.index == index {
				add(place{p.path, at + 1})
			}
			break
		}
	}
	return to
}

func begin(paths []Path) []place {
	from := make([]place, len(paths))
	for i := range paths {
		from[i] = place{path: i}
	}
	return from
}

// String says in words what may come back.
func (r *Rules) String() string {
	if r == nil {
		return "everything"
	}
	var parts []string
	for _, rule := range r.rules {
		word := map[Action]string{Drop: "without", Mask: "masked", Hash: "as a digest", Last4: "its last four", Truncate: "its first " + strconv.Itoa(rule.Length)}[rule.Action]
		parts = append(parts, rule.Path.String()+" ("+word+")")
	}
	for _, list := range r.only {
		names := make([]string, len(list))
		for i, p := range list {
			names[i] = p.String()
		}
		parts = append(parts, "only "+strings.Join(names, ", "))
	}
	if !r.freeform {
		parts = append(parts, "no text whose values are not known")
	}
	return strings.Join(parts, "; ")
}

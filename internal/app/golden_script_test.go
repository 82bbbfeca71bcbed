package app_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// step is one line of a script: a verb and the rest of the line, with the
// lines that are indented deeper joined to it.
type step struct {
	line int
	verb string
	rest string
}

// word takes the next space-separated word off a step's rest.
func (s *step) word() string {
	w, rest, _ := strings.Cut(s.rest, " ")
	s.rest = strings.TrimLeft(rest, " ")
	return w
}

// text is the rest of the step: verbatim, or unquoted by Go's rules when it
// begins with a double quote, for bytes that a text file cannot hold.
func (s *step) text() (string, error) {
	if !strings.HasPrefix(s.rest, `"`) {
		return s.rest, nil
	}
	return strconv.Unquote(s.rest)
}

// readSteps reads the steps that stand at one depth; deeper lines that follow
// are joined to theirs.
func readSteps(text string, first, depth int) ([]step, error) {
	var out []step
	for i, line := range strings.Split(text, "\n") {
		n := first + i
		body := strings.TrimLeft(line, " ")
		if body == "" || strings.HasPrefix(body, "#") {
			continue
		}
		indent := len(line) - len(body)
		if strings.Contains(line, "\t") && strings.Trim(line, "\t ") == "" {
			return nil, fmt.Errorf("line %d: indent by spaces", n)
		}
		if indent > depth {
			if len(out) == 0 {
				return nil, fmt.Errorf("line %d: nothing to continue", n)
			}
			s := &out[len(out)-1]
			if s.rest != "" {
				s.rest += "\n"
			}
			s.rest += body
			continue
		}
		if indent < depth {
			return nil, fmt.Errorf("line %d: indented by %d, wanted %d", n, indent, depth)
		}
		verb, rest, _ := strings.Cut(body, " ")
		out = append(out, step{line: n, verb: verb, rest: strings.TrimLeft(rest, " ")})
	}
	return out, nil
}

// block says how an upstream answers one request.
type block struct {
	method string
	steps  []step
}

// script is all that an upstream is told beforehand.
type script struct {
	modern, legacy bool
	caps           string
	instructions   string
	lists          map[string]string // method to the raw array
	once           map[string][]*block
	always         map[string]*block
}

const defaultCaps = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"logging":{},"completions":{}}`

// readScript reads the section of an upstream.
func readScript(text string) (*script, error) {
	s := &script{caps: defaultCaps, lists: map[string]string{}, once: map[string][]*block{}, always: map[string]*block{}}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if line[0] == ' ' {
			return nil, fmt.Errorf("line %d: nothing to continue", i+1)
		}
		from := i + 1
		for i+1 < len(lines) && (lines[i+1] == "" || lines[i+1][0] == ' ' || lines[i+1][0] == '#') {
			i++
		}
		inner := strings.Join(lines[from:i+1], "\n")
		verb, rest, _ := strings.Cut(line, " ")
		if verb == "on" || verb == "each" {
			steps, err := readSteps(inner, from+1, 2)
			if err != nil {
				return nil, err
			}
			b := &block{method: rest, steps: steps}
			if verb == "each" {
				s.always[rest] = b
			} else {
				s.once[rest] = append(s.once[rest], b)
			}
			continue
		}
		for _, more := range strings.Split(inner, "\n") {
			if more = strings.TrimLeft(more, " "); more != "" && !strings.HasPrefix(more, "#") {
				rest += "\n" + more
			}
		}
		if err := s.directive(verb, rest); err != nil {
			return nil, fmt.Errorf("line %d: %w", from, err)
		}
	}
	if !s.modern && !s.legacy {
		return nil, errors.New("say which era the upstream speaks: era modern, era legacy or era both")
	}
	return s, nil
}

func (s *script) directive(verb, rest string) error {
	switch verb {
	case "era":
		s.modern, s.legacy = rest != "legacy", rest != "modern"
	case "caps":
		s.caps = rest
	case "instructions":
		s.instructions = rest
	case "tools", "prompts", "resources":
		s.lists[verb+"/list"] = rest
	case "templates":
		s.lists["resources/templates/list"] = rest
	default:
		return fmt.Errorf("no such directive: %s", verb)
	}
	return nil
}

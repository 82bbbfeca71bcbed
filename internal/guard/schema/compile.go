package schema

import (
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds of one schema. They are far above what tools declare, and keep the
// worst that fits under them within milliseconds.
const (
	maxSchema = 256 << 10 // bytes
	maxNodes  = 4000      // objects and booleans in the schema, whatever they mean
	maxChain  = 128       // subschemas one in another that judge the same value
	maxAll    = 128 << 10 // bytes of all patterns together
)

// address stands for the schema's own place. Nothing is ever fetched from it.
const address = "https://schema.invalid/of-a-tool.json"

// unusableError says why a schema cannot be checked.
type unusableError struct{ why string }

// Error says it in words for the server's author.
func (e *unusableError) Error() string { return e.why }

func unusable(format string, args ...any) error { return &unusableError{fmt.Sprintf(format, args...)} }

// refuser fetches nothing.
type refuser struct{}

// Load refuses.
func (refuser) Load(string) (any, error) {
	return nil, errors.New("schemas that lie elsewhere are not fetched: put them under $defs")
}

// compile makes a program of a schema. With closed, objects whose schema lists
// properties and says nothing else about additional ones accept no others.
func compile(raw []byte, closed bool, known []*jsonschema.Format) (*program, error) {
	if len(raw) > maxSchema {
		return nil, unusable("it is larger than %d KiB", maxSchema>>10)
	}
	doc, err := value(raw)
	if err != nil {
		return nil, unusable("%v", err)
	}
	var c census
	if err := c.count(doc); err != nil {
		return nil, err
	}
	k := jsonschema.NewCompiler()
	k.DefaultDraft(jsonschema.Draft2020)
	k.AssertFormat()
	for _, f := range known {
		k.RegisterFormat(f)
	}
	k.UseLoader(refuser{})
	all := 0
	k.UseRegexpEngine(func(source string) (jsonschema.Regexp, error) {
		c, err := read(source)
		if all += c.size; err == nil && all > maxAllInstructions {
			err = errors.New("its patterns repeat themselves too often together")
		}
		if err != nil {
			return nil, err
		}
		return pattern(source)
	})
	if err := k.AddResource(address, doc); err != nil {
		return nil, unusable("%v", plain(err))
	}
	s, err := k.Compile(address)
	if err != nil {
		return nil, unusable("%v", plain(err))
	}
	return instrument(s, closed)
}

// plain takes our own address and line breaks out of a compiler's error, and
// bounds it.
func plain(err error) string {
	s := strings.ReplaceAll(err.Error(), address, "")
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// census counts what a schema consists of before anything is compiled.
type census struct{ nodes, patterns int }

func (c *census) count(v any) error {
	switch v := v.(type) {
	case map[string]any:
		if c.nodes++; c.nodes > maxNodes {
			return unusable("it has more than %d parts", maxNodes)
		}
		for name, e := range v {
			switch e := e.(type) {
			case string:
				if name == "pattern" {
					c.patterns += len(e)
				}
			case map[string]any:
				if name == "patternProperties" {
					for p := range e {
						c.patterns += len(p)
					}
				}
			}
			if err := c.count(e); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range v {
			if err := c.count(e); err != nil {
				return err
			}
		}
	case bool:
		if c.nodes++; c.nodes > maxNodes {
			return unusable("it has more than %d parts", maxNodes)
		}
	}
	if c.patterns > maxAll {
		return unusable("its patterns have more than %d KiB together", maxAll>>10)
	}
	return nil
}

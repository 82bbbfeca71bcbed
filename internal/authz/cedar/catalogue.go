package cedar

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Catalogue is what servers say they have, as `munjigi policy catalogue` saves
// it. All of it is the servers' own word.
type Catalogue struct {
	Servers map[string]*Shelf `json:"servers"`
}

// Shelf is what one server says it has: the entries of its lists as it sent
// them.
type Shelf struct {
	Tools     []json.RawMessage `json:"tools,omitempty"`
	Prompts   []json.RawMessage `json:"prompts,omitempty"`
	Resources []json.RawMessage `json:"resources,omitempty"`
	Templates []json.RawMessage `json:"resourceTemplates,omitempty"`
	// Missing says of a list (tools, prompts, resources, resourceTemplates) why
	// it could not be had.
	Missing map[string]string `json:"missing,omitempty"`
}

// Tool is a tool or a prompt as its server describes it.
type Tool struct {
	Name        string          `json:"name"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	InputSchema json.RawMessage `json:"inputSchema"`
	Annotations Claims          `json:"annotations"`
}

// Claims are what a server says of its own tool. They are untrusted: they may
// raise a risk and never lower one.
type Claims struct {
	ReadOnly    *bool `json:"readOnlyHint"`
	Destructive *bool `json:"destructiveHint"`
	Idempotent  *bool `json:"idempotentHint"`
	OpenWorld   *bool `json:"openWorldHint"`
}

// maxCatalogue bounds a saved catalogue in bytes.
const maxCatalogue = 64 << 20

// ReadCatalogue reads what `munjigi policy catalogue` saved.
func ReadCatalogue(b []byte) (*Catalogue, error) {
	if len(b) > maxCatalogue {
		return nil, fmt.Errorf("a catalogue has at most %d bytes", maxCatalogue)
	}
	if err := strictjson.Validate(b, strictjson.Limits{Bytes: maxCatalogue, Depth: 256, Members: 4 << 20}); err != nil {
		return nil, fmt.Errorf("this is no JSON: %w", err)
	}
	c := &Catalogue{}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, err
	}
	if len(c.Servers) == 0 {
		return nil, errors.New("this is no catalogue, or an empty one: save one with munjigi policy catalogue")
	}
	for name, s := range c.Servers {
		if s == nil {
			return nil, fmt.Errorf("the catalogue has nothing under %q", name)
		}
	}
	return c, nil
}

// tools are the tools of one list that have a name, in the order of names.
func tools(list []json.RawMessage) []Tool {
	var out []Tool
	for _, raw := range list {
		var t Tool
		if json.Unmarshal(raw, &t) == nil && t.Name != "" {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b Tool) int { return strings.Compare(a.Name, b.Name) })
	return out
}

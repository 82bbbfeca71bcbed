package ocsf_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/ocsf"
)

// published is OCSF's own schema, from beside the clone.
type published struct {
	types   map[string]attribute         // of the dictionary
	objects map[string]definition        // by name
	events  map[string]definition        // by name
	classes map[int]string               // names by uid
	cats    map[string]struct{ UID int } // by name

}

type attribute struct {
	Type        string         `json:"type"`
	IsArray     bool           `json:"is_array"`
	Requirement string         `json:"requirement"`
	Enum        map[string]any `json:"enum"`
	Profile     *string        `json:"profile"`
}

type definition struct {
	UID         int                        `json:"uid"`
	Name        string                     `json:"name"`
	Extends     string                     `json:"extends"`
	Category    string                     `json:"category"`
	Attributes  map[string]json.RawMessage `json:"attributes"`
	Constraints map[string][]string        `json:"constraints"`
}

func schema(t *testing.T) *published {
	t.Helper()
	f, err := os.Open("../../../../shared/data/ocsf-schema.tar.gz")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the published schema is not beside this clone (../shared/data/ocsf-schema.tar.gz): events are not validated")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p := &published{types: map[string]attribute{}, objects: map[string]definition{}, events: map[string]definition{}, classes: map[int]string{}}
	in := tar.NewReader(z)
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		switch {
		case name == "dictionary.json":
			var d struct{ Attributes map[string]attribute }
			if err := json.Unmarshal(b, &d); err != nil {
				t.Fatal(err)
			}
			p.types = d.Attributes
		case name == "categories.json":
			var c struct {
				Attributes map[string]struct{ UID int }
			}
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			p.cats = c.Attributes
		case strings.HasPrefix(name, "objects/") && path.Ext(name) == ".json":
			var d definition
			if err := json.Unmarshal(b, &d); err != nil {
				t.Fatal(name, err)
			}
			p.objects[d.Name] = d
		case strings.HasPrefix(name, "events/") && path.Ext(name) == ".json":
			var d definition
			if err := json.Unmarshal(b, &d); err != nil {
				t.Fatal(name, err)
			}
			p.events[d.Name] = d
		}
	}
	if len(p.types) < 100 || len(p.objects) < 100 || len(p.events) < 20 {
		t.Fatalf("the schema has %d types, %d objects, %d events", len(p.types), len(p.objects), len(p.events))
	}
	for name, d := range p.events {
		if c, ok := p.cats[p.categoryOf(d)]; ok && d.UID > 0 {
			p.classes[c.UID*1000+d.UID] = name
		}
	}
	return p
}

func (p *published) categoryOf(d definition) string {
	for d.Category == "" && d.Extends != "" {
		d = p.events[d.Extends]
	}
	return d.Category
}

// attributes joins those of a definition with those it extends, and with the dictionary.
func (p *published) attributes(d definition, of map[string]definition) map[string]attribute {
	out := map[string]attribute{}
	if parent, ok := of[d.Extends]; ok && d.Extends != d.Name {
		out = p.attributes(parent, of)
	}
	for name, raw := range d.Attributes {
		if strings.HasPrefix(name, "$") {
			continue
		}
		var own attribute
		if json.Unmarshal(raw, &own) != nil {
			continue
		}
		a, had := out[name]
		if !had {
			a = p.types[name]
			a.Requirement = ""
		}
		if own.Requirement != "" {
			a.Requirement = own.Requirement
		}
		enum := map[string]any{}
		for k, v := range a.Enum {
			enum[k] = v
		}
		for k, v := range own.Enum {
			enum[k] = v
		}
		a.Enum = enum
		out[name] = a
	}
	return out
}

// profile are the attributes of security_control, whose file is not in the data; their types and values are.
var profile = []string{"action_id", "disposition_id"} //nolint:gochecknoglobals // of this test alone

func (p *published) check(t *testing.T, at string, d definition, of map[string]definition, v map[string]any) {
	t.Helper()
	known := p.attributes(d, of)
	if at == "event" {
		for _, name := range profile {
			known[name] = p.types[name]
		}
	}
	for name, a := range known {
		if a.Requirement == "required" && v[name] == nil {
			t.Errorf("%s (%s): %s is required", at, d.Name, name)
		}
	}
	for name, value := range v {
		a, ok := known[name]
		if !ok {
			t.Errorf("%s (%s): %s is no attribute", at, d.Name, name)
			continue
		}
		values, isArray := value.([]any)
		if isArray != a.IsArray {
			t.Errorf("%s.%s: array %t, want %t", at, name, isArray, a.IsArray)
		}
		if !isArray {
			values = []any{value}
		}
		for _, one := range values {
			if o, isObject := one.(map[string]any); isObject {
				if name == "unmapped" {
					continue
				}
				p.check(t, at+"."+name, p.objects[a.Type], p.objects, o)
				continue
			}
			if _, isNumber := one.(float64); isNumber == strings.HasSuffix(a.Type, "string_t") || p.objects[a.Type].Name != "" {
				t.Errorf("%s.%s: %v is no %s", at, name, one, a.Type)
			}
			if name == "category_uid" || name == "class_uid" {
				continue // compared with the class itself: the base event's values are only its own
			}
			if len(a.Enum) > 0 && a.Enum[fmt.Sprint(one)] == nil {
				t.Errorf("%s.%s: %v is none of its values", at, name, one)
			}
		}
	}
	for rule, names := range d.Constraints {
		n := 0
		for _, name := range names {
			if v[name] != nil {
				n++
			}
		}
		if rule == "at_least_one" && n == 0 || rule == "just_one" && n != 1 {
			t.Errorf("%s (%s): %s of %v", at, d.Name, rule, names)
		}
	}
}

func entries() []audit.Event {
	base := audit.Event{ID: "abc", Time: time.Date(2026, 11, 22, 1, 2, 3, 4_000_000, time.UTC), Kind: audit.KindOutcome, Stage: "reply", Effect: "allow", Reason: "ok"}
	var out []audit.Event
	for _, kind := range []string{audit.KindIntent, audit.KindOutcome, audit.KindEvent} {
		for _, stage := range []string{"accept", "authenticate", "authorize", "inspect-request", "inspect-result", "send", "reply", "logout", "sign-in", "consent", "credential", "administration", "config", "record", "new-one"} {
			for _, effect := range []string{"allow", "annotate", "redact", "hold", "challenge", "deny", ""} {
				for _, method := range []string{"", "tools/call", "tools/list", "resources/read", "prompts/get", "tasks/cancel", "initialize"} {
					for _, full := range []bool{true, false} {
						e := base
						e.Kind, e.Stage, e.Effect, e.Method = kind, stage, effect, method
						if full {
							e.Principal, e.Server, e.Target, e.Client = "kim@example.com@https://login.example", "files", "read_file", "editor"
						}
						out = append(out, e)
					}
				}
			}
		}
	}
	return out
}

func TestEventsAreValid(t *testing.T) {
	t.Parallel()
	p := schema(t)
	seen := map[string]bool{}
	for _, e := range entries() {
		b, err := ocsf.Append(nil, &e, "1.0")
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		class := int(v["class_uid"].(float64))
		name, ok := p.classes[class]
		if !ok {
			t.Fatalf("class %d is none of OCSF's", class)
		}
		seen[name] = true
		if want := p.cats[p.categoryOf(p.events[name])].UID; v["category_uid"] != float64(want) {
			t.Errorf("%s is in category %v, want %d", name, v["category_uid"], want)
		}
		if v["type_uid"] != float64(class*100)+v["activity_id"].(float64) {
			t.Errorf("type_uid %v", v["type_uid"])
		}
		p.check(t, "event", p.events[name], p.events, v)
		if t.Failed() {
			t.Fatalf("%s", b)
		}
	}
	for _, want := range []string{"api_activity", "authentication", "authorize_session", "entity_management", "detection_finding"} {
		if !seen[want] {
			t.Errorf("no entry becomes %s", want)
		}
	}
}

// TestNothingIsLost reads the entry back from the event.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	for _, e := range entries() {
		b, err := ocsf.Append([]byte("x"), &e, "1.0")
		if err != nil {
			t.Fatal(err)
		}
		var v struct{ Unmapped struct{ Munjigi audit.Event } }
		if err := json.Unmarshal(b[1:], &v); err != nil {
			t.Fatal(err)
		}
		if got, want := string(v.Unmapped.Munjigi.Append(nil)), string(e.Append(nil)); got != want {
			t.Fatalf("%s\nwas %s", got, want)
		}
		if strings.ContainsAny(string(b), "\n\r") {
			t.Errorf("a line break in %q", b)
		}
	}
}

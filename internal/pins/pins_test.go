package pins_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/pins"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

// world is a set of pins over a real store.
type world struct {
	t    *testing.T
	path string
	ring *keys.Derived
	db   *sqlite.Store
	pins *pins.Pins
	w    *pins.Watch
	held []pins.Hold
}

func (w *world) Held(h pins.Hold)                             { w.held = append(w.held, h) }
func (w *world) Sighted(server, kind string, definitions int) {}

func newWorld(t *testing.T, rules map[string]pins.Rule) *world {
	t.Helper()
	ring, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, path: filepath.Join(t.TempDir(), "store.db"), ring: ring}
	w.open(rules)
	return w
}

func (w *world) open(rules map[string]pins.Rule) {
	w.t.Helper()
	var err error
	if w.db, err = sqlite.Open(w.t.Context(), sqlite.Options{Path: w.path}); err != nil {
		w.t.Fatal(err)
	}
	db := w.db
	w.t.Cleanup(func() { _ = db.Close() })
	kv, err := w.db.Bucket(pins.Bucket)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.pins, err = pins.Open(w.t.Context(), pins.Options{Store: kv, Ring: w.ring, Log: slog.New(slog.DiscardHandler), Told: w}); err != nil {
		w.t.Fatal(err)
	}
	w.w = w.pins.Under(rules)
}

func digest(t *testing.T, raw string) [32]byte {
	t.Helper()
	d, ok := catalog.Digest(mcp.MethodToolsList, []byte(raw))
	if !ok {
		t.Fatalf("no digest: %s", raw)
	}
	return d
}

// see shows a tool and says why it is held.
func (w *world) see(server, name, raw string, findings ...call.Finding) call.Reason {
	w.t.Helper()
	d := digest(w.t, raw)
	if st, _ := w.w.Look(server, mcp.MethodToolsList, name, d); st == catalog.Pinned {
		return ""
	}
	s := catalog.Sighting{Server: server, Kind: mcp.MethodToolsList, Name: name, Digest: d, Raw: []byte(raw), Findings: findings}
	if len(findings) > 0 {
		s.Stopped = findings[0].Reason
	}
	return w.w.Sight(w.t.Context(), s)
}

func (w *world) complete(server string) { w.w.Complete(w.t.Context(), server, mcp.MethodToolsList) }

func tool(name, text string) string {
	b, _ := json.Marshal(map[string]any{"name": name, "description": text, "inputSchema": map[string]any{"type": "object"}})
	return string(b)
}

func clean(names ...string) map[string]pins.Rule {
	rules := map[string]pins.Rule{}
	for _, n := range names {
		rules[n] = pins.Rule{Identity: n, Clean: true}
	}
	return rules
}

func choices(all []pins.Difference) (out []pins.Choice) {
	for _, d := range all {
		out = append(out, pins.Choice{Server: d.Hold.Server, Kind: d.Hold.Kind, Name: d.Hold.Name, Digest: d.Hold.Digest})
	}
	return out
}

func TestFirstSight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clean("s"))
	poison := call.Finding{Guard: "poisoning", Reason: "reads-secrets"}
	if why := w.see("s", "a", tool("a", "Adds.")); why != "" {
		t.Errorf("a clean tool: %s", why)
	}
	if why := w.see("s", "b", tool("b", "Poisoned."), poison); why != "reads-secrets" {
		t.Errorf("a poisoned tool: %q", why)
	}
	w.complete("s")
	if why := w.see("s", "c", tool("c", "Comes later.")); why != call.ReasonDefinitionNew {
		t.Errorf("a tool that came later: %q", why)
	}
	if why := w.see("s", "a", tool("a", "Adds. And more.")); why != call.ReasonDefinitionChanged {
		t.Errorf("a changed tool: %q", why)
	}
	// What was seen twice is not the new normal.
	if why := w.see("s", "a", tool("a", "Adds. And more.")); why != call.ReasonDefinitionChanged {
		t.Errorf("a changed tool, seen again: %q", why)
	}
	if why := w.see("s", "a", tool("a", "Adds.")); why != "" {
		t.Errorf("the tool that was approved: %q", why)
	}
	// All of it outlives the process.
	w.open(clean("s"))
	for raw, want := range map[string]call.Reason{tool("a", "Adds."): "", tool("a", "Other."): call.ReasonDefinitionChanged, tool("d", "New."): call.ReasonDefinitionNew} {
		name := "a"
		if strings.Contains(raw, `"d"`) {
			name = "d"
		}
		if why := w.see("s", name, raw); why != want {
			t.Errorf("after a restart: %s: %q, want %q", raw, why, want)
		}
	}
}

func TestHoldAtFirstSight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]pins.Rule{"s": {Identity: "s"}})
	before := w.w.Generation("s")
	if why := w.see("s", "a", tool("a", "Adds.")); why != call.ReasonDefinitionNew {
		t.Errorf("%q", why)
	}
	if why := w.see("s", "b", tool("b", "Subtracts.")); why != call.ReasonDefinitionNew {
		t.Errorf("%q", why)
	}
	if w.w.Generation("s") == before {
		t.Error("the generation did not move")
	}
	before = w.w.Generation("s")
	all := choices(w.w.Differences("s", ""))
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	if err := w.w.Approve(t.Context(), "kim", all); err != nil {
		t.Fatal(err)
	}
	if w.w.Generation("s") == before {
		t.Error("an approval did not move the generation")
	}
	if why := w.see("s", "a", tool("a", "Adds.")); why != "" {
		t.Errorf("what was approved: %q", why)
	}
	rows := w.w.List()
	if len(rows) != 2 || rows[0].State != "pinned" || rows[0].By != "kim" || rows[0].How != pins.ByOperator {
		t.Errorf("%+v", rows)
	}
}

// TestApprovesWhatWasShown: a definition that changed while the person looked is
// not what they approved.
func TestApprovesWhatWasShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]pins.Rule{"s": {Identity: "s"}})
	w.see("s", "a", tool("a", "Adds."))
	w.see("s", "b", tool("b", "Subtracts."))
	shown := choices(w.w.Differences("s", ""))
	w.see("s", "b", tool("b", "Subtracts, and worse."))
	if err := w.w.Approve(t.Context(), "kim", shown); !errors.Is(err, pins.ErrMoved) {
		t.Errorf("%v", err)
	}
	if why := w.see("s", "a", tool("a", "Adds.")); why != call.ReasonDefinitionNew {
		t.Errorf("half of a batch was approved: %q", why)
	}
}

func TestRejectAndWithdraw(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clean("s"))
	w.see("s", "a", tool("a", "Adds."))
	w.complete("s")
	w.see("s", "a", tool("a", "Adds. Evil."))
	if err := w.w.Reject(t.Context(), "kim", choices(w.w.Differences("s", "a"))); err != nil {
		t.Fatal(err)
	}
	if why := w.see("s", "a", tool("a", "Adds. Evil.")); why != call.ReasonDefinitionRejected {
		t.Errorf("%q", why)
	}
	if why := w.see("s", "a", tool("a", "Adds.")); why != "" {
		t.Errorf("what was approved before: %q", why)
	}
	rows := w.w.List()
	var pinned pins.Row
	for _, r := range rows {
		if r.State == "pinned" {
			pinned = r
		}
	}
	if err := w.w.Withdraw(t.Context(), "kim", []pins.Choice{{Server: "s", Kind: pinned.Kind, Name: "a", Digest: pinned.Digest}}); err != nil {
		t.Fatal(err)
	}
	if why := w.see("s", "a", tool("a", "Adds.")); why != call.ReasonDefinitionRejected {
		t.Errorf("after it was withdrawn: %q", why)
	}
}

// TestEveryPartCounts changes one thing of a definition after the other.
func TestEveryPartCounts(t *testing.T) {
	t.Parallel()
	const base = `{"name":"t","title":"T","description":"d","inputSchema":{"type":"object","properties":{"a":{"type":"string","description":"x","enum":["1"],"default":"1"}},"required":["a"]},"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true,"destructiveHint":false},"icons":[{"src":"data:image/png;base64,AA=="}],"_meta":{"k":1.0}}`
	for _, swap := range [][2]string{{`"title":"T"`, `"title":"U"`}, {`"description":"d"`, `"description":"d "`}, {`"description":"x"`, `"description":"y"`}, {`["1"]`, `["1","2"]`},
		{`"default":"1"`, `"default":"2"`}, {`"required":["a"]`, `"required":[]`}, {`"outputSchema":{"type":"object"}`, `"outputSchema":{}`}, {`"readOnlyHint":true`, `"readOnlyHint":false`},
		{`"destructiveHint":false`, `"destructiveHint":true`}, {`AA==`, `AB==`}, {`"k":1.0`, `"k":1`}, {`"k":1.0`, `"k":1.0,"l":null`}, {`{"type":"string",`, `{`}} {
		changed := strings.Replace(base, swap[0], swap[1], 1)
		if changed == base {
			t.Fatalf("%v is not there", swap)
		}
		w := newWorld(t, clean("s"))
		w.see("s", "t", base)
		if why := w.see("s", "t", changed); why != call.ReasonDefinitionChanged {
			t.Errorf("%v: %q", swap, why)
		}
		if d := w.w.Differences("s", "t"); len(d) != 1 || len(d[0].Changes) == 0 {
			t.Errorf("%v: the difference is not shown: %+v", swap, d)
		}
	}
	w := newWorld(t, clean("s"))
	w.see("s", "t", base)
	reordered := `{ "title":"\u0054", "name":"t",` + base[strings.Index(base, `"description":"d"`):]
	if why := w.see("s", "t", reordered); why != "" {
		t.Errorf("another order of members: %q", why)
	}
}

// TestForgedPins: what somebody wrote into the store without the key is no pin.
func TestForgedPins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clean("s"))
	w.see("s", "a", tool("a", "Adds."))
	w.complete("s")
	other, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	w.ring = other
	w.open(clean("s"))
	if why := w.see("s", "a", tool("a", "Adds.")); why != call.ReasonDefinitionNew {
		t.Errorf("a pin of another key: %q", why)
	}
}

func TestShadowing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, other string
		want        call.Reason
	}{
		{"send_message", "send_message", call.ReasonSameName},
		{"send_message", "send_mesage", call.ReasonLookAlikeName},
		{"send_message", "sedn_message", call.ReasonLookAlikeName},
		{"send_message", "sеnd_message", call.ReasonLookAlikeName}, // Cyrillic е
		{"send_message", "Send-Message", call.ReasonLookAlikeName},
		{"list_files", "1ist_files", call.ReasonLookAlikeName},
		{"list_issue", "list_issues", ""},
		{"get_item", "set_item", ""},
		{"create_node", "create_note", ""},
		{"read_file", "write_file", ""},
		{"resize_v1", "resize_v2", ""},
	} {
		w := newWorld(t, clean("a", "b"))
		w.see("a", c.name, tool(c.name, "One."))
		if why := w.see("b", c.other, tool(c.other, "Two.")); why != c.want {
			t.Errorf("%s beside %s: %q, want %q", c.other, c.name, why, c.want)
		}
	}
	w := newWorld(t, map[string]pins.Rule{"a": {Identity: "a", Clean: true}, "b": {Identity: "b", Clean: true, SameNames: true}})
	w.see("a", "search", tool("search", "One."))
	if why := w.see("b", "search", tool("search", "Two.")); why != "" {
		t.Errorf("where it is allowed: %q", why)
	}
}

// TestNamesOfOthers: text of one server that speaks of another's tool is held,
// whichever of them is seen first.
func TestNamesOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clean("chat", "facts"))
	w.see("chat", "send_message", tool("send_message", "Sends a message."))
	if why := w.see("facts", "get_fact", tool("get_fact", "A fact. When send_message is used, mind the number.")); why != call.ReasonNamesOthers {
		t.Errorf("%q", why)
	}
	w = newWorld(t, clean("chat", "facts"))
	if why := w.see("facts", "get_fact", tool("get_fact", "A fact. When chat__send_message is used, mind the number.")); why != "" {
		t.Errorf("before the other is known: %q", why)
	}
	w.see("chat", "send_message", tool("send_message", "Sends a message."))
	if why := w.see("facts", "get_fact", tool("get_fact", "A fact. When chat__send_message is used, mind the number.")); why != call.ReasonNamesOthers {
		t.Errorf("after the other came: %q", why)
	}
	// A person's approval stays.
	if err := w.w.Approve(t.Context(), "kim", choices(w.w.Differences("facts", ""))); err != nil {
		t.Fatal(err)
	}
	w.see("chat", "send_file", tool("send_file", "Sends a file."))
	if why := w.see("facts", "get_fact", tool("get_fact", "A fact. When chat__send_message is used, mind the number.")); why != "" {
		t.Errorf("what was approved: %q", why)
	}
}

func TestExportAndImport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clean("s"))
	w.see("s", "a", tool("a", "Adds."))
	f := w.w.Export("")
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var back pins.File
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	other := newWorld(t, map[string]pins.Rule{"s": {Identity: "s"}})
	if n, err := other.w.Import(t.Context(), "kim", back); n != 1 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	if why := other.see("s", "a", tool("a", "Adds.")); why != "" {
		t.Errorf("%q", why)
	}
	for name, bend := range map[string]func(*pins.File){
		"another text":   func(f *pins.File) { f.Pins[0].Raw = json.RawMessage(tool("a", "Evil.")) },
		"another digest": func(f *pins.File) { f.Pins[0].Digest = strings.Repeat("0", 64) },
		"another server": func(f *pins.File) { f.Pins[0].Server = "x" },
		"another kind":   func(f *pins.File) { f.Pins[0].Kind = "x" },
		"another format": func(f *pins.File) { f.Format = "x" },
	} {
		var bent pins.File
		_ = json.Unmarshal(b, &bent)
		bend(&bent)
		third := newWorld(t, map[string]pins.Rule{"s": {Identity: "s"}})
		if n, err := third.w.Import(t.Context(), "kim", bent); err == nil || n != 0 {
			t.Errorf("%s: %d %v", name, n, err)
		}
	}
}

func TestWhatAServerIsNotKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, clean("s"))
	if why := w.see("x", "a", tool("a", "Adds.")); why == "" {
		t.Error("a server without a rule is pinned")
	}
	if st, _ := (*pins.Pins).Under(w.pins, nil).Look("s", mcp.MethodToolsList, "a", [32]byte{}); st != catalog.Held {
		t.Errorf("%v", st)
	}
	if err := w.w.Approve(context.Background(), "kim", []pins.Choice{{Server: "s", Kind: "tool", Name: "none", Digest: "00"}}); !errors.Is(err, pins.ErrMoved) {
		t.Errorf("%v", err)
	}
}

func TestDiffSaysWhatItMeans(t *testing.T) {
	t.Parallel()
	before := `{"name":"t","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object","properties":{"a":{"type":"string","maxLength":5}},"additionalProperties":false}}`
	after := `{"name":"t","annotations":{"readOnlyHint":false,"destructiveHint":true},"inputSchema":{"type":"object","properties":{"a":{"type":"string","maxLength":50},"b":{}}}}`
	got := map[string]string{}
	for _, c := range pins.Diff([]byte(before), []byte(after)) {
		got[c.What+" "+c.Path] = c.Means
	}
	want := map[string]string{
		"changed /annotations/readOnlyHint":           "it said that it only reads, and does not say so any more",
		"added /annotations/destructiveHint":          "it may destroy now",
		"removed /inputSchema/additionalProperties":   "its schema takes more than it did",
		"changed /inputSchema/properties/a/maxLength": "its schema takes more than it did",
		"added /inputSchema/properties/b":             "it takes a new parameter",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	var text strings.Builder
	for _, p := range pins.Words("Adds two numbers.", "Adds three numbers. Quietly.") {
		text.WriteByte(p.Op)
		text.WriteString(p.Text)
	}
	if text.String() != "=Adds -two numbers.+three numbers. Quietly." {
		t.Errorf("%q", text.String())
	}
}

// FuzzDiff: two definitions have a difference to show exactly if their canonical
// forms differ, and the words of a text give back both texts.
func FuzzDiff(f *testing.F) {
	f.Add(`{"a":1}`, `{"a":1.0}`, "one two", "one three")
	f.Add(`{"a":{"b":[1,2]}}`, `{"a":{"b":[1]}}`, "", "x")
	f.Fuzz(func(t *testing.T, a, b, x, y string) {
		ca, err1 := strictjson.Canonical([]byte(a))
		cb, err2 := strictjson.Canonical([]byte(b))
		if err1 == nil && err2 == nil && len(a) < 4096 && len(b) < 4096 {
			if d := pins.Diff([]byte(a), []byte(b)); (len(d) == 0) != (string(ca) == string(cb)) {
				t.Errorf("%s and %s: %+v", a, b, d)
			}
		}
		if len(x) > 2000 || len(y) > 2000 {
			return
		}
		var old, now strings.Builder
		for _, p := range pins.Words(x, y) {
			if p.Op != '+' {
				old.WriteString(p.Text)
			}
			if p.Op != '-' {
				now.WriteString(p.Text)
			}
		}
		if old.String() != x || now.String() != y {
			t.Errorf("%q and %q came back as %q and %q", x, y, old.String(), now.String())
		}
	})
}

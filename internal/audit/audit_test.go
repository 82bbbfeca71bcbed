package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func full() Event {
	return Event{
		ID: "01JZ-a_b", Time: time.Date(2026, 11, 22, 9, 8, 7, 654321987, time.FixedZone("KST", 9*3600)), Kind: KindOutcome,
		Stage: "authorize", Effect: "deny", Reason: "policy-forbid", Principal: "https://login.example#alice",
		Server: "files", Method: "tools/call", Target: "read_file", Era: "modern", Client: "editor", Actors: []string{"agent@https://login.example", "boss@https://x.example"}, Session: "0123456789abcdef",
		Trail: []Step{{Stage: "accept", Effect: "allow", Reason: "ok"}, {Stage: "authorize", Effect: "deny", Reason: "policy-forbid", Detail: "rule 7",
			Findings: []Finding{{Guard: "policy", Reason: "policy-forbid", Path: "p.cedar#no"}, {Guard: "policy", Reason: "policy-error"}}}},
		Duration: 1234567 * time.Nanosecond, Detail: map[string]string{"b": "2", "a": "1", "c.d": "3"},
	}
}

func TestAppendGolden(t *testing.T) {
	t.Parallel()
	e := full()
	want := `{"id":"01JZ-a_b","time":"2026-11-22T00:08:07.654321Z","kind":"outcome","stage":"authorize","effect":"deny",` +
		`"reason":"policy-forbid","principal":"https://login.example#alice","server":"files","method":"tools/call","target":"read_file",` +
		`"era":"modern","client":"editor","actors":["agent@https://login.example","boss@https://x.example"],"session":"0123456789abcdef",` +
		`"trail":[{"stage":"accept","effect":"allow","reason":"ok"},{"stage":"authorize","effect":"deny","reason":"policy-forbid","detail":"rule 7",` +
		`"findings":[{"guard":"policy","reason":"policy-forbid","path":"p.cedar#no"},{"guard":"policy","reason":"policy-error"}]}],` +
		`"duration_us":1234,"detail":{"a":"1","b":"2","c.d":"3"}}`
	if diff := cmp.Diff(want, string(e.Append(nil))); diff != "" {
		t.Error(diff)
	}
	bare := Event{ID: "x", Time: e.Time, Kind: KindEvent}
	want = `{"id":"x","time":"2026-11-22T00:08:07.654321Z","kind":"event","stage":"","effect":"","reason":"","principal":"","server":"","method":"","target":""}`
	if diff := cmp.Diff(want, string(bare.Append(nil))); diff != "" {
		t.Error(diff)
	}
}

func TestParseGivesBackWhatWasWritten(t *testing.T) {
	t.Parallel()
	e := full()
	got, err := Parse(e.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := e
	want.Time = e.Time.UTC().Truncate(time.Microsecond)
	want.Duration = e.Duration.Truncate(time.Microsecond)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	viaJSON, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Event
	if err := json.Unmarshal(viaJSON, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Error(diff)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	const head = `{"id":"x","time":"2026-11-22T00:08:07.654321Z",`
	for _, c := range []struct {
		name, line string
		ok         bool
	}{
		{"least", head + `"kind":"event"}`, true},
		{"a member of a later version", head + `"kind":"event","proof":[1]}`, true},
		{"line break", head + `"kind":"event"}` + "\n", true},
		{"empty", ``, false},
		{"torn", head + `"kind":"ev`, false},
		{"trailing", head + `"kind":"event"}{}`, false},
		{"no kind", head[:len(head)-1] + `}`, false},
		{"unknown kind", head + `"kind":"maybe"}`, false},
		{"no ID", `{"time":"2026-11-22T00:08:07Z","kind":"event"}`, false},
		{"zeros of a crash", strings.Repeat("\x00", 512), false},
		{"too long", head + `"kind":"event","target":"` + strings.Repeat("x", MaxLine) + `"}`, false},
	} {
		if _, err := Parse([]byte(c.line)); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	var none *Event
	if none.Check() == nil {
		t.Error("no event passed")
	}
	if new(Event).Check() == nil {
		t.Error("the zero event passed")
	}
	for _, c := range []struct {
		name  string
		spoil func(*Event)
	}{
		{"no ID", func(e *Event) { e.ID = "" }},
		{"ID with a quote", func(e *Event) { e.ID = `a"b` }},
		{"ID with a line break", func(e *Event) { e.ID = "a\nb" }},
		{"ID too long", func(e *Event) { e.ID = strings.Repeat("a", 129) }},
		{"no time", func(e *Event) { e.Time = time.Time{} }},
		{"a year of five digits", func(e *Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"no kind", func(e *Event) { e.Kind = "" }},
		{"unknown kind", func(e *Event) { e.Kind = "Intent" }},
		{"detail without a name", func(e *Event) { e.Detail = map[string]string{"": "x"} }},
		{"detail named by a stranger", func(e *Event) { e.Detail = map[string]string{`a":"b`: "x"} }},
		{"too many details", func(e *Event) {
			e.Detail = map[string]string{}
			for i := range MaxDetail + 1 {
				e.Detail[fmt.Sprint("k", i)] = "v"
			}
		}},
	} {
		e := full()
		if err := e.Check(); err != nil {
			t.Fatal(err)
		}
		c.spoil(&e)
		if e.Check() == nil {
			t.Errorf("%s: passed", c.name)
		}
	}
}

func TestHostileTextStaysText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"member", `x","effect":"allow`, `x\",\"effect\":\"allow`},
		{"second line", "x\n{\"id\":\"forged\"}\r", `x\n{\"id\":\"forged\"}\r`},
		{"terminal escape", "\x1b[2J\x9b\u009b", `\u001b[2J` + "\ufffd" + `\u009b`},
		{"right to left", "a\u202egpj.exe\u2066", `a\u202egpj.exe\u2066`},
		{"invisible", "a\u200bb\ufeff\u2028\u00ad", `a\u200bb\ufeff\u2028\u00ad`},
		{"tag characters", "\U000e0041", `\udb40\udc41`},
		{"variation selectors", "\ufe0f\U000e0100", `\ufe0f\udb40\udd00`},
		{"invalid UTF-8", "a\xff\xc3(\xed\xa0\x80", "a\ufffd\ufffd(\ufffd\ufffd\ufffd"},
		{"delete", "\x7f", `\u007f`},
		{"plain speech", "문지기 – né/ё <&>", "문지기 – né/ё <&>"},
		{"at the bound", strings.Repeat("y", boundTarget), strings.Repeat("y", boundTarget)},
		{"past the bound", strings.Repeat("y", boundTarget+1), strings.Repeat("y", 1000) + "…[cut from 1025 bytes]"},
		{"cut between characters", strings.Repeat("é", 4000), strings.Repeat("é", 500) + "…[cut from 8000 bytes]"},
	} {
		if got := string(appendText(nil, c.in, boundTarget)); got != `"`+c.want+`"` {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestLongestLineFits(t *testing.T) {
	t.Parallel()
	worst := strings.Repeat("\x01", 4096)
	e := Event{
		ID: worst, Time: full().Time, Kind: worst, Stage: worst, Effect: worst, Reason: worst, Principal: worst, Server: worst,
		Method: worst, Target: worst, Era: worst, Client: worst, Session: worst, Duration: 1<<63 - 1, Detail: map[string]string{},
	}
	for range 10 * MaxTrail {
		e.Trail = append(e.Trail, Step{worst, worst, worst, worst, slices.Repeat([]Finding{{worst, worst, worst}}, 10)})
	}
	for i := range 10 * MaxDetail {
		e.Detail[fmt.Sprintf("%064d", i)] = worst
	}
	b := e.Append(nil)
	if len(b) > MaxLine || !json.Valid(b) {
		t.Errorf("%d bytes, valid %v", len(b), json.Valid(b))
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		t.Fatal(err)
	}
	last := l.Trail[len(l.Trail)-1]
	if len(l.Trail) != MaxTrail || last.Reason != "trail-cut" || last.Detail != "577 steps left out" {
		t.Errorf("%d steps, the last %+v", len(l.Trail), last)
	}
	found := 0
	for _, s := range l.Trail {
		found += len(s.Findings)
	}
	if found != MaxFindings {
		t.Errorf("%d findings", found)
	}
	if _, ok := l.Detail[fmt.Sprintf("%064d", MaxDetail-1)]; len(l.Detail) != MaxDetail || !ok {
		t.Errorf("%d details, the first ones kept: %v", len(l.Detail), ok)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	e := full()
	e.Target = strings.Repeat("é\n", boundTarget)
	buf := make([]byte, 0, 8192)
	if n := testing.AllocsPerRun(100, func() { buf = e.Append(buf[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { _ = e.Check() }); n != 0 {
		t.Errorf("Check: %v allocations", n)
	}
}

func TestNewIDAndShortDigest(t *testing.T) {
	t.Parallel()
	a, b := NewID(), NewID()
	e := Event{ID: a, Time: time.Now(), Kind: KindEvent}
	if err := e.Check(); err != nil || a == b {
		t.Errorf("%q %q %v", a, b, err)
	}
	if d := ShortDigest("session-1"); len(d) != 16 || d == ShortDigest("session-2") || strings.Contains(d, "session") {
		t.Errorf("%q", d)
	}
}

// Whatever the texts are, a line is one valid JSON object of the members in their order, shows nothing that a
// terminal obeys, fits MaxLine, and reading and writing it again changes nothing.
func FuzzAppend(f *testing.F) {
	f.Add("reason", "principal", "target", "era", "detail")
	f.Add("\x00", "\xff\xfe", "\U000e0041\u202e", "\"\\", "\u2028")
	f.Add(strings.Repeat("\xff", 400), strings.Repeat("é", 700), strings.Repeat("𝄞\x7f", 400), strings.Repeat("\"", 65), strings.Repeat("…", 500))
	f.Fuzz(func(t *testing.T, reason, principal, target, era, detail string) {
		e := full()
		e.Reason, e.Principal, e.Target, e.Era, e.Detail["z"], e.Trail[1].Detail = reason, principal, target, era, detail, detail
		e.Trail[1].Findings[0] = Finding{Guard: era, Reason: reason, Path: target}
		b := e.Append(nil)
		if len(b) > MaxLine || !utf8.Valid(b) || !json.Valid(b) {
			t.Fatalf("not a line: %q", b)
		}
		for _, r := range string(b) {
			if r < 0x20 || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Fatalf("%U reaches the terminal: %q", r, b)
			}
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		var names []string
		depth := 0
		for name := true; ; {
			tok, err := dec.Token()
			if err != nil {
				break
			}
			d, isDelim := tok.(json.Delim)
			switch {
			case isDelim && (d == '{' || d == '['):
				depth++
			case isDelim:
				depth--
				name = true
				continue
			case depth == 1 && name:
				names = append(names, tok.(string))
			}
			if depth == 1 {
				name = !name || isDelim
			}
		}
		want := []string{"id", "time", "kind", "stage", "effect", "reason", "principal", "server", "method", "target", "era", "client", "actors", "session", "trail", "duration_us", "detail"}
		if era == "" {
			want = append(want[:10:10], want[11:]...)
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Fatal(diff)
		}
		back, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := back.Append(nil); !bytes.Equal(b, again) {
			t.Fatalf("changed:\n%s\n%s", b, again)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	e := full()
	buf := make([]byte, 0, 8192)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.Append(buf[:0])
	}
}

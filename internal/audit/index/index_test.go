package index_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/index"
)

func newIndex(t testing.TB) *index.Index {
	t.Helper()
	x, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func now() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func entry(id string, change func(*audit.Event)) []byte {
	e := audit.Event{ID: id, Time: now(), Kind: audit.KindOutcome, Stage: "reply", Effect: "allow", Reason: "ok",
		Principal: "kim@example.com@https://login.example", Server: "files", Method: "tools/call", Target: "read_file", Client: "editor"}
	if change != nil {
		change(&e)
	}
	return e.Append(nil)
}

func add(t testing.TB, x *index.Index, lines ...[]byte) {
	t.Helper()
	for i, l := range lines {
		if err := x.Add(t.Context(), fmt.Sprint("- ", i), l); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func find(t testing.TB, x *index.Index, text string) (at []string) {
	t.Helper()
	q, err := index.ParseQuery(text, now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Find(t.Context(), q, 1000, func(p string) bool { at = append(at, strings.TrimPrefix(p, "- ")); return true }); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(at)
	return at
}

func TestQueries(t *testing.T) {
	t.Parallel()
	x := newIndex(t)
	add(t, x,
		entry("0", func(e *audit.Event) { e.Kind = audit.KindIntent }),
		entry("1", nil),
		entry("2", func(e *audit.Event) { e.Target, e.Effect, e.Reason = "delete_all", "deny", "not-permitted" }),
		entry("3", func(e *audit.Event) { e.Principal = "kimberly@https://login.example"; e.Target = "delete_one" }),
		entry("4", func(e *audit.Event) { e.Time = now().AddDate(0, 0, -10); e.Server = "mail" }),
		entry("5", func(e *audit.Event) {
			e.Kind, e.Reason, e.Detail = audit.KindEvent, "server-violation", map[string]string{"what": "it answered twice"}
		}),
		entry("6", func(e *audit.Event) { e.Target = "a[b]?c" }),
		[]byte("not an event"),
		entry("8", func(e *audit.Event) { e.Target = `quo"te` }),
	)
	for _, c := range []struct{ query, want string }{
		{"", "1 2 3 4 5 6 8"},
		{"kind:intent", "0"},
		{"tool:delete_*", "2 3"},
		{"tool:delete_* decision:deny", "2"},
		{"tool:delete_* -decision:deny", "3"},
		{"tool:delete_all tool:delete_one", "2 3"},
		{"user:kim@example.com tool:delete_*", "2"},
		{"user:kim", "1 2 4 5 6 8"}, // with any issuer, and not kimberly
		{"user:kimberly", "3"},
		{"user:kim*", "1 2 3 4 5 6 8"},
		{"since:2d server:mail", ""},
		{"since:20d server:mail", "4"},
		{"until:2d", "4"},
		{"since:2026-11-22", "1 2 3 5 6 8"},
		{"twice", "5"},
		{`"answered twice"`, "5"},
		{`"twice answered"`, ""},
		{"twi*", "5"},
		{"-twice reason:server-violation", ""},
		{"delete_all", "2"},
		{"id:3", "3"},
		{"id:0", "0"},
		{"tool:a[b]?c", "6"},
		{"tool:a*c", "6"},
		{"tool:?[b]?c", ""},
		{`tool:"quo*"`, "8"},
		{"' OR 1=1 --", ""},
		{"reason:nothing-like-it", ""},
		{"-reason:nothing-like-it server:mail", "4"},
	} {
		if d := cmp.Diff(c.want, strings.Join(find(t, x, c.query), " ")); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.query, d)
		}
	}
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"tool:", "colour:red", `user:"kim`, "since:yesterday", "since:-3h", "since:99999d", "-since:2d", `""`, "a\x00b", "*", strings.Repeat("a ", 100)} {
		if _, err := index.ParseQuery(text, now()); err == nil {
			t.Errorf("%q is a query", text)
		}
	}
}

func TestOpenedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "index.db")
	open := func() *index.Index {
		x, err := index.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := open()
	line := entry("1", nil)
	add(t, x, line)
	if err := x.Add(t.Context(), "- 9", entry("2", nil)); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil { // without Commit
		t.Fatal(err)
	}
	x = open()
	if m := x.Last(); m.Entries != 1 || m.At != "- 0" || !m.Matches(line) || m.Matches([]byte("x")) {
		t.Errorf("%+v", m)
	}
	if err := x.Clear(t.Context()); err != nil || x.Last() != (index.Mark{}) || find(t, x, "") != nil {
		t.Errorf("%v %+v", err, x.Last())
	}
	add(t, x, line, line)
	if got := find(t, x, "read_file"); len(got) != 2 {
		t.Errorf("after Clear: %q", got)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("this is no database at all, but it is longer than a header of one would be, in order to be read as one ........"), 0o600); err != nil {
		t.Fatal(err)
	}
	x = open()
	if m := x.Last(); m.Entries != 0 {
		t.Errorf("%+v", m)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"tool:delete_* user:kim since:2d -decision:deny", `"a b" c* -d`, "user:*[", "id:' OR 1"} {
		f.Add(s)
	}
	x := newIndex(f)
	add(f, x, entry("1", nil), entry("2", func(e *audit.Event) { e.Detail = map[string]string{"a": "b"} }))
	f.Fuzz(func(t *testing.T, text string) {
		q, err := index.ParseQuery(text, now())
		if err != nil {
			return
		}
		n := 0
		if err := x.Find(context.Background(), q, 10, func(string) bool { n++; return true }); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if n > 2 {
			t.Errorf("%q finds %d of 2", text, n)
		}
	})
}

// BenchmarkSearch asks the usual questions of a million entries.
func BenchmarkSearch(b *testing.B) {
	x := newIndex(b)
	const million = 1_000_000
	at := now().AddDate(0, -2, 0)
	var line []byte
	for i := range million {
		e := audit.Event{ID: fmt.Sprint("id", i), Time: at.Add(time.Duration(i) * 5 * time.Second), Kind: audit.KindOutcome, Stage: "reply", Effect: "allow", Reason: "ok",
			Principal: fmt.Sprintf("user%d@example.com@https://login.example", i*7919%2000), Server: fmt.Sprint("server", i*31%40), Method: "tools/call",
			Target: fmt.Sprint("tool_", i*17%900), Client: fmt.Sprint("client", i%30)}
		if i%97 == 0 {
			e.Effect, e.Reason, e.Stage = "deny", "not-permitted", "authorize"
		}
		if i%9973 == 0 {
			e.Target, e.Detail = "delete_everything", map[string]string{"what": fmt.Sprint("odd thing ", i)}
		}
		line = e.Append(line[:0])
		if err := x.Add(b.Context(), "- 0", line); err != nil {
			b.Fatal(err)
		}
	}
	if err := x.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, text := range []string{
		"tool:delete_* user:user700@example.com since:30d decision:deny", "tool:delete_*", "user:user77@example.com", "server:server3 decision:deny",
		"decision:deny", "since:1d", "user:user7*", "server:server1* -decision:allow", "odd", "id:id5", "reason:never", "tool:tool_1* user:user19*",
	} {
		q, err := index.ParseQuery(text, at.Add(million*5*time.Second))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.ReplaceAll(text, " ", "_"), func(b *testing.B) {
			n := 0
			for b.Loop() {
				n = 0
				if err := x.Find(b.Context(), q, 100, func(string) bool { n++; return true }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n), "found")
		})
	}
}

package redact_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/redact"
)

func pointer(doc []byte, from int, say func([]byte) bool) string {
	return redact.Pointers(doc, []int{from}, say)[0]
}

func TestEach(t *testing.T) {
	t.Parallel()
	doc := []byte(` {"a\u0062" : ["x", -1.5e3, {"":"q\"\n"}, true], "n":{"m":7}, "é":null} `)
	var got []string
	redact.Each(doc, func(x redact.Text) bool {
		got = append(got, fmt.Sprintf("%d %s of %s at %s depth %d", x.Kind, x.Text, x.Of, pointer(doc, x.From, nil), x.Depth))
		return true
	})
	want := []string{
		"2 ab of  at /ab depth 1", "1 x of  at /ab/0 depth 2", "3 -1.5e3 of  at /ab/1 depth 2",
		"2  of  at /ab/2/ depth 3", "1 q\"\n of  at /ab/2/ depth 3",
		"2 n of  at /n depth 1", "2 m of  at /n/m depth 2", "3 7 of m at /n/m depth 2", "2 é of  at /é depth 1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestPointerHidesNames(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"a/b":{"secret":["x"]}}`)
	say := func(n []byte) bool { return string(n) != "secret" }
	if got := pointer(doc, strings.Index(string(doc), `"x"`), say); got != "/a~1b/*/0" {
		t.Error(got)
	}
}

func TestEachStops(t *testing.T) {
	t.Parallel()
	n := 0
	redact.Each([]byte(`["a","b",1]`), func(redact.Text) bool { n++; return n < 2 })
	if n != 2 {
		t.Error(n)
	}
}

// FuzzEach holds that every string of a valid document is given with the text
// that another reader gets, that writing each back as it was changes nothing of
// what is read, and that nothing panics whatever the bytes are.
func FuzzEach(f *testing.F) {
	for _, s := range []string{`{"a":["b",{"c":"\ud83d\ude00\\"}],"n":-0.5}`, `"\"`, `"a`, `[`, `{"":""}`, `"\`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var edits []redact.Edit
		texts := 0
		redact.Each(doc, func(x redact.Text) bool {
			texts++
			_ = pointer(doc, x.From, nil)
			if x.Kind != redact.Number {
				edits = append(edits, redact.Edit{From: x.From, To: x.To, With: strictjson.AppendString(nil, string(x.Text))})
			}
			return texts < 200
		})
		if strictjson.Validate(doc, strictjson.Default()) != nil || texts >= 200 {
			return
		}
		var before, after any
		if json.Unmarshal(doc, &before) != nil {
			return
		}
		if err := json.Unmarshal(redact.Apply(doc, edits), &after); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(before, after); d != "" {
			t.Error(d)
		}
	})
}

package strictjson

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func split(t *testing.T, text string) Object {
	t.Helper()
	if err := Validate([]byte(text), wide()); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	o, err := SplitObject([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

func TestSplitObject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want Object
	}{
		{`{}`, Object{}},
		{" { } ", Object{}},
		{`{"a":1}`, Object{{Name: "a", Raw: []byte("1")}}},
		{"\n{ \"a\" : 1.0e+0 , \"\" :\t{ \"x\" : [ ] } }\n", Object{
			{Name: "a", Raw: []byte("1.0e+0")},
			{Name: "", Raw: []byte(`{ "x" : [ ] }`)},
		}},
		{`{"\u0061\/":"}","b":["]","\\"],"c":null,"d":{"e":"{\""}}`, Object{
			{Name: "a/", Raw: []byte(`"}"`)},
			{Name: "b", Raw: []byte(`["]","\\"]`)},
			{Name: "c", Raw: []byte(`null`)},
			{Name: "d", Raw: []byte(`{"e":"{\""}`)},
		}},
		{`{"z":1,"a":2,"\ud83d\ude00":3,"世":4}`, Object{
			{Name: "z", Raw: []byte("1")}, {Name: "a", Raw: []byte("2")}, {Name: "😀", Raw: []byte("3")}, {Name: "世", Raw: []byte("4")},
		}},
	} {
		got := split(t, c.text)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.text, d)
		}
		if got == nil {
			t.Errorf("%s: nil", c.text)
		}
	}
}

func TestSplitObjectOfManyMembers(t *testing.T) {
	t.Parallel()
	text := string(names(1000))
	o := split(t, text)
	if len(o) != 1000 || o[0].Name != "name0" || o[999].Name != "name999" {
		t.Errorf("%d members", len(o))
	}
	if got := string(o.Append(nil)); got != text {
		t.Error("not written as it was read")
	}
}

func TestSplitArray(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want []string
	}{
		{`[]`, []string{}},
		{" [ ] ", []string{}},
		{`[1]`, []string{"1"}},
		{"[ 1 ,\n{ \"a\" : \"]\" } , [ [ ] ],\"\\\"\" ,null]\n", []string{"1", `{ "a" : "]" }`, "[ [ ] ]", `"\""`, "null"}},
	} {
		parts, err := SplitArray([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got := []string{}
		for _, p := range parts {
			got = append(got, string(p))
		}
		if d := cmp.Diff(c.want, got); d != "" || parts == nil {
			t.Errorf("%s: %s", c.text, d)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		object Kind
		array  Kind
	}{
		{"", KindTruncated, KindTruncated},
		{"null", KindType, KindType},
		{`"{}"`, KindType, KindType},
		{"[]", KindType, 0},
		{"{}", 0, KindType},
		// These never pass Validate; they must be errors all the same.
		{"{", KindTruncated, KindType},
		{"[", KindType, KindTruncated},
		{`{"a"`, KindTruncated, KindType},
		{`{"a":`, KindTruncated, KindType},
		{`{"a":1`, KindTruncated, KindType},
		{`{"a":1,`, KindTruncated, KindType},
		{`{"a":1,}`, KindSyntax, KindType},
		{`{"a":{`, KindTruncated, KindType},
		{`{"a":{"`, KindTruncated, KindType},
		{`{"a":}`, KindSyntax, KindType},
		{`{a:1}`, KindSyntax, KindType},
		{`{"a" 1}`, KindSyntax, KindType},
		{`{"a":1 "b":2}`, KindSyntax, KindType},
		{`{,}`, KindSyntax, KindType},
		{`{}x`, KindTrailing, KindType},
		{`{"a":1]`, KindSyntax, KindType},
		{`["]`, KindType, KindTruncated},
		{`[1`, KindType, KindTruncated},
		{`[1,`, KindType, KindTruncated},
		{`[1,]`, KindType, KindSyntax},
		{`[,]`, KindType, KindSyntax},
		{`[1 2]`, KindType, KindSyntax},
		{`[]]`, KindType, KindTrailing},
		{`[1}`, KindType, KindSyntax},
	} {
		o, err := SplitObject([]byte(c.text))
		if kind, _ := kindOf(t, err); kind != c.object || kind != 0 && o != nil {
			t.Errorf("%q as an object: %v, want %v", c.text, kind, c.object)
		}
		a, err := SplitArray([]byte(c.text))
		if kind, _ := kindOf(t, err); kind != c.array || kind != 0 && a != nil {
			t.Errorf("%q as an array: %v, want %v", c.text, kind, c.array)
		}
	}
}

// Values alias the input, so appending to one must not write over what follows
// it there.
func TestValuesCannotGrowIntoTheInput(t *testing.T) {
	t.Parallel()
	text := []byte(`{"a":1,"b":[2,3]}`)
	o, err := SplitObject(text)
	if err != nil {
		t.Fatal(err)
	}
	list, err := SplitArray(o[1].Raw)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(o[0].Raw, 'X')
	_ = append(list[0], 'X')
	if string(text) != `{"a":1,"b":[2,3]}` {
		t.Errorf("the input is now %s", text)
	}
}

func TestObjectChanges(t *testing.T) {
	t.Parallel()
	const text = `{"a":1,"\u0062":{ "x" : 2 },"c":"3"}`
	o := split(t, text)
	for _, c := range []struct {
		name string
		got  Object
		want string
	}{
		{"nothing", o, text},
		{"replaced in place", o.With("a", []byte("9")), `{"a":9,"\u0062":{ "x" : 2 },"c":"3"}`},
		{"replaced, name kept as written", o.With("b", []byte("9")), `{"a":1,"\u0062":9,"c":"3"}`},
		{"appended", o.With("d\n", []byte("[]")), `{"a":1,"\u0062":{ "x" : 2 },"c":"3","d\n":[]}`},
		{"appended although it folds alike", o.With("A", []byte("0")), `{"a":1,"\u0062":{ "x" : 2 },"c":"3","A":0}`},
		{"removed", o.Without("b", "none"), `{"a":1,"c":"3"}`},
		{"removed by no name", o.Without(), text},
		{"all removed", o.Without("c", "b", "a"), `{}`},
		{"none", nil, `{}`},
		{"none, appended", Object(nil).With("a", []byte("1")), `{"a":1}`},
	} {
		if got := string(c.got.Append(nil)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := string(c.got.Append([]byte("x"))); got != "x"+c.want {
			t.Errorf("%s: what dst held is lost: %s", c.name, got)
		}
	}
	if got := string(o.Append(nil)); got != text {
		t.Errorf("the object itself was changed: %s", got)
	}
	renamed := append(Object(nil), o...)
	renamed[1].Name = "new\t"
	if got, want := string(renamed.Append(nil)), `{"a":1,"new\t":{ "x" : 2 },"c":"3"}`; got != want {
		t.Errorf("renamed: %s, want %s", got, want)
	}
}

// Two copies of one object must not share room at their end.
func TestCopiesAreIndependent(t *testing.T) {
	t.Parallel()
	o := split(t, `{"a":1}`)
	x, y := o.With("x", []byte("1")), o.With("y", []byte("2"))
	xx, xy := x.With("z", []byte("3")), x.With("w", []byte("4"))
	got := []string{string(x.Append(nil)), string(y.Append(nil)), string(xx.Append(nil)), string(xy.Append(nil))}
	want := []string{`{"a":1,"x":1}`, `{"a":1,"y":2}`, `{"a":1,"x":1,"z":3}`, `{"a":1,"x":1,"w":4}`}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	w := o.Without()
	w[0].Name = "b"
	if o[0].Name != "a" {
		t.Error("Without shares its members with the original")
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	o := split(t, `{"a":1,"\u0062":2,"A":3,"":4}`)
	for name, want := range map[string]string{"a": "1", "b": "2", "A": "3", "": "4", "B": "", `\u0062`: "", "a ": ""} {
		raw, ok := o.Get(name)
		if string(raw) != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", name, raw, ok)
		}
	}
	if _, ok := Object(nil).Get(""); ok {
		t.Error("an empty object has a member")
	}
}

func TestSplitObjectAllocations(t *testing.T) {
	text := message(1 << 10)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := SplitObject(text); err != nil {
			panic(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations, want the members and their names", n)
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ raw, want string }{
		{"null", "null"},
		{" [ ] ", "[]"},
		{" { } ", "{}"},
		{`{"b":1,"a":2}`, `{"a":2,"b":1}`},
		{`{"b":{"d":[{"z":1,"y":2}],"c":3},"a":{}}`, `{"a":{},"b":{"c":3,"d":[{"y":2,"z":1}]}}`},
		{`["b","a",2,1]`, `["b","a",2,1]`},
		{`{"\u0061":"\u0041\/\u000a\u2028\u007f"}`, "{\"a\":\"A/\\n\u2028\x7f\"}"},
		{`{"aa":1,"a":2,"":3,"B":4}`, `{"":3,"B":4,"a":2,"aa":1}`},
		{"{\"\U0001F600\":1,\"\uFFFD\":2}", "{\"\uFFFD\":2,\"\U0001F600\":1}"},
		{`[1,1.0,1e0,-0,10E+2,0.10]`, `[1,1.0,1e0,-0,10E+2,0.10]`},
		{`[true,false,null]`, `[true,false,null]`},
	} {
		got, err := Canonical([]byte(c.raw))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.raw, got, err, c.want)
		}
	}
	for _, raw := range []string{``, `{"a":1,"a":1}`, `{"a":1}x`, `["\ud800"]`, "\"\xff\"", strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1)} {
		if got, err := Canonical([]byte(raw)); err == nil || got != nil {
			t.Errorf("%.20q: has the canonical form %.20q", raw, got)
		}
	}
	deep := strings.Repeat(`{"a":[`, MaxDepth/2) + strings.Repeat(`]}`, MaxDepth/2)
	if got, err := Canonical([]byte(deep)); err != nil || string(got) != deep {
		t.Errorf("deepest: %v", err)
	}
}

// What means something else must not have the same digest.
func TestCanonicalTellsApart(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, raw := range []string{
		`1`, `1.0`, `"1"`, `[1]`, `{"1":1}`, `null`, `"null"`, `[]`, `{}`, `""`, `[[]]`, `[{}]`, `{"":[]}`, `{"":{}}`,
		`["a","b"]`, `["b","a"]`, `["a,b"]`, `["a\",\"b"]`, `{"a":"b"}`, `{"a":1,"b":2}`, `{"a":2,"b":1}`, `{"a":{"b":2}}`,
		`{"a":1,"A":2}`, `{"A":1,"a":2}`, `"é"`, "\"e\u0301\"", `"\u0000"`, `"\\u0000"`, `"a"`, `"A"`,
	} {
		got, err := Canonical([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[string(got)]; ok {
			t.Errorf("%s and %s have the same form", raw, other)
		}
		seen[string(got)] = raw
	}
}

func TestFoldedDuplicate(t *testing.T) {
	t.Parallel()
	many := strings.TrimSuffix(string(names(few+1)), "}")
	for _, c := range []struct {
		text string
		a, b string
		dup  bool
	}{
		{`{}`, "", "", false},
		{`{"a":1,"b":2,"ab":3,"":4}`, "", "", false},
		{`{"method":1,"Method":2}`, "method", "Method", true},
		{`{"x":0,"ID":1,"y":0,"id":2}`, "ID", "id", true},
		{"{\"params\":1,\"param\u017f\":2}", "params", "param\u017f", true},
		{"{\"to\u212aen\":1,\"token\":2}", "to\u212aen", "token", true},
		{`{"\u0041":1,"a":2}`, "A", "a", true},
		{"{\"\u03c3\":1,\"\u03c2\":2}", "\u03c3", "\u03c2", true},
		{"{\"stra\u00dfe\":1,\"strasse\":2}", "", "", false}, // full folding, which no decoder does
		{"{\"i\":1,\"\u0131\":2,\"\u0130\":3}", "", "", false},
		{many + `}`, "", "", false},
		{many + `,"NAME7":0}`, "name7", "NAME7", true},
		{many + ",\"\u017f\":0,\"S\":0}", "\u017f", "S", true},
	} {
		a, b, dup := FoldedDuplicate(split(t, c.text))
		if a != c.a || b != c.b || dup != c.dup {
			t.Errorf("%s: %q, %q, %v", c.text, a, b, dup)
		}
	}
}

func TestUnexpectedCase(t *testing.T) {
	t.Parallel()
	known := []string{"jsonrpc", "id", "method", "params", "task"}
	for _, c := range []struct {
		text string
		name string
		bad  bool
	}{
		{`{}`, "", false},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"Method":1}}`, "", false},
		{`{"methods":1,"ids":2,"i d":3,"":4}`, "", false},
		{`{"method":"ping","Method":"tools/call"}`, "Method", true},
		{`{"ID":1}`, "ID", true},
		{`{"\u004dethod":1}`, "Method", true},
		{"{\"id\":1,\"param\u017f\":2}", "param\u017f", true},
		{"{\"tas\u212a\":2}", "tas\u212a", true},
	} {
		name, bad := UnexpectedCase(split(t, c.text), known...)
		if name != c.name || bad != c.bad {
			t.Errorf("%s: %q, %v", c.text, name, bad)
		}
	}
	if name, bad := UnexpectedCase(split(t, `{"A":1}`)); bad {
		t.Errorf("no known names, but %q", name)
	}
}

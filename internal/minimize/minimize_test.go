package minimize_test

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/minimize"
)

func options() minimize.Options {
	return minimize.Options{Limits: strictjson.Default(), Hash: func(c []byte) string { return "hash:" + hex.EncodeToString(c) }}
}

// rules reads drop=a,b mask=c truncate=d:3 only=e|f free.
func rules(t testing.TB, s string) *minimize.Rules {
	t.Helper()
	var list []minimize.Rule
	var only [][]minimize.Path
	free := false
	path := func(s string) minimize.Path {
		p, err := minimize.ParsePath(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, word := range strings.Fields(s) {
		kind, value, _ := strings.Cut(word, "=")
		switch kind {
		case "free":
			free = true
		case "only":
			var ps []minimize.Path
			for _, p := range strings.Split(value, ",") {
				ps = append(ps, path(p))
			}
			only = append(only, ps)
		default:
			a := map[string]minimize.Action{"drop": minimize.Drop, "mask": minimize.Mask, "hash": minimize.Hash, "last4": minimize.Last4, "truncate": minimize.Truncate}[kind]
			if a == 0 {
				t.Fatal(kind)
			}
			for _, p := range strings.Split(value, ",") {
				list = append(list, minimize.Rule{Path: path(p), Action: a, Length: 3})
			}
		}
	}
	return minimize.New(list, only, free)
}

func fields(t testing.TB, w *minimize.Work, raw string) string {
	t.Helper()
	if err := strictjson.Validate([]byte(raw), strictjson.Default()); err != nil {
		t.Fatal(err)
	}
	out, err := w.Fields([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := strictjson.Validate(out, strictjson.Default()); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestFields(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ rules, in, want string }{
		"drop":                        {"drop=c.ssn", `{"c":{"ssn":"1","n":"Kim"}}`, `{"c":{"n":"Kim"}}`},
		"what no rule names":          {"drop=c.ssn", `{"ssn": "1", "d":{"c":{"ssn":2}}}`, `{"ssn": "1", "d":{"c":{"ssn":2}}}`},
		"mask":                        {"mask=a", `{"a":"x","b":1}`, `{"a":"[masked]","b":1}`},
		"hash":                        {"hash=a", `{"a":"x"}`, `{"a":"hash:227822"}`},
		"hash of an object":           {"hash=a", `{"a":{"c":1, "b":2}}`, `{"a":"hash:7b2262223a322c2263223a317d"}`},
		"the last four":               {"last4=a", `{"a":"4111 1111 1111 1234"}`, `{"a":"****1234"}`},
		"the last four of little":     {"last4=a", `{"a":"1234-567"}`, `{"a":"[masked]"}`},
		"truncate":                    {"truncate=a", `{"a":"가나다라","b":"abcd"}`, `{"a":"가나다…","b":"abcd"}`},
		"truncate what is short":      {"truncate=a", `{"a":"abc"}`, `{"a":"abc"}`},
		"arrays are looked through":   {"drop=a.b", `{"a":[{"b":1,"c":2},[{"b":3}]]}`, `{"a":[{"c":2},[{}]]}`},
		"an array at the root":        {"drop=b", `[{"b":1,"c":2}]`, `[{"c":2}]`},
		"an element by its index":     {"mask=a.1", `{"a":["x","y","z"]}`, `{"a":["x","[masked]","z"]}`},
		"an element is dropped":       {"drop=a.0", `{"a":["x","y"]}`, `{"a":["y"]}`},
		"every element":               {"last4=a", `{"a":["123456789","987654321"]}`, `{"a":["****6789","****4321"]}`},
		"a pointer":                   {"drop=/a~1b/c.d", `{"a/b":{"c.d":1,"e":2}}`, `{"a/b":{"e":2}}`},
		"a star":                      {"drop=*.b", `{"a":{"b":1},"c":{"b":2,"d":3}}`, `{"a":{},"c":{"d":3}}`},
		"at any depth":                {"drop=**.ssn", `{"ssn":1,"a":{"b":[{"ssn":2}]}}`, `{"a":{"b":[{}]}}`},
		"case":                        {"drop=ssn", `{"SSN":1}`, `{}`},
		"a name in escapes":           {"drop=ssn", `{"\u0073s\u006e":1}`, `{}`},
		"a name in full width":        {"drop=ssn", `{"ｓｓｎ":1}`, `{}`},
		"a name with what is unseen":  {"drop=ssn", `{"s\u200bsn":1}`, `{}`},
		"a name cut up":               {"drop=card_number", `{"cardNumber":1,"card-number":2}`, `{}`},
		"JSON in a string":            {"drop=body.ssn", `{"body":"{\"ssn\":1,\"n\":2}"}`, `{"body":"{\"n\":2}"}`},
		"an answer in a string":       {"drop=c.ssn", `{"body":"{\"c\":{\"ssn\":1}}"}`, `{"body":"{\"c\":{}}"}`},
		"two of one name in a string": {"drop=body.ssn", `{"body":"{\"ssn\":1,\"ssn\":2}"}`, `{"body":"` + minimize.Withheld + `"}`},
		"only":                        {"only=id,c.name", `{"id":1,"c":{"name":"Kim","ssn":2},"d":[3]}`, `{"id":1,"c":{"name":"Kim"}}`},
		"only on both lists":          {"only=id,name only=id,age", `{"id":1,"name":"Kim","age":7}`, `{"id":1}`},
		"only keeps what is inside":   {"only=c", `{"c":{"a":[1,{"b":2}]},"d":1}`, `{"c":{"a":[1,{"b":2}]}}`},
		"only wins":                   {"mask=a,c only=b,c.d", `{"a":"x","b":1,"c":"y"}`, `{"b":1}`},
		"drop wins":                   {"mask=a drop=a", `{"a":"x"}`, `{}`},
		"two that leave different":    {"last4=a truncate=a", `{"a":"1234567890"}`, `{"a":"[masked]"}`},
		"the root":                    {"only=a", `7`, `null`},
		"a number becomes a text":     {"mask=a", `{"a":7}`, `{"a":"[masked]"}`},
	} {
		if got := fields(t, rules(t, tt.rules).Begin(options()), tt.in); got != tt.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestATypedValueKeepsItsType(t *testing.T) {
	t.Parallel()
	o := options()
	o.Typed = true
	if got := fields(t, rules(t, "mask=a,b hash=c last4=d").Begin(o), `{"a":7,"b":"x","c":1.5,"d":1234567890,"e":1}`); got != `{"b":"[masked]","e":1}` {
		t.Error(got)
	}
	o.DropAll = true
	if got := fields(t, rules(t, "mask=a,b truncate=c").Begin(o), `{"a":7,"b":"x","c":"abcdef"}`); got != `{}` {
		t.Error(got)
	}
}

// TestText takes out of prose what was taken out of fields.
func TestText(t *testing.T) {
	t.Parallel()
	const withheld = minimize.Withheld
	for name, tt := range map[string]struct{ rules, fields, in, want string }{
		"repeated":                  {"drop=ssn", `{"ssn":"123-45-6789"}`, "SSN 123-45-6789.", "SSN [masked]."},
		"cut up another way":        {"drop=ssn", `{"ssn":"123-45-6789"}`, "SSN 123 45 6789, 123456789", "SSN [masked], [masked]"},
		"in full width":             {"drop=ssn", `{"ssn":"123-45-6789"}`, "１２３４５６７８９", "[masked]"},
		"with what is unseen":       {"drop=ssn", `{"ssn":"123-45-6789"}`, "12\u200b3-45-67\u200d89", "[masked]"},
		"the last four":             {"last4=card", `{"card":"4111111111111234"}`, "Card 4111-1111-1111-1234", "Card ****1234"},
		"a short value":             {"drop=age", `{"age":42}`, "Kim is 42, room 1042", "Kim is [masked], room 1042"},
		"Korean":                    {"drop=name", `{"name":"김철수"}`, "고객: 김철수 님", "고객: [masked] 님"},
		"truncated":                 {"truncate=note", `{"note":"abcdefghij klm"}`, "Note: abcdefghij klm", "Note: abc…"},
		"a yes or no":               {"drop=member", `{"member":true}`, "is a member", withheld},
		"the field was not there":   {"drop=ssn", `{"n":1}`, "SSN 123-45-6789", withheld},
		"it was not, and may pass":  {"drop=ssn free", `{"n":1}`, "SSN 123-45-6789", "SSN 123-45-6789"},
		"only":                      {"only=n", `{"n":1}`, "anything", withheld},
		"nothing is withheld of":    {"drop=ssn", `{"n":1}`, " \n", " \n"},
		"base64":                    {"drop=ssn free", `{"ssn":"123-45-6789"}`, "x " + base64.StdEncoding.EncodeToString([]byte("it is 123-45-6789!")), withheld},
		"base64 within a word":      {"drop=ssn free", `{"ssn":"123-45-6789"}`, "a" + base64.RawURLEncoding.EncodeToString([]byte("it is 123-45-6789!")), withheld},
		"base64 of base64":          {"drop=ssn free", `{"ssn":"123-45-6789"}`, base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte("123-45-6789")))), withheld},
		"hexadecimal":               {"drop=ssn free", `{"ssn":"123-45-6789"}`, hex.EncodeToString([]byte("123-45-6789")), withheld},
		"percent":                   {"drop=ssn free", `{"ssn":"123-45-6789"}`, "%31%32%33-45-6789", withheld},
		"entities":                  {"drop=ssn free", `{"ssn":"123-45-6789"}`, "&#49;&#x32;3-45-6789", withheld},
		"escapes":                   {"drop=ssn free", `{"ssn":"123-45-6789"}`, `\u0031\x323-45-6789`, withheld},
		"backwards":                 {"drop=ssn free", `{"ssn":"123-45-6789"}`, "9876-54-321", withheld},
		"one that holds another":    {"drop=a,b", `{"a":"123456","b":"1234567890"}`, "1234567890 123456", "[masked] [masked]"},
		"one that overlaps another": {"drop=a,b", `{"a":"abc12345","b":"45xyz678"}`, "abc12345xyz678", "[masked]"},
	} {
		w := rules(t, tt.rules).Begin(options())
		fields(t, w, tt.fields)
		got, passed := w.Text(tt.in)
		if got != tt.want || passed != (tt.want != withheld) {
			t.Errorf("%s: %q %v", name, got, passed)
		}
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	w := rules(t, "drop=ssn,city").Begin(options())
	fields(t, w, `{"ssn":"123-45-6789","city":"Seoul"}`)
	for in, want := range map[string]string{
		`{"note":"SSN 123456789","city":"Seoul","n":1}`: `{"note":"SSN [masked]","city":"Seoul","n":1}`,
		`["MTIzLTQ1LTY3ODk="]`:                          `["[masked]"]`,
		`{"123-45-6789":{"a":1},"b":2}`:                 `{"b":2}`,
		`{ "a" : [1, "x"] }`:                            `{ "a" : [1, "x"] }`,
	} {
		got, err := w.Sweep([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s %v", in, got, err)
		}
	}
}

func TestPathsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", ".", "a..b", "a.", "/", "/a//b", "**", "a.**", "a*", "/a~", "/a~4", "a~0", "-", strings.Repeat("a.", 40) + "b"} {
		if p, err := minimize.ParsePath(s); err == nil {
			t.Errorf("%q is %s", s, p)
		}
	}
}

func TestJoinLeavesWhatBothLeave(t *testing.T) {
	t.Parallel()
	if minimize.Join(nil, nil) != nil {
		t.Error("two times nothing is something")
	}
	a, b := rules(t, "drop=a free"), rules(t, "drop=b")
	in := `{"a":"aaaaa1","b":"bbbbb1","c":1}`
	for _, r := range []*minimize.Rules{minimize.Join(a, b), minimize.Join(b, a)} {
		w := r.Begin(options())
		if got := fields(t, w, in); got != `{"c":1}` {
			t.Error(got)
		}
		if w.Opaque() {
			t.Error("free by one of two")
		}
	}
	if minimize.Join(a, nil) != a || minimize.Join(nil, b) != b {
		t.Error("rules and none are not those rules")
	}
}

// FuzzAValueIsGone: whatever the value and however it is written once more, what
// comes back does not say it.
func FuzzAValueIsGone(f *testing.F) {
	f.Add("123-45-6789", "Kim is ", " here", uint8(0))
	f.Add("kim@corp.example", "", "", uint8(3))
	f.Add("가나다라마바사아자차1", "x", "y", uint8(6))
	f.Fuzz(func(t *testing.T, value, before, after string, how uint8) {
		plain := func(s string) string {
			return strings.Map(func(r rune) rune {
				if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
					return r
				}
				return -1
			}, strings.ToLower(s))
		}
		if p := plain(value); len(p) < 10 || len(value) > 100 || strings.Contains(plain(before+after+minimize.Masked), p) || strings.HasPrefix(strings.TrimSpace(value), "{") || strings.HasPrefix(strings.TrimSpace(value), "[") {
			return // too short or too long to be looked for, or said by the frame as well
		}
		quoted := strictjson.AppendString(nil, value)
		if strictjson.Validate(quoted, strictjson.Default()) != nil {
			return // no JSON can say it
		}
		again := value
		switch how % 5 {
		case 1:
			again = base64.StdEncoding.EncodeToString([]byte(value))
			before, after = before+" ", " "+after
		case 2:
			again = hex.EncodeToString([]byte(value))
			before, after = before+" ", " "+after
		case 3:
			again = url.PathEscape(value)
		case 4:
			again = html.EscapeString(value)
		}
		w := rules(t, "drop=x free").Begin(options())
		fields(t, w, `{"x":`+string(quoted)+`,"y":1}`)
		out, passed := w.Text(before + again + after)
		if passed && (strings.Contains(out, again) && how%5 != 4 || strings.Contains(plain(out), plain(value)) && how%5 == 0) {
			t.Errorf("%q: %q", value, out)
		}
	})
}

// TestTheWorkIsBounded looks for thousands of values that all begin alike in a
// text that is all of them at once.
func TestTheWorkIsBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`{"x":[`)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.Repeat("a", 1+r.IntN(120)) + `"`)
	}
	b.WriteString(`]}`)
	w := rules(t, "drop=x").Begin(options())
	fields(t, w, b.String())
	out, passed := w.Text(strings.Repeat("a", 200_000))
	if !passed || out != minimize.Masked {
		t.Errorf("%v, %d bytes", passed, len(out))
	}
	if !slices.Equal(w.Touched(), []string{"x"}) {
		t.Error(w.Touched())
	}
}

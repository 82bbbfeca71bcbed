package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func seeds() []string {
	return []string{
		``, `{}`, `[]`, `null`, `"a"`, `-1.5e+7`, ` { "a" : [ 1 , { } ] } `,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"A":1,"a":2}}}`,
		`{"a":1,"\u0061":2}`, `{"\ud834\udd1e":"\\\"\/\b\f\n\r\t"}`, `["\ud800"]`, `["\udc00\ud800"]`, "[\"\xff\"]", "\uFEFF{}",
		`{"a":{"b":{"c":[[[]]]}},"d":"é世😀"}`, `[1,2,3]x`, "[1,\n2\t]", `{"a":01}`, `[tru]`, "\"\x00\"", `{"":"","":""}`,
		"{\"s\":1,\"\u017f\":2}", string(names(40)), strings.Repeat("[", 65), `[0.0,-0,1E5,1e999]`,
	}
}

// agreed is what Validate means, said slowly and with another parser: what
// encoding/json reads, in UTF-8, without half surrogates and without duplicate
// names, within the limits.
func agreed(text []byte, l Limits) bool {
	if len(text) > l.Bytes || !json.Valid(text) || !utf8.Valid(text) || loneSurrogate(text) {
		return false
	}
	type open struct {
		names map[string]bool
		key   bool
	}
	var stack []open
	count := 0
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count <= l.Members
		}
		if err != nil {
			return false
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if n := len(stack); n > 0 {
			top := &stack[n-1]
			if top.names == nil {
				count++
			} else if top.key = !top.key; top.key {
				name := token.(string)
				if top.names[name] {
					return false
				}
				top.names[name] = true
				count++
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, open{names: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, open{})
		}
		if len(stack) > l.Depth {
			return false
		}
	}
}

// loneSurrogate looks at every \u escape of a valid text.
func loneSurrogate(text []byte) bool {
	unit := func(i int) (uint64, bool) {
		if i+6 > len(text) || text[i] != '\\' || text[i+1] != 'u' {
			return 0, false
		}
		u, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 16)
		return u, err == nil
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		u, ok := unit(i)
		switch {
		case !ok:
			i++
		case u>>10 == 0xDC00>>10:
			return true
		case u>>10 == 0xD800>>10:
			if low, ok := unit(i + 6); !ok || low>>10 != 0xDC00>>10 {
				return true
			}
			i += 11
		default:
			i += 5
		}
	}
	return false
}

// rebuild takes text apart to its scalars and puts it together again, through
// the lenient parser's eyes beside ours.
func rebuild(t *testing.T, text []byte) []byte {
	t.Helper()
	switch TypeOf(text) {
	case TypeObject:
		o, err := SplitObject(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var lenient map[string]json.RawMessage
		if err := json.Unmarshal(text, &lenient); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(lenient) != len(o) {
			t.Fatalf("%q: %d members, encoding/json has %d", text, len(o), len(lenient))
		}
		for i, m := range o {
			if !bytes.Equal(lenient[m.Name], m.Raw) {
				t.Fatalf("%q: %q is %q, encoding/json has %q", text, m.Name, m.Raw, lenient[m.Name])
			}
			if got, ok := o.Get(m.Name); !ok || !bytes.Equal(got, m.Raw) {
				t.Fatalf("%q: Get(%q) is %q", text, m.Name, got)
			}
			o[i].Raw = rebuild(t, m.Raw)
		}
		return o.Append(nil)
	case TypeArray:
		list, err := SplitArray(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var lenient []json.RawMessage
		if err := json.Unmarshal(text, &lenient); err != nil || len(lenient) != len(list) {
			t.Fatalf("%q: %d elements, encoding/json has %d (%v)", text, len(list), len(lenient), err)
		}
		out := []byte{'['}
		for i, e := range list {
			if !bytes.Equal(e, lenient[i]) {
				t.Fatalf("%q: element %d is %q, encoding/json has %q", text, i, e, lenient[i])
			}
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, rebuild(t, e)...)
		}
		return append(out, ']')
	case TypeString:
		got, err := String(text)
		var want string
		if err := errors.Join(err, json.Unmarshal(text, &want)); err != nil || got != want {
			t.Fatalf("%q: %q, encoding/json has %q (%v)", text, got, want, err)
		}
	case TypeInvalid:
		t.Fatalf("%q: has no type", text)
	}
	return bytes.TrimSpace(text)
}

// reversed returns text with the members of each object in the other order.
func reversed(t *testing.T, text []byte) []byte {
	t.Helper()
	switch TypeOf(text) {
	case TypeObject:
		o, err := SplitObject(text)
		if err != nil {
			t.Fatal(err)
		}
		for i := range o {
			o[i].Raw = reversed(t, o[i].Raw)
		}
		slices.Reverse(o)
		return o.Append(nil)
	case TypeArray:
		list, err := SplitArray(text)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			list[i] = reversed(t, list[i])
		}
		return append(append([]byte("[ "), bytes.Join(list, []byte(" , "))...), " ]"...)
	}
	return text
}

func value(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func checkAgreement(t *testing.T, text []byte, l Limits) {
	t.Helper()
	err := Validate(text, l)
	if want := agreed(text, l); (err == nil) != want {
		t.Fatalf("%q: %v, but agreement is %v", text, err, want)
	}
	if err != nil {
		if _, at := kindOf(t, err); at < 0 || at > len(text) {
			t.Fatalf("%q: offset %d", text, at)
		}
		return
	}
	compact := Compact(nil, text)
	var standard bytes.Buffer
	if err := json.Compact(&standard, text); err != nil || !bytes.Equal(standard.Bytes(), compact) {
		t.Fatalf("%q: compact is %q, encoding/json has %q (%v)", text, compact, standard.Bytes(), err)
	}
	if got := rebuild(t, text); !bytes.Equal(got, compact) {
		t.Fatalf("%q: rebuilt as %q", text, got)
	}
	canonical, err := Canonical(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if err := Validate(canonical, Limits{MaxBytes, MaxDepth, MaxBytes}); err != nil {
		t.Fatalf("%q: its canonical form %q: %v", text, canonical, err)
	}
	if d := cmp.Diff(value(t, text), value(t, canonical)); d != "" {
		t.Fatalf("%q: its canonical form has another value: %s", text, d)
	}
	for _, same := range [][]byte{canonical, compact, reversed(t, text)} {
		if again, err := Canonical(same); err != nil || !bytes.Equal(again, canonical) {
			t.Fatalf("%q: canonical is %q, and of %q it is %q (%v)", text, canonical, same, again, err)
		}
	}
}

func FuzzValidate(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		checkAgreement(t, text, Limits{Bytes: 1 << 16, Depth: 20, Members: 100})
	})
}

// Each byte of a message that uses the whole grammar, changed into each other
// byte, is read as the other parser reads it or refused.
func TestEveryByteChanged(t *testing.T) {
	t.Parallel()
	original := []byte(` {"a":[1.5e+7,-0],"\u0061b":"x\ud834\udd1e` + "é世😀" + `\n","c":{"d":true,"D":null}}`)
	for i := range original {
		for c := range 256 {
			text := bytes.Clone(original)
			text[i] = byte(c)
			checkAgreement(t, text, wide())
		}
		checkAgreement(t, slices.Delete(bytes.Clone(original), i, i+1), wide())
		checkAgreement(t, slices.Insert(bytes.Clone(original), i, original[i]), wide())
	}
}

// What takes text apart must not panic on text that nobody validated.
func FuzzUnvalidated(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if o, err := SplitObject(text); err == nil {
			o.Append(nil)
			FoldedDuplicate(o)
			UnexpectedCase(o, "id", "method")
		}
		_, _ = SplitArray(text)
		_, _ = Canonical(text)
		if compact := Compact(nil, text); len(compact) > len(text) {
			t.Fatalf("%q: compact is longer: %q", text, compact)
		}
		s, err := String(text)
		if (err == nil) != (TypeOf(text) == TypeString && Validate(text, Limits{MaxBytes, 1, 1}) == nil) {
			t.Fatalf("%q: String says %q, %v", text, s, err)
		}
		raw := AppendString(nil, string(text))
		if err := Validate(raw, Limits{MaxBytes, 1, 1}); err != nil {
			t.Fatalf("%q: written as %q: %v", text, raw, err)
		}
		if back, err := String(raw); err != nil || utf8.Valid(text) && back != string(text) {
			t.Fatalf("%q: read back as %q, %v", text, back, err)
		}
	})
}

func FuzzFold(f *testing.F) {
	f.Add("method", "METHOD")
	f.Add("param\u017f", "params")
	f.Add("\u212a", "k")
	f.Add("\u03c3", "\u03c2")
	f.Add("\u00df", "ss")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			return
		}
		if got, want := fold(a) == fold(b), strings.EqualFold(a, b); got != want {
			t.Fatalf("%q and %q: %v, want %v", a, b, got, want)
		}
	})
}

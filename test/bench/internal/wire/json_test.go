package wire

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestMembers(t *testing.T) {
	t.Parallel()
	type member struct{ Name, Raw string }
	tests := map[string]struct {
		in   string
		want []member
		bad  bool
	}{
		"empty":              {in: `{}`},
		"spaced":             {in: " { \"a\" : 1 , \"b\" : [ 2, {\"c\":\"}\"} ] } ", want: []member{{"a", "1"}, {"b", `[ 2, {"c":"}"} ]`}}},
		"escaped quote":      {in: `{"a":"x\"y","b":"\\"}`, want: []member{{"a", `"x\"y"`}, {"b", `"\\"`}}},
		"brace in a string":  {in: `{"a":{"b":"]}\\"},"c":null}`, want: []member{{"a", `{"b":"]}\\"}`}, {"c", "null"}}},
		"duplicates are two": {in: `{"a":1,"a":2}`, want: []member{{"a", "1"}, {"a", "2"}}},
		"nothing":            {in: ``, bad: true},
		"array":              {in: `[1]`, bad: true},
		"cut off":            {in: `{"a":1`, want: []member{{"a", "1"}}, bad: true},
		"cut off string":     {in: `{"a":"x\"`, bad: true},
		"no value":           {in: `{"a":}`, bad: true},
		"no colon":           {in: `{"a" 1}`, bad: true},
		"no comma":           {in: `{"a":1 "b":2}`, want: []member{{"a", "1"}}, bad: true},
		"comma at the end":   {in: `{"a":1,`, want: []member{{"a", "1"}}, bad: true},
		"name no string":     {in: `{1:2}`, bad: true},
		"open nest":          {in: `{"a":{"b":1}`, want: []member{{"a", `{"b":1}`}}, bad: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []member
			err := Members([]byte(tc.in), func(m Member) bool {
				got = append(got, member{string(m.Name), string(m.Raw)})
				return true
			})
			if (err != nil) != tc.bad {
				t.Errorf("error = %v, want one: %v", err, tc.bad)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzMembers holds that of valid JSON objects every member is found with a
// value that encoding/json agrees is the same, and that nothing panics on the
// rest.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,{"b":"\"}"}],"c":-1.5e3}`, `{"a\u0062":"\\\\"}`, `{"a":"`, `[`, `{"`, `{"a":`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got := map[string]string{}
		err := Members(in, func(m Member) bool {
			name, err := Unquote(nil, append(append([]byte{'"'}, m.Name...), '"'))
			if err == nil {
				got[string(name)] = string(m.Raw)
			}
			return true
		})
		var want map[string]json.RawMessage
		if !utf8.Valid(in) || json.Unmarshal(in, &want) != nil || want == nil {
			return
		}
		if err != nil {
			t.Fatalf("valid object refused: %v", err)
		}
		for name, raw := range want {
			if have, ok := got[name]; ok && have != string(raw) {
				t.Fatalf("member %q = %q, want %q", name, have, raw)
			} else if !ok && !replaced(name) {
				t.Fatalf("member %q was not found", name)
			}
		}
	})
}

// replaced says that encoding/json may have put U+FFFD for half a surrogate
// pair, which Unquote refuses.
func replaced(s string) bool {
	for _, r := range s {
		if r == utf8.RuneError {
			return true
		}
	}
	return false
}

// FuzzQuote holds that what AppendQuoted writes is a JSON string, read back as
// the same text by Unquote and by encoding/json.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "plain", `{"a":"b\n"}`, "12345678\"", "\x00\x1f\x7f", "한국어 😀", "1234567\x01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		quoted := AppendQuoted(nil, []byte(s))
		var std string
		if err := json.Unmarshal(quoted, &std); err != nil || std != s {
			t.Fatalf("encoding/json reads %q, %v; want %q", std, err, s)
		}
		own, err := Unquote(nil, quoted)
		if err != nil || string(own) != s {
			t.Fatalf("Unquote reads %q, %v; want %q", own, err, s)
		}
	})
}

// FuzzUnquote holds that Unquote never disagrees with encoding/json about a
// string that both take, and takes every one that has no half of a surrogate
// pair.
func FuzzUnquote(f *testing.F) {
	for _, s := range []string{`""`, `"a\u00e9\n\/"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00"`, `"\ud83d\u0041"`, `"\`, `"\u12`, `"\x"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := Unquote(nil, raw)
		var want string
		if !utf8.Valid(raw) || json.Unmarshal(raw, &want) != nil || len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
			return
		}
		if err != nil && !replaced(want) {
			t.Fatalf("Unquote(%q): %v; want %q", raw, err, want)
		}
		if err == nil && string(got) != want {
			t.Fatalf("Unquote(%q) = %q, want %q", raw, got, want)
		}
	})
}

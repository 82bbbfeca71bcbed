package strictjson

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestString(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ raw, want string }{
		{`""`, ""},
		{` "a" `, "a"},
		{`"a\"\\\/\b\f\n\r\tz"`, "a\"\\/\b\f\n\r\tz"},
		{`"\u0041\u00e9\u4e16"`, "Aé世"},
		{`"\ud83d\ude00!"`, "😀!"},
		{`"\uDBFF\uDFFF"`, "\U0010FFFF"},
		{`"\u0000"`, "\x00"},
		{`"\\u0041"`, `\u0041`},
		{`"\\\\"`, `\\`},
		{`"é世😀"`, "é世😀"},
	} {
		got, err := String([]byte(c.raw))
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.raw, got, err, c.want)
		}
	}
	for _, c := range []struct {
		raw  string
		kind Kind
	}{
		{"", KindTruncated}, {" ", KindTruncated}, {`"`, KindTruncated}, {`"a`, KindTruncated}, {`"a\`, KindTruncated},
		{`null`, KindType}, {`1`, KindType}, {`{}`, KindType}, {`a`, KindType},
		{`"a"b`, KindTrailing}, {`"a""b"`, KindTrailing}, {`"\ud800"`, KindSurrogate}, {`"\q"`, KindEscape},
		{"\"\xff\"", KindUTF8}, {"\"\n\"", KindControl},
	} {
		got, err := String([]byte(c.raw))
		if kind, _ := kindOf(t, err); kind != c.kind || got != "" {
			t.Errorf("%q: %q, %v, want %v", c.raw, got, kind, c.kind)
		}
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ s, want string }{
		{"", `""`},
		{"plain / text", `"plain / text"`},
		{"\"\\", `"\"\\"`},
		{"\b\f\n\r\t", `"\b\f\n\r\t"`},
		{"\x00\x01\x0b\x1f", `"\u0000\u0001\u000b\u001f"`},
		{"<a href='&'>\x7f", "\"<a href='&'>\x7f\""},
		{"é世😀\u2028\uFEFF", "\"é世😀\u2028\uFEFF\""},
		{"\xff", "\"\uFFFD\""},
		{"a\xe4\xb8b\xed\xa0\x80", "\"a\uFFFD\uFFFDb\uFFFD\uFFFD\uFFFD\""},
		{"\uFFFD", "\"\uFFFD\""},
	} {
		if got := string(AppendString(nil, c.s)); got != c.want {
			t.Errorf("%q: %s, want %s", c.s, got, c.want)
		}
		if got := string(AppendString([]byte("x"), c.s)); got != "x"+c.want {
			t.Errorf("%q: what dst held is lost: %s", c.s, got)
		}
	}
}

// Every rune, and every byte that is none, becomes a string that the reader
// accepts and reads back.
func TestAppendStringIsRead(t *testing.T) {
	t.Parallel()
	check := func(s, want string) {
		raw := AppendString(nil, s)
		if err := Validate(raw, wide()); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if got, err := String(raw); err != nil || got != want {
			t.Fatalf("%q: read back as %q, %v", s, got, err)
		}
	}
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if r > 0x3000 && r < 0xD700 || r > 0x1F700 && r < 0x10FF00 {
			continue
		}
		if utf8.ValidRune(r) {
			check(string(r), string(r))
		}
	}
	for c := 0x80; c < 0x100; c++ {
		check(string([]byte{'a', byte(c)}), "a\uFFFD")
	}
}

func TestCompact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ raw, want string }{
		{"", ""},
		{" 1 ", "1"},
		{"{}", "{}"},
		{"\t{ \"a\" : [ 1 ,\r\n 2 ] ,\n\"b\":\" \\n \" }\n", `{"a":[1,2],"b":" \n "}`},
		{`["a \" b" , "\\" , " "]`, `["a \" b","\\"," "]`},
		{`{"a":1}`, `{"a":1}`},
		{"[ true , false , null , -1.50e+07 ]", "[true,false,null,-1.50e+07]"},
	} {
		if got := string(Compact(nil, []byte(c.raw))); got != c.want {
			t.Errorf("%q: %q, want %q", c.raw, got, c.want)
		}
		if got := string(Compact([]byte("x"), []byte(c.raw))); got != "x"+c.want {
			t.Errorf("%q: what dst held is lost: %q", c.raw, got)
		}
	}
}

// A message on stdio is one line: nothing that Validate accepts may smuggle a
// second one in.
func TestCompactHasNoLineBreak(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"{\n\"a\"\r:\r\n\"\\n\\r\"}\n", "[\n\n]", "\n\r\t 1\r\n", `{"\n":"\u000a"}`,
	} {
		if err := Validate([]byte(text), wide()); err != nil {
			t.Fatal(err)
		}
		if got := string(Compact(nil, []byte(text))); strings.ContainsAny(got, "\n\r\t ") {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestTypeOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw  string
		want Type
		name string
	}{
		{"", TypeInvalid, "invalid"}, {" \n", TypeInvalid, "invalid"}, {"x", TypeInvalid, "invalid"}, {"+1", TypeInvalid, "invalid"},
		{"]", TypeInvalid, "invalid"}, {"\x00", TypeInvalid, "invalid"}, {"\xff", TypeInvalid, "invalid"},
		{"{}", TypeObject, "object"}, {" [1]", TypeArray, "array"}, {`"a"`, TypeString, "string"}, {"-1", TypeNumber, "number"},
		{"0", TypeNumber, "number"}, {"9", TypeNumber, "number"}, {"true", TypeBool, "boolean"}, {"false", TypeBool, "boolean"},
		{"\tnull", TypeNull, "null"},
	} {
		if got := TypeOf([]byte(c.raw)); got != c.want || got.String() != c.name {
			t.Errorf("%q: %v, want %v", c.raw, got, c.want)
		}
	}
}

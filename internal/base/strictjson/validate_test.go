package strictjson

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// wide is for tests of anything but limits.
func wide() Limits { return Limits{Bytes: 1 << 20, Depth: 64, Members: 100_000} }

func kindOf(t *testing.T, err error) (Kind, int) {
	t.Helper()
	if err == nil {
		return 0, -1
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is a %T, want *Error", err)
	}
	if e.Kind == 0 {
		t.Fatalf("error without a kind: %v", err)
	}
	return e.Kind, e.Offset
}

func TestValidateAccepts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		// Structure.
		`{}`, `[]`, `[[]]`, `[{}]`, `{"":{}}`, `[[],[],{}]`, `{"a":[]}`,
		` {} `, "\t\r\n [\n\t1 , 2\r] \n", `{ "a" : 1 , "b" : 2 }`, `[1,"a",true,null,{"x":[]}]`,
		// A value of any type may stand alone (RFC 8259 section 2).
		`null`, `true`, `false`, `0`, `-1`, `""`, `"a"`, ` null`, "null\n",
		// Numbers (section 6).
		`0`, `-0`, `10`, `1.0`, `0.0`, `0e0`, `0E+1`, `1e5`, `1E5`, `1e+5`, `1e-5`, `-1.25e-07`,
		`1e00`, `123456789012345678901234567890`, `1e999999`, `-0.00000000000000000000001`,
		// Strings (section 7).
		`"\"\\\/\b\f\n\r\t"`, `"\u0000"`, `"\u001f"`, `"\uABCD\uabcd"`, `"\uD834\uDD1E"`, `"\ud834\udd1e"`,
		`"\uDBFF\uDFFF"`, `"\uFFFF"`, `"\uFEFF"`, "\"\x7f\"", "\"\u0080\"", "\"\u2028\u2029\"", "\"é世😀\"",
		"\"\uFEFF\"", "\"\U0010FFFF\"", "\"\uFFFD\"", "\"\uFFFF\"", `"/"`, `"\\u12"`, `"\\\\"`,
		`"12345678"`, `"1234567\""`, `"12345678\n12345678"`, `"1234567é"`,
		// Names that are alike but not equal.
		`{"a":1,"A":2}`, `{"a":1,"a ":2}`, `{"":1," ":2}`, "{\"\u00e9\":1,\"e\u0301\":2}", `{"a":{"a":{"a":1}}}`,
		`[{"a":1},{"a":1}]`, `{"a":{"b":1},"b":{"a":1}}`, `{"a\u0000":1,"a":2}`, `{"\\u0061":1,"a":2}`,
		`{"ab":1,"a":2,"b":3,"":4,"aab":5}`,
	} {
		if err := Validate([]byte(text), wide()); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		kind Kind
		at   int
	}{
		// The end comes too early.
		{"", KindTruncated, 0},
		{" \n", KindTruncated, 2},
		{"[", KindTruncated, 1},
		{"{", KindTruncated, 1},
		{`[1`, KindTruncated, 2},
		{`[1,`, KindTruncated, 3},
		{`{"a"`, KindTruncated, 4},
		{`{"a":`, KindTruncated, 5},
		{`{"a":1,`, KindTruncated, 7},
		{`"`, KindTruncated, 1},
		{`"abc`, KindTruncated, 4},
		{`"\`, KindTruncated, 2},
		{`"\u12`, KindTruncated, 5},
		{`"\ud834`, KindTruncated, 7},
		{`"\ud834\`, KindTruncated, 8},
		{`"\ud834\udd1`, KindTruncated, 12},
		{`tru`, KindTruncated, 3},
		{`-`, KindTruncated, 1},
		{`1.`, KindTruncated, 2},
		{`1e`, KindTruncated, 2},
		{`1e-`, KindTruncated, 3},

		// Something follows the value.
		{`{}{}`, KindTrailing, 2},
		{`{} x`, KindTrailing, 3},
		{`[]]`, KindTrailing, 2},
		{`1 2`, KindTrailing, 2},
		{`""x`, KindTrailing, 2},
		{"{}\x00", KindTrailing, 2},
		{"{}\v", KindTrailing, 2},
		{"{}\uFEFF", KindTrailing, 2},
		{"{}//", KindTrailing, 2},
		{"nullx", KindTrailing, 4},
		{`{"a":1}` + "\n" + `{"a":2}`, KindTrailing, 8},

		// Other grammars.
		{`[1,]`, KindSyntax, 3},
		{`[,1]`, KindSyntax, 1},
		{`[1,,2]`, KindSyntax, 3},
		{`[1 2]`, KindSyntax, 3},
		{`[1:2]`, KindSyntax, 2},
		{`[1}`, KindSyntax, 2},
		{`{"a":1]`, KindSyntax, 6},
		{`{]`, KindSyntax, 1},
		{`[}`, KindSyntax, 1},
		{`{"a":1,}`, KindSyntax, 7},
		{`{,}`, KindSyntax, 1},
		{`{"a"}`, KindSyntax, 4},
		{`{"a",1}`, KindSyntax, 4},
		{`{"a"::1}`, KindSyntax, 5},
		{`{"a" 1}`, KindSyntax, 5},
		{`{a:1}`, KindSyntax, 1},
		{`{'a':1}`, KindSyntax, 1},
		{`{1:1}`, KindSyntax, 1},
		{`{null:1}`, KindSyntax, 1},
		{`{[]:1}`, KindSyntax, 1},
		{`'a'`, KindSyntax, 0},
		{"`a`", KindSyntax, 0},
		{`[/**/]`, KindSyntax, 1},
		{"#\n{}", KindSyntax, 0},
		{`]`, KindSyntax, 0},
		{`}`, KindSyntax, 0},
		{`,`, KindSyntax, 0},
		{`:`, KindSyntax, 0},
		{`True`, KindSyntax, 0},
		{`nul1`, KindSyntax, 3},
		{`falze`, KindSyntax, 3},
		{`undefined`, KindSyntax, 0},
		{`NaN`, KindSyntax, 0},
		{`nan`, KindSyntax, 1},
		{`Infinity`, KindSyntax, 0},
		{"\x00{}", KindSyntax, 0},
		{"\u00a0{}", KindSyntax, 0},
		{"[\f1]", KindSyntax, 1},
		{"[\u20281]", KindSyntax, 1},
		{"[\xff]", KindSyntax, 1},
		{"\x1e{}\n", KindSyntax, 0},
		{"{\x00}", KindSyntax, 1},

		// Byte order marks, and other encodings.
		{"\uFEFF{}", KindBOM, 0},
		{"\uFEFF", KindBOM, 0},
		{"\xff\xfe{\x00}\x00", KindSyntax, 0},
		{"{\x00}\x00", KindSyntax, 1},
		{"\x00{\x00}", KindSyntax, 0},

		// Numbers.
		{`01`, KindNumber, 1},
		{`-01`, KindNumber, 2},
		{`00`, KindNumber, 1},
		{`+1`, KindNumber, 0},
		{`.5`, KindNumber, 0},
		{`[1.]`, KindNumber, 3},
		{`[1.e1]`, KindNumber, 3},
		{`[1e]`, KindNumber, 3},
		{`[1e+]`, KindNumber, 4},
		{`[--1]`, KindNumber, 2},
		{`[-]`, KindNumber, 2},
		{`[-a]`, KindNumber, 2},
		{`-Infinity`, KindNumber, 1},
		{`[0x10]`, KindSyntax, 2},
		{`[1_000]`, KindSyntax, 2},
		{`[1e1.5]`, KindSyntax, 4},
		{`[1.2.3]`, KindSyntax, 4},
		{`[1n]`, KindSyntax, 2},
		{"[\uff11]", KindSyntax, 1},
		{`[1` + "\x00" + `]`, KindSyntax, 2},

		// Control characters and escapes.
		{"\"a\nb\"", KindControl, 2},
		{"\"\t\"", KindControl, 1},
		{"\"\x00\"", KindControl, 1},
		{"\"\x1f\"", KindControl, 1},
		{"\"1234567\x1f\"", KindControl, 8},
		{"\"12345678\x00\"", KindControl, 9},
		{"{\"a\nb\":1}", KindControl, 3},
		{`"\a"`, KindEscape, 1},
		{`"\x41"`, KindEscape, 1},
		{`"\'"`, KindEscape, 1},
		{`"\0"`, KindEscape, 1},
		{`"\U0041"`, KindEscape, 1},
		{"\"\\\n\"", KindEscape, 1},
		{"\"\\\x00\"", KindEscape, 1},
		{`"\u00G0"`, KindEscape, 1},
		{`"\u 041"`, KindEscape, 1},
		{`"\u+041"`, KindEscape, 1},
		{`"\u{41}"`, KindEscape, 1},
		{`"ab\u00"`, KindEscape, 3},
		{"\"\\u00\uff11\"", KindEscape, 1},

		// Halves of surrogate pairs.
		{`"\ud800"`, KindSurrogate, 1},
		{`"\udfff"`, KindSurrogate, 1},
		{`"\uDC00\uD800"`, KindSurrogate, 1},
		{`"\ud800\ud800"`, KindSurrogate, 1},
		{`"\ud800\ud834\udd1e"`, KindSurrogate, 1},
		{`"\ud834\udd1e\udd1e"`, KindSurrogate, 13},
		{`"\ud800\u0041"`, KindSurrogate, 1},
		{`"\ud800\n"`, KindSurrogate, 1},
		{`"\ud800a"`, KindSurrogate, 1},
		{`"\ud800\\udc00"`, KindSurrogate, 1},
		{`"\ud83412345678"`, KindSurrogate, 1},
		{`"\ud834\udzzz"`, KindEscape, 1},
		{`{"\ud800":1}`, KindSurrogate, 2},

		// UTF-8 (RFC 3629).
		{"\"\xff\"", KindUTF8, 1},
		{"\"\x80\"", KindUTF8, 1},
		{"\"\xc0\xaf\"", KindUTF8, 1},             // overlong /
		{"\"\xc1\xbf\"", KindUTF8, 1},             // overlong
		{"\"\xc0\xa2\"", KindUTF8, 1},             // overlong quote
		{"\"\xe0\x80\xaf\"", KindUTF8, 1},         // overlong /
		{"\"\xe0\x9f\xbf\"", KindUTF8, 1},         // overlong
		{"\"\xf0\x80\x80\xaf\"", KindUTF8, 1},     // overlong
		{"\"\xf0\x8f\xbf\xbf\"", KindUTF8, 1},     // overlong
		{"\"\xed\xa0\x80\"", KindUTF8, 1},         // surrogate
		{"\"\xed\xbf\xbf\"", KindUTF8, 1},         // surrogate
		{"\"\xf4\x90\x80\x80\"", KindUTF8, 1},     // beyond U+10FFFF
		{"\"\xf5\x80\x80\x80\"", KindUTF8, 1},     // beyond U+10FFFF
		{"\"\xf8\x88\x80\x80\x80\"", KindUTF8, 1}, // five bytes
		{"\"\xc3\"", KindUTF8, 1},                 // the quote is no continuation
		{"\"\xe4\xb8\"", KindUTF8, 1},
		{"\"\xe4\xb8\"\x80\"", KindUTF8, 1},
		{"\"\xe4\"\x96\"", KindUTF8, 1},
		{"\"\xf0\x9f\x98\"", KindUTF8, 1},
		{"\"abcdefgh\xe4\xb8\x96\xe4\"", KindUTF8, 12},
		{"\"\xe4\xb8", KindUTF8, 1},
		{"{\"\xff\":1}", KindUTF8, 2},

		// Duplicate names, however they are written and wherever they are.
		{`{"a":1,"a":1}`, KindDuplicate, 7},
		{`{"":1,"":2}`, KindDuplicate, 6},
		{`{"a":1,"\u0061":2}`, KindDuplicate, 7},
		{`{"\u0061":1,"a":2}`, KindDuplicate, 12},
		{`{"\u0061":1,"\u0061":2}`, KindDuplicate, 12},
		{`{"a/b":1,"a\/b":2}`, KindDuplicate, 9},
		{`{"é":1,"\u00E9":2}`, KindDuplicate, 8},
		{`{"\u00e9":1,"\u00E9":2}`, KindDuplicate, 12},
		{`{"😀":1,"\ud83d\ude00":2}`, KindDuplicate, 10},
		{`{"\n":1,"\u000a":2}`, KindDuplicate, 8},
		{`{"a":{"b":1,"b":2}}`, KindDuplicate, 12},
		{`[[{"x":[{"b":1,"c":0,"b":2}]}]]`, KindDuplicate, 21},
		{`{"a":{"a":1},"b":{},"a":2}`, KindDuplicate, 20},
		{`{"a":1,"b":{"a":1},"a":2}`, KindDuplicate, 19},
		{`{"method":"ping","id":1,"method":"tools/call"}`, KindDuplicate, 24},
		{`{"a-name-longer-than-eight":1,"b":2,"a-name-longer-than-eight":2}`, KindDuplicate, 36},
	} {
		kind, at := kindOf(t, Validate([]byte(c.text), wide()))
		if kind != c.kind || at != c.at {
			t.Errorf("%q: %v at %d, want %v at %d", c.text, kind, at, c.kind, c.at)
		}
	}
}

func TestEveryCutIsRefused(t *testing.T) {
	t.Parallel()
	text := []byte(`{"a":[1.5e+7,-0,"x\u0041\ud834\udd1ey\n",{"b":true},null,false,[],{}],"c":{"d":""}}`)
	if err := Validate(text, wide()); err != nil {
		t.Fatal(err)
	}
	for n := range text {
		if kind, at := kindOf(t, Validate(text[:n], wide())); kind != KindTruncated || at != n {
			t.Errorf("cut after %q: %v at %d", text[:n], kind, at)
		}
	}
}

func TestSpecialMarksEveryByte(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		want := c < ' ' || c > 0x7f || c == '"' || c == '\\'
		for _, above := range []byte{0, ' ', '!', '"', '#', '[', '\\', ']', 0x7f, 0x80, 0xff} {
			for at := range 8 {
				b := []byte("xxxxxxxx")
				for i := at + 1; i < 8; i++ {
					b[i] = above
				}
				b[at] = byte(c)
				m := special(binary.LittleEndian.Uint64(b))
				if marked := m>>(8*at+7)&1 != 0; marked != want || m&(1<<(8*at)-1) != 0 {
					t.Fatalf("%q: marks %x", b, m)
				}
			}
		}
	}
}

// Where the eight-byte steps of the scanner begin must not matter.
func TestEveryAlignment(t *testing.T) {
	t.Parallel()
	for pad := range 20 {
		for tail := range 20 {
			before, after := strings.Repeat("x", pad), strings.Repeat("y", tail)
			for _, c := range []struct {
				middle string
				kind   Kind
			}{
				{"", 0}, {`\n`, 0}, {"é", 0}, {"世", 0}, {"😀", 0}, {"\x7f", 0}, {`\ud834\udd1e`, 0}, {"!", 0}, {" ", 0},
				{"\x00", KindControl}, {"\x1f", KindControl}, {"\xff", KindUTF8}, {"\x80", KindUTF8}, {"\xed\xa0\x80", KindUTF8},
				{`\ud834`, KindSurrogate}, {`\x`, KindEscape}, {"\n", KindControl},
			} {
				text := `["` + before + c.middle + after + `"]`
				kind, at := kindOf(t, Validate([]byte(text), wide()))
				if kind != c.kind {
					t.Errorf("%q: %v, want %v", text, kind, c.kind)
				}
				if c.kind != 0 && at != 2+pad {
					t.Errorf("%q: at %d, want %d", text, at, 2+pad)
				}
			}
		}
	}
}

func TestZeroLimitsRefuse(t *testing.T) {
	t.Parallel()
	for _, l := range []Limits{
		{},
		{Bytes: 0, Depth: 1, Members: 1},
		{Bytes: 1, Depth: 0, Members: 1},
		{Bytes: 1, Depth: 1, Members: 0},
		{Bytes: -1, Depth: 1, Members: 1},
		{Bytes: 1, Depth: -1, Members: 1},
		{Bytes: 1, Depth: 1, Members: -1},
	} {
		if kind, _ := kindOf(t, Validate([]byte("0"), l)); kind != KindLimits {
			t.Errorf("%+v: %v, want %v", l, kind, KindLimits)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	nest := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n) + "0" + strings.Repeat("}", n) }
	for _, c := range []struct {
		name string
		text string
		l    Limits
		kind Kind
	}{
		{"size reached", `"123"`, Limits{5, 1, 1}, 0},
		{"size passed", `"1234"`, Limits{5, 1, 1}, KindSize},
		{"white space counts", `"123" `, Limits{5, 1, 1}, KindSize},
		{"depth of a scalar", `1`, Limits{9, 1, 1}, 0},
		{"depth reached", nest(3), Limits{99, 3, 9}, 0},
		{"depth passed", nest(4), Limits{99, 3, 9}, KindDepth},
		{"depth of objects reached", objects(3), Limits{99, 3, 9}, 0},
		{"depth of objects passed", objects(4), Limits{99, 3, 9}, KindDepth},
		{"depth is of what is open", `[[],[],[[]],{},{"a":[]}]`, Limits{99, 3, 99}, 0},
		{"default depth reached", nest(64), Default(), 0},
		{"default depth passed", nest(65), Default(), KindDepth},
		{"greatest depth reached", nest(MaxDepth), Limits{1 << 20, 1 << 40, 1 << 20}, 0},
		{"greatest depth passed", nest(MaxDepth + 1), Limits{1 << 20, 1 << 40, 1 << 20}, KindDepth},
		{"members reached", `{"a":1,"b":2}`, Limits{99, 3, 2}, 0},
		{"members passed", `{"a":1,"b":2,"c":3}`, Limits{99, 3, 2}, KindMembers},
		{"members are counted in all", `{"a":{"b":{"c":1}}}`, Limits{99, 3, 2}, KindMembers},
		{"elements reached", `[1,2]`, Limits{99, 3, 2}, 0},
		{"elements passed", `[1,2,3]`, Limits{99, 3, 2}, KindMembers},
		{"members and elements", `[{"a":1},2]`, Limits{99, 3, 2}, KindMembers},
		{"nothing to count", `[]`, Limits{99, 3, 1}, 0},
		{"default members", "[0" + strings.Repeat(",0", 199_999) + "]", Default(), 0},
		{"default members passed", "[0" + strings.Repeat(",0", 200_000) + "]", Default(), KindMembers},
		{"only openings", strings.Repeat("[", 1<<20), Limits{1 << 20, 1 << 40, 1 << 40}, KindDepth},
		{"only openings of objects", strings.Repeat(`{"":`, 1<<18), Limits{1 << 20, 1 << 40, 1 << 40}, KindDepth},
	} {
		if kind, _ := kindOf(t, Validate([]byte(c.text), c.l)); kind != c.kind {
			t.Errorf("%s: %v, want %v", c.name, kind, c.kind)
		}
	}
}

func TestErrorsDoNotQuote(t *testing.T) {
	t.Parallel()
	secret := "hunter2"
	for _, text := range []string{
		secret, `{"` + secret + `":1,"` + secret + `":2}`, `["` + secret + "\n\"]", `"` + secret + `\q"`,
		`"` + secret, `{"a":` + secret + `}`, `[1]` + secret, `"` + secret + "\xff\"",
	} {
		err := Validate([]byte(text), wide())
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%q: %v", text, err)
		}
		for _, shown := range []string{e.Error(), e.Reason(), e.Kind.String(), fmt.Sprintf("%+v", *e)} {
			if strings.Contains(shown, "hunter") {
				t.Errorf("%q: the error quotes it: %s", text, shown)
			}
		}
	}
}

func TestKindsHaveTexts(t *testing.T) {
	t.Parallel()
	codes := map[string]Kind{}
	for k := KindSyntax; k <= KindType; k++ {
		if other, ok := codes[k.String()]; ok {
			t.Errorf("kinds %d and %d share the code %s", k, other, k)
		}
		codes[k.String()] = k
		if k.String() == Kind(0).String() || k.reason() == Kind(0).reason() {
			t.Errorf("kind %d has no text", k)
		}
	}
	if next := KindType + 1; next.String() != Kind(0).String() {
		t.Errorf("kind %d is not covered by this test", next)
	}
}

func TestValidateDoesNotAllocate(t *testing.T) {
	text := message(1 << 10)
	l := Default()
	if n := testing.AllocsPerRun(100, func() {
		if err := Validate(text, l); err != nil {
			panic(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestValidateDoesNotWrite(t *testing.T) {
	t.Parallel()
	text := append(message(1<<10), `trailing`...)
	before := bytes.Clone(text)
	_ = Validate(text[:len(text)-8], wide())
	_ = Validate(text, wide())
	_, _ = SplitObject(text[:len(text)-8])
	_, _ = Canonical(text[:len(text)-8])
	_ = Compact(nil, text)
	if !bytes.Equal(before, text) {
		t.Error("the input was changed")
	}
}

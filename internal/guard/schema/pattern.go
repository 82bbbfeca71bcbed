package schema

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	maxPattern  = 4 << 10 // bytes of one pattern
	patternUnit = 64      // instructions at one byte of text for one step
	// maxInstructions bounds the program of one pattern, maxAllInstructions the sum of a
	// schema's.
	maxInstructions    = 20_000
	maxAllInstructions = 100_000
)

// pattern compiles an ECMA-262 regular expression to one that runs in linear
// time. What RE2 cannot express (look-around, back-references) is an error, and
// so is one that repeats itself into more than maxInstructions.
func pattern(source string) (jsonschema.Regexp, error) {
	c, err := read(source)
	if err != nil {
		return nil, err
	}
	if c.Regexp, err = regexp.Compile(c.text); err != nil {
		return nil, malformedError(source)
	}
	if c.max == 0 {
		return c.named, nil
	}
	return c, nil
}

// read parses a pattern and compiles nothing: what nine characters repeat can be
// a million instructions.
func read(source string) (counted, error) {
	if len(source) > maxPattern {
		return counted{}, fmt.Errorf("the pattern is longer than %d bytes", maxPattern)
	}
	c := counted{named: named{source: source, text: translate(source)}}
	tree, err := syntax.Parse(c.text, syntax.Perl)
	if err != nil {
		var ok bool
		if c, ok = countedOf(source); !ok {
			return c, malformedError(source)
		}
		if tree, err = syntax.Parse(c.text, syntax.Perl); err != nil {
			return c, malformedError(source)
		}
	}
	if c.size = instructions(tree); c.size > maxInstructions {
		return c, fmt.Errorf("the pattern %q repeats itself too often", source)
	}
	return c, nil
}

func malformedError(source string) error {
	return fmt.Errorf("the pattern %q needs what cannot be matched in linear time, or is malformed", source)
}

// instructions estimates the size of the program that a pattern becomes.
func instructions(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)/2
	for _, sub := range re.Sub {
		if n += instructions(sub); n > maxInstructions {
			return n
		}
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// named prints a pattern as its author wrote it.
type named struct {
	*regexp.Regexp
	source, text string // text is what RE2 reads
	size         int    // instructions
}

// String returns the pattern as the schema has it.
func (n named) String() string { return n.source }

// cost is what matching a text may take at worst, in steps: each instruction at
// each byte.
func (n named) cost(text int) int { return text * (n.size + 1) / patternUnit }

// counted is a pattern of one repeated character, ^x{n,m}$, whose counts are
// larger than RE2 repeats: the text is matched without, and counted.
type counted struct {
	named
	min, max int // max is -1 where there is none; 0 is no such pattern
}

// MatchString reports whether s matches.
func (c counted) MatchString(s string) bool {
	n := utf8.RuneCountInString(s)
	return n >= c.min && (c.max < 0 || n <= c.max) && c.Regexp.MatchString(s)
}

// countedOf reads such a pattern.
func countedOf(source string) (counted, bool) {
	body, ok := strings.CutSuffix(source, "}$")
	open := strings.LastIndexByte(body, '{')
	if !ok || open < 2 || source[0] != '^' {
		return counted{}, false
	}
	atom := source[1:open]
	one := atom == "." || len(atom) == 2 && atom[0] == '\\' && strings.IndexByte("dDwWsS", atom[1]) >= 0 ||
		atom[0] == '[' && strings.IndexByte(atom[1:], '[') < 0 && strings.IndexByte(atom, ']') == len(atom)-1 && !strings.HasSuffix(atom, `\]`)
	if !one {
		return counted{}, false
	}
	low, high, ranged := strings.Cut(body[open+1:], ",")
	c := counted{max: -1}
	var err error
	if c.min, err = strconv.Atoi(low); err != nil || c.min < 0 {
		return counted{}, false
	}
	if !ranged {
		c.max = c.min
	} else if high != "" {
		if c.max, err = strconv.Atoi(high); err != nil || c.max < c.min {
			return counted{}, false
		}
	}
	c.named = named{source: source, text: "^(?:" + translate(atom) + `)*\z`}
	return c, true
}

// malformed stands for what is an error in ECMA-262 and is one in RE2.
const malformed = `\8`

// group reports that what follows "(?" is a group of ECMA-262 section 22.2.1.
func group(rest string) bool {
	flags := strings.TrimLeft(rest, "ims-")
	return strings.HasPrefix(flags, ":") || strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, "!") || strings.HasPrefix(rest, "<")
}

// What ECMA-262 means by these classes where RE2 means less.
const (
	spaces    = `\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`
	lineEnds  = `\n\r\x{2028}\x{2029}`
	anything  = `[\x{0}-\x{10ffff}]`
	nothing   = `[^\x{0}-\x{10ffff}]`
	nonSpaces = `\x{0}-\x{8}\x{e}-\x{1f}!-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}`
)

// translate rewrites the spellings in which ECMA-262 (with the u flag) and RE2
// differ (ECMA-262 section 22.2, RE2 syntax).
func translate(s string) string {
	var b strings.Builder
	class := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			i += escape(&b, s[i+1:], class)
		case class && c == ']':
			class = false
			b.WriteByte(c)
		case class && c == '[':
			b.WriteString(`\[`)
		case class:
			b.WriteByte(c)
		case c == '[' && strings.HasPrefix(s[i:], "[^]"):
			b.WriteString(anything)
			i += 2
		case c == '[' && strings.HasPrefix(s[i:], "[]"):
			b.WriteString(nothing)
			i++
		case c == '[':
			class = true
			b.WriteByte(c)
			if strings.HasPrefix(s[i:], "[^") {
				b.WriteByte('^')
				i++
			}
		case c == '(' && strings.HasPrefix(s[i:], "(?") && !group(s[i+2:]):
			b.WriteString(malformed)
		case c == '.':
			b.WriteString("[^" + lineEnds + "]")
		case c == '$':
			b.WriteString(`\z`)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escape writes the escape that rest begins with, without its backslash, and
// returns how many bytes it has.
func escape(b *strings.Builder, rest string, class bool) int {
	set := func(inside string) int {
		if class {
			b.WriteString(inside)
		} else {
			b.WriteString("[" + inside + "]")
		}
		return 1
	}
	switch c := rest[0]; {
	case c == 's':
		return set(spaces)
	case c == 'S':
		return set(nonSpaces)
	case c == 'c' && len(rest) > 1 && letter(rest[1]):
		fmt.Fprintf(b, `\x{%x}`, rest[1]&0x1f)
		return 2
	case c == 'u' && len(rest) > 1 && rest[1] == '{':
		if end := strings.IndexByte(rest, '}'); end > 2 {
			b.WriteString(`\x` + rest[1:end+1])
			return end + 1
		}
	case c == 'u' && len(rest) >= 5 && hexadecimal(rest[1:5]):
		b.WriteString(`\x{` + rest[1:5] + `}`)
		return 5
	case c == '0':
		b.WriteString(`\x00`)
		return 1
	case c == 'b' && class:
		b.WriteString(`\x08`)
		return 1
	case c == '/' || c == '-':
		if c == '-' && class {
			b.WriteString(`\-`)
		} else {
			b.WriteByte(c)
		}
		return 1
	case strings.IndexByte("AzZaCEQGKpPR", c) >= 0 && c != 'p' && c != 'P':
		// RE2 has a meaning for these and ECMA-262 none: an error there.
		b.WriteString(malformed)
		return 1
	}
	b.WriteByte('\\')
	b.WriteByte(rest[0])
	return 1
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func hexadecimal(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

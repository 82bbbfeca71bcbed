package demo

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// mistake is what is wrong with an argument, in words that a model can act on.
type mistake struct{ text string }

// Error returns the words.
func (m *mistake) Error() string { return m.text }

func wrong(parts ...string) error { return &mistake{strings.Join(parts, "")} }

// arguments are the members of an arguments object. Reading takes a member
// out; what is left in the end was not asked for.
type arguments struct{ left strictjson.Object }

// readArguments splits the raw arguments; absent ones are none.
func readArguments(raw []byte, there bool) (*arguments, error) {
	if !there {
		return &arguments{}, nil
	}
	if strictjson.TypeOf(raw) != strictjson.TypeObject {
		return nil, wrong("arguments must be an object")
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, wrong("arguments must be an object")
	}
	return &arguments{left: o}, nil
}

func (a *arguments) take(name string) ([]byte, bool) {
	raw, ok := a.left.Get(name)
	if ok {
		a.left = a.left.Without(name)
	}
	return raw, ok
}

// text takes a string of at most limit characters; absent is "" when it may
// be.
func (a *arguments) text(name string, limit int, required bool) (string, error) {
	raw, ok := a.take(name)
	if !ok {
		if required {
			return "", wrong(name, " is missing")
		}
		return "", nil
	}
	if strictjson.TypeOf(raw) != strictjson.TypeString {
		return "", wrong(name, " must be a string")
	}
	// A character takes at most two escapes of six bytes.
	if len(raw) <= 12*limit+2 {
		if s, err := strictjson.String(raw); err == nil && utf8.RuneCountInString(s) <= limit {
			return s, nil
		}
	}
	return "", wrong(name, " is longer than ", strconv.Itoa(limit), " characters")
}

// integer takes a whole number from low to high, however it is written;
// absent is otherwise.
func (a *arguments) integer(name string, low, high, otherwise int) (int, error) {
	raw, ok := a.take(name)
	if !ok {
		return otherwise, nil
	}
	if strictjson.TypeOf(raw) == strictjson.TypeNumber && len(raw) <= 64 {
		f, err := strconv.ParseFloat(string(raw), 64)
		if err == nil && f == math.Trunc(f) && f >= float64(low) && f <= float64(high) {
			return int(f), nil
		}
	}
	return 0, wrong(name, " must be a whole number from ", strconv.Itoa(low), " to ", strconv.Itoa(high))
}

// number takes a finite number.
func (a *arguments) number(name string) (float64, error) {
	raw, ok := a.take(name)
	if !ok {
		return 0, wrong(name, " is missing")
	}
	if strictjson.TypeOf(raw) != strictjson.TypeNumber || len(raw) > 64 {
		return 0, wrong(name, " must be a number of at most 64 digits")
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, wrong(name, " is too large")
	}
	return f, nil
}

// done refuses what nobody asked for.
func (a *arguments) done() error {
	if len(a.left) > 0 {
		return wrong("there is no argument of the name ", show(a.left[0].Name))
	}
	return nil
}

// show makes a name fit for a message: short, and nothing in it that does not
// show.
func show(s string) string {
	const most = 40
	var b strings.Builder
	for i, r := range s {
		if i >= most {
			b.WriteString("…")
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return strconv.Quote(b.String())
}

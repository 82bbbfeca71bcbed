package minimize

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Sweep takes what was removed elsewhere out of the texts of a valid JSON value.
// In fields it looks for values that are hardly there by chance: of five letters
// and digits with a digit among them, or of ten.
func (w *Work) Sweep(raw []byte) ([]byte, error) {
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeObject:
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			return nil, err
		}
		same, kept := true, o[:0:0]
		for _, m := range o {
			v, err := w.Sweep(m.Raw)
			if err != nil {
				return nil, err
			}
			if name, whole := w.sweep(m.Name, true); !whole || name != m.Name {
				same = false
				continue // its name says the value
			}
			same = same && bytes.Equal(v, m.Raw)
			m.Raw = v
			kept = append(kept, m)
		}
		if same {
			return raw, nil
		}
		return kept.Append(nil), nil
	case strictjson.TypeArray:
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			return nil, err
		}
		out, same := []byte{'['}, true
		for i, e := range elems {
			v, err := w.Sweep(e)
			if err != nil {
				return nil, err
			}
			same = same && bytes.Equal(v, e)
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, v...)
		}
		if same {
			return raw, nil
		}
		return append(out, ']'), nil
	case strictjson.TypeString:
		s, err := strictjson.String(raw)
		if err != nil {
			return nil, err
		}
		got, whole := w.sweep(s, true)
		switch {
		case !whole:
			return strictjson.AppendString(nil, Masked), nil
		case got != s:
			return strictjson.AppendString(nil, got), nil
		}
	}
	return raw, nil
}

// Text returns what may come back of a text without fields. passed is false when
// nothing may: when a named field was not there, so that nobody knows its value,
// when a value cannot be searched for, or when it stands there in disguise.
func (w *Work) Text(s string) (out string, passed bool) {
	if strings.TrimSpace(s) == "" {
		return s, true
	}
	if !w.rules.freeform && (w.obscure || len(w.only) > 0 || slices.Contains(w.met, false)) {
		return Withheld, false
	}
	if out, passed = w.sweep(s, false); !passed {
		return Withheld, false
	}
	return out, true
}

// Opaque reports that content which is no text may pass.
func (w *Work) Opaque() bool { return w.rules.freeform }

// sweep replaces what a text repeats. whole is false when it repeats something
// in disguise.
func (w *Work) sweep(s string, field bool) (out string, whole bool) {
	if len(w.removed) == 0 || s == "" {
		return s, true
	}
	if w.finder == nil {
		w.finder = newFinder(w.removed)
	}
	f := foldWithPlaces(s)
	var b strings.Builder
	at, from, to, instead := 0, 0, 0, ""
	flush := func() {
		if to > from {
			b.WriteString(s[at:from])
			b.WriteString(instead)
			at = to
		}
	}
	for _, hit := range w.finder.find(f.text) {
		begins, ends := int(f.from[hit.from]), int(f.to[hit.to-1])
		if !hit.distinct && (field || !alone(s, begins, ends)) {
			continue
		}
		switch {
		case begins >= to:
			flush()
			from, to, instead = begins, ends, w.removed[hit.which].instead
		case ends > to:
			to, instead = ends, Masked // two that overlap
		}
	}
	flush()
	out = s
	if at > 0 {
		out = b.String() + s[at:]
	}
	return out, !w.finder.disguised(out, 0)
}

// alone reports that a place in a text is a word or words of its own.
func alone(s string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:from])
	after, _ := utf8.DecodeRuneInString(s[to:])
	return (from == 0 || !word(before)) && (to == len(s) || !word(after))
}

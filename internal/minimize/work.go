package minimize

import (
	"bytes"
	"errors"
	"slices"
	"sort"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// What stands in the place of what is gone.
const (
	Masked   = "[masked]"
	Withheld = "[withheld by policy: this has no fields of which some could be left out]"
)

// Options are what one answer needs.
type Options struct {
	// Hash is a keyed digest of a canonical JSON value, as a word; required.
	Hash func(canonical []byte) string
	// Typed says that a schema holds the answer: what is no text is dropped
	// where another action would put a text in its place.
	Typed bool
	// DropAll drops whatever another action would leave something of.
	DropAll bool
	// Limits bound JSON that is found in text.
	Limits strictjson.Limits
}

// Work is on one answer: first Fields of all that has fields, then Sweep and
// Text of all. It is not for concurrent use.
type Work struct {
	rules *Rules
	o     Options
	paths []Path
	only  [][]Path

	removed []removal
	seen    map[string]int
	size    int    // of all that is in removed
	met     []bool // by rule: its field was there
	names   map[string]bool
	// obscure says that something was taken out that no text can be searched for.
	obscure bool
	finder  *finder
}

// removal is a value that was taken out and what a text has in its place.
type removal struct{ folded, instead string }

// maxFolded bounds the letters and digits that texts are searched for; with more,
// text without fields is withheld. Longer values are searched for in pieces.
const (
	maxFolded = 256 << 10
	piece     = 64
)

// Begin begins work under r, which is not nil.
func (r *Rules) Begin(o Options) *Work {
	w := &Work{rules: r, o: o, only: r.only, met: make([]bool, len(r.rules)), seen: map[string]int{}, names: map[string]bool{}}
	for _, rule := range r.rules {
		w.paths = append(w.paths, rule.Path)
	}
	return w
}

// Touched names the fields that something was taken out of.
func (w *Work) Touched() []string {
	out := make([]string, 0, len(w.names))
	for n := range w.names {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// here is where one is in a value, by the rules and by each list of only.
type here struct {
	rules []place
	only  [][]place
	kept  []bool // by list: all from here is on it
}

func (w *Work) root() here {
	h := here{rules: begin(w.paths), only: make([][]place, len(w.only)), kept: make([]bool, len(w.only))}
	for i, list := range w.only {
		h.only[i] = begin(list)
	}
	return h
}

func (w *Work) step(h here, name string, index int) here {
	n := here{rules: advance(w.paths, h.rules, name, index), only: make([][]place, len(w.only)), kept: slices.Clone(h.kept)}
	for i, list := range w.only {
		if n.kept[i] {
			continue
		}
		n.only[i] = advance(list, h.only[i], name, index)
		n.kept[i] = slices.ContainsFunc(n.only[i], func(p place) bool { return p.at == len(list[p.path].steps) })
	}
	return n
}

// off reports that nothing from here on can be on every list of only.
func (h here) off() bool {
	for i := range h.only {
		if !h.kept[i] && len(h.only[i]) == 0 {
			return true
		}
	}
	return false
}

func (h here) leaf() bool { return slices.Contains(h.kept, false) }

// verdict is the strictest action of the rules that end here.
func (w *Work) verdict(h here) (a Action, length int, name string) {
	for _, p := range h.rules {
		r := &w.rules.rules[p.path]
		if p.at != len(r.Path.steps) {
			continue
		}
		w.met[p.path] = true
		switch {
		case a == 0:
			a, length, name = r.Action, r.Length, r.Path.String()
		case a == r.Action:
			length = min(length, r.Length)
		case a == Drop || r.Action == Drop:
			a = Drop
		default:
			a = Mask
		}
	}
	if a != 0 && w.o.DropAll {
		a = Drop
	}
	return a, length, name
}

// HasFields reports that a text is JSON with fields. broken says that it would
// be but for two members of one name, or what else two readers read differently.
func (w *Work) HasFields(s string) (fields, broken bool) {
	t := strings.TrimLeft(s, " \t\r\n")
	if t == "" || t[0] != '{' && t[0] != '[' {
		return false, false
	}
	err := strictjson.Validate([]byte(s), w.o.Limits)
	var je *strictjson.Error
	if errors.As(err, &je) {
		switch je.Kind {
		case strictjson.KindDuplicate, strictjson.KindDepth, strictjson.KindMembers, strictjson.KindSurrogate:
			return false, true
		}
	}
	return err == nil, false
}

// Fields applies the rules to a valid JSON value.
func (w *Work) Fields(raw []byte) ([]byte, error) {
	out, gone, err := w.value(raw, w.root())
	if gone {
		out = []byte("null")
	}
	return out, err
}

var errDeep = errors.New("minimize: JSON in strings in JSON goes on for too long")

// value returns what may come back of a value; gone says that it is nothing.
func (w *Work) value(raw []byte, h here) (out []byte, gone bool, err error) {
	return w.within(raw, h, 0)
}

func (w *Work) within(raw []byte, h here, nested int) (out []byte, gone bool, err error) {
	if nested > 4 {
		return nil, false, errDeep
	}
	a, length, name := w.verdict(h)
	kind := strictjson.TypeOf(raw)
	if a != 0 && kind == strictjson.TypeArray && a != Drop && a != Mask {
		a = 0 // its elements are at the same place
	}
	if a != 0 && (h.off() || h.leaf() && kind != strictjson.TypeObject && kind != strictjson.TypeArray) {
		a = Drop // a list of only does not have it
	}
	switch {
	case a != 0:
		return w.act(raw, a, length, name)
	case h.off():
		return nil, true, w.gone(raw, Masked)
	}
	switch kind {
	case strictjson.TypeObject:
		out, err = w.object(raw, h, nested)
		return out, false, err
	case strictjson.TypeArray:
		out, err = w.array(raw, h, nested)
		return out, false, err
	case strictjson.TypeString:
		s, err := strictjson.String(raw)
		if err != nil {
			return nil, false, err
		}
		fields, broken := w.HasFields(s)
		if broken {
			return strictjson.AppendString(nil, Withheld), false, nil
		}
		if fields {
			// A whole answer may stand in a string, or a part of this one.
			both := here{rules: append(begin(w.paths), h.rules...), only: h.only, kept: h.kept}
			inner, gone, err := w.within([]byte(s), both, nested+1)
			if err != nil || gone || string(inner) == s {
				return raw, gone, err
			}
			return strictjson.AppendString(nil, string(inner)), false, nil
		}
	}
	if h.leaf() {
		return nil, true, w.gone(raw, Masked)
	}
	return raw, false, nil
}

func (w *Work) object(raw []byte, h here, nested int) ([]byte, error) {
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, err
	}
	kept := make(strictjson.Object, 0, len(o))
	same := true
	for _, m := range o {
		v, gone, err := w.within(m.Raw, w.step(h, fold(m.Name), -1), nested)
		if err != nil {
			return nil, err
		}
		if gone {
			same = false
			continue
		}
		same = same && bytes.Equal(v, m.Raw)
		m.Raw = v
		kept = append(kept, m)
	}
	if same {
		return raw, nil
	}
	return kept.Append(nil), nil
}

func (w *Work) array(raw []byte, h here, nested int) ([]byte, error) {
	elems, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil, err
	}
	out := []byte{'['}
	same := true
	for i, e := range elems {
		v, gone, err := w.within(e, w.step(h, "", i), nested)
		if err != nil {
			return nil, err
		}
		if gone {
			same = false
			continue
		}
		same = same && bytes.Equal(v, e)
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	if same {
		return raw, nil
	}
	return append(out, ']'), nil
}

// act does to one value what its rules say.
func (w *Work) act(raw []byte, a Action, length int, name string) (out []byte, gone bool, err error) {
	kind := strictjson.TypeOf(raw)
	instead := Masked
	text := ""
	if kind == strictjson.TypeString {
		if text, err = strictjson.String(raw); err != nil {
			return nil, false, err
		}
	}
	switch a {
	case Truncate:
		if kind == strictjson.TypeString {
			cut, was := truncated(text, length)
			if !was {
				return raw, false, nil
			}
			w.names[name] = true
			w.remember(text[len(cut)-len(more):], more)
			return strictjson.AppendString(nil, cut), w.o.DropAll, nil
		}
	case Last4:
		if kind == strictjson.TypeString || kind == strictjson.TypeNumber {
			if kind == strictjson.TypeNumber {
				text = string(raw)
			}
			instead = lastFour(text)
		}
	case Hash:
		canonical, err := strictjson.Canonical(raw)
		if err != nil {
			return nil, false, err
		}
		instead = w.o.Hash(canonical)
	}
	w.names[name] = true
	if err := w.gone(raw, instead); err != nil {
		return nil, false, err
	}
	if a == Drop || w.o.Typed && kind != strictjson.TypeString {
		return nil, true, nil
	}
	return strictjson.AppendString(nil, instead), false, nil
}

// more ends what was cut off.
const more = "…"

func truncated(s string, length int) (string, bool) {
	n := 0
	for i := range s {
		if n == length {
			return s[:i] + more, true
		}
		n++
	}
	return s, false
}

// lastFour leaves less than half of a value.
func lastFour(s string) string {
	var all []rune
	for _, r := range s {
		if word(r) {
			all = append(all, r)
		}
	}
	if len(all) < 9 {
		return Masked
	}
	return "****" + string(all[len(all)-4:])
}

// gone remembers the values of what was taken out.
func (w *Work) gone(raw []byte, instead string) error {
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeObject:
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			return err
		}
		for _, m := range o {
			if err := w.gone(m.Raw, Masked); err != nil {
				return err
			}
		}
	case strictjson.TypeArray:
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			return err
		}
		for _, e := range elems {
			if err := w.gone(e, Masked); err != nil {
				return err
			}
		}
	case strictjson.TypeString:
		s, err := strictjson.String(raw)
		if err != nil {
			return err
		}
		if fields, broken := w.HasFields(s); fields {
			return w.gone([]byte(s), Masked)
		} else if broken {
			w.obscure = true
		}
		w.remember(s, instead)
	case strictjson.TypeNumber:
		w.remember(string(raw), instead)
	case strictjson.TypeBool:
		w.obscure = true
	}
	return nil
}

func (w *Work) remember(s, instead string) {
	if s == "" {
		return
	}
	f := fold(s)
	if len(f) > 2*piece {
		for ; len(f) > 2*piece; f = f[piece:] {
			w.search(f[:piece], Masked)
		}
		instead = Masked
	}
	w.search(f, instead)
}

func (w *Work) search(f, instead string) {
	if f == "" || w.size+len(f) > maxFolded {
		w.obscure = true
		return
	}
	if i, was := w.seen[f]; was {
		if w.removed[i].instead != instead {
			w.removed[i].instead = Masked
		}
		return
	}
	w.size += len(f)
	w.seen[f] = len(w.removed)
	w.removed = append(w.removed, removal{f, instead})
}

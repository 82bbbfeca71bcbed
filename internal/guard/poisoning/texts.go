package poisoning

import (
	"strconv"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// place is one text of a definition.
type place struct {
	path string // JSON pointer
	text string
	key  bool // the name of a member, not a value
}

// Bounds of one definition.
const (
	mostTexts = 20_000
	mostBytes = 1 << 20
	mostDepth = 64
)

// texts collects every text of a definition, names of members included: what a
// model is shown is the whole of it.
type texts struct {
	all   []place
	bytes int
	full  bool
}

func (t *texts) add(path, text string, key bool) {
	if len(text) < 2 {
		return
	}
	if len(t.all) >= mostTexts || t.bytes+len(text) > mostBytes {
		t.full = true
		return
	}
	t.bytes += len(text)
	t.all = append(t.all, place{path, text, key})
}

func (t *texts) walk(raw []byte, path string, depth int) {
	if depth > mostDepth || t.full {
		t.full = true
		return
	}
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeString:
		if s, err := strictjson.String(raw); err == nil {
			t.add(path, s, false)
		}
	case strictjson.TypeArray:
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			return
		}
		for i, e := range elems {
			t.walk(e, path+"/"+strconv.Itoa(i), depth+1)
		}
	case strictjson.TypeObject:
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			return
		}
		for _, m := range o {
			at := path + "/" + pointer.Replace(m.Name)
			t.add(at, m.Name, true)
			t.walk(m.Raw, at, depth+1)
		}
	}
}

var pointer = strings.NewReplacer("~", "~0", "/", "~1")

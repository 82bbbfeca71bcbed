package pins

import (
	"encoding/json"
	"sort"
	"strconv"
	"strings"
	"unicode"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// Change is one difference between two definitions.
type Change struct {
	Path string `json:"path"`
	// What is added, removed or changed.
	What string `json:"what"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
	// Means says what a change gives away, where that is known: a tool that was
	// said to read and now may destroy, a schema that takes more.
	Means string `json:"means,omitempty"`
}

// mostChanges bounds what is shown of one definition.
const mostChanges = 200

// Diff returns what differs between two definitions, in the order of the paths.
// Texts are whole; Words shows where they differ.
func Diff(before, after []byte) []Change {
	d := differ{}
	d.value("", before, after, 0)
	sort.SliceStable(d.all, func(i, j int) bool { return d.all[i].Path < d.all[j].Path })
	return d.all
}

type differ struct{ all []Change }

func (d *differ) add(c Change) {
	if len(d.all) < mostChanges {
		c.Means = means(c)
		d.all = append(d.all, c)
	}
}

func (d *differ) value(path string, a, b []byte, depth int) {
	ta, tb := strictjson.TypeOf(a), strictjson.TypeOf(b)
	if ta != tb || depth > 64 {
		d.add(Change{Path: path, What: "changed", Old: plain(a), New: plain(b)})
		return
	}
	switch ta {
	case strictjson.TypeObject:
		oa, err1 := strictjson.SplitObject(a)
		ob, err2 := strictjson.SplitObject(b)
		if err1 != nil || err2 != nil {
			return
		}
		for _, m := range oa {
			at := path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(m.Name)
			if v, ok := ob.Get(m.Name); ok {
				d.value(at, m.Raw, v, depth+1)
			} else {
				d.add(Change{Path: at, What: "removed", Old: plain(m.Raw)})
			}
		}
		for _, m := range ob {
			if _, ok := oa.Get(m.Name); !ok {
				d.add(Change{Path: path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(m.Name), What: "added", New: plain(m.Raw)})
			}
		}
	case strictjson.TypeArray:
		ea, err1 := strictjson.SplitArray(a)
		eb, err2 := strictjson.SplitArray(b)
		if err1 != nil || err2 != nil {
			return
		}
		for i := range max(len(ea), len(eb)) {
			at := path + "/" + strconv.Itoa(i)
			switch {
			case i >= len(ea):
				d.add(Change{Path: at, What: "added", New: plain(eb[i])})
			case i >= len(eb):
				d.add(Change{Path: at, What: "removed", Old: plain(ea[i])})
			default:
				d.value(at, ea[i], eb[i], depth+1)
			}
		}
	default:
		if pa, pb := string(canonical(a)), string(canonical(b)); pa != pb {
			d.add(Change{Path: path, What: "changed", Old: plain(a), New: plain(b)})
		}
	}
}

// plain is a value as people read it: a string without its quotes, anything
// else as JSON.
func plain(raw []byte) string {
	if strictjson.TypeOf(raw) == strictjson.TypeString {
		if s, err := strictjson.String(raw); err == nil {
			return s
		}
	}
	return string(canonical(raw))
}

// means says what a change gives away.
func means(c Change) string {
	base := c.Path[strings.LastIndexByte(c.Path, '/')+1:]
	on, off := c.New == "true", c.New == "false" || c.What == "removed"
	switch {
	case base == "readOnlyHint" && off && c.Old == "true":
		return "it said that it only reads, and does not say so any more"
	case base == "destructiveHint" && (on || c.What == "removed" && c.Old == "false"):
		return "it may destroy now"
	case base == "openWorldHint" && (on || c.What == "removed" && c.Old == "false"):
		return "it may reach the outside now"
	case base == "idempotentHint" && off && c.Old == "true":
		return "calling it twice may do more than once"
	case base == "additionalProperties" && (on || c.What == "removed"):
		return "its schema takes more than it did"
	case strings.Contains(c.Path, "/inputSchema/required/") && c.What == "removed":
		return "its schema asks for less than it did"
	case strings.Contains(c.Path, "/inputSchema/required") && c.What != "removed":
		return "it asks for more than it did"
	case strings.Contains(c.Path, "/inputSchema/") && c.What == "added" && strings.HasSuffix(c.Path[:len(c.Path)-len(base)], "/properties/"):
		return "it takes a new parameter"
	case strings.Contains(c.Path, "/inputSchema/") && c.What == "removed":
		switch base {
		case "maxLength", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "pattern", "enum", "const", "maxItems", "format", "minLength":
			return "its schema takes more than it did"
		}
	case strings.Contains(c.Path, "/enum/") && c.What == "added":
		return "its schema takes more than it did"
	case strings.Contains(c.Path, "/inputSchema/") && wider(base, c.Old, c.New):
		return "its schema takes more than it did"
	case c.Path == "/instructions" && c.What == "added":
		return "the server gives instructions to the model, and gave none before"
	}
	return ""
}

// wider reports a bound that moved outward.
func wider(name, before, after string) bool {
	var a, b json.Number = json.Number(before), json.Number(after)
	x, err1 := a.Float64()
	y, err2 := b.Float64()
	if err1 != nil || err2 != nil {
		return false
	}
	switch name {
	case "maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties":
		return y > x
	case "minLength", "minimum", "exclusiveMinimum", "minItems":
		return y < x
	}
	return false
}

// Piece is a run of words of a text that changed.
type Piece struct {
	// Op is '=' for what stayed, '-' for what went, '+' for what came.
	Op   byte
	Text string
}

// mostWords bounds the texts that are compared word by word.
const mostWords = 3000

// Words compares two texts word by word.
func Words(before, after string) []Piece {
	a, b := words(before), words(after)
	from := 0
	for from < len(a) && from < len(b) && a[from] == b[from] {
		from++
	}
	end := 0
	for end < len(a)-from && end < len(b)-from && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var out []Piece
	add := func(op byte, ws []string) {
		if len(ws) == 0 {
			return
		}
		text := strings.Join(ws, "")
		if n := len(out); n > 0 && out[n-1].Op == op {
			out[n-1].Text += text
			return
		}
		out = append(out, Piece{op, text})
	}
	add('=', a[:from])
	x, y := a[from:len(a)-end], b[from:len(b)-end]
	if len(x) > mostWords || len(y) > mostWords {
		add('-', x)
		add('+', y)
	} else {
		// The longest common subsequence, from the end.
		t := make([][]uint16, len(x)+1)
		for i := range t {
			t[i] = make([]uint16, len(y)+1)
		}
		for i := len(x) - 1; i >= 0; i-- {
			for j := len(y) - 1; j >= 0; j-- {
				if x[i] == y[j] {
					t[i][j] = t[i+1][j+1] + 1
				} else {
					t[i][j] = max(t[i+1][j], t[i][j+1])
				}
			}
		}
		i, j := 0, 0
		for i < len(x) || j < len(y) {
			switch {
			case i < len(x) && j < len(y) && x[i] == y[j]:
				add('=', x[i:i+1])
				i, j = i+1, j+1
			case j == len(y) || i < len(x) && t[i+1][j] >= t[i][j+1]:
				add('-', x[i:i+1])
				i++
			default:
				add('+', y[j:j+1])
				j++
			}
		}
	}
	add('=', a[len(a)-end:])
	return out
}

// words parts a text into words with the spaces behind them.
func words(text string) []string {
	var out []string
	start, space := 0, false
	for i, r := range text {
		if !unicode.IsSpace(r) && space {
			out = append(out, text[start:i])
			start = i
		}
		space = unicode.IsSpace(r)
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}

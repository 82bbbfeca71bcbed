package personal

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"unicode/utf8"
)

type row struct {
	ID, Text, Kind string
	Spans          [][3]any
}

// rows reads labelled texts from the folder that MUNJIGI_DATA names.
func rows(t testing.TB, name string) []row {
	t.Helper()
	dir := os.Getenv("MUNJIGI_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("the labelled texts are not here (set MUNJIGI_DATA to their folder): %v", err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all []row
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var r row
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// labels are the structured types of the labelled texts and what they are here.
var labels = map[string]string{"EMAIL_ADDRESS": Email, "PHONE_NUMBER": Phone, "CREDIT_CARD": Card, "IBAN_CODE": IBAN,
	"US_SSN": SSN, "IP_ADDRESS": IP, "US_DRIVER_LICENSE": Licence}

// TestFigures measures what the card in docs says: a span counts when type and
// both ends are right.
func TestFigures(t *testing.T) {
	t.Parallel()
	d := NewDetector()
	type count struct{ right, false, missed int }
	by := map[string]*count{}
	at := func(typ string) *count {
		if by[typ] == nil {
			by[typ] = &count{}
		}
		return by[typ]
	}
	for _, r := range rows(t, "pii.jsonl.gz") {
		want := map[[2]int]string{}
		for _, s := range r.Spans {
			if typ := labels[s[0].(string)]; typ != "" {
				want[[2]int{int(s[1].(float64)), int(s[2].(float64))}] = typ
			}
		}
		for _, h := range d.Detect([]byte(r.Text)) {
			span := [2]int{utf8.RuneCountInString(r.Text[:h.From]), utf8.RuneCountInString(r.Text[:h.To])}
			if want[span] == h.Type {
				at(h.Type).right++
				delete(want, span)
				continue
			}
			at(h.Type).false++
			if os.Getenv("SHOW") != "" {
				t.Logf("FALSE %s %q in %.120q", h.Type, r.Text[h.From:h.To], r.Text)
			}
		}
		for span, typ := range want {
			at(typ).missed++
			if os.Getenv("SHOW") != "" {
				x := []rune(r.Text)
				t.Logf("MISS %s %q in %q", typ, string(x[span[0]:span[1]]), string(x[max(span[0]-60, 0):min(span[1]+30, len(x))]))
			}
		}
	}
	var all count
	var types []string
	for typ, c := range by {
		types = append(types, typ)
		all.right, all.false, all.missed = all.right+c.right, all.false+c.false, all.missed+c.missed
	}
	sort.Strings(types)
	f1 := func(c count) float64 { return 2 * float64(c.right) / float64(2*c.right+c.false+c.missed) }
	for _, typ := range types {
		c := by[typ]
		t.Logf("%-16s right %3d  false %2d  missed %2d  precision %.3f  recall %.3f  F1 %.3f", typ, c.right, c.false, c.missed,
			float64(c.right)/float64(max(c.right+c.false, 1)), float64(c.right)/float64(max(c.right+c.missed, 1)), f1(*c))
	}
	t.Logf("all structured types: F1 %.3f", f1(all))
	if f1(all) < 0.95 {
		t.Error("the aim is missed: F1 0.95")
	}
}

// TestHonestText counts what is found in texts that honest tools return.
func TestHonestText(t *testing.T) {
	t.Parallel()
	d := NewDetector()
	n, by := map[string]int{}, map[string]map[string]int{}
	for _, r := range append(rows(t, "injection_benign.jsonl.gz"), rows(t, "tools_benign.jsonl.gz")...) {
		n[r.Kind]++
		for _, h := range d.Detect([]byte(r.Text)) {
			if by[r.Kind] == nil {
				by[r.Kind] = map[string]int{}
			}
			by[r.Kind][h.Type]++
			if os.Getenv("SHOW") != "" {
				t.Logf("%s %s %q in %.150q", r.Kind, h.Type, r.Text[h.From:h.To], r.Text[max(h.From-60, 0):min(h.To+20, len(r.Text))])
			}
		}
	}
	for k := range n {
		t.Logf("%s: %d texts, %v", k, n[k], by[k])
	}
}

// BenchmarkHonest runs over texts that honest tools returned.
func BenchmarkHonest(b *testing.B) {
	d := NewDetector()
	var texts [][]byte
	size := 0
	for _, r := range rows(b, "injection_benign.jsonl.gz") {
		if r.Kind == "tool_result" || r.Kind == "code" {
			texts, size = append(texts, []byte(r.Text)), size+len(r.Text)
		}
	}
	b.SetBytes(int64(size))
	for b.Loop() {
		for _, t := range texts {
			d.Detect(t)
		}
	}
}

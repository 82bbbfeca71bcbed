package secrets

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

type row struct {
	ID, Text, Rule, Kind, Source string
	Label                        int
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

// TestFigures measures what the card in docs says, and holds the aims.
func TestFigures(t *testing.T) {
	t.Parallel()
	d, err := NewDetector()
	if err != nil {
		t.Fatal(err)
	}
	var hit, secrets, alarms, honest int
	missed, false_ := map[string]int{}, map[string]int{}
	for _, r := range rows(t, "secrets.jsonl.gz") {
		found, _ := d.Hits([]byte(r.Text), false)
		switch {
		case r.Label == 1:
			secrets++
			if len(found) > 0 {
				hit++
			} else {
				missed[r.Rule]++
				if os.Getenv("SHOW") != "" {
					t.Logf("MISS %s %.300q", r.Rule, r.Text)
				}
			}
		default:
			honest++
			if len(found) > 0 {
				alarms++
				false_[found[0].Type]++
				if os.Getenv("SHOW") != "" {
					t.Logf("FALSE for %s: %s %.300q", r.Rule, found[0].Type, r.Text)
				}
			}
		}
	}
	t.Logf("literal set: %d of %d secrets found (%.3f), %d of %d look-alikes taken for one (%.3f)", hit, secrets, float64(hit)/float64(secrets), alarms, honest, float64(alarms)/float64(honest))
	t.Log("missed:", keys(missed), "taken for one:", keys(false_))
	if float64(hit) < 0.95*float64(secrets) || float64(alarms) > 0.05*float64(honest) {
		t.Error("the aims are missed: 95 % found, 5 % false alarms")
	}
}

func keys(m map[string]int) string {
	var s []string
	for k := range m {
		s = append(s, k)
	}
	sort.Strings(s)
	return strings.Join(s, " ")
}

// TestHonestText measures false alarms on texts that honest tools return.
func TestHonestText(t *testing.T) {
	t.Parallel()
	d, err := NewDetector()
	if err != nil {
		t.Fatal(err)
	}
	n, by := map[string]int{}, map[string]int{}
	for _, r := range append(rows(t, "injection_benign.jsonl.gz"), rows(t, "tools_benign.jsonl.gz")...) {
		n[r.Kind]++
		if found, _ := d.Hits([]byte(r.Text), false); len(found) > 0 {
			by[r.Kind]++
			if os.Getenv("SHOW") != "" {
				f := found[0]
				t.Logf("%s %s %s %.150q", r.Kind, r.ID, f.Type, r.Text[max(f.From-60, 0):min(f.To+20, len(r.Text))])
			}
		}
	}
	for k := range n {
		t.Logf("%s: %d of %d", k, by[k], n[k])
	}
}

package cedar

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCookbook runs every situation of the page as it stands there: its policy
// loads and has no mistake, and its table is what the policy decides.
func TestCookbook(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "policy-cookbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "\n## ")[1:]
	if len(parts) < 15 {
		t.Fatalf("only %d situations", len(parts))
	}
	policies, tables := regexp.MustCompile("(?s)```cedar\n(.*?)```"), regexp.MustCompile("(?s)```yaml\n(.*?)```")
	for _, part := range parts {
		title, text, _ := strings.Cut(part, "\n")
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			policy, table := policies.FindAllStringSubmatch(text, -1), tables.FindAllStringSubmatch(text, -1)
			if len(policy) != 1 || len(table) != 1 {
				t.Fatalf("%d policies, %d tables", len(policy), len(table))
			}
			p := loaded(t, policy[0][1])
			if r := p.Check(World{}); len(r.Problems) > 0 {
				t.Errorf("%v", r.Problems)
			}
			d, err := New(p, Options{})
			if err != nil {
				t.Fatal(err)
			}
			cases, err := ReadTable([]byte(table[0][1]))
			if err != nil {
				t.Fatal(err)
			}
			allowed, other := 0, 0
			for _, o := range d.Play(t.Context(), cases) {
				if !o.OK {
					t.Errorf("%s %s %s: wanted %s, got %+v", o.Who, o.Method, o.Target, o.Want, o.Got)
				}
				if o.Got.Allowed {
					allowed++
				} else {
					other++
				}
			}
			if allowed == 0 || other == 0 {
				t.Error("the table does not show both what passes and what does not")
			}
		})
	}
}

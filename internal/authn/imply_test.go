package authn_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/strictjson"
)

func TestBroaderScopesHoldNarrowerOnes(t *testing.T) {
	t.Parallel()
	contains := map[string][]string{"all": {"write", "mail"}, "write": {"read"}, "round": {"about"}, "about": {"round"}}
	for given, want := range map[string]string{
		"":           "",
		"read":       "read",
		"write":      "write read",
		"all":        "all write mail read",
		"read all":   "read all write mail",
		"round":      "round about",
		"All":        "All",
		"all.":       "all.",
		"other read": "other read",
	} {
		if diff := cmp.Diff(want, strings.Join(authn.Imply(strings.Fields(given), contains), " ")); diff != "" {
			t.Errorf("%q (-want +got)\n%s", given, diff)
		}
	}
	for _, bad := range []map[string][]string{{"": {"a"}}, {"a b": {"c"}}, {"a": {`b"`}}, {"a": {""}}} {
		if authn.CheckImplied(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// FuzzClaims: whatever an issuer signs, no reader takes a wrong type for an
// absent value or gives a text that was not there.
func FuzzClaims(f *testing.F) {
	f.Add(`{"a":"x","b":["y"],"c":1,"d":null,"cnf":{"jkt":"x"},"act":{"sub":"s"}}`)
	f.Add(`{"a":1e3,"b":"x","c":1700000000.5,"act":{"act":{}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := authn.ReadClaims([]byte(text), strictjson.Limits{Bytes: 1 << 14, Depth: 16, Members: 1000})
		if err != nil {
			return
		}
		for _, m := range c.Members {
			kind := strictjson.TypeOf(m.Raw)
			if s, ok := c.Text(m.Name, authn.MaxText); ok != (kind == strictjson.TypeString && len(s) <= authn.MaxText && ok) {
				t.Fatalf("%s: text %q", m.Raw, s)
			}
			if list, ok := c.Texts(m.Name, true); ok && kind != strictjson.TypeNull && kind != strictjson.TypeString && kind != strictjson.TypeArray {
				t.Fatalf("%s: texts %q", m.Raw, list)
			}
			if n, ok := c.Date(m.Name); ok && (n <= 0 || kind != strictjson.TypeNumber) {
				t.Fatalf("%s: date %d", m.Raw, n)
			}
		}
		if actors, ok := c.Actors("https://i.example"); ok && (len(actors) > 0) != c.Has("act") {
			t.Fatalf("%s: actors %q", text, actors)
		}
		if cnf, ok := c.Confirmation(); ok && cnf.Bound() != c.Has("cnf") {
			t.Fatalf("%s: confirmation %+v", text, cnf)
		}
		scopes, _ := c.Scopes("scope")
		if once := authn.Imply(scopes, map[string][]string{"a": {"b", "a"}, "b": {"c"}}); slices.Contains(once, "b") && !slices.Contains(once, "c") {
			t.Fatalf("%q", once)
		}
	})
}

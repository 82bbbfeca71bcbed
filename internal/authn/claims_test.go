package authn_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
)

func claimsOf(t *testing.T, text string) authn.Claims {
	t.Helper()
	c, err := authn.ReadClaims([]byte(text), strictjson.Limits{Bytes: 1 << 20, Depth: 64, Members: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestConfirmation: what is not understood cannot be proved, so it is no
// confirmation; what a provider adds without meaning more may stand there.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("A", 43)
	jkt, both := call.Confirmation{JKT: sum}, call.Confirmation{JKT: sum, X5TS256: sum}
	for text, row := range map[string]struct {
		want call.Confirmation
		ok   bool
	}{
		`{}`:                            {ok: true},
		`{"cnf":null}`:                  {ok: true},
		`{"cnf":{"jkt":"` + sum + `"}}`: {jkt, true},
		`{"cnf":{"jkt":"` + sum + `","x5t#S256":"` + sum + `"}}`:             {both, true},
		`{"cnf":{"kc-jkt-type":"DPoP","jkt":"` + sum + `"}}`:                 {jkt, true}, // Keycloak 26.7
		`{"cnf":{"jkt":"` + sum + `","kc-jkt-type":"DPoP"}}`:                 {jkt, true},
		`{"cnf":{"kc-jkt-type":"DPoP"}}`:                                     {},
		`{"cnf":{"kc-jkt-type":"other","jkt":"` + sum + `"}}`:                {},
		`{"cnf":{"kc-jkt-type":1,"jkt":"` + sum + `"}}`:                      {},
		`{"cnf":{"jkt":"` + sum + `","jwk":{}}}`:                             {},
		`{"cnf":{}}`:                                                         {},
		`{"cnf":"x"}`:                                                        {},
		`{"cnf":{"jkt":"` + sum + `A"}}`:                                     {},
		`{"cnf":{"jkt":"` + strings.Repeat("A", 42) + `\n"}}`:                {},
		`{"cnf":{"x5t#S256":"` + strings.Repeat("A", 42) + `B"}}`:            {}, // stray bits
		`{"cnf":{"jkt":"` + sum + `","JKT":"` + strings.ToLower(sum) + `"}}`: {},
	} {
		got, ok := claimsOf(t, text).Confirmation()
		if ok != row.ok || ok && got != row.want {
			t.Errorf("%s: %+v %v", text, got, ok)
		}
	}
}

// TestActors reads chains of act, and none that is too long or no chain.
func TestActors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`{}`:                      nil,
		`{"act":null}`:            nil,
		`{"act":{"sub":"robot"}}`: {"3:iss|robot"},
		`{"act":{"sub":"a","act":{"iss":"other","sub":"b","act":null}}}`: {"3:iss|a", "5:other|b"},
	} {
		if got, ok := claimsOf(t, text).Actors("iss"); !ok || !cmp.Equal(got, want) {
			t.Errorf("%s: %q %v", text, got, ok)
		}
	}
	deep := strings.Repeat(`{"sub":"a","act":`, 9) + `null` + strings.Repeat("}", 9)
	for _, text := range []string{`{"act":` + deep + `}`, `{"act":[]}`, `{"act":"a"}`, `{"act":{}}`, `{"act":{"sub":""}}`, `{"act":{"sub":1}}`, `{"act":{"sub":"a","iss":1}}`,
		`{"act":{"sub":"a","act":{"iss":"b"}}}`, `{"act":{"sub":"` + strings.Repeat("a", authn.MaxText+1) + `"}}`} {
		if got, ok := claimsOf(t, text).Actors("iss"); ok {
			t.Errorf("%.60s: %q", text, got)
		}
	}
}

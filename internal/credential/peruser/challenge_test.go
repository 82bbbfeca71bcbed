package peruser

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/store"
)

func entriesOf(t *testing.T, v vault) (keys []string) {
	t.Helper()
	if err := v.kv.Scan(t.Context(), "", func(e store.Entry) bool { keys = append(keys, e.Key); return true }); err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestReadChallenges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   []string
		want challenge
	}{
		{nil, challenge{}},
		{[]string{"Bearer"}, challenge{}},
		{[]string{`Bearer resource_metadata="https://x/y", scope="a b", error="invalid_token"`}, challenge{"https://x/y", []string{"a", "b"}, "invalid_token"}},
		{[]string{`bearer scope=a,error=insufficient_scope`}, challenge{"", []string{"a"}, "insufficient_scope"}},
		{[]string{`Basic realm="x, Bearer scope=\"evil\"", Bearer scope="good"`}, challenge{scopes: []string{"good"}}},
		{[]string{`Negotiate abc==`, `Bearer scope="a"`}, challenge{scopes: []string{"a"}}},
		{[]string{`Bearer realm="a\"b", scope = "c"`}, challenge{scopes: []string{"c"}}},
		{[]string{`DPoP error="use_dpop_nonce", resource_metadata="https://x/"`}, challenge{metadata: "https://x/", code: "use_dpop_nonce"}},
		{[]string{`Bearer scope="a", scope="b"`}, challenge{}},
		{[]string{`Bearer scope="a" , SCOPE="b"`, `Bearer scope="c"`}, challenge{scopes: []string{"c"}}},
		{[]string{`Bearer scope="a`}, challenge{}},
		{[]string{`Bearer scope="a a \" \\ é b"`}, challenge{scopes: []string{"a", "b"}}},
		{[]string{`scope="a"`}, challenge{}},
		{[]string{`Bearer resource_metadata="` + strings.Repeat("x", maxURL+1) + `"`}, challenge{}},
		{[]string{"Bearer scope=\"" + strings.Repeat("x", maxHeader) + `"`}, challenge{}},
	} {
		if got := readChallenges(tt.in); !cmp.Equal(got, tt.want, cmp.AllowUnexported(challenge{})) {
			t.Errorf("%q: %+v, want %+v", tt.in, got, tt.want)
		}
	}
	if got := scopesOf(strings.Repeat("a ", 3) + strings.Repeat("b", maxScope+1)); !slices.Equal(got, []string{"a"}) {
		t.Error(got)
	}
}

// Whatever a server writes, what is taken of it can be sent on: bounded, and
// without characters that end a parameter or a line.
func FuzzChallenge(f *testing.F) {
	for _, s := range []string{`Bearer scope="a b", resource_metadata="https://x"`, `Basic a=b, Bearer x`, `Bearer scope="\`, ",,,=", `DPoP a="b"c="d"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := readChallenges([]string{s})
		if len(c.scopes) > maxScopes || len(c.metadata) > maxURL {
			t.Errorf("%d scopes, %d bytes", len(c.scopes), len(c.metadata))
		}
		for i, scope := range c.scopes {
			if !scopeToken(scope) || slices.Contains(c.scopes[:i], scope) {
				t.Errorf("%q", scope)
			}
		}
	})
}

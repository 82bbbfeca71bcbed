package peruser

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/credential"
)

func jwtFor(audience string, n int) string {
	b64 := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return b64(`{"alg":"ES256"}`) + "." + b64(fmt.Sprintf(`{"aud":%s,"n":%d}`, audience, n)) + "." + b64("signature")
}

// A token that says that it is for somebody else is not sent: the server could
// use it there. The operator can name the audience that a provider mints.
func TestTokensForOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		aud   string // AT stands for the server's own
		known []string
		ok    bool
	}{
		{`"AT"`, nil, true}, {`["x","AT"]`, nil, true}, {`"https://bank.example"`, nil, false}, {`["https://bank.example"]`, nil, false},
		{`7`, nil, false}, {`"AT/"`, nil, false}, {`"account"`, []string{"account"}, true}, {`"bank"`, []string{"account"}, false},
	} {
		w := newWorld(t)
		p := newProvider(w)
		s := newUpstream(w, "one", p)
		w.servers[0].Audiences = tt.known
		g := w.build()
		n := 0
		p.answer = func(m map[string]any) {
			n++
			old, _ := m["access_token"].(string)
			access := jwtFor(strings.ReplaceAll(tt.aud, "AT", s.url+"/mcp"), n)
			p.tokens[access], m["access_token"] = p.tokens[old], access
		}
		ana := person("ana", "editor")
		_, q := begun(t, w, g, p, ana)
		_, err := g.Finish(t.Context(), q, ana)
		if tt.ok {
			if err != nil {
				t.Errorf("%s: %v", tt.aud, err)
				continue
			}
			w.mustCall(g, "one", ana)
			p.read(func() { tt.aud = `"https://bank.example"` })
			if _, err := w.call(w.build(), "one", ana); !errors.Is(err, credential.ErrRefused) {
				t.Errorf("a refreshed token for another: %v", err)
			}
			continue
		}
		if !errors.Is(err, credential.ErrRefused) {
			t.Errorf("%s: %v", tt.aud, err)
		}
		_ = w.asked(g, "one", ana)
		p.read(func() {
			if len(p.revoked) != 1 {
				t.Errorf("%s: what came lives on: %v", tt.aud, p.refresh)
			}
		})
		s.read(func() {
			for _, h := range s.requests {
				if h.Get("Authorization") != "" {
					t.Errorf("%s was sent", tt.aud)
				}
			}
		})
	}
}

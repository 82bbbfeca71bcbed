package bound

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

const home = "https://gw.example/mcp/files"

// badProof is an error of a proof as Options.Proof returns it.
type badProof struct{ error }

func (badProof) Code() string        { return "invalid_dpop_proof" }
func (badProof) Reason() call.Reason { return call.ReasonBadProof }

// tokens is an authenticator of known tokens that asks Keys as the real ones do.
type tokens struct {
	keys *Keys
	by   map[string]call.Confirmation
}

func (a tokens) Authenticate(ctx context.Context, r authn.Request) (call.Principal, error) {
	refused := func(params string) (call.Principal, error) {
		return call.Principal{}, &authn.Refusal{Reason: call.ReasonUnauthenticated, Text: "no", Challenge: "Bearer " + params + `resource_metadata="https://gw.example/m", scope="files:list"`}
	}
	h := r.Header.Get("Authorization")
	if h == "" {
		return refused("")
	}
	scheme, token, _ := strings.Cut(h, " ")
	c, ok := a.by[token]
	if !ok {
		return refused(`error="invalid_token", error_description="wrong in some way", `)
	}
	p := call.NewPrincipal(call.Identity{Issuer: "https://idp.example", Subject: "kim", Kind: call.Person, Confirmation: c})
	if c.Bound() || strings.EqualFold(scheme, "dpop") {
		if err := a.keys.Confirm(ctx, r, scheme, token, p); err != nil {
			return call.Principal{}, err
		}
	}
	return p, nil
}

func (tokens) Current(p call.Principal) bool { return p.Identity().Subject == "kim" }

func newKeys(require ...Method) *Keys {
	return New(Options{
		Resources:  map[string]Resource{home: {Metadata: "https://gw.example/m", Scope: "files:list", Require: require}},
		Algorithms: []string{"ES256", "PS256"},
		Proof: func(_ context.Context, r authn.Request, token, jkt string) error {
			switch r.Header.Get("Dpop") {
			case token + "/" + jkt:
				return nil
			case "broken store":
				return errors.New("the disk is gone")
			}
			return badProof{errors.New("the proof is bad")}
		},
		Certificate: func(r authn.Request, x5t string) error {
			if r.Header.Get("Certificate") == x5t {
				return nil
			}
			return errors.New("the certificate is another")
		},
	})
}

func known(r authn.Request) (call.Principal, bool, error) {
	switch r.Header.Get("Certificate") {
	case "workload":
		return call.NewPrincipal(call.Identity{Issuer: "spiffe://x", Subject: "spiffe://x/w", Kind: call.Workload}), true, nil
	case "broken workload":
		return call.Principal{}, false, errors.New("the certificate is broken")
	}
	return call.Principal{}, false, nil
}

func TestWhichTokensAreLetIn(t *testing.T) {
	t.Parallel()
	by := map[string]call.Confirmation{"plain": {}, "d": {JKT: "k"}, "m": {X5TS256: "c"}, "both": {JKT: "k", X5TS256: "c"}}
	for _, row := range []struct {
		authorization, proof, cert string
		require                    []Method
		reason                     call.Reason // empty: let in
		challenge                  string
	}{
		{"Bearer plain", "", "", nil, "", ""},
		{"DPoP d", "d/k", "", nil, "", ""},
		{"dpop d", "d/k", "", nil, "", ""},
		{"Bearer m", "", "c", nil, "", ""},
		{"DPoP both", "both/k", "c", nil, "", ""},
		{"Bearer plain", "plain/k", "c", nil, "", ""}, // a proof nobody asked for proves nothing and harms nobody

		{"DPoP plain", "plain/k", "", nil, call.ReasonUnbound, `DPoP error="invalid_token"`},
		{"DPoP m", "m/k", "c", nil, call.ReasonUnbound, `DPoP error="invalid_token"`},
		{"Bearer d", "d/k", "", nil, call.ReasonBadProof, `Bearer error="invalid_token"`},
		{"Bearer both", "both/k", "c", nil, call.ReasonBadProof, `Bearer error="invalid_token"`},
		{"DPoP d", "", "", nil, call.ReasonBadProof, `DPoP error="invalid_dpop_proof"`},
		{"DPoP d", "m/k", "", nil, call.ReasonBadProof, `DPoP error="invalid_dpop_proof"`},
		{"Bearer m", "", "", nil, call.ReasonBadCertificate, `Bearer error="invalid_token"`},
		{"Bearer m", "", "other", nil, call.ReasonBadCertificate, `Bearer error="invalid_token"`},
		{"DPoP both", "both/k", "other", nil, call.ReasonBadCertificate, `DPoP error="invalid_token"`},
		{"DPoP both", "", "c", nil, call.ReasonBadProof, `DPoP error="invalid_dpop_proof"`},
		{"DPoP d", "broken store", "", nil, call.ReasonRecordFailed, ""},

		{"DPoP d", "d/k", "", []Method{DPoP}, "", ""},
		{"DPoP both", "both/k", "c", []Method{MTLS}, "", ""},
		{"Bearer m", "", "c", []Method{DPoP, MTLS}, "", ""},
		{"DPoP d", "d/k", "", []Method{DPoP, MTLS}, "", ""},
		{"Bearer plain", "", "", []Method{DPoP}, call.ReasonUnbound, `DPoP error="invalid_token"`},
		{"Bearer plain", "", "", []Method{MTLS}, call.ReasonUnbound, `Bearer error="invalid_token"`},
		{"Bearer plain", "plain/k", "c", []Method{DPoP, MTLS}, call.ReasonUnbound, `Bearer error="invalid_token"`},
		{"Bearer m", "", "c", []Method{DPoP}, call.ReasonUnbound, `DPoP error="invalid_token"`},
		{"DPoP d", "d/k", "", []Method{MTLS}, call.ReasonUnbound, `Bearer error="invalid_token"`},

		{"", "", "workload", nil, "", ""},
		{"", "", "workload", []Method{MTLS}, "", ""},
		{"", "", "workload", []Method{DPoP}, call.ReasonUnbound, `DPoP error="invalid_token"`},
		{"", "", "broken workload", nil, call.ReasonBadCertificate, `Bearer error="invalid_token"`},
		{"Bearer wrong", "", "workload", nil, call.ReasonUnauthenticated, `Bearer error="invalid_token", error_description="wrong in some way"`},
		{"Bearer m", "", "workload", nil, call.ReasonBadCertificate, `Bearer error="invalid_token"`},
	} {
		k := newKeys(row.require...)
		a := k.Over(tokens{k, by}, known)
		h := http.Header{}
		for n, v := range map[string]string{"Authorization": row.authorization, "Dpop": row.proof, "Certificate": row.cert} {
			if v != "" {
				h.Set(n, v)
			}
		}
		p, err := a.Authenticate(t.Context(), authn.Request{Header: h, Resource: home})
		var no *authn.Refusal
		switch {
		case row.reason == "":
			if err != nil || !p.Valid() {
				t.Errorf("%+v: %v", row, err)
			}
		case !errors.As(err, &no) || p.Valid() || no.Reason != row.reason || !strings.HasPrefix(no.Challenge, row.challenge):
			t.Errorf("%+v: %+v", row, no)
		case row.challenge != "" && (!strings.Contains(no.Challenge, `resource_metadata="https://gw.example/m"`) || strings.Count(no.Challenge, "error=") != 1):
			t.Errorf("%+v: %s", row, no.Challenge)
		}
	}
}

func TestChallengesNameWhatWouldDo(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		authorization string
		require       []Method
		want          string
	}{
		{"", nil, `Bearer resource_metadata="https://gw.example/m", scope="files:list", DPoP algs="ES256 PS256", resource_metadata="https://gw.example/m", scope="files:list"`},
		{"", []Method{DPoP}, `DPoP algs="ES256 PS256", resource_metadata="https://gw.example/m", scope="files:list"`},
		{"", []Method{MTLS}, `Bearer resource_metadata="https://gw.example/m", scope="files:list"`},
		{"DPoP wrong", nil, `DPoP error="invalid_token", error_description="wrong in some way", algs="ES256 PS256", resource_metadata="https://gw.example/m", scope="files:list"`},
		{"Bearer wrong", nil, `Bearer error="invalid_token", error_description="wrong in some way", resource_metadata="https://gw.example/m", scope="files:list", DPoP algs="ES256 PS256", resource_metadata="https://gw.example/m", scope="files:list"`},
	} {
		k := newKeys(row.require...)
		h := http.Header{}
		if row.authorization != "" {
			h.Set("Authorization", row.authorization)
		}
		_, err := k.Over(tokens{k, nil}, known).Authenticate(t.Context(), authn.Request{Header: h, Resource: home})
		var no *authn.Refusal
		if !errors.As(err, &no) || no.Challenge != row.want {
			t.Errorf("%+v\n%v", row, no.Challenge)
		}
	}
}

func TestZeroKeysRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range []call.Confirmation{{JKT: "k"}, {X5TS256: "c"}, {}} {
		p := call.NewPrincipal(call.Identity{Issuer: "i", Subject: "s", Kind: call.Person, Confirmation: c})
		for _, scheme := range []string{"DPoP", "Bearer"} {
			err := (&Keys{}).Confirm(t.Context(), authn.Request{Header: http.Header{}}, scheme, "t", p)
			if (err == nil) != (scheme == "Bearer" && !c.Bound()) {
				t.Errorf("%+v by %s: %v", c, scheme, err)
			}
		}
	}
	k := New(Options{})
	if p, err := k.Over(tokens{k, map[string]call.Confirmation{"plain": {}}}, nil).Authenticate(t.Context(),
		authn.Request{Header: http.Header{"Authorization": {"Bearer plain"}}, Resource: home}); err == nil || p.Valid() {
		t.Error("a resource that nobody configured")
	}
}

package peruser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/oauth"
)

const maxToken = 16 << 10

// answer is what a token endpoint gave.
type answer struct {
	access  secret.Value
	refresh secret.Value
	expires time.Time // zero: it did not say
	scopes  []string  // nil: as asked
	bound   bool      // to the key that was proved
}

// denial is an error of RFC 6749 5.2. Only the code is kept.
type denial struct {
	code   string
	status int
}

func (d *denial) Error() string {
	return "the token endpoint answered " + d.code
}

// errLost means that a request may have been carried out and its answer is not
// known.
var errLost = errors.New("the token endpoint's answer was lost")

// post sends a form to an authorization server as client c, with a proof of
// possession where there is a key. A nonce that it wants for that is used at
// once (RFC 9449 8).
func (g *Grants) post(ctx context.Context, s *server, m *metadata, to string, c client, proof *proofKey, form url.Values) ([]byte, int, error) {
	body, status, fresh, err := g.postOnce(ctx, s, m, to, c, proof, form)
	var no *denial
	if err == nil && fresh && errors.As(denied(body, status), &no) && no.code == "use_dpop_nonce" {
		body, status, _, err = g.postOnce(ctx, s, m, to, c, proof, form)
	}
	return body, status, err
}

// postOnce reports also that a nonce came that was not known.
func (g *Grants) postOnce(ctx context.Context, s *server, m *metadata, to string, c client, proof *proofKey, form url.Values) (_ []byte, _ int, fresh bool, _ error) {
	method, key := c.Method, g.signer
	clientSecret := c.Secret
	if s != nil && s.ClientID != "" && c.ID == s.ClientID {
		clientSecret = s.ClientSecret.Reveal()
		if s.signer != nil {
			key = s.signer
		}
	}
	basic := ""
	switch method {
	case methodNone:
		form.Set("client_id", c.ID)
	case methodPost:
		form.Set("client_id", c.ID)
		form.Set("client_secret", clientSecret)
	case methodBasic:
		basic = clientSecret
	case methodKey:
		text, err := key.assertion(c.ID, m.issuer)
		if err != nil {
			return nil, 0, false, err
		}
		form.Set("client_id", c.ID)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", text)
	default:
		return nil, 0, false, refused("the client has no way to prove itself")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, 0, false, refused("the authorization server's endpoint: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if method == methodBasic {
		r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(basic)) // RFC 6749 2.3.1
	}
	if proof != nil {
		text, err := proof.proof(http.MethodPost, r.URL, "", g.shared.nonces.get(atIssuer(m.issuer)))
		if err != nil {
			return nil, 0, false, err
		}
		r.Header.Set("DPoP", text)
	}
	hc := g.strict
	if s != nil {
		hc = s.others
	}
	res, err := hc.Do(r)
	if err != nil {
		return nil, 0, false, fmt.Errorf("%w: %w", errLost, hideURL(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return nil, 0, false, fmt.Errorf("%w: %w", errLost, hideURL(err))
	}
	if proof != nil {
		fresh = g.shared.nonces.put(atIssuer(m.issuer), res.Header.Get("DPoP-Nonce"))
	}
	return body, res.StatusCode, fresh, nil
}

// hideURL drops what http.Client says before the cause.
func hideURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// tokens asks a token endpoint. The error is a *denial, errLost, or that of an
// answer that cannot be used.
func (g *Grants) tokens(ctx context.Context, s *server, m *metadata, c client, proof *proofKey, form url.Values) (answer, error) {
	asked := time.Now()
	body, status, err := g.post(ctx, s, m, m.token.String(), c, proof, form)
	if err != nil {
		return answer{}, err
	}
	if status != http.StatusOK {
		return answer{}, denied(body, status)
	}
	d, err := parse(body)
	if err != nil {
		return answer{}, fmt.Errorf("the token endpoint's answer: %w", err)
	}
	if _, said := d.members.Get("error"); said {
		return answer{}, denied(body, status)
	}
	var a answer
	switch kind, _ := d.text("token_type"); {
	case strings.EqualFold(kind, "Bearer"):
	case strings.EqualFold(kind, "DPoP") && proof != nil:
		a.bound = true
	default:
		return answer{}, refused("the token endpoint gave a token of a type that cannot be used here; only Bearer can, and DPoP where its metadata says so")
	}
	access, ok := d.long("access_token")
	if !ok || access == "" {
		return answer{}, refused("the token endpoint gave no access token that can be sent")
	}
	a.access = secret.New(access)
	if refresh, ok := d.long("refresh_token"); ok && refresh != "" {
		a.refresh = secret.New(refresh)
	}
	if raw, ok := d.members.Get("expires_in"); ok {
		if n := seconds(raw); n > 0 {
			a.expires = asked.Add(time.Duration(min(n, int64(GrantTime/time.Second))) * time.Second)
		} else {
			a.expires = asked
		}
	}
	if text, ok := d.text("scope"); ok {
		a.scopes = scopesOf(text)
	}
	return a, nil
}

// aimed refuses a JWT for another audience than the server, which could use it
// there. A token that is no JWT says nothing, and is taken.
func (s *server) aimed(resource string, a answer) error {
	return credential.Aimed(oauth.Token{Access: a.access}, append([]string{resource}, s.Audiences...))
}

// long is text for tokens: VSCHAR (RFC 6749 appendix A.12), at most maxToken.
func (d doc) long(name string) (string, bool) {
	raw, ok := d.members.Get(name)
	if !ok || len(raw) > maxToken {
		return "", false
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] > 0x7e {
			return "", false
		}
	}
	return s, true
}

// seconds reads a number of seconds, also where it was written as text; 0 is
// none.
func seconds(raw []byte) int64 {
	var n json.Number
	if json.Unmarshal(raw, &n) != nil {
		return 0
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1<<40 {
		return 0
	}
	return int64(f)
}

func denied(body []byte, status int) error {
	code := ""
	if d, err := parse(body); err == nil {
		code, _ = d.text("error")
	}
	if !errorCode(code) {
		code = ""
	}
	if code == "" && status >= 400 && status < 500 && status != http.StatusTooManyRequests {
		code = "invalid_request"
	}
	if code == "" || status >= 500 {
		return fmt.Errorf("the token endpoint answered with status %d", status)
	}
	return &denial{code, status}
}

// errorCode reports that s may be shown as an error code.
func errorCode(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

// revoke ends a token at its authorization server (RFC 7009) and reports
// whether it confirmed that.
func (g *Grants) revoke(ctx context.Context, s *server, issuer string, c client, token, hint string) bool {
	m, err := g.issuer(ctx, s, issuer)
	if err != nil || m.revoke == "" || token == "" {
		return false
	}
	_, status, err := g.post(ctx, s, m, m.revoke, c, nil, url.Values{"token": {token}, "token_type_hint": {hint}})
	return err == nil && status == http.StatusOK
}

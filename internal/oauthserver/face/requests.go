package face

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/luikyv/go-oidc/pkg/goidc"

	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

const (
	mostForm   = 64 << 10
	mostValue  = 20 << 10
	mostState  = 2 << 10
	parPrefix  = "urn:ietf:params:oauth:request_uri:"
	codeServer = "temporarily_unavailable"
)

// Parameters that are handed on. Others are skipped, as RFC 6749 3.1 demands.
var (
	authorizeParams = []string{"response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method", "resource", "dpop_jkt", "response_mode"}
	clientParams    = []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"}
	challengeForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	verifierForm    = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
)

// wrong is an error of the protocol.
type wrong struct{ code, text string }

// form reads what came, once. A parameter that stands twice is refused: two
// readers would pick two values.
func form(w http.ResponseWriter, r *http.Request) (url.Values, *wrong) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		if raw != "" {
			return nil, &wrong{"invalid_request", "send the parameters in the body, not in the address"}
		}
		if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/x-www-form-urlencoded" {
			return nil, &wrong{"invalid_request", "send application/x-www-form-urlencoded"}
		}
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostForm))
		if err != nil {
			return nil, &wrong{"invalid_request", "the body is too long, or came too slowly"}
		}
		raw = string(b)
	}
	v, err := url.ParseQuery(raw)
	if err != nil || len(raw) > mostForm {
		return nil, &wrong{"invalid_request", "the parameters cannot be read"}
	}
	for name, values := range v {
		switch {
		case len(values) > 1 && name == "resource":
			return nil, &wrong{"invalid_target", "name one resource; ask for another one by a request of its own"}
		case len(values) > 1:
			return nil, &wrong{"invalid_request", "a parameter stands twice: send each once"}
		case len(values[0]) > mostValue:
			return nil, &wrong{"invalid_request", "a parameter is too long"}
		}
	}
	for _, name := range []string{"Authorization", "Dpop"} {
		if len(r.Header.Values(name)) > 1 {
			return nil, &wrong{"invalid_request", "a header stands twice: send each once"}
		}
	}
	return v, nil
}

func only(v url.Values, names ...string) url.Values {
	out := url.Values{}
	for _, n := range names {
		if v.Has(n) && v.Get(n) != "" {
			out.Set(n, v.Get(n))
		}
	}
	return out
}

// judge holds an authorization request against the client and our resources.
// The scopes that are meant come back in the values.
func (f *Face) judge(v url.Values, c oauthserver.Client) *wrong {
	res, ok := f.o.Resources[v.Get("resource")]
	switch {
	case v.Get("response_type") != "code":
		return &wrong{"unsupported_response_type", "response_type must be code"}
	case v.Get("response_mode") != "" && v.Get("response_mode") != "query":
		return &wrong{"invalid_request", "response_mode must be query"}
	case v.Get("code_challenge_method") != "S256" || !challengeForm.MatchString(v.Get("code_challenge")):
		return &wrong{"invalid_request", "code_challenge and code_challenge_method=S256 are required (PKCE, RFC 7636)"}
	case len(v.Get("state")) > mostState || strings.ContainsFunc(v.Get("state"), func(r rune) bool { return r < 0x20 || r > 0x7e }):
		return &wrong{"invalid_request", "state is too long or is not plain ASCII"}
	case v.Get("dpop_jkt") != "" && !challengeForm.MatchString(v.Get("dpop_jkt")):
		return &wrong{"invalid_request", "dpop_jkt is no thumbprint"}
	case v.Get("resource") == "":
		return &wrong{"invalid_target", "resource is required (RFC 8707): name the server that the token is for"}
	case !ok:
		return &wrong{"invalid_target", "resource is none of this gateway's"}
	}
	scopes := strings.Fields(v.Get("scope"))
	if len(scopes) == 0 {
		scopes = slices.Clone(res.Least)
	}
	var meant []string
	for _, s := range scopes {
		if !slices.Contains(res.Scopes, s) || c.Scopes != nil && !slices.Contains(c.Scopes, s) {
			return &wrong{"invalid_scope", "a scope is none of this resource's, or this client may not ask for it"}
		}
		if !slices.Contains(meant, s) {
			meant = append(meant, s)
		}
	}
	if len(meant) == 0 {
		return &wrong{"invalid_scope", "name a scope"}
	}
	v.Set("scope", strings.Join(meant, " "))
	return nil
}

// authorize takes the request that a browser brings (RFC 6749 4.1.1).
func (f *Face) authorize(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	v, bad := form(w, r)
	if bad != nil {
		f.refuse(w, r, http.StatusBadRequest, "request-malformed", bad.text, oauthserver.Client{}, v)
		return
	}
	if ok, _ := f.asks.Allow("all"); !ok {
		w.Header().Set("Retry-After", "10")
		f.o.Show(w, r, http.StatusTooManyRequests, "Too many clients ask at this moment. Try again in a little while.", "")
		return
	}
	t := &turn{kind: turnAuthorize}
	if d := r.Header.Get("Sec-Fetch-Dest"); d != "" && d != "document" || r.Header.Get("Sec-Purpose") != "" {
		f.refuse(w, r, http.StatusForbidden, "not-a-page", "This page is not shown inside another one.", oauthserver.Client{}, v)
		return
	}
	c, err := f.client(ctx, v.Get("client_id"))
	if err != nil {
		if errors.Is(err, oauthserver.ErrNoClient) || errors.Is(err, oauthserver.ErrClientRefused) {
			f.refuse(w, r, http.StatusBadRequest, "client-refused", "This client is not known here: "+err.Error()+".", oauthserver.Client{ID: v.Get("client_id")}, v)
			return
		}
		f.broken(w, r, err)
		return
	}
	t.client = &c
	pushed := ""
	if uri := v.Get("request_uri"); uri != "" {
		pushed = strings.TrimPrefix(uri, parPrefix)
		t.waiting, err = f.askings.take(ctx, kindPushed, pushed)
		if errors.Is(err, oauthserver.ErrNoAsking) || err == nil && t.waiting.Session.ClientID != c.ID {
			f.refuse(w, r, http.StatusBadRequest, "request-uri-refused", "This request was used already or took too long. Begin again in your client.", c, v)
			return
		}
		if err != nil {
			f.broken(w, r, err)
			return
		}
		v = pushedParams(t.waiting.Session)
	} else if v.Has("request") {
		f.refuse(w, r, http.StatusBadRequest, "request-object", "The client sent a request object, which is not supported here.", c, v)
		return
	}
	// Nothing goes to a redirect that is not the client's.
	if !c.Redirects(v.Get("redirect_uri")) || oauthserver.CheckRedirect(v.Get("redirect_uri")) != nil {
		f.refuse(w, r, http.StatusBadRequest, "redirect-refused", "The client asked to send you to an address that is not its own. Nothing was sent there.", c, v)
		return
	}
	t.redirect = v.Get("redirect_uri")
	if bad := f.judge(v, c); bad != nil {
		f.tell(w, r, *bad, c, v)
		return
	}
	params := only(v, authorizeParams...)
	if pushed != "" {
		t.waiting.Session.Scopes = v.Get("scope")
		params = url.Values{"client_id": {c.ID}, "request_uri": {parPrefix + pushed}}
	}
	_, err = f.ask(ctx, t, http.MethodGet, oauthserver.PathAuthorize, params, http.Header{})
	if err != nil || t.asking == "" {
		f.broken(w, r, errors.Join(err, t.fault, t.cause, errors.New("the request was judged good and not taken")))
		return
	}
	if _, err := f.note(ctx, event{allow, asks, "", c.ID, v.Get("resource"),
		map[string]string{"scopes": v.Get("scope"), "redirect": short(t.redirect), "client.kind": c.Kind.String()}}); err != nil {
		f.broken(w, r, err)
		return
	}
	http.Redirect(w, r, oauthserver.PathConsent+"?id="+url.QueryEscape(t.asking), http.StatusSeeOther)
}

// pushedParams are the parameters of a pushed request, and nothing that the
// browser brought besides.
func pushedParams(s goidc.AuthnSession) url.Values {
	p := s.AuthorizationParameters
	v := url.Values{}
	for name, value := range map[string]string{"response_type": string(p.ResponseType), "client_id": s.ClientID, "redirect_uri": p.RedirectURI,
		"scope": p.Scopes, "state": p.State, "code_challenge": p.CodeChallenge, "code_challenge_method": string(p.CodeChallengeMethod), "dpop_jkt": p.DPoPJKT} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if len(p.Resources) == 1 {
		v.Set("resource", p.Resources[0])
	}
	return v
}

// tell tells a client what is wrong with its request, by way of the browser. A
// client that anybody can be gets no such answer but on loopback: it would make
// of this page a link to wherever it likes (RFC 9700 4.11.2).
func (f *Face) tell(w http.ResponseWriter, r *http.Request, bad wrong, c oauthserver.Client, v url.Values) {
	u, err := url.Parse(v.Get("redirect_uri"))
	if err != nil || c.Kind != oauthserver.Configured && !egress.Loopback(u.Hostname()) {
		f.refuse(w, r, http.StatusBadRequest, "request-refused", "The client's request cannot be granted: "+bad.text+".", c, v)
		return
	}
	if _, err := f.note(r.Context(), event{deny, "request-refused", "", c.ID, v.Get("resource"),
		map[string]string{"error": bad.code, "why": bad.text}}); err != nil {
		f.broken(w, r, err)
		return
	}
	q := u.Query()
	q.Set("error", bad.code)
	q.Set("error_description", bad.text)
	q.Set("iss", f.o.Issuer)
	if s := v.Get("state"); s != "" && len(s) <= mostState {
		q.Set("state", s)
	}
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}

// refuse shows a person what no client can be told.
func (f *Face) refuse(w http.ResponseWriter, r *http.Request, status int, reason, text string, c oauthserver.Client, v url.Values) {
	id, err := f.note(r.Context(), event{deny, reason, "", c.ID, "", map[string]string{"why": text, "redirect": short(v.Get("redirect_uri"))}})
	if err != nil {
		f.broken(w, r, err)
		return
	}
	f.o.Show(w, r, status, text, id)
}

func (f *Face) broken(w http.ResponseWriter, r *http.Request, err error) {
	f.o.Log.Error("the authorization server failed", "path", r.URL.Path, "err", err)
	f.o.Show(w, r, http.StatusServiceUnavailable, "Something here does not work. Try again later, or tell the operator.", "")
}

// par takes a pushed request (RFC 9126).
func (f *Face) par(w http.ResponseWriter, r *http.Request) {
	v, bad := form(w, r)
	t := &turn{kind: turnPush}
	if bad == nil && (v.Has("request_uri") || v.Has("request")) {
		bad = &wrong{"invalid_request", "request and request_uri are not taken here"}
	}
	if ok, _ := f.asks.Allow("all"); bad == nil && !ok {
		bad = &wrong{codeServer, "too many clients ask at this moment: try again in ten seconds"}
	}
	if bad == nil {
		bad = f.judgePushed(r.Context(), t, v)
	}
	if bad != nil {
		f.no(w, r, t, v, *bad)
		return
	}
	f.pass(w, r, t, oauthserver.PathPAR, only(v, append(slices.Clone(authorizeParams), clientParams...)...), v)
}

func (f *Face) judgePushed(ctx context.Context, t *turn, v url.Values) *wrong {
	c, err := f.client(ctx, v.Get("client_id"))
	switch {
	case errors.Is(err, oauthserver.ErrNoClient), errors.Is(err, oauthserver.ErrClientRefused):
		return &wrong{"invalid_client", err.Error()}
	case err != nil:
		t.fault = err
		return &wrong{codeServer, "try again later"}
	case !c.Redirects(v.Get("redirect_uri")) || oauthserver.CheckRedirect(v.Get("redirect_uri")) != nil:
		return &wrong{"invalid_request", "redirect_uri is none of the client's"}
	}
	t.client, t.redirect = &c, v.Get("redirect_uri")
	return f.judge(v, c)
}

// token takes a token request (RFC 6749 4.1.3, 6, RFC 7523 2.1).
func (f *Face) token(w http.ResponseWriter, r *http.Request) {
	v, bad := form(w, r)
	t := &turn{}
	var params []string
	if bad == nil {
		switch v.Get("grant_type") {
		case "authorization_code":
			t.kind, params = turnCode, []string{"grant_type", "code", "redirect_uri", "code_verifier", "resource"}
			bad = f.judgeCode(v)
		case "refresh_token":
			t.kind, params = turnRefresh, []string{"grant_type", "refresh_token", "scope", "resource"}
		case grantAssertion:
			t.kind, params = turnAssertion, []string{"grant_type", "assertion", "scope", "resource"}
			bad = f.judgeAssertion(r.Context(), t, v)
		default:
			bad = &wrong{"unsupported_grant_type", "grant_type is none of this server's"}
		}
	}
	if bad != nil {
		f.no(w, r, t, v, *bad)
		return
	}
	f.pass(w, r, t, oauthserver.PathToken, only(v, append(params, clientParams...)...), v)
}

func (f *Face) judgeCode(v url.Values) *wrong {
	_, ours := f.o.Resources[v.Get("resource")]
	switch {
	case v.Get("resource") == "":
		return &wrong{"invalid_target", "resource is required (RFC 8707): name the server that the token is for"}
	case !ours:
		return &wrong{"invalid_target", "resource is none of this gateway's"}
	case !verifierForm.MatchString(v.Get("code_verifier")):
		return &wrong{"invalid_grant", "code_verifier is required (PKCE, RFC 7636)"}
	case v.Get("code") == "" || v.Get("redirect_uri") == "":
		return &wrong{"invalid_request", "code and redirect_uri are required"}
	}
	return nil
}

// revoke takes a token back (RFC 7009).
func (f *Face) revoke(w http.ResponseWriter, r *http.Request) {
	v, bad := form(w, r)
	t := &turn{kind: turnRevoke}
	if bad == nil && v.Get("token") == "" {
		bad = &wrong{"invalid_request", "token is required"}
	}
	if bad != nil {
		f.no(w, r, t, v, *bad)
		return
	}
	f.pass(w, r, t, oauthserver.PathRevoke, only(v, append([]string{"token", "token_type_hint"}, clientParams...)...), v)
}

// pass lets the library answer, and puts what came of it on the record.
func (f *Face) pass(w http.ResponseWriter, r *http.Request, t *turn, path string, params, v url.Values) {
	head := http.Header{}
	for _, name := range []string{"Authorization", "Dpop"} {
		if s := r.Header.Get(name); s != "" {
			head.Set(name, s)
		}
	}
	if t.kind == turnAssertion {
		t.fresh.grant = rand.Text()
	}
	a, err := f.ask(r.Context(), t, http.MethodPost, path, params, head)
	if err != nil {
		t.fault = err
	}
	if t.fault != nil {
		f.no(w, r, t, v, wrong{codeServer, "try again later"})
		return
	}
	if a.status >= 400 {
		var said struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(a.body.Bytes(), &said) != nil || said.Error == "" || said.Error == "internal_error" {
			t.fault = errors.Join(t.cause, errors.New("the request was judged good and not taken"))
			f.no(w, r, t, v, wrong{codeServer, "try again later"})
			return
		}
		f.no(w, r, t, v, wrong{said.Error, explain(said.Error)})
		return
	}
	if t.kind == turnRevoke && t.grant != nil {
		if _, err := f.note(r.Context(), event{allow, "grant-revoked", nameOf(t.grant.Who), t.grant.Client, t.grant.Resource, nil}); err != nil {
			f.no(w, r, t, v, wrong{codeServer, "try again later"})
			return
		}
	}
	if ct := a.header.Get("Content-Type"); ct != "" {
		w.Header().Set("Content-Type", ct)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}

// explain says what to do about an error of the library.
func explain(code string) string {
	switch code {
	case "invalid_client":
		return "the client did not prove itself: check client_id, and the secret or key that it is registered with"
	case "invalid_grant", "expired_token":
		return "the code or token is not valid here, has ended, or was used: begin again"
	case "invalid_target":
		return "resource is not what was granted"
	case "invalid_scope":
		return "a scope was not granted: ask for what was, or begin again"
	case "unauthorized_client":
		return "this client may not do that, or needs a proof of the key that its token is bound to"
	}
	return "the request, or the proof in its DPoP header, is not good"
}

// no answers with an error and puts it on the record.
func (f *Face) no(w http.ResponseWriter, r *http.Request, t *turn, v url.Values, bad wrong) {
	status := http.StatusBadRequest
	switch {
	case bad.code == codeServer && t.fault != nil:
		f.o.Log.Error("the authorization server failed", "path", r.URL.Path, "err", t.fault)
		w.Header().Set("Retry-After", "5")
		f.say(w, http.StatusServiceUnavailable, bad.code, bad.text)
		return
	case bad.code == codeServer:
		w.Header().Set("Retry-After", "10")
		f.say(w, http.StatusTooManyRequests, bad.code, bad.text)
		return
	case bad.code == "expired_token":
		bad.code = "invalid_grant"
	case bad.code == "invalid_client":
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Basic realm="munjigi"`)
	}
	e := event{effect: deny, reason: "token-refused", client: v.Get("client_id"), resource: v.Get("resource"),
		detail: map[string]string{"error": bad.code, "path": r.URL.Path, "grant_type": short(v.Get("grant_type"))}}
	if t.client != nil {
		e.client = t.client.ID
	}
	if t.ended != "" {
		e.reason = t.ended
	}
	if t.grant != nil {
		e.who, e.resource = nameOf(t.grant.Who), t.grant.Resource
	}
	if t.cause != nil {
		e.detail["why"] = short(t.cause.Error())
	}
	_, _ = f.note(r.Context(), e)
	f.say(w, status, bad.code, bad.text)
}

// Package pages is what people see of the gateway in a browser: signing in,
// letting a client in, allowing a server to be used for them, and taking that
// back.
//
// Threat: a page that acts for somebody else. A form that another site posts
// (CSRF), a link that is opened by another person than it was made for, a
// page in a frame, a server or a client whose name is a script, a look-alike
// host or text that runs backwards, a redirect to wherever a link says, a
// cookie that another site planted, a request that reached us under a foreign
// host name.
//
// It guarantees: a page answers only under the gateway's own address; nothing
// changes but by a POST from our own page, with a token that is bound to the
// browser and its session; what belongs to another person looks like what does
// not exist; text of others is shown as text, with every character visible,
// and host names letter by letter; no script runs but the one small file that
// asks an authenticator, on the two pages that need it; each step is
// on the record before it is done, and a refusal names its entry.
//
// It does not prove who somebody is (internal/authn/signin does) and keeps no
// grants. Over plain http on loopback a browser sends the cookies to every
// other server on the same host name too, whatever its port: there a session
// is only as private as the programs that listen on this machine.
package pages

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/egress"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/oauthserver"
)

// Paths of the pages beside those of credential.Grants.
const (
	PathSignIn   = "/signin"
	PathCallback = "/signin/callback" // the redirect_uri at identity providers
	PathCode     = "/signin/code"
	PathSignOut  = "/signin/out"
	PathStyle    = "/signin/style.css"
	PathGrants   = "/grants"
	PathWithdraw = "/grants/withdraw"
)

// Providers sign people in elsewhere. See internal/authn/signin.
type Providers interface {
	// Begin returns the URL at which browser signs in with issuer.
	Begin(ctx context.Context, browser, issuer, to string) (string, error)
	// Finish takes the answer and returns who signed in, and to.
	Finish(ctx context.Context, browser string, q url.Values) (call.Principal, string, error)
	// Again is Begin for somebody who has to sign in as need says, although the
	// provider may know them still.
	Again(ctx context.Context, browser, issuer, to string, need call.Requirement) (string, error)
}

// Pairing signs the operator in by a code of the gateway's terminal.
type Pairing interface {
	Show(browser string) error
	Enter(browser, code string) (call.Principal, error)
}

// Sessions are the browsers that are signed in.
type Sessions interface {
	Start(ctx context.Context, p call.Principal) (id string, err error)
	Find(ctx context.Context, id string) (call.Principal, error)
	End(ctx context.Context, id string) error
}

// Options configure Pages.
type Options struct {
	// Base is the address of the pages without a path: https, or http on
	// localhost.
	Base string
	// Issuers are those at which people may sign in, by Providers. Without any,
	// Pairing signs the operator in.
	Issuers   []string
	Providers Providers
	Pairing   Pairing
	Sessions  Sessions
	// Passkeys are the operator's, beside Pairing; nil where there are none.
	Passkeys    Passkeys
	PasskeyList PasskeyList
	// Grants is nil where no server asks for any.
	Grants credential.Grants
	// Consent and Decisions are nil where no client can ask to be let in.
	Consent   Consent
	Decisions Decisions
	// Approvals is nil where no call can be held.
	Approvals authz.Approvals
	// Record takes each step before it is done.
	Record audit.Recorder
	// FormKey makes the tokens of forms.
	FormKey [32]byte
	Log     *slog.Logger
}

// Pages is an http.Handler. Make it with New; the zero value serves nothing.
type Pages struct {
	o         Options
	host      string
	secure    bool
	suffix    string // of cookie names, where no prefix keeps them apart
	pages     *template.Template
	style     []byte
	script    []byte
	routes    map[string]route
	strangers *limit.Keyed // their refusals on the record
	asks      *limit.Keyed // for codes
}

type route struct{ get, post func(*visit) }

//go:embed page/*
var files embed.FS

// New judges the options and reads the templates.
func New(o Options) (*Pages, error) {
	u, err := egress.CheckURL(o.Base, egress.Rules{PlainLoopback: true})
	if err != nil {
		return nil, fmt.Errorf("the address of the pages: %w", err)
	}
	if u.Path != "" || u.RawQuery != "" {
		return nil, errors.New("the address of the pages has a path or a query: leave it out")
	}
	if o.Sessions == nil || o.Record == nil || o.FormKey == [32]byte{} || (o.Providers == nil) == (o.Pairing == nil) {
		return nil, errors.New("pages need sessions, a record, a key, and one way to sign in")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	// As browsers write it, in Host and Origin.
	host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	o.Base = u.Scheme + "://" + host
	p := &Pages{o: o, host: host, secure: u.Scheme == "https", suffix: "-" + u.Port(), strangers: limit.NewKeyed(20, 200, 1),
		asks: limit.NewKeyed(0.1, 5, 1)}
	if p.pages, err = template.New("").Funcs(functions()).ParseFS(files, "page/*.html"); err != nil {
		return nil, err
	}
	if p.style, err = files.ReadFile("page/style.css"); err != nil {
		return nil, err
	}
	if p.script, err = files.ReadFile("page/passkey.js"); err != nil {
		return nil, err
	}
	p.routes = map[string]route{
		PathSignIn:   {get: p.signIn, post: p.beginSignIn},
		PathCallback: {get: p.finishSignIn},
		PathCode:     {post: p.code},
		PathSignOut:  {get: p.askSignOut, post: p.signOut},
		PathStyle:    {get: p.serveStyle},
		PathPasskey:  {post: p.passkeySignIn},
		PathPasskeys: {get: p.passkeys, post: p.addPasskey},
		PathForget:   {post: p.forgetPasskey},
		PathScript:   {get: p.serveScript},
		PathGrants:   {get: p.given},

		PathApprovals:      {get: p.approvals},
		PathApproveSignIn:  {post: p.approveSignIn},
		authz.ApprovalPage: {get: p.approval, post: p.decideApproval},

		PathWithdraw: {post: p.withdraw},

		oauthserver.PathConsent: {get: p.question, post: p.decide},
		PathWithdrawClient:      {post: p.withdrawClient},

		credential.GrantPage:     {get: p.ask, post: p.answer},
		credential.GrantCallback: {get: p.finishGrant},
	}
	return p, nil
}

// Serves reports that a path is that of a page.
func (p *Pages) Serves(path string) bool {
	if p == nil {
		return false
	}
	_, ok := p.routes[path]
	return ok
}

// How long a request's form may take to come and its page to go.
const (
	readTime  = 10 * time.Second
	writeTime = 30 * time.Second
	maxForm   = 16 << 10
)

// ServeHTTP implements http.Handler.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(readTime))
	_ = rc.SetWriteDeadline(time.Now().Add(writeTime))
	defer func() {
		_ = rc.Flush()
		_ = rc.SetWriteDeadline(time.Time{})
	}()
	p.headers(w.Header())
	v := &visit{p: p, w: w, r: r, t: textsFor(r.Header.Get("Accept-Language"))}
	route, ok := p.routes[r.URL.Path]
	switch {
	case !ok || r.URL.RawPath != "":
		v.fail(http.StatusNotFound, v.t.UnknownTitle, v.t.UnknownText)
		return
	case !strings.EqualFold(r.Host, p.host):
		if alias(r.Host, p.host) && r.Method == http.MethodGet && route.get != nil {
			// Cookies and passkeys belong to the one name.
			http.Redirect(w, r, p.o.Base+r.URL.RequestURI(), http.StatusPermanentRedirect)
			return
		}
		v.refuse(http.StatusMisdirectedRequest, "wrong-host", v.t.HostTitle, v.t.HostText)
		return
	}
	do := route.get
	if r.Method == http.MethodPost {
		do = route.post
	} else if r.Method != http.MethodGet {
		do = nil
	}
	if do == nil {
		allow := "GET"
		if route.get == nil {
			allow = "POST"
		} else if route.post != nil {
			allow = "GET, POST"
		}
		w.Header().Set("Allow", allow)
		v.fail(http.StatusMethodNotAllowed, v.t.UnknownTitle, v.t.UnknownText)
		return
	}
	if r.URL.Path != PathStyle && r.URL.Path != PathScript && !v.enter() {
		return
	}
	do(v)
}

// alias reports that two hosts are loopback names of one port, where the
// wanted one is.
func alias(got, want string) bool {
	gh, gp, err1 := net.SplitHostPort(got)
	wh, wp, err2 := net.SplitHostPort(want)
	return err1 == nil && err2 == nil && gp == wp && egress.Loopback(gh) && egress.Loopback(wh)
}

// Nothing but our own style is loaded; on the two pages where an authenticator
// is asked, our own script too. Markup that somebody smuggles in stays dead.
const (
	withoutScript = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	withScript    = "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

// headers are on every answer. The referrer goes to our own pages only: with
// none at all a browser would send forms under the origin "null".
func (p *Pages) headers(h http.Header) {
	for k, v := range map[string]string{
		"Content-Security-Policy":      withoutScript,
		"X-Frame-Options":              "DENY",
		"X-Content-Type-Options":       "nosniff",
		"Referrer-Policy":              "same-origin",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Cache-Control":                "no-store",
		"Vary":                         "Accept-Language, Cookie",
		"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	} {
		h.Set(k, v)
	}
	if p.secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

func (p *Pages) serveStyle(v *visit) {
	v.w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = v.w.Write(p.style)
}

// show writes one page, whole or not at all.
func (v *visit) show(status int, name string, data page) {
	data.T, data.Who, data.visit = v.t, v.who, v
	data.SignedIn = v.who.Valid()
	var b bytes.Buffer
	if err := v.p.pages.ExecuteTemplate(&b, name+".html", data); err != nil {
		v.p.o.Log.Error("a page cannot be written", "page", name, "err", err)
		http.Error(v.w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	h := v.w.Header()
	if data.Ceremony != nil {
		h.Set("Content-Security-Policy", withScript)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.t.Language)
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes())
}

// Refusal shows why a client cannot be let in, for the authorization server, which sends nobody back to a client that it
// does not know. text is for whoever made the client and stays in English; id finds the record, and may be empty.
func (p *Pages) Refusal(w http.ResponseWriter, r *http.Request, status int, text, id string) {
	p.headers(w.Header())
	v := &visit{p: p, w: w, r: r, t: textsFor(r.Header.Get("Accept-Language"))}
	v.show(status, "message", page{Title: v.t.NotLetInTitle, Text: text, ID: id})
}

// page is what templates see.
type page struct {
	T        texts
	Title    string
	Text     string
	SignedIn bool
	Who      call.Principal
	ID       string // of the record
	To       string
	Issuers  []string
	Code     bool
	Wrong    bool
	URL      string
	Asked    credential.Asked
	Given    []credential.Given
	Waits    []authz.Approval
	Question *oauthserver.Question
	Clients  []oauthserver.Decision
	Ceremony *ceremony
	Keys     []authn.Passkey
	Next     string

	visit *visit
}

// Form is the token of a form that posts to path.
func (d page) Form(path string) string { return d.visit.token(path) }

// Person names who is signed in.
func (d page) Person() string { return d.Who.Identity().Subject }

// Operator reports that the operator is signed in and may have passkeys.
func (d page) Operator() bool {
	return d.visit.p.o.PasskeyList != nil && d.Who.Identity().Kind == call.Operator
}

// At names the host where they signed in, "" for the operator.
func (d page) At() string {
	if d.Who.Identity().Kind == call.Operator {
		return ""
	}
	return d.Who.Identity().Issuer
}

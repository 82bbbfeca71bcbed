package pages

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// visit is one request to a page.
type visit struct {
	p       *Pages
	w       http.ResponseWriter
	r       *http.Request
	t       texts
	browser string // the cookie that names the browser before anybody signs in
	session string
	who     call.Principal
	form    url.Values
}

// secretText is the form of what rand.Text gives.
var secretText = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// Names of cookies. Where the pages have TLS their prefix keeps everybody else
// from setting them; elsewhere the port keeps gateways apart.
func (p *Pages) cookieName(what string) string {
	if p.secure {
		return "__Host-munjigi-" + what
	}
	return "munjigi-" + what + p.suffix
}

// cookie returns the value of one of our cookies. Two of the same name mean
// that somebody planted one: ok is false.
func (v *visit) cookie(what string) (value string, ok bool) {
	all := v.r.CookiesNamed(v.p.cookieName(what))
	switch {
	case len(all) == 0:
		return "", true
	case len(all) > 1:
		return "", false
	case !secretText.MatchString(all[0].Value):
		return "", true
	}
	return all[0].Value, true
}

func (v *visit) setCookie(what, value string) {
	c := &http.Cookie{Name: v.p.cookieName(what), Value: value, Path: "/", Secure: v.p.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode} //nolint:gosec // plain http on loopback has no Secure
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(v.w, c)
}

// enter judges where a request comes from, finds its browser and its session,
// and reads its form. It is false when the request was answered.
func (v *visit) enter() bool {
	h := v.r.Header
	var ok1, ok2 bool
	v.browser, ok1 = v.cookie("browser")
	v.session, ok2 = v.cookie("session")
	if !ok1 || !ok2 {
		v.browser, v.session = "", ""
		v.refuse(http.StatusBadRequest, "cookie-planted", v.t.CookieTitle, v.t.CookieText)
		return false
	}
	if d := h.Get("Sec-Fetch-Dest"); d != "" && d != "document" || h.Get("Sec-Purpose") != "" || h.Get("Purpose") == "prefetch" {
		v.refuse(http.StatusForbidden, "not-a-page", v.t.FrameTitle, v.t.FrameText)
		return false
	}
	if v.session != "" {
		who, err := v.p.o.Sessions.Find(v.r.Context(), v.session)
		switch {
		case errors.Is(err, authn.ErrNoSession):
			v.session = ""
		case err != nil:
			v.broken(err)
			return false
		default:
			v.who = who
		}
	}
	if v.browser == "" {
		v.browser = rand.Text()
		if v.r.Method == http.MethodGet {
			v.setCookie("browser", v.browser)
		}
	}
	return v.r.Method != http.MethodPost || v.readForm()
}

// readForm takes a form that our own page posted, and nothing else.
func (v *visit) readForm() bool {
	h := v.r.Header
	no := func(reason string) bool {
		v.refuse(http.StatusForbidden, reason, v.t.FormTitle, v.t.FormText)
		return false
	}
	if o := h.Values("Origin"); len(o) > 1 || len(o) == 1 && o[0] != v.p.o.Base {
		return no("form-from-elsewhere")
	}
	if s := h.Get("Sec-Fetch-Site"); s != "" && s != "same-origin" || h.Get("Origin") == "" && s == "" {
		return no("form-from-elsewhere")
	}
	if m := h.Get("Sec-Fetch-Mode"); m != "" && m != "navigate" {
		return no("form-from-elsewhere")
	}
	if t, _, err := mime.ParseMediaType(h.Get("Content-Type")); err != nil || t != "application/x-www-form-urlencoded" || v.r.URL.RawQuery != "" {
		return no("form-malformed")
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if v.r.ParseForm() != nil {
		return no("form-malformed")
	}
	for _, values := range v.r.PostForm {
		if len(values) > 1 {
			return no("form-malformed")
		}
	}
	v.form = v.r.PostForm
	if !hmac.Equal([]byte(v.form.Get("token")), []byte(v.token(v.r.URL.Path))) {
		return no("form-token")
	}
	return true
}

// token is what a form to path must bring: it is bound to the browser and its
// session, so that no other browser's and no earlier session's token serves.
func (v *visit) token(path string) string {
	m := hmac.New(sha256.New, v.p.o.FormKey[:])
	for _, part := range []string{"form", v.browser, v.session, path} {
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		m.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// note puts a step on the record and returns the entry's ID. Refusals of
// strangers are bounded: then the ID is empty.
func (v *visit) note(stage, effect, reason, server, client string, detail map[string]string) (string, error) {
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: stage, Effect: effect, Reason: reason,
		Principal: v.who.String(), Server: server, Client: client, Method: "page" + v.r.URL.Path, Detail: detail}
	if v.session != "" {
		e.Session = audit.ShortDigest(v.session)
	}
	if effect == deny && !v.who.Valid() {
		if ok, _ := v.p.strangers.Allow("all"); !ok {
			return "", nil
		}
	}
	if err := v.p.o.Record.Record(v.r.Context(), &e); err != nil {
		v.p.o.Log.Error("the record cannot be written", "err", err)
		return "", err
	}
	return e.ID, nil
}

const (
	allow = "allow"
	deny  = "deny"

	stagePage   = "page"
	stageSignIn = "sign-in"
	stageGrant  = "grant"
)

// done puts a step on the record before it is done; without an entry nothing
// happens and the visit was answered.
func (v *visit) done(stage, reason, server, client string, detail map[string]string) bool {
	if _, err := v.note(stage, allow, reason, server, client, detail); err != nil {
		v.fail(http.StatusServiceUnavailable, v.t.BrokenTitle, v.t.BrokenText)
		return false
	}
	return true
}

// refuse answers and puts the refusal on the record.
func (v *visit) refuse(status int, reason, title, text string) {
	v.refuseAt(stagePage, status, reason, title, text, nil)
}

func (v *visit) refuseAt(stage string, status int, reason, title, text string, detail map[string]string) {
	id, _ := v.note(stage, deny, reason, "", "", detail)
	v.show(status, "message", page{Title: title, Text: text, ID: id})
}

// fail answers without an entry: there is nothing here, or nothing works.
func (v *visit) fail(status int, title, text string) {
	v.show(status, "message", page{Title: title, Text: text})
}

// broken answers for a fault of ours.
func (v *visit) broken(err error) {
	v.p.o.Log.Error("a page failed", "path", v.r.URL.Path, "err", err)
	v.refuseAt(stagePage, http.StatusServiceUnavailable, "page-failed", v.t.BrokenTitle, v.t.BrokenText, nil)
}

// to redirects to one of our own paths.
func (v *visit) to(path string) { http.Redirect(v.w, v.r, path, http.StatusSeeOther) }

// leave sends the browser elsewhere. It is a page and not a redirect, because
// browsers hold redirects after a form against form-action, and where a
// provider redirects to on its own cannot be listed there.
func (v *visit) leave(raw string) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		v.broken(errors.New("a provider's address is no URL"))
		return
	}
	v.show(http.StatusOK, "leave", page{Title: v.t.LeaveTitle, URL: u.String()})
}

// renew gives the browser another name, so that no token and no sign-in that
// was begun under the old one is worth anything.
func (v *visit) renew() {
	v.browser = rand.Text()
	v.setCookie("browser", v.browser)
}

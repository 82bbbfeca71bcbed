package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// ServeHTTP takes one HTTP request to an MCP endpoint. Routes are exact:
// /mcp and /mcp/{server}, POST, and for legacy sessions GET and DELETE.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.inflight.enter()
	defer g.inflight.leave()
	Secure(w.Header())
	c := call.New(time.Now())
	in := &inbound{http: r, reply: w.Header(), path: r.URL.Path, era: mcp.Modern}
	if v := r.Header.Get(mcp.HeaderVersion); v != "" && mcp.EraOf(mcp.Version(v)) == mcp.Legacy {
		in.era = mcp.Legacy
	}
	out := &httpOut{w: w, rc: http.NewResponseController(w), limits: g.o.Limits, id: c.ID, joined: &g.joined}
	if r.ContentLength != 0 {
		// Whoever is answered before the body was wanted gets no more time for it.
		_ = out.rc.SetReadDeadline(time.Now().Add(unwantedBody))
	}
	defer out.last()
	if strings.HasPrefix(r.URL.Path, WellKnown) {
		g.serveMetadata(c, in, out)
		return
	}
	server, isServer := strings.CutPrefix(r.URL.Path, "/mcp/")
	if r.URL.Path != "/mcp" && (!isServer || server == "" || strings.Contains(server, "/")) || r.URL.RawPath != "" {
		g.astray(c, in, out, deny(c, call.Accept, call.ReasonUnknownPath, ""))
		return
	}
	if isServer {
		in.server = server
		c.Target.Server = g.known(server)
	}
	switch r.Method {
	case http.MethodPost:
		in.read = func() ([]byte, *refusal) { return g.body(c, in, out) }
		g.serve(g.sessionContext(r, in), c, in, out)
	case http.MethodGet, http.MethodDelete:
		g.serveSession(c, in, out)
	default:
		w.Header().Set("Allow", "POST, GET, DELETE")
		g.astray(c, in, out, deny(c, call.Accept, call.ReasonBadMethod, ""))
	}
}

// astray refuses what comes to no endpoint. Its sender is unknown, so what the
// record keeps of its words is short.
func (g *Gateway) astray(c *call.Call, in *inbound, out *httpOut, ref *refusal) {
	c.Target = call.Target{Server: g.known(in.server), Method: "http/" + strings.ToLower(cut(in.http.Method, 16)), Name: cut(in.http.URL.EscapedPath(), 128)}
	g.refuse(c, in, out, ref)
	g.outcome(in.http.Context(), c, in, out)
}

// known is the name of a server that is there, or nothing: only such a name
// goes on the record as a server.
func (g *Gateway) known(server string) string {
	if g.o.Servers[server] == nil {
		return ""
	}
	return server
}

func cut(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}

// unwantedBody is how long the rest of a body may take that nobody reads.
const unwantedBody = time.Second

// Secure sets the headers that every response carries.
func Secure(h http.Header) {
	h["X-Content-Type-Options"] = nosniff
	h["Cache-Control"] = noStore
	h["Content-Security-Policy"] = noContent
	h["X-Frame-Options"] = denyFrame
	h["Referrer-Policy"] = noReferrer
	h["Cross-Origin-Resource-Policy"] = sameOrigin
}

// body reads the whole message, after the caller is known, within the size
// and time that the limits allow.
func (g *Gateway) body(c *call.Call, in *inbound, out *httpOut) ([]byte, *refusal) {
	r := in.http
	most := int64(g.o.Limits.JSON.Bytes)
	tooLarge := func() *refusal {
		return refuseDecision(call.Decision{Stage: call.Decode, Reason: call.ReasonTooLarge, Detail: "body"}).
			say("the message is larger than " + strconv.FormatInt(most, 10) + " bytes")
	}
	if r.ContentLength > most {
		return nil, tooLarge()
	}
	_ = out.rc.SetReadDeadline(time.Now().Add(g.o.Limits.ReadTime))
	var b []byte
	var err error
	if r.ContentLength >= 0 {
		b, err = readExactly(r.Body, int(r.ContentLength))
	} else {
		b, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, most))
	}
	if err != nil {
		_ = out.rc.SetReadDeadline(time.Now().Add(unwantedBody))
	}
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return nil, tooLarge()
	}
	if err != nil || len(b) == 0 {
		return nil, refuseDecision(call.Decision{Stage: call.Decode, Reason: call.ReasonCutOff, Detail: "body"})
	}
	_ = out.rc.SetReadDeadline(time.Time{})
	// The session is looked up now: its ID alone never lets anybody in.
	if ref := g.session(c, in, out); ref != nil {
		return nil, ref
	}
	return b, nil
}

// readExactly reads n bytes. What is promised takes no memory before it comes.
func readExactly(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, min(n, promised))
	for got := 0; ; {
		m, err := io.ReadFull(r, b[got:])
		if got += m; err != nil || got == n {
			return b[:got], err
		}
		b = append(b, make([]byte, min(n-got, got))...)
	}
}

const promised = 256 << 10

// session finds the legacy session that a request names.
func (g *Gateway) session(c *call.Call, in *inbound, out *httpOut) *refusal {
	ids := in.http.Header[mcp.HeaderSession]
	if len(ids) == 0 {
		return nil
	}
	if v := in.http.Header.Get(mcp.HeaderVersion); v != "" && mcp.EraOf(mcp.Version(v)) == mcp.Modern {
		return nil // 2026-07-28: "ignore it, and do not mint or echo session IDs"
	}
	in.era = mcp.Legacy
	s, what := (*Session)(nil), foundNone
	if len(ids) == 1 {
		s, what = g.o.Sessions.find(ids[0], c.Principal, in.path)
	}
	if what != foundOwn {
		return g.noSession(c, in, s, what)
	}
	in.session, in.peer = s, &s.peer
	out.session = s
	return nil
}

// noSession refuses a session ID that is not the caller's. What is somebody
// else's looks like what does not exist, also to who counts the tries: both
// become more costly to the one who makes them, and to nobody else.
func (g *Gateway) noSession(c *call.Call, in *inbound, s *Session, what found) *refusal {
	why := call.ReasonNoSession
	ctx := in.http.Context()
	switch what {
	case foundForeign:
		why = call.ReasonForeignSession
		g.alarm(ctx, c, in, s)
	case foundWider:
		why = call.ReasonSteppedUp
		g.o.Sessions.close(s)
	}
	if what != foundWider {
		if ok, wait := g.o.Sessions.strays.Allow(c.Principal.ClientKey()); !ok {
			r := refuseDecision(call.Decision{Stage: call.Decode, Reason: call.ReasonTooMany, Detail: string(why) + ": too many sessions that are not the caller's"})
			r.retry = int(wait/time.Second) + 1
			return r.say("too many sessions that are not yours: wait, then send initialize")
		}
	}
	return refuseDecision(call.Decision{Stage: call.Decode, Reason: why})
}

// alarm tells that a session was presented by somebody else. The session lives
// on: ending it would be a weapon against its owner.
func (g *Gateway) alarm(ctx context.Context, c *call.Call, in *inbound, s *Session) {
	who := c.Principal.ClientKey()
	if ok, _ := g.o.Sessions.alarms.Allow(who); !ok {
		return // the calls themselves are on the record
	}
	by := "another principal"
	if s.principal.Key() == c.Principal.Key() {
		by = "another client of the same principal"
	}
	g.o.Logger.WarnContext(ctx, "a session was presented by somebody else", "id", string(c.ID), "session", s.digest,
		"by", c.Principal.String(), "client", c.Principal.Identity().Client, "owner", s.principal.String())
	e := audit.Event{ID: string(call.NewID()), Time: time.Now(), Kind: audit.KindEvent, Stage: call.Decode.String(), Effect: call.Deny.String(),
		Reason: string(call.ReasonForeignSession), Principal: c.Principal.String(), Client: c.Principal.Identity().Client, Server: g.known(in.server),
		Session: s.digest, Detail: map[string]string{"alarm": "a session was presented by " + by, "call": string(c.ID),
			"owner": s.principal.String(), "owner.client": s.principal.Identity().Client, "address": in.http.RemoteAddr}}
	if err := g.o.Record.Record(context.WithoutCancel(ctx), &e); err != nil {
		g.o.Logger.Error("the record cannot be written", "err", err)
	}
}

// sessionContext is the context of a POST: a modern client that goes away
// cancels its call, a legacy one does not ("Disconnection SHOULD NOT be
// interpreted as the client cancelling its request").
func (g *Gateway) sessionContext(r *http.Request, in *inbound) context.Context {
	if len(r.Header[mcp.HeaderSession]) > 0 && (in.era == mcp.Legacy || r.Header.Get(mcp.HeaderVersion) == "") {
		return g.life
	}
	return r.Context()
}

// serveSession takes GET (a stream, or what is left of one) and DELETE of a
// legacy session.
func (g *Gateway) serveSession(c *call.Call, in *inbound, out *httpOut) {
	r := in.http
	in.era = mcp.Legacy
	c.Asked = in.how()
	in.msg.Kind = mcp.Notification
	c.Target = call.Target{Server: g.known(in.server), Method: "http/" + strings.ToLower(r.Method)}
	ctx := r.Context()
	defer g.outcome(ctx, c, in, out)
	ref := g.accept(c, in)
	if ref == nil {
		ref = g.authenticate(ctx, c, in)
	}
	release := func() {}
	if ref == nil {
		release, ref = g.admit(c, in)
	}
	// A stream is counted as a stream, not as a call.
	release()
	if ref == nil && len(r.Header[mcp.HeaderSession]) == 0 {
		ref = deny(c, call.Decode, call.ReasonBadMethod, r.Method)
		out.w.Header().Set("Allow", "POST")
	}
	if ref == nil {
		if ref = g.session(c, in, out); ref != nil {
			c.Decide(ref.decision)
		} else if in.session == nil {
			ref = deny(c, call.Decode, call.ReasonBadMethod, r.Method)
		}
	}
	if ref != nil {
		g.refuse(c, in, out, ref)
		return
	}
	c.Pass(call.Decode)
	if r.Method == http.MethodDelete {
		g.o.Sessions.close(in.session)
		c.Pass(call.Reply)
		out.w.WriteHeader(http.StatusNoContent)
		return
	}
	rel, ok := g.streams.Acquire(c.Principal.Key())
	if !ok {
		g.refuse(c, in, out, deny(c, call.Admit, call.ReasonTooMany, "streams"))
		return
	}
	defer rel()
	g.listenLegacy(ctx, c, in, out)
}

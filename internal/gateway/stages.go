package gateway

import (
	"context"
	"errors"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// accept checks what is true of the connection and the request line alone.
func (g *Gateway) accept(c *call.Call, in *inbound) *refusal {
	r := in.http
	if in.server != "" && g.o.Servers[in.server] == nil || in.server == "" && len(g.merged) == 0 {
		// Who is nobody yet must not learn which servers there are: the
		// answer comes after authentication.
		in.path = ""
	}
	if r == nil {
		c.Pass(call.Accept)
		return nil
	}
	if !g.hosts[strings.ToLower(r.Host)] {
		return deny(c, call.Accept, call.ReasonBadHost, r.Host)
	}
	if h := r.Header["Host"]; len(h) > 0 {
		// HTTP/2 can say it beside :authority, and then differently (RFC 9113
		// section 8.3.1).
		return deny(c, call.Accept, call.ReasonBadHost, strings.Join(h, ", "))
	}
	if o, sent := r.Header["Origin"]; sent && (len(o) != 1 || !g.origins[strings.ToLower(o[0])]) {
		return deny(c, call.Accept, call.ReasonBadOrigin, strings.Join(o, ", "))
	}
	if r.Method == http.MethodPost {
		mt, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		cs := params["charset"]
		if err != nil || mt != mcp.ContentJSON || cs != "" && !strings.EqualFold(cs, "utf-8") ||
			r.Header.Get("Content-Encoding") != "" || len(r.Header["Content-Type"]) != 1 || len(r.Header["Content-Length"]) > 1 {
			return deny(c, call.Accept, call.ReasonBadContentType, r.Header.Get("Content-Type"))
		}
	}
	if !acceptable(r) {
		return deny(c, call.Accept, call.ReasonBadAccept, r.Header.Get("Accept"))
	}
	c.Pass(call.Accept)
	return nil
}

func acceptable(r *http.Request) bool {
	a := r.Header["Accept"]
	if len(a) == 0 || r.Method == http.MethodDelete {
		return true
	}
	all := strings.ToLower(strings.Join(a, ","))
	if strings.Contains(all, "*/*") {
		return true
	}
	stream := strings.Contains(all, mcp.ContentEventStream) || strings.Contains(all, "text/*")
	if r.Method == http.MethodGet {
		return stream
	}
	return stream && (strings.Contains(all, mcp.ContentJSON) || strings.Contains(all, "application/*"))
}

// authenticate proves who calls, from headers alone.
func (g *Gateway) authenticate(ctx context.Context, c *call.Call, in *inbound) *refusal {
	if in.http == nil {
		// stdio: the process that started us is the caller; wrap gives its
		// principal.
		if !c.Principal.Valid() {
			return deny(c, call.Authenticate, call.ReasonUnauthenticated, "no principal on stdio")
		}
		c.Pass(call.Authenticate)
		return nil
	}
	if namesToken(in.http.URL.RawQuery) {
		r := deny(c, call.Authenticate, call.ReasonTokenInQuery, "query string names a token")
		r.challenge = g.challenge(in, "Bearer", "invalid_request")
		return r
	}
	ask := authn.Request{Method: in.http.Method, Header: in.http.Header, Resource: g.o.BaseURL + in.http.URL.Path,
		Loopback: isLoopback(in.http.RemoteAddr), Reply: in.reply}
	if host, _, err := net.SplitHostPort(in.http.RemoteAddr); err == nil {
		ask.Peer = host
	}
	if in.http.TLS != nil {
		ask.Certificates = in.http.TLS.PeerCertificates
	}
	p, err := g.o.Authn.Authenticate(ctx, ask)
	if err != nil || !p.Valid() {
		return unproved(c, err)
	}
	c.Principal, in.token = p, presented(in.http.Header)
	c.Pass(call.Authenticate)
	return nil
}

// namesToken reports a query that has, or hides by percent-encoding, the name of
// a token.
func namesToken(query string) bool {
	if query == "" {
		return false
	}
	plain, err := url.QueryUnescape(query)
	return err == nil && strings.Contains(strings.ToLower(plain), "token") || strings.Contains(strings.ToLower(query), "token")
}

// how says how a message came, as far as it is known.
func (in *inbound) how() call.Asked {
	a := call.Asked{Era: in.era.String()}
	if in.http != nil {
		if from, err := netip.ParseAddrPort(in.http.RemoteAddr); err == nil {
			a.Address = from.Addr().Unmap().WithZone("")
		}
	}
	return a
}

// unproved is the refusal of a caller that the authenticator did not let in. It
// is one verdict, so that the record says what the caller is told.
func unproved(c *call.Call, err error) *refusal {
	var no *authn.Refusal
	switch {
	case errors.Is(err, authn.ErrUnavailable):
		return deny(c, call.Authenticate, call.ReasonNoProvider, err.Error())
	case errors.As(err, &no):
		r := deny(c, call.Authenticate, no.Reason, no.Text).say(no.Text)
		r.challenge = no.Challenge
		return r
	}
	r := deny(c, call.Authenticate, call.ReasonUnauthenticated, "no principal")
	r.challenge = "Bearer"
	return r
}

// presented is the token of an Authorization header that was accepted, whatever
// its scheme.
func presented(h http.Header) secret.Value {
	vs := h["Authorization"]
	if len(vs) != 1 {
		return secret.Value{}
	}
	_, token, _ := strings.Cut(strings.TrimSpace(vs[0]), " ")
	return secret.New(strings.TrimSpace(token))
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// admit applies the limits of the caller to all that it sends, before any of
// it is read.
func (g *Gateway) admit(c *call.Call, in *inbound) (release func(), ref *refusal) {
	release = func() {}
	if g.draining.Load() {
		return release, deny(c, call.Admit, call.ReasonDraining, "")
	}
	if in.path == "" {
		return release, deny(c, call.Admit, call.ReasonUnknownServer, "")
	}
	rel, ok := g.messages.Acquire(c.Principal.Key())
	if !ok {
		return release, deny(c, call.Admit, call.ReasonTooMany, "concurrent messages of this principal")
	}
	c.Pass(call.Admit)
	return rel, nil
}

// admitCall applies the limit of calls. Streams have their own; answers and
// notifications have none, so that who is at the limit can still answer what
// its calls ask, and cancel them.
func (g *Gateway) admitCall(c *call.Call, in *inbound, release func()) (func(), *refusal) {
	if in.msg.Kind != mcp.Request {
		return release, nil
	}
	gate, what := g.calls, "concurrent calls of this principal"
	if in.msg.Method == mcp.MethodListen {
		gate, what = g.streams, "streams"
	}
	rel, ok := gate.Acquire(c.Principal.Key())
	if !ok {
		return release, deny(c, call.Admit, call.ReasonTooMany, what)
	}
	return func() { rel(); release() }, nil
}

// parsed is a message, or why it is none.
type parsed struct {
	msg mcp.Message
	err error
}

func (g *Gateway) parse(c *call.Call, body []byte) *parsed {
	p := &parsed{}
	p.err = g.contained(c, func() (err error) {
		p.msg, err = mcp.Decode(body, g.o.Limits.JSON)
		return err
	})
	return p
}

// decode reads the body once, strictly, and decides which era speaks.
func (g *Gateway) decode(c *call.Call, in *inbound) *refusal {
	p := in.parsed
	if p == nil {
		body, ref := in.read()
		if ref != nil {
			c.Decide(ref.decision)
			return ref
		}
		p = g.parse(c, body)
	}
	if p.err != nil {
		return g.undecodable(c, in, p.err)
	}
	m := p.msg
	in.msg = m
	c.Target = call.Target{Server: in.server, Method: m.Method}
	var err error
	if in.params, err = mcp.ObjectOf(m.Params); err != nil {
		return g.undecodable(c, in, err)
	}
	if _, _, dup := strictjson.FoldedDuplicate(in.params); dup {
		return deny(c, call.Decode, call.ReasonMalformed, "params").say("params has two members that differ only in case")
	}
	if _, bad := strictjson.UnexpectedCase(in.params, "name", "uri", "arguments", "cursor", "_meta", "requestState", "inputResponses", "taskId", "task", "ref", "argument", "level", "notifications", "protocolVersion", "capabilities", "clientInfo"); bad {
		return deny(c, call.Decode, call.ReasonMalformed, "params").say("params has a member that differs from a known one only in case")
	}
	if ref := g.era(c, in); ref != nil {
		return ref
	}
	c.Asked = in.how()
	c.Pass(call.Decode)
	return nil
}

func (g *Gateway) undecodable(c *call.Call, in *inbound, err error) *refusal {
	why := call.ReasonMalformed
	var de *mcp.DecodeError
	if errors.As(err, &de) && strings.HasPrefix(de.Reason, "batch") {
		why = call.ReasonBatch
	}
	r := deny(c, call.Decode, why, err.Error())
	if de != nil {
		r.code = de.Code
		r.text = de.Reason
		in.msg.ID = de.ID
		in.msg.Kind = mcp.Request
	}
	var je *strictjson.Error
	if errors.As(err, &je) && je.Kind == strictjson.KindSize {
		r.status = http.StatusRequestEntityTooLarge
	}
	return r
}

// era tells modern from legacy by one source and checks the others for
// agreement: a session is legacy, a declared version decides, initialize is
// legacy.
func (g *Gateway) era(c *call.Call, in *inbound) *refusal {
	header := ""
	if in.http != nil {
		vs := in.http.Header[mcp.HeaderVersion]
		if len(vs) > 1 {
			return deny(c, call.Decode, call.ReasonHeaderMismatch, "two version headers").say("Header mismatch: MCP-Protocol-Version is sent twice")
		}
		if len(vs) == 1 {
			header = strings.TrimSpace(vs[0])
		}
	}
	declared := metaVersion(in.params)
	hv := mcp.Version(header)
	switch {
	case header != "" && (mcp.EraOf(hv) == mcp.Modern || !mcp.Known(hv, mcp.V20250326)):
		in.era = mcp.Modern
	case declared != "" && in.msg.Kind == mcp.Request:
		in.era = mcp.Modern
	case in.http == nil && in.peer.era() == mcp.Modern && in.msg.Method != mcp.MethodInitialize:
		in.era = mcp.Modern
	default:
		in.era = mcp.Legacy
	}
	if in.era == mcp.Modern {
		return g.modernEra(c, in, hv)
	}
	return g.legacyEra(c, in, hv)
}

func metaVersion(params strictjson.Object) string {
	raw, ok := params.Get("_meta")
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
		return ""
	}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return ""
	}
	s, _ := mcp.Text(o, mcp.MetaProtocolVersion, 64)
	return s
}

func (g *Gateway) modernEra(c *call.Call, in *inbound, header mcp.Version) *refusal {
	switch in.msg.Kind {
	case mcp.Result, mcp.ErrorReply:
		return deny(c, call.Decode, call.ReasonUnaskedAnswer, "response in the modern era").say("clients of this protocol version send no responses")
	case mcp.Notification:
		if in.http != nil && header != "" && !mcp.Known(header, g.o.Floor) {
			return g.unsupported(c, header)
		}
		return nil
	}
	if in.http != nil && header == "" {
		return deny(c, call.Decode, call.ReasonHeaderMismatch, "no version header").say("Header mismatch: MCP-Protocol-Version is required")
	}
	meta, err := mcp.ReadMeta(in.params)
	if err != nil {
		if header != "" && !mcp.Known(header, g.o.Floor) && metaVersion(in.params) == "" {
			return g.unsupported(c, header)
		}
		r := deny(c, call.Decode, call.ReasonInvalidParams, err.Error()).say(err.Error())
		return r
	}
	if in.http != nil && meta.Version != header {
		return deny(c, call.Decode, call.ReasonHeaderMismatch, "versions differ").say("Header mismatch: MCP-Protocol-Version differs from the protocol version in _meta")
	}
	if !mcp.Known(meta.Version, g.o.Floor) || mcp.EraOf(meta.Version) != mcp.Modern {
		return g.unsupported(c, meta.Version)
	}
	in.meta = meta
	if in.http == nil && in.peer.era() == 0 {
		in.peer.opens(mcp.Modern)
	}
	return nil
}

func (g *Gateway) unsupported(c *call.Call, v mcp.Version) *refusal {
	r := deny(c, call.Decode, call.ReasonUnsupportedVersion, string(v))
	var sup []byte
	sup = append(sup, '[')
	for i, s := range mcp.Supported(g.o.Floor) {
		if i > 0 {
			sup = append(sup, ',')
		}
		sup = strictjson.AppendString(sup, string(s))
	}
	sup = append(sup, ']')
	asked := string(v)
	if len(asked) > 64 {
		asked = asked[:64]
	}
	return r.withData("supported", sup).withData("requested", strictjson.AppendString(nil, asked))
}

func (g *Gateway) legacyEra(c *call.Call, in *inbound, header mcp.Version) *refusal {
	if g.o.Floor > mcp.V20251125 {
		return g.unsupported(c, header)
	}
	if header != "" && !mcp.Known(header, g.o.Floor) {
		return g.unsupported(c, header)
	}
	if in.session != nil && header != "" && header != in.session.version {
		return deny(c, call.Decode, call.ReasonHeaderMismatch, "not the negotiated version").say("MCP-Protocol-Version is not the version that this session negotiated")
	}
	if in.session == nil && in.msg.Method != mcp.MethodInitialize && in.msg.Method != mcp.MethodPing {
		r := deny(c, call.Decode, call.ReasonNoSession, "no session").say("send initialize first, then its Mcp-Session-Id with every request")
		r.status = http.StatusBadRequest
		return r
	}
	if in.msg.Kind == mcp.Request {
		meta, err := mcp.LegacyMeta(in.params)
		if err != nil {
			return deny(c, call.Decode, call.ReasonInvalidParams, err.Error()).say(err.Error())
		}
		in.meta = meta
	}
	return nil
}

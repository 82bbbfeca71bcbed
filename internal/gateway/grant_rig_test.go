package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/internal/upstream"
	"github.com/munjigi/munjigi/internal/upstream/bridge"
	"github.com/munjigi/munjigi/internal/upstream/streamable"
	"github.com/munjigi/munjigi/test/fixture/server"
)

// people is an authenticator whose tokens say who calls: "subject/client".
type people struct{}

func (people) Authenticate(_ context.Context, r authn.Request) (call.Principal, error) {
	sub, client, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "/")
	if !ok {
		return call.Principal{}, authn.ErrNobody
	}
	return call.NewPrincipal(call.Identity{Issuer: "https://idp.example", Subject: sub, Client: client, Kind: call.Operator}), nil
}

func (people) Current(call.Principal) bool { return true }

// grantor is a credential.Source that waits for people: it gives a token to
// whom the test granted one, and a link to all others.
type grantor struct {
	mu    sync.Mutex
	given map[string]bool // by principal and client
	open  map[string]*link
	fresh bool // every refusal makes another link
	links int
}

type link struct {
	need *credential.GrantNeeded
	done chan struct{}
	err  error
}

func (s *grantor) Headers(_ context.Context, who credential.Subject) (http.Header, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.given[who.Principal.ClientKey()] {
		return http.Header{}, nil
	}
	id := who.Principal.Identity()
	return http.Header{"Authorization": {"Bearer of " + id.Subject + " by " + id.Client}}, nil
}

func (s *grantor) Rejected(_ context.Context, who credential.Subject, _ credential.Rejection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := who.Principal.ClientKey()
	l := s.open[key]
	if l == nil || s.fresh {
		s.links++
		id := fmt.Sprintf("%032x", s.links)
		l = &link{done: make(chan struct{})}
		l.need = &credential.GrantNeeded{Server: "s", ID: id, URL: "https://gw.example/grants/open?id=" + id, Wait: func(ctx context.Context) error {
			select {
			case <-l.done:
				return l.err
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		s.open[key] = l
	}
	return l.need
}

// settle ends the open link of a token's bearer: given, or refused.
func (s *grantor) settle(token string, given bool) {
	p, _ := people{}.Authenticate(context.Background(), authn.Request{Header: http.Header{"Authorization": {"Bearer " + token}}})
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.open[p.ClientKey()]
	delete(s.open, p.ClientKey())
	if given {
		s.given[p.ClientKey()] = true
	}
	if l != nil {
		if !given {
			l.err = credential.ErrRefused
		}
		close(l.done)
	}
}

// granting is a gateway before the servers s, which wants each person's own
// token, and free, which wants none.
type granting struct {
	*bench
	t     *testing.T
	src   *grantor
	mu    sync.Mutex
	calls []string // the bearers of requests that s let in
	id    int
}

func startGranting(t *testing.T, era server.Era, change func(*gateway.Options)) *granting {
	t.Helper()
	g := &granting{t: t, src: &grantor{given: map[string]bool{}, open: map[string]*link{}}}
	servers := map[string]upstream.Server{}
	for _, name := range []string{"s", "free"} {
		fix, err := server.New(server.Options{Era: era})
		if err != nil {
			t.Fatal(err)
		}
		inner := fix.Handler()
		up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if a := r.Header.Get("Authorization"); name == "s" {
				if !strings.HasPrefix(a, "Bearer of ") {
					w.Header().Set("WWW-Authenticate", "Bearer")
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				g.mu.Lock()
				g.calls = append(g.calls, a)
				g.mu.Unlock()
			} else if a != "" {
				t.Errorf("a server that wants no token got %q", a)
			}
			inner.ServeHTTP(w, r)
		}))
		cfg := streamable.Config{URL: up.URL, Limits: streamable.DefaultLimits()}
		if name == "s" {
			cfg.Credential = g.src
		}
		d, err := streamable.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		b, err := bridge.New(bridge.Config{Name: name, Era: bridge.EraAuto, Kind: bridge.HTTP, Floor: "2025-06-18", PerPrincipal: name == "s"}, d)
		if err != nil {
			t.Fatal(err)
		}
		servers[name] = b
		t.Cleanup(func() {
			_ = b.Close(context.WithoutCancel(t.Context()))
			fix.Close()
			up.CloseClientConnections()
			up.Close()
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	g.bench = start(t, func(o *gateway.Options) {
		o.Servers, o.Order, o.Merged, o.Authn = servers, []string{"s", "free"}, []string{"s", "free"}, people{}
		go o.Sessions.Sweep(ctx, o.Limits.SessionIdle)
		if change != nil {
			change(o)
		}
	})
	t.Cleanup(cancel)
	t.Cleanup(g.gw.Retire)
	return g
}

// said is one answer to a request.
type said struct {
	status int
	body   string
	Result struct {
		ResultType    string
		IsError       bool
		Tools         []struct{ Name string }
		Prompts       []json.RawMessage
		Resources     []json.RawMessage
		Capabilities  map[string]json.RawMessage
		Content       []struct{ Text string }
		RequestState  string
		InputRequests map[string]struct {
			Method string
			Params struct{ Mode, URL, Message string }
		}
		Meta map[string]json.RawMessage `json:"_meta"`
	}
	Error struct {
		Code    int
		Message string
		Data    struct {
			ID, URL      string
			Elicitations []struct{ Mode, URL, Message, ElicitationID string }
		}
	}
}

func (s *said) names() (out []string) {
	for _, t := range s.Result.Tools {
		out = append(out, t.Name)
	}
	return out
}

func (g *granting) read(resp *http.Response, body string) *said {
	g.t.Helper()
	s := &said{status: resp.StatusCode, body: body}
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		for line := range strings.Lines(body) {
			if data, ok := strings.CutPrefix(line, "data: {"); ok {
				s.body = "{" + data
			}
		}
	}
	if err := json.Unmarshal([]byte(s.body), s); err != nil {
		g.t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
	}
	return s
}

// caller is one client: era, token, whether it can show links, path.
type caller struct {
	legacy, show bool
	version      string // of a legacy session
	token, path  string
	session      string
}

func (g *granting) as(c caller) *caller {
	if c.token == "" {
		c.token = "kim/app"
	}
	if c.path == "" {
		c.path = "/mcp/s"
	}
	if c.version == "" {
		c.version = "2025-11-25"
	}
	if c.legacy {
		s, resp := g.ask(&c, "initialize", "", `"protocolVersion":"`+c.version+`","clientInfo":{"name":"t","version":"1"},"capabilities":`+c.caps())
		if c.session = resp.Header.Get("Mcp-Session-Id"); s.status != 200 || c.session == "" || s.Result.Capabilities["tools"] == nil {
			g.t.Fatalf("initialize without a permission: %d %s", s.status, s.body)
		}
	} else if s, _ := g.ask(&c, "server/discover", "", ""); s.status != 200 || s.Result.Capabilities["tools"] == nil {
		g.t.Fatalf("discover without a permission: %d %s", s.status, s.body)
	}
	return &c
}

func (c *caller) caps() string {
	if c.show {
		return `{"elicitation":{"url":{}}}`
	}
	return `{}`
}

// in is the name of something of the server s on the caller's path.
func (c *caller) in(name string) string {
	switch {
	case c.path != "/mcp":
		return name
	case strings.Contains(name, "://"):
		return "s+" + name
	}
	return "s__" + name
}

func (g *granting) request(c *caller, method, name, params string) *http.Request {
	g.t.Helper()
	g.mu.Lock()
	g.id++
	id := g.id
	g.mu.Unlock()
	all := []string{}
	if !c.legacy {
		all = append(all, `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":`+c.caps()+`}`)
	}
	if name != "" {
		member := "name"
		if strings.HasPrefix(method, "resources/") {
			member = "uri"
		}
		all = append(all, fmt.Sprintf(`%q:%q`, member, name))
	}
	if params != "" {
		all = append(all, params)
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s}}`, id, method, strings.Join(all, ","))
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.URL+c.path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	h := map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + c.token}
	if c.legacy {
		if c.session != "" {
			h["Mcp-Session-Id"], h["Mcp-Protocol-Version"] = c.session, c.version
		}
	} else {
		h["Mcp-Protocol-Version"], h["Mcp-Method"] = "2026-07-28", method
		if name != "" {
			h["Mcp-Name"] = name
		}
	}
	for k, v := range h {
		req.Header.Set(k, v)
	}
	return req
}

func (g *granting) ask(c *caller, method, name, params string) (*said, *http.Response) {
	g.t.Helper()
	resp, err := g.Client().Do(g.request(c, method, name, params))
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.read(resp, string(b)), resp
}

// retry is the answer of a client that was asked.
func (g *granting) retry(c *caller, method, name string, asked *said, action string) *said {
	g.t.Helper()
	s, _ := g.ask(c, method, name, fmt.Sprintf(`"requestState":%q,"inputResponses":{"grant":{"action":%q}},"arguments":{}`, asked.Result.RequestState, action))
	return s
}

// stream is an event stream that is being read.
type stream struct {
	t      *testing.T
	body   io.ReadCloser
	lines  *bufio.Reader
	cancel context.CancelFunc
}

func (g *granting) stream(req *http.Request) *stream {
	g.t.Helper()
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := g.Client().Do(req.WithContext(ctx))
	if err != nil {
		cancel()
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { cancel(); _ = resp.Body.Close() })
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(resp.Body)
		g.t.Fatalf("no stream: %d %s", resp.StatusCode, b)
	}
	return &stream{g.t, resp.Body, bufio.NewReader(resp.Body), cancel}
}

// changes opens the stream of what a client is told.
func (g *granting) changes(c *caller) *stream {
	g.t.Helper()
	if !c.legacy {
		s := g.stream(g.request(c, "subscriptions/listen", "", `"notifications":{"toolsListChanged":true,"promptsListChanged":true}`))
		s.hears("notifications/subscriptions/acknowledged")
		return s
	}
	req := g.request(c, "", "", "")
	req.Method, req.Body, req.ContentLength = http.MethodGet, nil, 0
	return g.stream(req)
}

// hears returns the next line with any of what; others are skipped.
func (s *stream) hears(what ...string) string {
	s.t.Helper()
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			s.t.Fatalf("the stream ended before %v: %v", what, err)
		}
		if slices.ContainsFunc(what, func(w string) bool { return strings.Contains(line, w) }) {
			return line
		}
	}
}

// hearsAll reads until each of what has come, in whatever order.
func (s *stream) hearsAll(what ...string) {
	s.t.Helper()
	for len(what) > 0 {
		line := s.hears(what...)
		what = slices.DeleteFunc(what, func(w string) bool { return strings.Contains(line, w) })
	}
}

// rest ends the stream and returns what came meanwhile.
func (s *stream) rest() string {
	s.cancel()
	b, err := io.ReadAll(s.lines)
	if err != nil && !errors.Is(err, context.Canceled) {
		s.t.Error(err)
	}
	return string(b)
}

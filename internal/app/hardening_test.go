package app_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/config"
)

// rig is a whole gateway behind its own listener, for those who mean it harm,
// as one test sees it.
type rig struct {
	*gate
	t *testing.T
}

type gate struct {
	ctx   context.Context
	app   *app.App
	file  string
	addr  string
	roots *x509.CertPool // nil for plain HTTP
	stop  context.CancelFunc
	done  chan error
	over  sync.Once

	mu    sync.Mutex
	wants map[string]string // reasons of outcomes by ID
}

// in is the rig as a subtest sees it.
func (r *rig) in(t *testing.T) *rig { return &rig{gate: r.gate, t: t} }

// rigHost is the only Host that a rig's clients send: its port is not known
// when its config is written.
const rigHost = "gw.test"

// newRig serves a config; a certificate is made where the config has a tls key
// with ${cert} and ${key}.
func newRig(t *testing.T, conf string) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	dir := t.TempDir()
	r := &rig{t: t, gate: &gate{ctx: ctx, file: filepath.Join(dir, "munjigi.yaml"), done: make(chan error, 1), wants: map[string]string{}}}
	if strings.Contains(conf, "${cert}") {
		cert, key := selfSigned(t, dir)
		conf = strings.NewReplacer("${cert}", cert, "${key}", key).Replace(conf)
		r.roots = x509.NewCertPool()
		b, err := os.ReadFile(cert)
		if err != nil || !r.roots.AppendCertsFromPEM(b) {
			t.Fatal("no certificate", err)
		}
	}
	conf = "listen: 127.0.0.1:0\nallowed_hosts: [" + rigHost + "]\naudit: { durability: relaxed }\n" +
		"data: " + filepath.Join(dir, "data") + "\n" + conf
	r.write(conf)
	load := func() (*config.Config, error) {
		cfg, err := config.Build{Identity: true, Policy: true, Getenv: func(string) string { return "" }}.Load(r.file)
		if err == nil {
			unheld(cfg)
		}
		return cfg, err
	}
	cfg, err := load()
	if err != nil {
		t.Fatalf("%v\n%s", err, conf)
	}
	r.app, err = app.Open(ctx, cfg, app.Options{Version: "test", Load: load, Getenv: func(string) string { return "" },
		LookupEnv: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.app.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	sctx, stop := context.WithCancel(ctx)
	r.stop = stop
	go func() { r.done <- r.app.Serve(sctx, l) }()
	t.Cleanup(r.close)
	return r
}

func (r *rig) write(conf string) {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(conf), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// rewrite changes the config file without telling the gateway.
func (r *rig) rewrite(from, to string) {
	r.t.Helper()
	b, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(string(b), from) {
		r.t.Fatalf("the config lacks %q", from)
	}
	r.write(strings.ReplaceAll(string(b), from, to))
}

// close stops the gateway, once.
func (r *rig) close() {
	r.over.Do(func() {
		r.stop()
		if err := <-r.done; err != nil {
			r.t.Errorf("the gateway did not stop gracefully: %v", err)
		}
		if err := r.app.Close(context.WithoutCancel(r.ctx)); err != nil {
			r.t.Errorf("the gateway did not close: %v", err)
		}
		r.judgeRecord()
	})
}

// token returns the token of a named client.
func (r *rig) token(client string) string {
	r.t.Helper()
	text, _, err := r.app.ClientToken(r.ctx, client)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

// dial opens one connection; every read and write of the test ends with the
// test's patience.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	var d net.Dialer
	c, err := d.DialContext(r.ctx, "tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	if end, ok := r.ctx.Deadline(); ok {
		_ = c.SetDeadline(end)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// client returns an HTTP client of its own connections.
func (r *rig) client() *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, r.addr)
	}}
	if r.roots != nil {
		tr.TLSClientConfig = &tls.Config{RootCAs: r.roots, ServerName: rigHost, MinVersion: tls.VersionTLS13}
		tr.ForceAttemptHTTP2 = true
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (r *rig) url(path string) string {
	if r.roots != nil {
		return "https://" + rigHost + path
	}
	return "http://" + rigHost + path
}

// meta is what a modern request says of itself; members add to its params.
const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"sampling":{}}}`

// asked is one request to the gateway.
type asked struct {
	who, path, method, name, members string
	id                               int
	progress                         bool     // ask for it
	whole                            string   // the body, where it is no modern request
	headers                          []string // "Name: value"; no value takes the header away
}

func (a asked) body() string {
	if a.whole != "" {
		return a.whole
	}
	if a.members != "" {
		a.members = "," + a.members
	}
	about := meta
	if a.progress {
		about = strings.Replace(meta, `{"`, `{"progressToken":"p","`, 1)
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s%s}}`, max(a.id, 1), a.method, about, a.members)
}

// call is the request of a tool.
func call(who, tool, arguments string) asked {
	return asked{who: who, method: "tools/call", name: tool, members: fmt.Sprintf(`"name":%q,"arguments":%s`, tool, arguments)}
}

// request builds a modern request.
func (r *rig) request(ctx context.Context, a asked) *http.Request {
	r.t.Helper()
	if a.path == "" {
		a.path = "/mcp/s"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url(a.path), strings.NewReader(a.body()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	req.Header.Set("Mcp-Method", a.method)
	if a.name != "" {
		req.Header.Set("Mcp-Name", a.name)
	}
	if a.who != "" {
		req.Header.Set("Authorization", "Bearer "+r.token(a.who))
	}
	for _, h := range a.headers {
		if name, v, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(name, v)
		} else {
			req.Header.Del(name)
		}
	}
	return req
}

// do sends a request and reads its whole answer.
func (r *rig) do(c *http.Client, req *http.Request) (*http.Response, string) {
	r.t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(b)
}

// ask sends a request on a connection of its own, which it closes.
func (r *rig) ask(a asked) (*http.Response, string) {
	r.t.Helper()
	c := r.client()
	defer c.CloseIdleConnections()
	return r.do(c, r.request(r.ctx, a))
}

// serves fails the test unless somebody who means no harm is answered.
func (r *rig) serves(who string) {
	r.t.Helper()
	resp, body := r.ask(call(who, "echo", `{"text":"well"}`))
	if resp.StatusCode != 200 || !strings.Contains(body, "well") {
		r.t.Errorf("an honest client is answered %d %s", resp.StatusCode, body)
	}
}

// raw is a request as bytes, without the blank line that ends its headers.
func (r *rig) raw(a asked, more ...string) string {
	if a.path == "" {
		a.path = "/mcp/s"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"+
		"Mcp-Protocol-Version: 2026-07-28\r\nMcp-Method: %s\r\n", a.path, rigHost, a.method)
	if a.name != "" {
		fmt.Fprintf(&b, "Mcp-Name: %s\r\n", a.name)
	}
	if a.who != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", r.token(a.who))
	}
	for _, m := range more {
		b.WriteString(m + "\r\n")
	}
	return b.String()
}

// whole is a raw request with its body.
func (r *rig) whole(a asked, more ...string) string {
	body := a.body()
	return r.raw(a, append(more, "Content-Length: "+strconv.Itoa(len(body)))...) + "\r\n" + body
}

func (r *rig) send(c net.Conn, text string) {
	r.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
}

// answer reads one HTTP response of a connection.
func (r *rig) answer(c net.Conn) (*http.Response, string) {
	r.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		r.t.Fatalf("no answer: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("half an answer: %v", err)
	}
	return resp, string(b)
}

// hungUp waits until the gateway ends a connection and returns what came
// before.
func (r *rig) hungUp(c net.Conn) string {
	r.t.Helper()
	b, err := io.ReadAll(c)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		r.t.Fatalf("the connection is still open; it said %q", b)
	}
	return string(b)
}

// errorID returns the ID and the code of an error body.
func errorID(t *testing.T, body string) (id string, code int) {
	t.Helper()
	var e struct {
		JSONRPC string
		Error   struct {
			Code    int
			Message string
			Data    struct{ ID string }
		}
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.JSONRPC != "2.0" || e.Error.Code == 0 || e.Error.Message == "" {
		t.Fatalf("no JSON-RPC error: %v %s", err, body)
	}
	return e.Error.Data.ID, e.Error.Code
}

// refused checks a refusal and, when the gateway has stopped, that its ID
// finds one outcome on the record, with the reason.
func (r *rig) refused(resp *http.Response, body string, status int, reason string) {
	r.t.Helper()
	if resp.StatusCode != status {
		r.t.Errorf("got %d %s, want %d", resp.StatusCode, body, status)
		return
	}
	id, _ := errorID(r.t, body)
	r.expect(id, reason)
}

func (r *rig) expect(id, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wants[id] = reason
}

// judgeRecord holds the record to what was told: one outcome for each call,
// and those that were refused are found by the ID that the caller has.
func (r *rig) judgeRecord() {
	outcomes := map[string]int{}
	for _, e := range r.record() {
		want, told := r.wants[e.ID]
		switch {
		case e.Kind == audit.KindIntent:
			if _, ok := outcomes[e.ID]; !ok {
				outcomes[e.ID] = 0
			}
		case e.Kind == audit.KindOutcome:
			outcomes[e.ID]++
			if told && (e.Reason != want || e.Effect == "allow" && want != "server-error") {
				r.t.Errorf("the record says %s %s %s, want %s: %+v", e.Stage, e.Effect, e.Reason, want, e.Trail)
			}
		}
	}
	for id, n := range outcomes {
		if n != 1 {
			r.t.Errorf("the call %s has %d outcomes", id, n)
		}
	}
	for id, why := range r.wants {
		if outcomes[id] != 1 {
			r.t.Errorf("the ID %q of a refusal (%s) finds %d outcomes", id, why, outcomes[id])
		}
	}
}

func (r *rig) record() (out []audit.Event) {
	r.t.Helper()
	dir := filepath.Join(r.app.Config().Data, "audit")
	if err := log.Read(dir, log.OldestFirst, func(e audit.Event) bool { out = append(out, e); return true }); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// selfSigned writes a certificate for rigHost and its key.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{rigHost}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: kb}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// stage is an MCP server of the modern era over HTTP whose tools do what the
// test says.
type stage struct {
	*httptest.Server
	t *testing.T
	// entered has one entry for each call of "wait"; release lets them go on;
	// gone has one for each that was cancelled.
	entered, gone chan string
	release       chan struct{}
	// tools answers further tools.
	tools map[string]func(w http.ResponseWriter, r *http.Request, m message)

	mu   sync.Mutex
	seen []string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, entered: make(chan string, 1024), gone: make(chan string, 1024), release: make(chan struct{}),
		tools: map[string]func(http.ResponseWriter, *http.Request, message){}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// config is a config of one server on the stage.
func (s *stage) config(more string) string {
	return "servers:\n  s: { url: \"" + s.URL + "/mcp\", era: modern, may_ask: [sampling, elicitation, roots] }\n" + more
}

func (s *stage) serve(w http.ResponseWriter, r *http.Request) {
	var m message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		s.t.Errorf("the server got what is no message: %v", err)
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, m.Method)
	s.mu.Unlock()
	switch m.Method {
	case "server/discover":
		reply(w, m, `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},"ttlMs":60000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"stage","version":"1"}}}`)
	case "tools/list":
		var list []string
		for _, name := range append([]string{"echo", "wait", "big", "chatty", "ask"}, keysOf(s.tools)...) {
			list = append(list, fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, name))
		}
		reply(w, m, `{"resultType":"complete","tools":[`+strings.Join(list, ",")+`],"ttlMs":60000,"cacheScope":"private"}`)
	case "tools/call":
		s.tool(w, r, m)
	case "subscriptions/listen":
		s.listen(w, r, m)
	default:
		w.WriteHeader(404)
		reply(w, m, `{}`)
	}
}

func keysOf[V any](m map[string]V) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

func reply(w http.ResponseWriter, m message, result string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

// text is a tool's result.
func text(s string) string {
	return `{"resultType":"complete","content":[{"type":"text","text":` + strconv.Quote(s) + `}]}`
}

func event(w http.ResponseWriter, body string) error {
	if _, err := io.WriteString(w, "event: message\ndata: "+body+"\n\n"); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

func (s *stage) tool(w http.ResponseWriter, r *http.Request, m message) {
	var p struct {
		Name      string
		Arguments struct {
			Text string
			N    int
		}
		Meta struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	if err := json.Unmarshal(m.Params, &p); err != nil {
		s.t.Errorf("params: %v", err)
	}
	switch p.Name {
	case "echo":
		reply(w, m, text(p.Arguments.Text))
	case "wait":
		s.enter(r, p.Arguments.Text)
		select {
		case <-s.release:
			reply(w, m, text("released"))
		case <-r.Context().Done():
			s.leave(p.Arguments.Text)
		}
	case "ask":
		if strings.Contains(string(m.Params), "inputResponses") {
			reply(w, m, text("answered"))
			return
		}
		reply(w, m, `{"resultType":"input_required","requestState":"mine","inputRequests":{"k":{"method":"elicitation/create",`+
			`"params":{"message":"?","requestedSchema":{"type":"object","properties":{"a":{"type":"string"}}}}}}}`)
	case "big":
		s.enter(r, p.Name)
		reply(w, m, text(strings.Repeat("x", p.Arguments.N)))
	case "chatty":
		// It talks until nobody listens any more.
		w.Header().Set("Content-Type", "text/event-stream")
		s.enter(r, p.Arguments.Text)
		note := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + string(p.Meta.Token) + `,"progress":%d,"message":"` + strings.Repeat("y", 4096) + `"}}`
		for i := 1; ; i++ {
			if r.Context().Err() != nil || event(w, fmt.Sprintf(note, i)) != nil {
				s.leave(p.Arguments.Text)
				return
			}
		}
	default:
		s.tools[p.Name](w, r, m)
	}
}

func (s *stage) enter(r *http.Request, what string) {
	select {
	case s.entered <- what:
	case <-r.Context().Done():
	}
}

// leave says that a call was cancelled, unless too many were to be counted.
func (s *stage) leave(what string) {
	select {
	case s.gone <- what:
	default:
	}
}

// listen acknowledges, says on entered that it did, and tells a change each
// time the test asks for it.
func (s *stage) listen(w http.ResponseWriter, r *http.Request, m message) {
	w.Header().Set("Content-Type", "text/event-stream")
	tag := `"_meta":{"io.modelcontextprotocol/subscriptionId":` + string(m.ID) + `}`
	if event(w, `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{`+tag+`,"notifications":{"toolsListChanged":true}}}`) != nil {
		return
	}
	s.enter(r, "listen")
	for {
		select {
		case <-r.Context().Done():
			s.leave("listen")
			return
		case <-s.release:
			if event(w, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{`+tag+`}}`) != nil {
				return
			}
		}
	}
}

// until asks again and again whether something has come true.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for !ok() {
		if r.ctx.Err() != nil {
			r.t.Fatalf("waited in vain until %s", what)
		}
		runtime.Gosched()
	}
}

// await takes one entry of a channel within the test's patience.
func await[T any](r *rig, c <-chan T, what string) (v T) {
	r.t.Helper()
	select {
	case v = <-c:
	case <-r.ctx.Done():
		r.t.Fatalf("waited in vain for %s", what)
	}
	return v
}

package app_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/authn/mtls"
	"github.com/munjigi/munjigi/internal/authn/mtls/mtlstest"
)

// secured is a gateway that listens by TLS.
type secured struct {
	app       *app.App
	url       string
	ca        *mtlstest.Authority // of the gateway's certificate
	next      *mtlstest.Authority // of the one after it
	cert, key string
	idp       *provider
	called    *atomic.Int32
}

// behindTLS starts a gateway with more of tls:, identity: and servers.s:.
func behindTLS(t *testing.T, tlsMore, identity, server string) *secured {
	t.Helper()
	dir := t.TempDir()
	s := &secured{ca: mtlstest.NewAuthority(t, nil), next: mtlstest.NewAuthority(t, nil), cert: filepath.Join(dir, "c.pem"), key: filepath.Join(dir, "k.pem"), idp: newProvider(t)}
	mtlstest.Write(t, s.ca.Issue(t, nil), s.cert, s.key)
	var up string
	up, s.called = looker(t)
	s.app = opened(t, "listen: 127.0.0.1:0\npublic_url: "+public+"\ntls: { cert: \""+s.cert+"\", key: \""+s.key+"\""+tlsMore+" }\nidentity: { issuers: [{ issuer: \""+s.idp.URL+
		"\" }]"+identity+" }\negress: { allow: [\""+strings.TrimPrefix(s.idp.URL, "http://")+"\"] }\nservers: { s: { url: \""+up+"\""+server+" }, other: { url: \""+up+"\" } }\n")
	s.url = serve(t, s.app)
	return s
}

// serve listens until the test ends.
func serve(t *testing.T, a *app.App) (url string) {
	t.Helper()
	l, err := a.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "https://" + l.Addr().String()
}

// client is a client that trusts the gateway and shows certs.
func (s *secured) client(t *testing.T, certs ...tls.Certificate) *http.Client {
	t.Helper()
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: mtlstest.Pool(s.ca, s.next),
		// Whatever authorities the gateway names: an attacker does not care.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certs) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certs[0], nil
		}}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// letIn reports that a connection with these certificates is opened at all.
func (s *secured) letIn(t *testing.T, certs ...tls.Certificate) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/nothing", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client(t, certs...).Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return true
}

// TestOnlyTLS13 offers TLS 1.2.
func TestOnlyTLS13(t *testing.T) {
	t.Parallel()
	s := behindTLS(t, "", "", "")
	for version, want := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		c, err := (&tls.Dialer{Config: &tls.Config{RootCAs: mtlstest.Pool(s.ca), MinVersion: tls.VersionTLS12, MaxVersion: version}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "https://"))
		if (err == nil) != want {
			t.Errorf("%x: %v", version, err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
	// Plain HTTP at the same port is told nothing.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(s.url, "https")+"/mcp/s", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP: %d", resp.StatusCode)
		}
	}
}

// served is the serial number of the certificate that a new connection meets.
func (s *secured) served(t *testing.T) string {
	t.Helper()
	c, err := (&tls.Dialer{Config: &tls.Config{RootCAs: mtlstest.Pool(s.ca, s.next)}}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// TestCertificatesAreTakenAnew under load: no request fails, open connections go
// on, and what cannot be used changes nothing.
func TestCertificatesAreTakenAnew(t *testing.T) {
	t.Parallel()
	s := behindTLS(t, "", "", "")
	token := s.idp.token(t, public+"/mcp/s", "s:call", nil)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	asked, next := make(chan struct{}), s.next
	for range 4 {
		wg.Go(func() {
			// Every second request comes over a new connection.
			kept := s.client(t)
			for n := 0; ctx.Err() == nil; n++ {
				c := kept
				if n%2 == 0 {
					c = s.client(t)
				}
				if resp, body := send(t, c, s.url, "/mcp/s", [2]string{"Authorization", "Bearer " + token}); resp.StatusCode != 200 {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
				select {
				case asked <- struct{}{}:
				default:
				}
			}
		})
	}
	before := s.served(t)
	good := next.Issue(t, nil)
	for _, bad := range []func(){
		func() { mtlstest.WriteFile(t, s.cert, []byte("no certificate")) },
		func() { mtlstest.Write(t, good, s.cert, s.key+".elsewhere") }, // the key is another's
		func() {
			mtlstest.Write(t, next.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), s.cert, s.key)
		},
		func() { _ = os.Remove(s.key) },
	} {
		bad()
		app.Look(s.app)
		app.Look(s.app)
		if now := s.served(t); now != before {
			t.Errorf("a pair that cannot be used was taken: %s", now)
		}
	}
	mtlstest.Write(t, good, s.cert, s.key)
	app.Look(s.app)
	if now := s.served(t); now != good.Leaf.SerialNumber.String() {
		t.Errorf("the new pair was not taken: %s", now)
	}
	if err := s.app.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	for range 20 {
		<-asked
	}
	stop()
	wg.Wait()
}

// TestTokensBoundToACertificate: RFC 8705, and the swap of certificates.
func TestTokensBoundToACertificate(t *testing.T) {
	t.Parallel()
	ca, dir := mtlstest.NewAuthority(t, nil), t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	mtlstest.WriteCA(t, file, ca)
	s := behindTLS(t, ", client_auth: request, client_ca: \""+file+"\"", "", ", require_binding: [mtls]")
	mine, other := ca.Issue(t, nil), ca.Issue(t, nil)
	here := public + "/mcp/s"
	bound := s.idp.token(t, here, "s:call", func(c map[string]any) {
		c["cnf"] = map[string]string{"x5t#S256": mtls.Thumbprint(mine.Leaf)}
	})
	plain := s.idp.token(t, here, "s:call", nil)
	bearer := [2]string{"Authorization", "Bearer " + bound}
	pem := [2]string{"X-Forwarded-Client-Cert", "Hash=" + mtls.Thumbprint(mine.Leaf)}
	if resp, body := send(t, s.client(t, mine), s.url, "/mcp/s", bearer); resp.StatusCode != 200 || !strings.Contains(body, "done") {
		t.Fatalf("its own certificate: %d %s", resp.StatusCode, body)
	}
	s.called.Store(0)
	for name, row := range map[string]struct {
		certs   []tls.Certificate
		headers [][2]string
	}{
		"no certificate":               {nil, [][2]string{bearer}},
		"another certificate":          {[]tls.Certificate{other}, [][2]string{bearer}},
		"another, and its name":        {[]tls.Certificate{other}, [][2]string{bearer, pem}},
		"none, and a header":           {nil, [][2]string{bearer, pem}},
		"a plain token":                {[]tls.Certificate{mine}, [][2]string{{"Authorization", "Bearer " + plain}}},
		"no token":                     {[]tls.Certificate{mine}, nil},
		"by the DPoP scheme":           {[]tls.Certificate{mine}, [][2]string{{"Authorization", "DPoP " + bound}}},
		"the certificate as the token": {[]tls.Certificate{mine}, [][2]string{{"Authorization", "Bearer " + mtls.Thumbprint(mine.Leaf)}}},
	} {
		resp, body := send(t, s.client(t, row.certs...), s.url, "/mcp/s", row.headers...)
		challenge := resp.Header.Get("WWW-Authenticate")
		if resp.StatusCode != 401 || strings.Contains(body, "done") || !strings.HasPrefix(challenge, "Bearer ") || strings.Contains(challenge, "DPoP algs") {
			t.Errorf("%s: %d %q %s", name, resp.StatusCode, challenge, body)
		}
	}
	if n := s.called.Load(); n != 0 {
		t.Errorf("%d refused calls reached the server", n)
	}
	web := httptest.NewServer(s.app)
	t.Cleanup(web.Close)
	if m := metadataOf(t, web, "/mcp/s"); m["tls_client_certificate_bound_access_tokens"] != true || m["dpop_bound_access_tokens_required"] != nil {
		t.Errorf("%v", m)
	}

	// Who is let in at all.
	stranger := mtlstest.NewAuthority(t, nil)
	for name, row := range map[string]struct {
		certs []tls.Certificate
		want  bool
	}{
		"nobody":      {nil, true},
		"of ours":     {[]tls.Certificate{mine}, true},
		"one below":   {[]tls.Certificate{ca.Below(t, nil).Issue(t, nil)}, true},
		"a stranger":  {[]tls.Certificate{stranger.Issue(t, nil)}, false},
		"self-signed": {[]tls.Certificate{mtlstest.SelfSigned(t, nil)}, false},
		"expired":     {[]tls.Certificate{ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}, false},
		"for servers": {[]tls.Certificate{ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })}, false},
		"against name constraints": {[]tls.Certificate{ca.Below(t, func(c *x509.Certificate) {
			c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"good.example"}, true
		}).Issue(t, nil)}, false},
	} {
		if got := s.letIn(t, row.certs...); got != row.want {
			t.Errorf("%s: let in %v", name, got)
		}
	}
	// Another authority in the file: the old one's are refused, and no resumed
	// connection slips by.
	resuming := s.client(t, mine)
	resuming.Transport.(*http.Transport).TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	if resp, _ := send(t, resuming, s.url, "/mcp/s", bearer); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	mtlstest.WriteCA(t, file, stranger)
	app.Look(s.app)
	resuming.CloseIdleConnections()
	if _, err := resuming.Get(s.url + "/nothing"); err == nil || s.letIn(t, mine) || !s.letIn(t, stranger.Issue(t, nil)) {
		t.Errorf("the authorities were not taken anew: %v", err)
	}
}

// TestCertificatesThatAreRequired and no authority: everybody shows one, and it
// proves its own key.
func TestCertificatesThatAreRequired(t *testing.T) {
	t.Parallel()
	s := behindTLS(t, ", client_auth: require", "", "")
	self := mtlstest.SelfSigned(t, nil)
	if s.letIn(t) || !s.letIn(t, self) || s.letIn(t, mtlstest.SelfSigned(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })) {
		t.Error("who has no certificate in force is let in, or who has one is not")
	}
	token := s.idp.token(t, public+"/mcp/s", "s:call", func(c map[string]any) {
		c["cnf"] = map[string]string{"x5t#S256": mtls.Thumbprint(self.Leaf)}
	})
	for name, row := range map[string]struct {
		cert   tls.Certificate
		status int
	}{"its own": {self, 200}, "another": {mtlstest.SelfSigned(t, nil), 401}} {
		if resp, body := send(t, s.client(t, row.cert), s.url, "/mcp/s", [2]string{"Authorization", "Bearer " + token}); resp.StatusCode != row.status {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
}

func writeBundle(t *testing.T, file, domain string, all ...*mtlstest.Authority) {
	t.Helper()
	b := spiffebundle.New(spiffeid.RequireTrustDomainFromString(domain))
	for _, a := range all {
		b.AddX509Authority(a.Cert)
	}
	text, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	mtlstest.WriteFile(t, file, text)
}

// TestWorkloadsByCertificate: an X509-SVID is enough for a trust domain whose
// certificates are taken, and for no other.
func TestWorkloadsByCertificate(t *testing.T) {
	t.Parallel()
	root, foreign, clients, dir := mtlstest.NewAuthority(t, nil), mtlstest.NewAuthority(t, nil), mtlstest.NewAuthority(t, nil), t.TempDir()
	file, tokensOnly, ca := filepath.Join(dir, "b.json"), filepath.Join(dir, "t.json"), filepath.Join(dir, "ca.pem")
	writeBundle(t, file, "example.org", root)
	dom := newDomain(t)
	text, err := os.ReadFile(dom.bundle)
	if err != nil {
		t.Fatal(err)
	}
	mtlstest.WriteFile(t, tokensOnly, text)
	mtlstest.WriteCA(t, ca, clients)
	s := behindTLS(t, ", client_auth: request, client_ca: \""+ca+"\"", ", spiffe: [{ trust_domain: example.org, bundle: \""+file+"\", scopes: [s:list, s:call], certificates: true }, "+
		"{ trust_domain: tokens.example, bundle: \""+tokensOnly+"\", scopes: [s:call] }]", "")
	const id = "spiffe://example.org/robot"
	mine := root.SVID(t, id, nil)
	if resp, body := send(t, s.client(t, mine), s.url, "/mcp/s"); resp.StatusCode != 200 || !strings.Contains(body, "done") {
		t.Fatalf("an X509-SVID: %d %s", resp.StatusCode, body)
	}
	if resp, body := send(t, s.client(t, root.Below(t, nil).SVID(t, id, nil)), s.url, "/mcp/s"); resp.StatusCode != 200 || !strings.Contains(body, "done") {
		t.Errorf("of an authority below: %d %s", resp.StatusCode, body)
	}
	s.called.Store(0)
	if resp, _ := send(t, s.client(t, mine), s.url, "/mcp/other"); resp.StatusCode != 403 {
		t.Errorf("where its domain has no scope: %d", resp.StatusCode)
	}
	// A token that fails is not made up for by a certificate.
	for _, authorization := range []string{"Bearer x", "Bearer " + s.idp.token(t, public+"/mcp/other", "s:call", nil), "Basic x", ""} {
		if resp, _ := send(t, s.client(t, mine), s.url, "/mcp/s", [2]string{"Authorization", authorization}); resp.StatusCode != 401 && resp.StatusCode != 400 {
			t.Errorf("%.20s: %d", authorization, resp.StatusCode)
		}
	}
	// Certificates of others that are let in prove no name.
	if resp, _ := send(t, s.client(t, clients.Issue(t, nil)), s.url, "/mcp/s"); resp.StatusCode != 401 {
		t.Errorf("an ordinary client certificate: %d", resp.StatusCode)
	}
	if resp, _ := send(t, s.client(t, clients.SVID(t, "spiffe://tokens.example/robot", nil)), s.url, "/mcp/s"); resp.StatusCode != 401 {
		t.Errorf("of a domain whose certificates are not taken: %d", resp.StatusCode)
	}
	two := func(c *x509.Certificate) {
		c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/boss"})
	}
	for name, cert := range map[string]tls.Certificate{
		"of another root":           foreign.SVID(t, id, nil),
		"of the clients' authority": clients.SVID(t, id, nil),
		"of itself":                 mtlstest.SelfSigned(t, func(c *x509.Certificate) { c.URIs = mine.Leaf.URIs }),
		"expired":                   root.SVID(t, id, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"for a year":                root.SVID(t, id, func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(1, 0, 0) }),
		"with two IDs":              root.SVID(t, id, two),
		"of the domain itself":      root.SVID(t, "spiffe://example.org", nil),
		"an authority":              root.SVID(t, id, func(c *x509.Certificate) { c.IsCA = true }),
		"that may sign":             root.SVID(t, id, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }),
		"for servers":               root.SVID(t, id, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"against name constraints": root.Below(t, func(c *x509.Certificate) {
			c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"prod.example"}, true
		}).SVID(t, id, nil),
	} {
		if s.letIn(t, cert) {
			t.Errorf("an SVID %s was let in", name)
		}
	}
	if n := s.called.Load(); n != 0 {
		t.Errorf("%d refused calls reached the server", n)
	}
}

// TestServersBehindTLS: a private authority, the gateway's own certificate, and
// both taken anew.
func TestServersBehindTLS(t *testing.T) {
	t.Parallel()
	ca, clients, dir := mtlstest.NewAuthority(t, nil), mtlstest.NewAuthority(t, nil), t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	var called atomic.Int32
	var seen atomic.Pointer[string]
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := r.TLS.PeerCertificates[0].SerialNumber.String()
		seen.Store(&n)
		look(t, &called).ServeHTTP(w, r)
	}))
	serverCert := ca.Issue(t, nil)
	var now atomic.Pointer[tls.Certificate]
	now.Store(&serverCert)
	var trusted atomic.Pointer[x509.CertPool]
	trusted.Store(mtlstest.Pool(clients))
	up.TLS = &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*now.Load()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted.Load()}, nil
	}}
	up.Config.ErrorLog = log.New(io.Discard, "", 0)
	up.StartTLS()
	t.Cleanup(up.Close)
	first, second := clients.Issue(t, nil), clients.Issue(t, nil)
	mtlstest.Write(t, first, file("c.pem"), file("k.pem"))
	mtlstest.WriteCA(t, file("ca.pem"), ca)
	idp := newProvider(t)
	a := opened(t, "listen: 127.0.0.1:0\npublic_url: "+public+"\nidentity: { issuers: [{ issuer: \""+idp.URL+"\" }] }\negress: { allow: [\""+strings.TrimPrefix(idp.URL, "http://")+
		"\"] }\nservers: { s: { url: \""+up.URL+"/mcp\", tls: { ca: \""+file("ca.pem")+"\", cert: \""+file("c.pem")+"\", key: \""+file("k.pem")+"\" } }, bare: { url: \""+up.URL+"/mcp\", tls: { ca: \""+file("ca.pem")+"\" } }, system: { url: \""+up.URL+"/mcp\" } }\n")
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	try := func(name string) string {
		_, body := send(t, srv.Client(), srv.URL, "/mcp/"+name, [2]string{"Authorization", "Bearer " + idp.token(t, public+"/mcp/"+name, name+":call", nil)})
		return body
	}
	if body := try("s"); !strings.Contains(body, "done") || *seen.Load() != first.Leaf.SerialNumber.String() {
		t.Fatal(body)
	}
	called.Store(0)
	for _, name := range []string{"bare", "system"} {
		if body := try(name); strings.Contains(body, "done") || called.Load() != 0 {
			t.Errorf("%s: %s", name, body)
		}
	}
	// A pair that does not fit is not taken, a good one is for the next request.
	mtlstest.WriteFile(t, file("c.pem"), []byte("broken"))
	app.Look(a)
	if body := try("s"); !strings.Contains(body, "done") || *seen.Load() != first.Leaf.SerialNumber.String() {
		t.Errorf("with a broken file: %s", body)
	}
	mtlstest.Write(t, second, file("c.pem"), file("k.pem"))
	app.Look(a)
	if body := try("s"); !strings.Contains(body, "done") || *seen.Load() != second.Leaf.SerialNumber.String() {
		t.Errorf("with a new pair: %s", body)
	}
	// Another authority: the server is nobody any more, on kept connections too.
	mtlstest.WriteCA(t, file("ca.pem"), clients)
	app.Look(a)
	called.Store(0)
	if body := try("s"); strings.Contains(body, "done") || called.Load() != 0 {
		t.Errorf("with another authority: %s", body)
	}
}

// TestHeadersOnEveryResponse is 8-4, on each path by which a response comes.
func TestHeadersOnEveryResponse(t *testing.T) {
	t.Parallel()
	s := behindTLS(t, "", "", "")
	token := [2]string{"Authorization", "Bearer " + s.idp.token(t, public+"/mcp/s", "s:call", nil)}
	c := s.client(t)
	type row struct {
		name, method, path, body string
		headers                  [][2]string
		status                   int
	}
	rows := []row{
		{"metadata", "GET", "/.well-known/oauth-protected-resource/mcp/s", "", nil, 200},
		{"metadata by POST", "POST", "/.well-known/oauth-protected-resource/mcp/s", "", nil, 405},
		{"no metadata", "GET", "/.well-known/oauth-protected-resource", "", nil, 404},
		{"nothing", "GET", "/", "", nil, 404},
		{"health", "GET", "/healthz", "", nil, 404},
		{"odd path", "GET", "/mcp/%2e%2e/s", "", nil, 404},
		{"method", "PUT", "/mcp/s", "", nil, 405},
		{"options", "OPTIONS", "/mcp/s", "", nil, 405},
		{"head", "HEAD", "/mcp/s", "", nil, 405},
		{"no token", "POST", "/mcp/s", "{}", nil, 401},
		{"bad content type", "POST", "/mcp/s", "{}", [][2]string{token, {"Content-Type", "text/plain"}}, 415},
		{"bad origin", "POST", "/mcp/s", "{}", [][2]string{token, {"Origin", "https://evil.example"}}, 403},
		{"bad host", "POST", "/mcp/s", "{}", [][2]string{token, {"Host", "evil.example"}}, 403},
		{"no message", "POST", "/mcp/s", "{}", [][2]string{token}, 400},
		{"unknown server", "POST", "/mcp/nope", "{}", [][2]string{token}, 401},
		{"no session", "GET", "/mcp/s", "", [][2]string{token, {"Accept", "text/event-stream"}}, 405},
	}
	check := func(name string, h http.Header) {
		for k, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Strict-Transport-Security": "max-age=31536000"} {
			if h.Get(k) != want {
				t.Errorf("%s: %s: %q", name, k, h.Get(k))
			}
		}
		if h.Get("Set-Cookie") != "" || h.Get("Server") != "" {
			t.Errorf("%s: %v", name, h)
		}
	}
	for _, r := range rows {
		req, err := http.NewRequestWithContext(t.Context(), r.method, s.url+r.path, bytes.NewReader([]byte(r.body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = strings.TrimPrefix(public, "https://")
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		for _, h := range r.headers {
			if h[0] == "Host" {
				req.Host = h[1]
				continue
			}
			req.Header.Set(h[0], h[1])
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != r.status {
			t.Errorf("%s: %d, want %d", r.name, resp.StatusCode, r.status)
		}
		check(r.name, resp.Header)
	}
	resp, body := send(t, c, s.url, "/mcp/s", token)
	if resp.StatusCode != 200 || resp.TLS.Version != tls.VersionTLS13 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	check("an answer", resp.Header)
}

// TestBadMaterialAtTheStart: a gateway does not start half protected.
func TestBadMaterialAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key, empty := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem"), filepath.Join(dir, "e.pem")
	ca := mtlstest.NewAuthority(t, nil)
	mtlstest.Write(t, ca.Issue(t, nil), cert, key)
	mtlstest.WriteFile(t, empty, []byte("nothing\n"))
	for name, more := range map[string]string{
		"key as certificate": `cert: "` + key + `", key: "` + key + `"`,
		"no authorities":     `cert: "` + cert + `", key: "` + key + `", client_auth: request, client_ca: "` + empty + `"`,
		"a key as authority": `cert: "` + cert + `", key: "` + key + `", client_auth: request, client_ca: "` + key + `"`,
	} {
		a := opened(t, "listen: 127.0.0.1:0\ntls: { "+more+" }\nservers: { s: { url: \"http://127.0.0.1:1/mcp\" } }\n")
		if l, err := a.Listen(t.Context()); err == nil {
			t.Errorf("%s was accepted", name)
			_ = l.Close()
		}
	}
}

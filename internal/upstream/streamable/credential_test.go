package streamable

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// source is a credential in words of the test.
type source struct {
	give   func(call.Subject) (http.Header, error)
	refuse func(call.Subject, credential.Rejection) error
}

func (s source) Headers(_ context.Context, who call.Subject) (http.Header, error) { return s.give(who) }

func (s source) Rejected(_ context.Context, who call.Subject, r credential.Rejection) error {
	if s.refuse == nil {
		return credential.ErrRefused
	}
	return s.refuse(who, r)
}

// rotating gives the numbered token that is in force; each refusal of it brings
// the next one, up to the last.
func rotating(last int) (source, *[]string) {
	var mu sync.Mutex
	n := 1
	var log []string
	bearer := func() string { return fmt.Sprintf("Bearer token-%d", n) }
	return source{
		give: func(call.Subject) (http.Header, error) {
			mu.Lock()
			defer mu.Unlock()
			return http.Header{"Authorization": {bearer()}}, nil
		},
		refuse: func(_ call.Subject, r credential.Rejection) error {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf("%d %s %v %v", r.Status, r.Sent.Get("Authorization"), r.Challenges, r.Again))
			if n == last {
				return credential.ErrRefused
			}
			n++
			return nil
		},
	}, &log
}

// TestRefusedCredential is tried once more with another one, for what the
// server did not execute, and never a third time.
func TestRefusedCredential(t *testing.T) {
	t.Parallel()
	const bearer = "WWW-Authenticate: Bearer"
	tests := map[string]struct {
		answer string // to any token but the wanted one
		want   int    // the token that is accepted
		last   int    // the last token that there is
		sent   int
		err    error
		log    []string
	}{
		"401 then good": {"401 Unauthorized\r\n" + bearer, 2, 3, 2, nil, []string{"401 Bearer token-1 [Bearer] false"}},
		"401 twice":     {"401 Unauthorized", 9, 9, 2, credential.ErrRefused, []string{"401 Bearer token-1 [] false", "401 Bearer token-2 [] true"}},
		"401 and no other": {"401 Unauthorized", 9, 1, 1, credential.ErrRefused,
			[]string{"401 Bearer token-1 [] false"}},
		"403 with a scope": {"403 Forbidden\r\n" + bearer + ` error="insufficient_scope"`, 2, 3, 2, nil,
			[]string{`403 Bearer token-1 [Bearer error="insufficient_scope"] false`}},
		"403 alone says nothing of credentials": {"403 Forbidden", 2, 3, 1, errStatus, nil},
		"500 was maybe executed":                {"500 Oops\r\n" + bearer, 2, 3, 1, errStatus, nil},
	}
	for name, tt := range tests {
		for _, kind := range []string{"call", "note", "answer", "stream", "end"} {
			if kind == "end" && tt.err != nil {
				continue // the end of a session is best effort
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				opened := kind == "end"
				s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
					mu.Lock()
					first := opened
					opened = false
					mu.Unlock()
					switch {
					case first:
						return reply(c, okJSON+"\r\nMcp-Session-Id: s-1", result(r.id, ""))
					case r.Header.Get("Authorization") != fmt.Sprintf("Bearer token-%d", tt.want):
						return reply(c, tt.answer, "secret words of the server")
					case r.Method == http.MethodGet:
						return reply(c, "405 Method Not Allowed", "")
					}
					return good(r, c)
				})
				src, log := rotating(tt.last)
				c := connect(t, s.url, mcp.Legacy, func(c *Config) { c.Credential = src })
				var err error
				before := 0
				switch kind {
				case "call":
					_, err = c.call(t.Context(), "ping")
				case "note":
					err = c.Send(t.Context(), upstream.Outgoing{Method: mcp.NotifyCancelled})
				case "answer":
					err = c.Send(t.Context(), upstream.Outgoing{Answer: mcp.NumberID(4), Result: []byte(`{}`)})
				case "stream":
					err = c.Listen(t.Context())
					var st *upstream.StatusError
					if tt.err == nil && errors.As(err, &st) && st.Status == http.StatusMethodNotAllowed {
						err = nil
					}
				case "end":
					before = 1
					if _, err := c.call(t.Context(), mcp.MethodInitialize); err != nil {
						t.Fatal(err)
					}
					err = c.Close()
				}
				var st *upstream.StatusError
				switch {
				case tt.err == errStatus:
					if !errors.As(err, &st) || errors.Is(err, upstream.ErrCredential) {
						t.Errorf("got %v, want the status", err)
					}
				case !errors.Is(err, tt.err), tt.err != nil && !errors.Is(err, upstream.ErrCredential):
					t.Errorf("got %v, want %v", err, tt.err)
				case err != nil && strings.Contains(err.Error(), "secret words"):
					t.Errorf("the error has the server's words: %v", err)
				}
				if n := len(s.requests()) - before; n != tt.sent {
					t.Errorf("%d requests, want %d", n, tt.sent)
				}
				if d := cmp.Diff(tt.log, *log); d != "" {
					t.Errorf("rejections (-want +got):\n%s", d)
				}
			})
		}
	}
}

var errStatus = errors.New("a status")

// TestOnWhoseBehalf asks the source for each request in the name of the caller
// it belongs to, and for all others in the name of the connection's keeper.
func TestOnWhoseBehalf(t *testing.T) {
	t.Parallel()
	who := func(name string) call.Subject {
		return call.Subject{Principal: call.NewPrincipal(call.Identity{Issuer: "i", Subject: name, Kind: call.Person}), Token: secret.New("token-of-" + name)}
	}
	var mu sync.Mutex
	ended := 0
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Method == http.MethodDelete:
			return reply(c, "200 OK", "")
		case strings.Contains(r.body, "resumed"):
			ended++
			fmt.Fprint(c, okStream+chunk("id: 7\nretry: 1\ndata: "+`{"jsonrpc":"2.0","method":"notifications/x"}`+"\n\n")+lastOne)
			return true
		case r.Header.Get(mcp.HeaderLastEventID) != "":
			fmt.Fprint(c, okStream+event(result("3", ""))+lastOne)
			return true
		case r.Method == http.MethodGet:
			return reply(c, "405 Method Not Allowed", "")
		case strings.Contains(r.body, "initialize"):
			return reply(c, okJSON+"\r\nMcp-Session-Id: s-1", result(r.id, ""))
		}
		return good(r, c)
	})
	src := source{give: func(who call.Subject) (http.Header, error) {
		if !who.Principal.Valid() {
			return nil, credential.ErrRefused
		}
		return http.Header{"Authorization": {"Bearer for-" + who.Principal.Identity().Subject}}, nil
	}}
	d, err := New(Config{URL: s.url, Limits: DefaultLimits(), Credential: src})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	tr, err := d.Dial(t.Context(), upstream.DialOptions{Era: mcp.Legacy, Subject: func() call.Subject { return who("keeper") }})
	if err != nil {
		t.Fatal(err)
	}
	steps := []func() error{
		func() error {
			_, err := tr.Exchange(t.Context(), upstream.Outgoing{Method: mcp.MethodInitialize, Subject: who("a")}, nil)
			return err
		},
		func() error {
			_, err := tr.Exchange(t.Context(), upstream.Outgoing{Method: mcp.MethodPing}, nil)
			return err
		},
		func() error {
			return tr.Send(t.Context(), upstream.Outgoing{Method: mcp.NotifyCancelled, Subject: who("b")})
		},
		func() error {
			_, err := tr.Exchange(t.Context(), upstream.Outgoing{Method: "resumed", Subject: who("c")}, nil)
			return err
		},
		func() error { _ = tr.Listen(t.Context()); return nil },
		tr.Close,
	}
	for i, f := range steps {
		if err := f(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	var got []string
	for _, r := range s.requests() {
		got = append(got, r.Method+" "+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
	want := []string{"POST for-a", "POST for-keeper", "POST for-b", "POST for-c", "GET for-keeper", "GET for-keeper", "DELETE for-keeper"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// Nobody's connection has no credential that is somebody's.
	tr, err = d.Dial(t.Context(), upstream.DialOptions{Era: mcp.Modern})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Exchange(t.Context(), upstream.Outgoing{Method: "ping"}, nil); !errors.Is(err, credential.ErrRefused) {
		t.Errorf("got %v", err)
	}
	if n := len(s.requests()); n != len(want) {
		t.Errorf("%d requests", n)
	}
}

// TestGrantNeeded passes through the transport as it is.
func TestGrantNeeded(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(_ int, r seen, c net.Conn) bool { return good(r, c) })
	grant := &credential.GrantNeeded{Server: "x", URL: "https://gw.example/grant", ID: "1"}
	for _, at := range []string{"before", "after"} {
		src := source{give: func(call.Subject) (http.Header, error) { return nil, grant }}
		if at == "after" {
			s = serveRaw(t, func(_ int, _ seen, c net.Conn) bool { return reply(c, "401 Unauthorized", "") })
			src = source{give: func(call.Subject) (http.Header, error) { return http.Header{}, nil },
				refuse: func(call.Subject, credential.Rejection) error { return grant }}
		}
		c := connect(t, s.url, mcp.Modern, func(c *Config) { c.Credential = src })
		_, err := c.call(t.Context(), "ping")
		var got *credential.GrantNeeded
		if !errors.As(err, &got) || got != grant || !errors.Is(err, upstream.ErrCredential) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if slices.ContainsFunc(s.requests(), func(r seen) bool { return r.Header.Get("Authorization") != "" }) {
		t.Error("a header without a credential")
	}
}

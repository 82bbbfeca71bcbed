package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// proofs notes on whose behalf each connection spoke.
type proofs struct {
	mu   sync.Mutex
	by   map[int][]string // pipe to "what who:token"
	deny func(what string, who call.Subject) error
}

func (l *proofs) admit(pipe int, what string, who call.Subject) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[int][]string{}
	}
	l.by[pipe] = append(l.by[pipe], what+" "+who.Principal.Identity().Subject+":"+who.Token.Reveal())
	if l.deny != nil {
		return l.deny(what, who)
	}
	if !who.Principal.Valid() {
		return credential.ErrRefused
	}
	return nil
}

func (l *proofs) of(pipe int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.by[pipe])
}

func (l *proofs) pipes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.by)
}

func with(from upstream.Caller, token string, expires int64) upstream.Caller {
	id := from.Principal.Identity()
	id.Expires = expires
	from.Principal, from.Token = call.NewPrincipal(id), secret.New(token)
	return from
}

// leaver goes away as soon as it hears something.
type leaver struct {
	*client
	leave func()
}

func (l leaver) Notify(string, []byte) error { l.leave(); return nil }

// TestBehalf sends every kind of message and looks on whose behalf it went:
// never nobody's, and on each connection one caller's only.
func TestBehalf(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*peer{
		"modern server": {kind: HTTP, modern: true},
		"legacy server": {kind: HTTP, legacy: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log proofs
			p.admit = log.admit
			p.handle = func(x *exchange) (string, *mcp.Error) {
				if x.m.Method == mcp.MethodToolsCall && x.asked == mcp.Legacy {
					x.ask(mcp.MethodElicit, `{"message":"m","requestedSchema":{"type":"object","properties":{}}}`)
					x.ask(mcp.MethodPing, `{}`)
				}
				return `{}`, nil
			}
			r := newRig(t, p, func(c *Config) { c.PerPrincipal, c.Shared = true, true })
			var wg sync.WaitGroup
			for i := range 6 {
				wg.Go(func() {
					who := fmt.Sprintf("user%d", i)
					for _, from := range []upstream.Caller{legacyCaller(who, "s"+who, everything), modernCaller(who, everything)} {
						from = with(from, "token-of-"+who, 0)
						from.LogLevel = "debug"
						c := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) {
							return `{"action":"accept","content":{}}`, nil, nil
						}}
						if _, err := r.Describe(t.Context(), from); err != nil {
							t.Errorf("%s: %v", who, err)
						}
						r.must(from, c, mcp.MethodToolsList, `{}`)
						a := r.must(from, c, mcp.MethodToolsCall, `{"name":"x"}`)
						if a.Kind == mcp.ResultInputRequired {
							from.Resume = &upstream.Resume{State: a.State, Responses: []byte(`{"r1":{"action":"accept","content":{}}}`)}
							r.must(from, c, mcp.MethodToolsCall, `{"name":"x"}`)
							from.Resume = nil
						}
						ctx, cancel := context.WithCancel(t.Context())
						_ = r.Listen(ctx, r.clear(from, mcp.MethodListen, "", `{"notifications":{"resourceSubscriptions":["x:1"]}}`), from, leaver{c, cancel})
						cancel()
						r.End(from.Session)
					}
				})
			}
			wg.Wait()
			if n := log.pipes(); n < 6 {
				t.Fatalf("%d connections for six principals", n)
			}
			for i := range log.pipes() {
				owner := ""
				for _, l := range log.of(i) {
					_, who, _ := strings.Cut(l, " ")
					name, token, _ := strings.Cut(who, ":")
					if owner == "" {
						owner = name
					}
					if name == "" || name != owner || token != "token-of-"+name {
						t.Errorf("connection %d of %s: %s", i, owner, l)
					}
				}
			}
		})
	}
}

// TestNewestProof lets a connection speak in its caller's newest proof: a token
// that was refreshed counts, an older one that comes late does not, and another
// caller's never.
func TestNewestProof(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log proofs
		p := &peer{kind: HTTP, legacy: true, admit: log.admit}
		p.handle = func(x *exchange) (string, *mcp.Error) { return `{}`, nil }
		r := newRig(t, p, func(c *Config) { c.PerPrincipal = true })
		session := legacyCaller("a", "s", everything)
		for i, from := range []upstream.Caller{with(session, "t1", 1000), with(session, "t2", 2000), with(session, "t1-late", 1000)} {
			r.must(from, &client{}, mcp.MethodToolsList, `{}`)
			synctest.Wait()
			p.pipe(0).unboundAsk(mcp.MethodPing, `{}`)
			synctest.Wait()
			all := log.of(0)
			want := []string{" a:t1", " a:t2", " a:t2"}[i]
			if got := all[len(all)-1]; got != want {
				t.Errorf("an answer of the gateway's own was sent for %q, want %q", got, want)
			}
		}
		r.End(session.Session)
		synctest.Wait()
		all := log.of(0)
		if got := all[len(all)-1]; got != "DELETE a:t2" {
			t.Errorf("the session was ended for %q", got)
		}
		if log.pipes() != 1 {
			t.Error("more than one connection")
		}
	})
}

// TestAnswerOfItsCall: what belongs to one call goes in the name of the proof that
// the call came with, whichever is the newest of the connection.
func TestAnswerOfItsCall(t *testing.T) {
	t.Parallel()
	var log proofs
	p := &peer{kind: HTTP, legacy: true, admit: log.admit}
	p.handle = func(x *exchange) (string, *mcp.Error) {
		if x.m.Method == mcp.MethodToolsCall {
			x.ask(mcp.MethodElicit, `{"message":"m","requestedSchema":{"type":"object","properties":{}}}`)
		}
		return `{}`, nil
	}
	r := newRig(t, p, func(c *Config) { c.PerPrincipal = true })
	c := &client{answer: func(context.Context, string, []byte) (string, *mcp.Error, error) {
		return `{"action":"decline"}`, nil, nil
	}}
	session := legacyCaller("a", "s", everything)
	r.must(with(session, "lasting", 5000), c, mcp.MethodToolsList, `{}`)
	r.must(with(session, "brief", 1000), c, mcp.MethodToolsCall, `{"name":"x"}`)
	all := log.of(0)
	if !slices.Contains(all, "tools/call a:brief") || !slices.Contains(all, " a:brief") || slices.Contains(all, " a:lasting") {
		t.Errorf("%q", all)
	}
}

// TestFailureIsOnesOwn: what one caller's credential cannot do is no other
// caller's error, whoever waits for the same probe or connection.
func TestFailureIsOnesOwn(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]*peer{
		"modern server": {kind: HTTP, modern: true},
		"legacy server": {kind: HTTP, legacy: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p.t = t
				grant := &credential.GrantNeeded{Server: "srv", ID: "of-a"}
				log := proofs{deny: func(_ string, who call.Subject) error {
					time.Sleep(time.Second) // others come while the first one waits
					if who.Principal.Identity().Subject == "a" {
						return fmt.Errorf("%w: %w", upstream.ErrCredential, grant)
					}
					return nil
				}}
				p.admit = func(n int, what string, who call.Subject) error { return log.deny(what, who) }
				r := newRig(t, p, func(c *Config) { c.PerPrincipal = true })
				var wg sync.WaitGroup
				for _, who := range []string{"a", "b", "c"} {
					synctest.Wait() // who comes first is the one who cannot
					wg.Go(func() {
						for range 2 {
							_, err := r.do(t.Context(), modernCaller(who, everything), &client{}, mcp.MethodToolsList, `{}`)
							var got *credential.GrantNeeded
							if needs := errors.As(err, &got); needs != (who == "a") {
								t.Errorf("%s: %v", who, err)
							}
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

// TestStreamWaitsForProof: the stream of a session whose credential is refused
// is not opened again and again, but once its caller proves itself anew.
func TestStreamWaitsForProof(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		var mu sync.Mutex
		p := &peer{kind: HTTP, legacy: true}
		p.admit = func(_ int, what string, who call.Subject) error {
			mu.Lock()
			defer mu.Unlock()
			if what == "GET" {
				opened++
				if who.Token.Reveal() != "t2" {
					return fmt.Errorf("%w: %w", upstream.ErrCredential, credential.ErrRefused)
				}
			}
			return nil
		}
		r := newRig(t, p, func(c *Config) { c.PerPrincipal, c.IdleTimeout = true, 100*time.Hour })
		session := legacyCaller("a", "s", everything)
		r.must(with(session, "t1", 1000), &client{}, mcp.MethodToolsList, `{}`)
		time.Sleep(24 * time.Hour)
		mu.Lock()
		if opened != 1 {
			t.Errorf("the stream was asked for %d times", opened)
		}
		before := opened
		mu.Unlock()
		r.must(with(session, "t2", 2000), &client{}, mcp.MethodToolsList, `{}`)
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if opened != before+1 {
			t.Errorf("the stream was asked for %d times more", opened-before)
		}
	})
}

// TestOwnCapabilities: what a server says that it can do for one caller decides
// nothing for another.
func TestOwnCapabilities(t *testing.T) {
	t.Parallel()
	var seen sync.Map
	p := &peer{kind: HTTP, modern: true}
	p.admit = func(n int, what string, who call.Subject) error {
		seen.Store(n, who.Principal.Identity().Subject)
		return nil
	}
	r := newRig(t, p, func(c *Config) { c.PerPrincipal = true })
	a, b := legacyCaller("a", "sa", everything), legacyCaller("b", "sb", everything)
	p.caps = `{"resources":{"subscribe":true}}`
	r.must(a, &client{}, mcp.MethodToolsList, `{}`)
	p.caps = `{"resources":{}}`
	r.must(b, &client{}, mcp.MethodToolsList, `{}`)
	got := map[string]bool{}
	for _, from := range []upstream.Caller{a, b} {
		ans, err := r.do(t.Context(), from, &client{}, mcp.MethodResourcesSubscribe, `{"uri":"x:1"}`)
		if err != nil {
			t.Fatal(err)
		}
		got[from.Principal.Identity().Subject] = ans.Error == nil
	}
	if d := cmp.Diff(map[string]bool{"a": true, "b": false}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

package bridge

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

func TestEraOfServerAndClient(t *testing.T) {
	t.Parallel()
	modern, legacy := modernCaller("a", everything), legacyCaller("a", "s", everything)
	for name, tc := range map[string]struct {
		peer  *peer
		era   EraSetting
		from  upstream.Caller
		want  mcp.Era
		dials int
	}{
		"http modern only, modern client":          {&peer{kind: HTTP, modern: true}, EraAuto, modern, mcp.Modern, 1},
		"http modern only, legacy client":          {&peer{kind: HTTP, modern: true}, EraAuto, legacy, mcp.Modern, 2},
		"http legacy only, modern client":          {&peer{kind: HTTP, legacy: true}, EraAuto, modern, mcp.Legacy, 2},
		"http legacy only, legacy client":          {&peer{kind: HTTP, legacy: true}, EraAuto, legacy, mcp.Legacy, 1},
		"http both, modern client":                 {&peer{kind: HTTP, modern: true, legacy: true}, EraAuto, modern, mcp.Modern, 1},
		"http both, legacy client":                 {&peer{kind: HTTP, modern: true, legacy: true}, EraAuto, legacy, mcp.Legacy, 1},
		"http both, legacy client, set to modern":  {&peer{kind: HTTP, modern: true, legacy: true}, EraModern, legacy, mcp.Modern, 1},
		"http both, modern client, set to legacy":  {&peer{kind: HTTP, modern: true, legacy: true}, EraLegacy, modern, mcp.Legacy, 1},
		"http legacy by 404":                       {&peer{kind: HTTP, legacy: true, refuse: &upstream.StatusError{Status: 404}}, EraAuto, modern, mcp.Legacy, 2},
		"http legacy by session gone":              {&peer{kind: HTTP, legacy: true, refuse: upstream.ErrSessionGone}, EraAuto, modern, mcp.Legacy, 2},
		"http modern by 400":                       {&peer{kind: HTTP, modern: true, refuse: &upstream.StatusError{Status: 400}}, EraAuto, legacy, mcp.Modern, 2},
		"stdio modern only, modern client":         {&peer{kind: Stdio, modern: true}, EraAuto, modern, mcp.Modern, 1},
		"stdio modern only, legacy client":         {&peer{kind: Stdio, modern: true}, EraAuto, legacy, mcp.Modern, 1},
		"stdio legacy only, same process":          {&peer{kind: Stdio, legacy: true}, EraAuto, modern, mcp.Legacy, 1},
		"stdio both, a spoiled process is renewed": {&peer{kind: Stdio, legacy: true, sticky: true}, EraAuto, modern, mcp.Legacy, 2},
		"stdio both, modern client":                {&peer{kind: Stdio, modern: true, legacy: true, sticky: true}, EraAuto, modern, mcp.Modern, 1},
		"stdio both, legacy client":                {&peer{kind: Stdio, modern: true, legacy: true, sticky: true}, EraAuto, legacy, mcp.Legacy, 1},
		"stdio legacy and mute":                    {&peer{kind: Stdio, legacy: true, mute: true}, EraAuto, modern, mcp.Legacy, 1},
		"stdio modern and mute":                    {&peer{kind: Stdio, modern: true, mute: true}, EraAuto, legacy, mcp.Modern, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := tc.peer
				r := newRig(t, p, func(c *Config) { c.Era = tc.era })
				d, err := r.Describe(t.Context(), tc.from)
				if err != nil {
					t.Fatal(err)
				}
				if d.Era != tc.want || p.dials() != tc.dials {
					t.Errorf("era %v after %d dials: %q", d.Era, p.dials(), p.seen(""))
				}
				if string(d.Instructions) != `"be kind"` || string(d.ServerInfo) != `{"name":"peer","version":"1"}` || d.Version == "" || d.Capabilities == nil {
					t.Errorf("%+v", d)
				}
				if a := r.must(tc.from, &client{}, mcp.MethodToolsList, `{}`); a.Era != tc.want || p.dials() != tc.dials {
					t.Errorf("era %v after %d dials", a.Era, p.dials())
				}
			})
		})
	}
}

func TestBothErasInOneServer(t *testing.T) {
	t.Parallel()
	p := &peer{kind: Stdio, modern: true, legacy: true, sticky: true}
	r := newRig(t, p, nil)
	for range 2 {
		if a := r.must(modernCaller("a", `{}`), &client{}, mcp.MethodToolsList, `{}`); a.Era != mcp.Modern {
			t.Errorf("%v", a.Era)
		}
		if a := r.must(legacyCaller("a", "s", `{}`), &client{}, mcp.MethodToolsList, `{}`); a.Era != mcp.Legacy {
			t.Errorf("%v", a.Era)
		}
	}
	if p.dials() != 2 {
		t.Errorf("%d processes for two eras", p.dials())
	}
}

func TestDowngradeIsHeld(t *testing.T) {
	t.Parallel()
	p := &peer{modern: true}
	r := newRig(t, p, nil)
	from := modernCaller("a", everything)
	r.must(from, &client{}, mcp.MethodToolsList, `{}`)
	p.modern, p.legacy = false, true
	p.refuse = &upstream.StatusError{Status: 400}
	if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsList, `{}`); err == nil {
		t.Fatal("a modern request to a legacy server succeeded")
	}
	for range 2 {
		for _, from := range []upstream.Caller{from, legacyCaller("a", "s", `{}`)} {
			if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsList, `{}`); !errors.Is(err, upstream.ErrHeld) {
				t.Errorf("got %v", err)
			}
		}
	}
	p.modern, p.refuse = true, nil
	r.must(from, &client{}, mcp.MethodToolsList, `{}`)
}

// A restart forgets nothing: what was modern before is held when it says that
// it is not, until the operator approves it.
func TestDowngradeAcrossARestartIsHeldUntilApproved(t *testing.T) {
	t.Parallel()
	told := 0
	p := &peer{modern: true}
	r := newRig(t, p, func(c *Config) { c.Modern = func() { told++ } })
	for range 3 {
		r.must(modernCaller("a", everything), &client{}, mcp.MethodToolsList, `{}`)
	}
	if told != 1 {
		t.Errorf("told %d times that the server is modern", told)
	}
	p = &peer{legacy: true}
	r = newRig(t, p, func(c *Config) { c.WasModern = true })
	for _, from := range []upstream.Caller{modernCaller("a", everything), legacyCaller("a", "s", `{}`)} {
		if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsList, `{}`); !errors.Is(err, upstream.ErrHeld) {
			t.Errorf("got %v", err)
		}
	}
	if !r.Approve() {
		t.Error("the server was not held")
	}
	if a := r.must(modernCaller("a", everything), &client{}, mcp.MethodToolsList, `{}`); a.Era != mcp.Legacy {
		t.Errorf("%v", a.Era)
	}
}

func TestDowngradeInOtherWords(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		synctest.Test(t, func(t *testing.T) {
			p := &peer{kind: kind, modern: true}
			r := newRig(t, p, nil)
			from := modernCaller("a", everything)
			r.must(from, &client{}, mcp.MethodToolsList, `{}`)
			p.modern, p.legacy = false, true
			if kind == Stdio {
				p.pipe(0).crash(upstream.ErrDown)
			} else if a := r.must(from, &client{}, mcp.MethodToolsList, `{}`); a.Error == nil {
				t.Errorf("%+v", a)
			}
			if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsList, `{}`); !errors.Is(err, upstream.ErrHeld) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestStrangeErrorsAreNoReasonToAskOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{modern: true, handle: func(*exchange) (string, *mcp.Error) {
			return "", &mcp.Error{Code: mcp.CodeInvalidRequest, Message: "no"}
		}}
		r := newRig(t, p, nil)
		for range 30 {
			r.must(modernCaller("a", `{}`), &client{}, mcp.MethodToolsList, `{}`)
			time.Sleep(4 * time.Second)
		}
		asked := 0
		for i := range p.dials() {
			asked += len(p.seen(string(rune('0'+i)) + "> server/discover"))
		}
		if asked > 3 {
			t.Errorf("asked %d times in two minutes", asked)
		}
	})
}

func TestDowngradeTowardLegacyClient(t *testing.T) {
	t.Parallel()
	p := &peer{modern: true}
	r := newRig(t, p, nil)
	from := legacyCaller("a", "s", `{}`)
	r.must(from, &client{}, mcp.MethodToolsList, `{}`)
	p.modern, p.legacy = false, true
	p.refuse = &upstream.StatusError{Status: 400}
	_, _ = r.do(t.Context(), from, &client{}, mcp.MethodToolsList, `{}`)
	if _, err := r.do(t.Context(), from, &client{}, mcp.MethodToolsList, `{}`); !errors.Is(err, upstream.ErrHeld) {
		t.Errorf("got %v", err)
	}
}

func TestUnsupportedVersionAsksAnew(t *testing.T) {
	t.Parallel()
	p := &peer{modern: true, legacy: true}
	p.handle = func(x *exchange) (string, *mcp.Error) {
		if x.asked == mcp.Modern {
			return "", &mcp.Error{Code: mcp.CodeUnsupportedVersion, Message: "no", Data: []byte(`{"supported":["2025-11-25"]}`)}
		}
		return `{}`, nil
	}
	r := newRig(t, p, nil)
	if _, err := r.do(t.Context(), modernCaller("a", `{}`), &client{}, mcp.MethodToolsList, `{}`); !errors.Is(err, upstream.ErrVersion) {
		t.Errorf("got %v", err)
	}
}

func TestDiscoveryOfLegacyVersionsOnly(t *testing.T) {
	t.Parallel()
	// The Go SDK's stateful server answers server/discover with legacy
	// revisions only.
	for name, answer := range map[string]func() (string, *mcp.Error){
		"result": func() (string, *mcp.Error) {
			return `{"resultType":"complete","supportedVersions":["2025-11-25"],"capabilities":{}}`, nil
		},
		"error": func() (string, *mcp.Error) {
			return "", &mcp.Error{Code: mcp.CodeUnsupportedVersion, Message: "no", Data: []byte(`{"supported":["2025-11-25"]}`)}
		},
		"no capabilities": func() (string, *mcp.Error) { return `{"supportedVersions":["2026-07-28"]}`, nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &peer{legacy: true}
			d := dialerFunc(func(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
				tr, err := p.Dial(ctx, o)
				return &discoverer{tr.(*pipe), answer}, err
			})
			p.t = t
			s, err := New(Config{Name: "srv", Era: EraAuto, Kind: HTTP}, d)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close(t.Context())
			got, err := s.Describe(t.Context(), modernCaller("a", `{}`))
			if err != nil || got.Era != mcp.Legacy {
				t.Errorf("%v %v", got.Era, err)
			}
		})
	}
}

type dialerFunc func(context.Context, upstream.DialOptions) (upstream.Transport, error)

func (f dialerFunc) Dial(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
	return f(ctx, o)
}

type discoverer struct {
	*pipe
	answer func() (string, *mcp.Error)
}

func (d *discoverer) Exchange(ctx context.Context, m upstream.Outgoing, h upstream.Handler) (mcp.Message, error) {
	if m.Method == mcp.MethodDiscover {
		r, e := d.answer()
		return d.p.decode(respond(mcp.NumberID(1), r, e)), nil
	}
	return d.pipe.Exchange(ctx, m, h)
}

func TestVersionFloor(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		peer  *peer
		floor mcp.Version
		from  upstream.Caller
	}{
		"below the default floor":     {&peer{legacy: true, version: "2025-03-26"}, "", legacyCaller("a", "s", `{}`)},
		"below a raised floor":        {&peer{legacy: true, version: "2025-06-18"}, mcp.V20251125, modernCaller("a", `{}`)},
		"a revision nobody knows":     {&peer{legacy: true, version: "2025-09-01"}, "", legacyCaller("a", "s", `{}`)},
		"a modern one at initialize":  {&peer{legacy: true, version: "2026-07-28"}, "", legacyCaller("a", "s", `{}`)},
		"legacy below a modern floor": {&peer{legacy: true}, mcp.V20260728, modernCaller("a", `{}`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.peer, func(c *Config) { c.Floor = tc.floor })
			if _, err := r.Describe(t.Context(), tc.from); !errors.Is(err, upstream.ErrVersion) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTroubleSaysNothingAboutEras(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 408, 429, 500, 502, 503} {
		p := &peer{legacy: true, refuse: &upstream.StatusError{Status: status}}
		r := newRig(t, p, nil)
		_, err := r.Describe(t.Context(), modernCaller("a", `{}`))
		var st *upstream.StatusError
		if !errors.As(err, &st) || st.Status != status || len(p.seen("0> initialize"))+len(p.seen("1> initialize")) != 0 {
			t.Errorf("%d: %v %q", status, err, p.seen(""))
		}
	}
}

func TestHTTPSilenceIsNoEra(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{legacy: true, mute: true}
		r := newRig(t, p, nil)
		began := time.Now()
		if _, err := r.Describe(t.Context(), modernCaller("a", `{}`)); !errors.Is(err, errSilent) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestOneProbeForMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{kind: Stdio, modern: true}
		r := newRig(t, p, nil)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { r.must(modernCaller("a", `{}`), &client{}, mcp.MethodToolsList, `{}`) })
		}
		wg.Wait()
		if n := p.dials(); n != 1 {
			t.Errorf("%d processes", n)
		}
		if got := p.seen("0> server/discover"); len(got) != 1 {
			t.Errorf("%q", got)
		}
	})
}

func TestSlowModernProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := true
		p := &peer{kind: Stdio, modern: true}
		d := dialerFunc(func(ctx context.Context, o upstream.DialOptions) (upstream.Transport, error) {
			tr, _ := p.Dial(ctx, o)
			return &sleeper{tr.(*pipe), &slow}, nil
		})
		p.t = t
		s, err := New(Config{Name: "srv", Era: EraAuto, Kind: Stdio}, d)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(t.Context())
		got, err := s.Describe(t.Context(), modernCaller("a", `{}`))
		if err != nil || got.Era != mcp.Modern {
			t.Errorf("%v %v %q", got.Era, err, p.seen(""))
		}
	})
}

// sleeper takes five seconds before its first answer.
type sleeper struct {
	*pipe
	asleep *bool
}

func (s *sleeper) Exchange(ctx context.Context, m upstream.Outgoing, h upstream.Handler) (mcp.Message, error) {
	if *s.asleep {
		select {
		case <-time.After(5 * time.Second):
			*s.asleep = false
		case <-ctx.Done():
			return mcp.Message{}, ctx.Err()
		}
	}
	return s.pipe.Exchange(ctx, m, h)
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"zero":    {},
		"no era":  {Name: "a", Kind: HTTP},
		"no kind": {Name: "a", Era: EraAuto},
		"no name": {Era: EraAuto, Kind: HTTP},
	} {
		if _, err := New(cfg, &peer{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{Name: "a", Era: EraAuto, Kind: HTTP}, nil); err == nil {
		t.Error("no dialer: accepted")
	}
}

func TestCapabilitiesAcrossEras(t *testing.T) {
	t.Parallel()
	legacy, modern := legacyCaller("a", "s", `{"roots":{"listChanged":true},"tasks":{"list":{}},"experimental":{"e":{}},"extensions":{"io.modelcontextprotocol/tasks":{},"x/ui":{}}}`), modernCaller("a", `{"roots":{},"sampling":{"tools":{}},"future":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`)
	if diff := cmp.Diff(`{"roots":{},"experimental":{"e":{}},"extensions":{"x/ui":{}}}`, string(callerCapabilities(legacy, false))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`{"roots":{},"experimental":{"e":{}},"extensions":{"x/ui":{},"io.modelcontextprotocol/tasks":{}}}`, string(callerCapabilities(legacy, true))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`{"roots":{},"sampling":{"tools":{}}}`, string(legacyCapabilities(modern))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`{"a":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`, string(ServerCapabilities(mcp.Modern, mcp.Legacy, []byte(`{"a":{},"tasks":{"requests":{"tools":{"call":{}}}}}`)))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(`{"a":{},"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}}`, string(ServerCapabilities(mcp.Legacy, mcp.Modern, []byte(`{"a":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`)))); diff != "" {
		t.Error(diff)
	}
}

// The answer that opened the connection answers the caller that waits for it;
// whoever comes later, or is another, has the server asked anew.
func TestDiscoverOnceOnFirstUse(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{HTTP, Stdio} {
		for _, era := range []EraSetting{EraAuto, EraModern} {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{kind: kind, modern: true}
				r := newRig(t, p, func(c *Config) { c.Era = era })
				from := modernCaller("a", everything)
				describe := func(from upstream.Caller, want int) {
					t.Helper()
					d, err := r.Describe(t.Context(), from)
					if err != nil || string(d.ServerInfo) != `{"name":"peer","version":"1"}` {
						t.Errorf("%+v: %v", d, err)
					}
					got := 0
					for n := range p.dials() {
						got += len(p.seen(strconv.Itoa(n) + "> server/discover"))
					}
					if got != want {
						t.Errorf("asked %d times, want %d", got, want)
					}
				}
				describe(from, 1)
				time.Sleep(time.Second)
				describe(from, 2)
				describe(modernCaller("b", everything), 3)
				describe(modernCaller("a", `{}`), 4)
			})
		}
	}
}

// Package gateway is the pipeline: the order of everything that happens to a
// message between a client and a server, in one straight function (see
// pipeline.go), and the two ways in: Streamable HTTP and stdio.
//
// Threat: a message that reaches a server, or a client, without having been
// judged. Each request makes one call.Call; every stage writes its verdict on
// it; only a clearance lets a message out upstream and only a release lets
// bytes out downstream. Any error, and any panic, is a deny.
//
// It guarantees that every call leaves an intent and an outcome on the record
// before and after anything is forwarded, that refusals look alike, and that
// one caller's session, state, cursor or task looks to every other caller as
// if it did not exist. It does not itself know who anybody is, what is
// allowed, or how a server is reached: those are contracts it is given.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Once remembers what may happen once: a nonce until its expiry. It reports
// false when the key was there already.
type Once interface {
	First(ctx context.Context, key string, until time.Time) (bool, error)
}

// Sealer protects what a client carries for us. Sealed text of one purpose or
// one binding does not open under another.
type Sealer interface {
	// Seal encrypts; equal inputs give different texts.
	Seal(purpose string, plain, binding []byte) (string, error)
	// Name encrypts so that equal inputs give equal texts, for IDs that
	// clients compare.
	Name(purpose string, plain, binding []byte) (string, error)
	// Open reverses both.
	Open(purpose, sealed string, binding []byte) ([]byte, error)
}

// Limits bound what one caller can take. Zero fields refuse.
type Limits struct {
	JSON          strictjson.Limits
	PerPrincipal  int           // concurrent calls
	Streams       int           // concurrent streams of one principal
	AllStreams    int           // concurrent streams in all
	Suspend       time.Duration // how long a client may take to answer an input_required
	Sessions      int           // legacy sessions in all
	PrincipalOwn  int           // legacy sessions of one principal
	CallTime      time.Duration
	ReadTime      time.Duration // for one body
	WriteTime     time.Duration // for one write
	SessionIdle   time.Duration
	SessionLife   time.Duration
	KeepAlive     time.Duration
	ServerMessage int // bytes of one message of a server
}

// DefaultLimits returns the limits of a gateway nobody tuned.
func DefaultLimits() Limits {
	return Limits{
		JSON: strictjson.Default(), PerPrincipal: 256, Streams: 64, AllStreams: 10_000, Suspend: 5 * time.Minute, Sessions: 100_000, PrincipalOwn: 60_000,
		CallTime: 5 * time.Minute, ReadTime: 30 * time.Second, WriteTime: 30 * time.Second,
		SessionIdle: 30 * time.Minute, SessionLife: 24 * time.Hour, KeepAlive: 15 * time.Second,
		ServerMessage: 16 << 20,
	}
}

// Times are the patience with one server: how long a call may show no sign of
// life, and how long it may take in all. Zero means the gateway's own.
type Times struct{ Silence, Call time.Duration }

// Options are the parts of a gateway. All are required unless said otherwise.
type Options struct {
	Name, Version string
	// Servers are the enabled servers; Order lists their names.
	Servers map[string]upstream.Server
	Order   []string
	// Merged names the servers that /mcp serves together; empty: no /mcp.
	Merged []string
	Authn  authn.Authenticator
	Authz  authz.Decider
	Guards *guard.Set
	// Schemas holds to its schema what is left of a result. Hash is a keyed digest
	// of a canonical JSON value of a server, as a word. Without them no field of a
	// result can be held back, and the result is.
	Schemas *guard.Set
	Hash    func(server string, canonical []byte) string
	Catalog *catalog.Catalog
	// Definitions says which definitions were approved.
	Definitions Definitions
	// Record takes events; RecordOf overrides it by server (optional).
	Record audit.Recorder
	// Outcomes takes the outcomes of calls whose intent is on the record.
	Outcomes audit.Recorder
	RecordOf map[string]audit.Recorder
	// Times override Limits.CallTime by server and bound its silence.
	Times  map[string]Times
	Sealer Sealer
	Once   Once
	Limits Limits
	Floor  mcp.Version
	// Hosts are the accepted Host values, lower case, with port; Origins the
	// accepted Origin values.
	Hosts, Origins []string
	// Resources are the protected resources by URL; empty without identity
	// providers.
	Resources map[string]Resource
	// BaseURL is the public URL without a path, for resource names.
	BaseURL     string
	Sessions    *Sessions
	Generations func() call.Generations
	// Approvals keeps what is held for a person; nil refuses what is held. Rules
	// names the policies by what they say, so that an approval ends with them.
	Approvals Approvals
	Rules     string
	Logger    *slog.Logger
}

// Gateway serves one snapshot of config, policy and keys. A reload builds
// another one.
type Gateway struct {
	o        Options
	hosts    map[string]bool
	origins  map[string]bool
	merged   map[string]bool
	messages *limit.Gate // being read or handled
	calls    *limit.Gate
	streams  *limit.Gate
	draining atomic.Bool
	drain    chan struct{}
	drainOne sync.Once
	stopping context.Context //nolint:containedctx // ends with drain
	stop     context.CancelFunc
	inflight flights
	life     context.Context //nolint:containedctx // of calls that outlive their connection
	abandon  context.CancelFunc
	refused  refusals
	refetch  *limit.Keyed
	fetching singleflight.Group
	joined   sync.Pool // of *[]byte: answers on their way out
}

// New builds a gateway or says which part is missing.
func New(o Options) (*Gateway, error) {
	switch {
	case o.Authn == nil || o.Authz == nil || o.Guards == nil || o.Catalog == nil || o.Definitions == nil:
		return nil, errors.New("gateway: authenticator, decider, guards, catalogue and definitions are required")
	case o.Record == nil || o.Outcomes == nil || o.Sealer == nil || o.Once == nil || o.Sessions == nil || o.Generations == nil || o.Logger == nil:
		return nil, errors.New("gateway: recorder, sealer, nonces, sessions, generations and logger are required")
	case len(mcp.Supported(o.Floor)) == 0:
		return nil, errors.New("gateway: no protocol version is at or above the floor")
	case o.Limits.CallTime <= 0 || o.Limits.PerPrincipal <= 0:
		return nil, errors.New("gateway: limits are required")
	}
	g := &Gateway{o: o, hosts: map[string]bool{}, origins: map[string]bool{}, merged: map[string]bool{}, drain: make(chan struct{})}
	for _, h := range o.Hosts {
		g.hosts[strings.ToLower(h)] = true
	}
	for _, x := range o.Origins {
		g.origins[strings.ToLower(x)] = true
	}
	for _, m := range o.Merged {
		if o.Servers[m] == nil {
			return nil, errors.New("gateway: merged names a server that is not there: " + m)
		}
		g.merged[m] = true
	}
	g.messages = limit.NewGate(2*o.Limits.PerPrincipal+o.Limits.Streams, maxConcurrent)
	g.calls = limit.NewGate(o.Limits.PerPrincipal, maxConcurrent)
	g.streams = limit.NewGate(o.Limits.Streams, o.Limits.AllStreams)
	g.stopping, g.stop = context.WithCancel(context.Background())
	g.life, g.abandon = context.WithCancel(context.Background())
	g.refetch = limit.NewKeyed(1, 5, maxKeys)
	return g, nil
}

const (
	maxKeys       = 100_000
	maxConcurrent = 100_000
)

// Drain stops taking calls, ends open streams gracefully and waits until
// those in flight are answered or ctx ends.
func (g *Gateway) Drain(ctx context.Context) error {
	g.drainOne.Do(func() { g.draining.Store(true); close(g.drain); g.stop() })
	defer g.lastRefusals()
	select {
	case <-g.inflight.none():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Retire ends the streams of a gateway that a reload replaced; its calls in
// flight go on to their end.
func (g *Gateway) Retire() {
	g.drainOne.Do(func() { close(g.drain); g.stop() })
	g.lastRefusals()
}

// Abandon cancels the calls in flight that do not end with their connection.
func (g *Gateway) Abandon() { g.abandon() }

// flights counts the messages that are being handled. Others may come while
// somebody waits until there are none, which a sync.WaitGroup forbids.
type flights struct {
	mu    sync.Mutex
	n     int
	ended chan struct{} // closed when n is 0 again; nil while nobody waits
}

func (f *flights) enter() {
	f.mu.Lock()
	f.n++
	f.mu.Unlock()
}

func (f *flights) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 && f.ended != nil {
		close(f.ended)
		f.ended = nil
	}
}

// none returns a channel that is closed when nothing is being handled.
func (f *flights) none() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.ended
	if c == nil {
		c = make(chan struct{})
		if f.n == 0 {
			close(c)
			return c
		}
		f.ended = c
	}
	return c
}

func (g *Gateway) recorder(server string) audit.Recorder {
	if r, ok := g.o.RecordOf[server]; ok {
		return r
	}
	return g.o.Record
}

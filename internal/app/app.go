// Package app composes a gateway: config in, running parts out. It is the one
// place that knows every concrete type.
//
// Threat: a gateway that runs on half of an old configuration and half of a
// new one. A reload builds a whole new gateway from one snapshot of config,
// policy and keys, checks it, and then swaps one pointer; when anything fails,
// the old one goes on as if nothing had been asked.
//
// It guarantees that what must outlive a reload (store, record, keys,
// sessions, unchanged servers) does, and that a graceful stop answers what is
// in flight. It makes no decision about any call.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn/introspect"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/authn/spiffe"
	"github.com/munjigi/munjigi/internal/authz/approval"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/credential/peruser"
	"github.com/munjigi/munjigi/internal/demo"
	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/keys/file"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/pages"
	"github.com/munjigi/munjigi/internal/pins"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Options are what the program that runs the gateway decides.
type Options struct {
	Version string
	Logger  *slog.Logger
	Getenv  func(string) string
	// LookupEnv resolves secret references of the scheme env.
	LookupEnv func(string) (string, bool)
	// Load reads the config again for a reload; nil when there is no file.
	Load func() (*config.Config, error)
	// Stdio reports that the gateway serves one pair of streams (wrap) and
	// listens nowhere.
	Stdio bool
	// Terminal is where codes for signing in are shown: only those see it who
	// may be the operator. Without it nobody can sign in by code.
	Terminal io.Writer
}

// App is a running gateway.
type App struct {
	o        Options
	ring     keys.Ring
	db       *sqlite.Store
	nonces   store.KV
	modern   moderns
	record   *log.Log
	prover   *prover
	auth     *local.Local
	verifier *jwt.Verifier // of the newest snapshot; its keys are kept over a reload
	svids    *spiffe.Verifier
	tokens   *tokens
	endings  *endings
	asked    map[string]*introspect.Introspector // of the newest snapshot
	// telling is who judges for the gateway that is current, where an issuer
	// tells of logouts; strangers bounds what others can make it record.
	telling   atomic.Pointer[who]
	strangers *limit.Keyed
	operator  string
	sessions  *gateway.Sessions
	catalog   *catalog.Catalog
	gens      generations
	pins      *pins.Pins
	watch     atomic.Pointer[pins.Watch] // of the newest snapshot
	questions *questions
	holds     proofs
	grants    atomic.Pointer[peruser.Grants] // of the newest snapshot; nil where no server wants any
	secrets   secret.Schemes
	browsers  store.KV        // sessions of the pages
	pairing   *signin.Pairing // its codes outlive a reload
	approvals atomic.Pointer[approval.Approvals]
	codes     terminalCodes

	mu      sync.Mutex // held for a reload
	cfg     *config.Config
	servers map[string]*running
	current atomic.Pointer[gateway.Gateway]
	pages   atomic.Pointer[pages.Pages]
	lets    atomic.Pointer[authServer]
	door    *door
	// entrance is the TLS of the listener.
	entrance entrance
	// onlyTLS reports that clients know the gateway by https alone.
	onlyTLS atomic.Bool

	life     context.Context //nolint:containedctx // from Open to Close
	end      context.CancelFunc
	retiring sync.WaitGroup // servers that a reload replaced
}

// generations counts changes of policy, pins and revocation.
type generations struct{ policy, pins, revocation atomic.Uint64 }

func (g *generations) now() call.Generations {
	return call.Generations{Policy: g.policy.Load(), Pins: g.pins.Load(), Revocation: g.revocation.Load()}
}

// DemoServer is the name of the built-in server.
const DemoServer = "demo"

// Open builds everything that a config asks for and listens nowhere yet.
func Open(ctx context.Context, cfg *config.Config, o Options) (*App, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	a := &App{o: o, life: life, end: end, servers: map[string]*running{}, catalog: catalog.New(catalog.DefaultViews)}
	a.newCodes()
	if err := a.foundations(ctx, cfg); err != nil {
		return nil, errors.Join(err, a.Close(context.WithoutCancel(ctx)))
	}
	g, servers, err := a.build(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, a.Close(context.WithoutCancel(ctx)))
	}
	a.cfg, a.servers = cfg, servers
	a.current.Store(g)
	go a.lookAfter(a.life)
	go a.sweepApprovals(a.life)
	a.announce(ctx, "started")
	return a, nil
}

// foundations opens what outlives a reload.
func (a *App) foundations(ctx context.Context, cfg *config.Config) error {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("the data folder cannot be made: %w", err)
	}
	if err := onlyOwner(cfg.Data); err != nil {
		return err
	}
	ring, err := file.Open(file.Options{Dir: filepath.Join(cfg.Data, "keys"), Credentials: a.o.Getenv("CREDENTIALS_DIRECTORY")})
	if err != nil {
		return err
	}
	a.ring = ring
	if a.record, err = log.Open(log.Options{Dir: filepath.Join(cfg.Data, "audit")}); err != nil {
		return err
	}
	if a.db, err = sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(cfg.Data, "store.db")}); err != nil {
		return err
	}
	if a.nonces, err = a.db.Bucket("once"); err != nil {
		return err
	}
	if a.modern.kv, err = a.db.Bucket("modern-servers"); err != nil {
		return err
	}
	if a.browsers, err = a.db.Bucket(bucketBrowsers); err != nil {
		return err
	}
	if err = a.openPins(ctx, cfg); err != nil {
		return err
	}
	_, key, err := ring.Subkey("client-token")
	if err != nil {
		return err
	}
	if a.tokens, err = openTokens(ctx, a.db); err != nil {
		return err
	}
	if a.endings, err = openEndings(ctx, a.db); err != nil {
		return err
	}
	a.strangers = refusedLogouts()
	token, digest, err := local.OperatorToken(cfg.Data)
	if err != nil {
		return err
	}
	a.operator = token
	a.auth = &local.Local{Operator: digest, Key: key, Revoked: a.tokens.isRevoked, Anonymous: cfg.Identity.InsecureAnonymous}
	dir := ""
	if cfg.File != "" {
		dir = filepath.Dir(cfg.File)
	}
	a.secrets = secret.Schemes{
		secret.SchemeEnv:  secret.Env(a.o.LookupEnv),
		secret.SchemeFile: secret.Files{Dir: dir},
		secret.SchemeSealed: secret.Sealed{Dir: filepath.Join(cfg.Data, "sealed"), Open: func(name string, b []byte) ([]byte, error) {
			return ring.Open(SealedPurpose, b, []byte(name))
		}},
	}
	if a.prover, err = newProver(filepath.Join(cfg.Data, "audit"), ring, a.record, a.o.Logger); err != nil {
		return err
	}
	go a.prover.run(a.life)
	a.sessions = gateway.NewSessions(limitsOf(cfg), a.sessionEnded)
	go a.sessions.Sweep(a.life, 30*time.Second)
	return nil
}

// SealedPurpose is the purpose under which sealed: secrets are kept.
const SealedPurpose keys.Purpose = "sealed-secret"

// sessionEnded lets every server go of what it held for a session.
func (a *App) sessionEnded(key string) {
	a.mu.Lock()
	all := make([]*running, 0, len(a.servers))
	for _, r := range a.servers {
		all = append(all, r)
	}
	a.mu.Unlock()
	for _, r := range all {
		r.server.End(key)
	}
}

// build makes a whole gateway of one config.
func (a *App) build(ctx context.Context, cfg *config.Config) (*gateway.Gateway, map[string]*running, error) {
	if cfg.Demo && len(cfg.Servers) > 0 {
		return nil, nil, errors.New("the demo server never stands beside real ones")
	}
	servers := map[string]*running{}
	var fresh []*running
	fail := func(err error) (*gateway.Gateway, map[string]*running, error) {
		for _, r := range fresh {
			_ = r.close(context.WithoutCancel(ctx))
		}
		return nil, nil, err
	}
	gw := map[string]upstream.Server{}
	var order []string
	records := map[string]audit.Recorder{}
	times := map[string]gateway.Times{}
	for _, s := range cfg.Servers {
		if !s.Enabled {
			continue
		}
		r, isNew, err := a.server(ctx, cfg, s)
		if err != nil {
			return fail(fmt.Errorf("servers.%s: %w", s.Name, err))
		}
		if isNew {
			fresh = append(fresh, r)
		}
		servers[s.Name], gw[s.Name] = r, r.server
		order = append(order, s.Name)
		times[s.Name] = gateway.Times{Silence: s.Timeout, Call: s.Deadline}
		records[s.Name] = a.record.With(durability(s.Durability))
	}
	merged := cfg.MergedServers()
	if cfg.Demo {
		d := demo.New(demo.Options{Version: a.o.Version, Protected: Protected(cfg), Open: Unprotected(cfg)})
		r := &running{server: d}
		servers[DemoServer], gw[DemoServer] = r, d
		order, merged = []string{DemoServer}, []string{DemoServer}
	}
	guards, err := guardsOf(cfg, a.ring)
	if err != nil {
		return fail(err)
	}
	fits, err := schemas(cfg)
	if err != nil {
		return fail(err)
	}
	hash, err := resultHash(a.ring)
	if err != nil {
		return fail(err)
	}
	base, hosts, origins, err := names(cfg)
	if err != nil {
		return fail(err)
	}
	id, err := a.identity(cfg, base, order, merged)
	if err != nil {
		return fail(err)
	}
	held, err := a.approvalsOf(cfg)
	if err != nil {
		return fail(err)
	}
	watch := a.pins.Under(a.definitionRules(cfg))
	g, err := gateway.New(gateway.Options{
		Name: "munjigi", Version: a.o.Version,
		Servers: gw, Order: order, Merged: merged,
		Authn: id.authn, Authz: id.authz, Approvals: held, Rules: id.rules, Resources: id.resources, Guards: guards, Schemas: fits, Hash: hash, Catalog: a.catalog, Definitions: watch,
		Record: a.record.With(durability(cfg.Audit.Durability)), RecordOf: records, Outcomes: a.record.With(log.Relaxed), Times: times,
		Sealer: sealer{a.ring}, Once: once{a.nonces}, Limits: limitsOf(cfg), Floor: mcp.Version(cfg.ProtocolFloor),
		Hosts: hosts, Origins: origins, BaseURL: base,
		Sessions: a.sessions, Generations: a.gens.now, Logger: a.o.Logger,
	})
	if err != nil {
		return fail(err)
	}
	grants, shown, err := a.grantsOf(ctx, cfg)
	if err != nil {
		return fail(err)
	}
	lets, err := a.authServerOf(ctx, cfg, base, id)
	if err != nil {
		return fail(err)
	}
	site, err := a.pagesOf(ctx, cfg, id.verifier, shown, held, lets)
	if err != nil {
		return fail(err)
	}
	a.holds.by.Store(&id.authn)
	if id.verifier != nil {
		a.verifier = id.verifier
	}
	if id.svids != nil {
		a.svids = id.svids
	}
	a.asked = id.asked
	a.telling.Store(&id)
	a.onlyTLS.Store(strings.HasPrefix(base, "https:"))
	a.watch.Store(watch)
	a.pages.Store(site)
	a.lets.Store(lets)
	a.grants.Store(grants)
	a.approvals.Store(held)
	return g, servers, nil
}

// names returns the public URL without a path and the accepted Host and
// Origin values.
func names(cfg *config.Config) (base string, hosts, origins []string, err error) {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return "", nil, nil, fmt.Errorf("listen: %w", err)
	}
	scheme := "http"
	if cfg.TLS.Enabled() {
		scheme = "https"
	}
	self := []string{host}
	if config.Loopback(host) {
		self = []string{"127.0.0.1", "localhost", "::1", host}
	}
	for _, h := range self {
		hp := net.JoinHostPort(h, port)
		hosts = append(hosts, hp)
		origins = append(origins, scheme+"://"+hp)
	}
	if cfg.AuthorizationServer.Enabled && config.Loopback(host) {
		host = "localhost" // where its pages are: an issuer has one name
	}
	base = scheme + "://" + net.JoinHostPort(host, port)
	if cfg.PublicURL != "" {
		u, err := url.Parse(cfg.PublicURL)
		if err != nil {
			return "", nil, nil, fmt.Errorf("public_url: %w", err)
		}
		base = strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host)
		hosts = append(hosts, u.Host)
		origins = append(origins, base)
	}
	return base, append(hosts, cfg.AllowedHosts...), append(origins, cfg.AllowedOrigins...), nil
}

func durability(d config.Durability) log.Durability {
	if d == config.DurabilityRelaxed {
		return log.Relaxed
	}
	return log.Strict
}

func mode(m config.Mode) guard.Mode {
	switch m {
	case config.ModeOff:
		return guard.Off
	case config.ModeMonitor:
		return guard.Monitor
	}
	return guard.Enforce
}

func limitsOf(cfg *config.Config) gateway.Limits {
	l := gateway.DefaultLimits()
	c := cfg.Limits
	l.JSON = strictjson.Limits{Bytes: int(c.Body), Depth: c.Depth, Members: strictjson.Default().Members}
	l.PerPrincipal, l.Streams = c.PerPrincipalCalls, c.PerPrincipalStreams
	l.AllStreams, l.Suspend = c.Streams, c.SuspendTimeout
	l.Sessions, l.PrincipalOwn = c.Sessions, c.PerPrincipalSessions
	l.ReadTime, l.WriteTime, l.SessionIdle, l.SessionLife = c.BodyTimeout, c.WriteTimeout, c.SessionTimeout, c.SessionLifetime
	l.ServerMessage = int(c.Result)
	return l
}

// announce puts what the gateway runs with on the record, every departure
// from the safe defaults by name.
func (a *App) announce(ctx context.Context, what string) {
	detail := map[string]string{"version": a.o.Version}
	for i, d := range a.cfg.Departures() {
		if i == audit.MaxDetail-2 {
			break
		}
		detail[fmt.Sprintf("departure.%02d", i+1)] = d.Key + ": " + d.Value
	}
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "config", Effect: "allow", Reason: what, Detail: detail}
	if err := a.record.With(log.Strict).Record(ctx, &e); err != nil {
		a.o.Logger.Error("the record cannot be written", "err", err)
	}
}

// Reload reads the config again and swaps the gateway, or leaves the old one
// running and says why.
func (a *App) Reload(ctx context.Context) error {
	if a.o.Load == nil {
		return errors.New("there is no config file to read again")
	}
	cfg, err := a.o.Load()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if cfg.Listen != a.cfg.Listen || cfg.Data != a.cfg.Data || cfg.TLS.Enabled() != a.cfg.TLS.Enabled() ||
		cfg.Identity.InsecureAnonymous != a.cfg.Identity.InsecureAnonymous {
		return errors.New("listen, data, tls on or off, and identity change only with a restart")
	}
	take, err := a.entrance.prepare(cfg.TLS)
	if err != nil {
		return err
	}
	g, servers, err := a.build(ctx, cfg)
	if err != nil {
		return err
	}
	take(a.x509SVIDs(cfg), a.o.Logger)
	old, before := a.current.Load(), a.servers
	a.cfg, a.servers = cfg, servers
	a.gens.policy.Add(1)
	a.current.Store(g)
	old.Retire()
	for name, r := range before {
		if servers[name] != r {
			// Calls in flight keep the old server until they are answered.
			a.retiring.Go(func() {
				ctx, cancel := context.WithTimeout(a.life, cfg.Limits.DrainTimeout)
				defer cancel()
				_ = old.Drain(ctx)
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Limits.DrainTimeout)
				defer cancel()
				_ = r.close(last)
			})
		}
	}
	a.announce(ctx, "reloaded")
	return nil
}

// Config returns the config in force.
func (a *App) Config() *config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg
}

// Close lets go of everything.
func (a *App) Close(ctx context.Context) error {
	var errs []error
	a.end()
	a.mu.Lock()
	servers := a.servers
	a.mu.Unlock()
	for _, r := range servers {
		errs = append(errs, r.close(ctx))
	}
	a.retiring.Wait()
	if g := a.grants.Load(); g != nil {
		errs = append(errs, g.Close(ctx))
	}
	if a.db != nil {
		errs = append(errs, a.db.Close())
	}
	if a.record != nil {
		errs = append(errs, a.record.Close())
	}
	if a.prover != nil {
		errs = append(errs, a.prover.close())
	}
	return errors.Join(errs...)
}

package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/internal/guard"
)

// Listen opens the address of the config. Multipath TCP is off: it would slip
// past rules on TCP connections that a sandbox sets.
func (a *App) Listen(ctx context.Context) (net.Listener, error) {
	cfg := a.Config()
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w: is another gateway running? Set listen: to another port", err)
	}
	a.door = newDoor(l, cfg.Limits.Connections)
	l = a.door
	if !cfg.TLS.Enabled() {
		return l, nil
	}
	take, err := a.entrance.prepare(cfg.TLS)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	take(a.x509SVIDs(cfg), a.o.Logger)
	return tls.NewListener(l, a.entrance.config()), nil
}

// Serve answers on l until ctx ends, then drains: no new calls, streams ended
// gracefully, calls in flight answered within the drain timeout.
func (a *App) Serve(ctx context.Context, l net.Listener) error {
	cfg := a.Config()
	srv := &http.Server{
		Handler:           a,
		ConnState:         moved,
		ReadHeaderTimeout: cfg.Limits.HeaderTimeout,
		IdleTimeout:       cfg.Limits.IdleTimeout,
		MaxHeaderBytes:    int(cfg.Limits.Headers),
		ErrorLog:          slog.NewLogLogger(a.o.Logger.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 128, MaxReadFrameSize: 64 << 10,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: cfg.Limits.WriteTimeout,
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.Limits.DrainTimeout)
	defer cancel()
	g := a.current.Load()
	err := g.Drain(drain)
	if srv.Shutdown(drain) != nil {
		// What is left takes too long, sends a request that never ends, or does
		// not read. Its outcome still goes on the record.
		err = errors.Join(err, srv.Close())
		g.Abandon()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		_ = g.Drain(last)
	}
	return err
}

// lastWords is how long calls may take to end that a stop has cut off.
const lastWords = 5 * time.Second

var strictTLS = []string{"max-age=31536000"}

// ServeHTTP hands each request to the pages or the gateway that are current
// when it comes.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.onlyTLS.Load() {
		w.Header()["Strict-Transport-Security"] = strictTLS // RFC 6797; a year
	}
	if who := a.telling.Load(); r.URL.Path == LogoutPath && who != nil && who.verifier.Logouts() {
		a.logout(w, r, who.verifier)
		return
	}
	if a.servePublished(w, r) {
		return
	}
	if a.lets.Load().serve(w, r) {
		return
	}
	if p := a.pages.Load(); p.Serves(r.URL.Path) {
		p.ServeHTTP(w, r)
		return
	}
	a.current.Load().ServeHTTP(w, r)
}

// ServeStdio speaks on one pair of streams for the lone operator (wrap).
func (a *App) ServeStdio(ctx context.Context, server string, r io.Reader, w io.Writer) error {
	return gateway.Converse(ctx, a.current.Load, local.Attached("stdio"), server, r, w)
}

// Watch reloads when the config file changes and when told to, until ctx
// ends. A bad config leaves the old one running.
func (a *App) Watch(ctx context.Context, told <-chan os.Signal) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	seen := a.Config().Digest
	file := a.Config().File
	for {
		forced := false
		select {
		case <-ctx.Done():
			return
		case <-told:
			forced = true
		case <-every.C:
		}
		if file == "" {
			continue
		}
		b, err := os.ReadFile(file) //nolint:gosec // the operator's own config
		if err != nil && !forced {
			continue
		}
		digest := sha256.Sum256(b)
		if !forced && digest == seen {
			continue
		}
		seen = digest
		if err := a.Reload(ctx); err != nil {
			a.o.Logger.Error("the config was not taken; the old one goes on", "err", err)
			continue
		}
		a.o.Logger.Info("the config was reloaded")
	}
}

// Sessions returns the table of legacy sessions.
func (a *App) Sessions() *gateway.Sessions { return a.sessions }

// Protected says in plain sentences what this gateway protects as it runs.
func Protected(cfg *config.Config) []string {
	out := []string{
		"Every call needs a token of this gateway; a session alone lets nobody in.",
		"Host and Origin are checked, so that no web page can reach the servers through the browser.",
		"Every message is read once, strictly: batches, duplicate members and broken text are refused.",
		"Definitions are pinned: a tool that is poisoned, changed, or came later is held until you approve it (`munjigi tools list`).",
		"Nothing is forwarded before it is on the record; `munjigi why ID` shows what happened to any call.",
	}
	for _, g := range [...]struct{ name, does string }{
		{"schema", "Arguments and structured results are held to the schemas that the tools declare."},
		{"arguments", "Paths, commands, queries and addresses in arguments are refused where they would do more than the tool is for."},
		{"secrets", "Passwords, keys and tokens are masked in results and do not leave in arguments."},
		{"injection", "Results that carry the wording of an attack on a model are held back."},
	} {
		if enforced(cfg, g.name) {
			out = append(out, g.does)
		}
	}
	if cfg.Identity.InsecureAnonymous {
		out = out[1:]
	}
	return out
}

// enforced reports that a config runs a guard as it is by default.
func enforced(cfg *config.Config, name string) bool {
	for _, g := range cfg.Guards {
		if g.Name == name {
			return mode(g.Mode) == guard.Enforce
		}
	}
	return true
}

// Unprotected says what it does not protect.
func Unprotected(cfg *config.Config) []string {
	out := []string{
		"Text that steers a model in plain words, without the wording of an attack, is not told from honest text.",
		"A program that runs as the same user can read the operator's token and these files.",
	}
	for _, s := range cfg.Servers {
		if s.InsecureUnsandboxed && s.Enabled {
			out = append(out, "The server "+s.Name+" runs without a sandbox, with your own rights.")
		}
	}
	if cfg.Identity.InsecureAnonymous {
		out = append(out, "Anyone on this machine may call (identity.insecure_anonymous).")
	}
	return out
}

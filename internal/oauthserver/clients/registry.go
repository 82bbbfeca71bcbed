package clients

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/store"
)

// Bounds of registrations.
const (
	// UnusedLife is how long a registration waits for its first consent.
	UnusedLife = time.Hour
	// UsedLife is how long it lasts after the last one.
	UsedLife = 90 * 24 * time.Hour

	prefix    = "reg_"
	maxUnused = 200
	maxUsed   = 2000
)

// Registry holds the clients that registered themselves (RFC 7591). Use
// NewRegistry; the zero value holds none and registers none.
type Registry struct {
	kv    store.KV
	own   string
	peers *limit.Keyed
	all   *limit.Keyed
	mu    sync.Mutex // counts and puts at one moment
}

// NewRegistry keeps registrations in a bucket of the store. own is the host of
// our own pages.
func NewRegistry(kv store.KV, own string) *Registry {
	return &Registry{kv: kv, own: own, peers: limit.NewKeyed(1.0/30, 5, 4096), all: limit.NewKeyed(0.5, 30, 1)}
}

// row is one registration. It holds nothing secret.
type row struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Redirects []string `json:"redirects"`
	Auth      string   `json:"auth"`
	JWKS      []byte   `json:"jwks,omitempty"`
	Scopes    []string `json:"scopes,omitempty"`
	DPoP      bool     `json:"dpop,omitempty"`
	Issued    int64    `json:"issued"`
	Ends      int64    `json:"ends"`
	Used      bool     `json:"used,omitempty"`
}

func (r row) client() oauthserver.Client {
	m := metadata{id: r.ID, name: r.Name, redirects: r.Redirects, auth: oauthserver.AuthMethod(r.Auth), jwks: r.JWKS, scopes: r.Scopes, dpop: r.DPoP}
	c := m.client(oauthserver.Registered)
	c.Expires = time.Unix(r.Ends, 0)
	return c
}

// Registration is what became of a request.
type Registration struct {
	Client oauthserver.Client
	Issued time.Time
}

// Judge reads a request's body and makes the client it would become, with an ID
// of at least 128 random bits. Nothing is kept yet. peer is the address that
// asks. The error wraps ErrDocument or ErrTooMany.
func (g *Registry) Judge(peer string, body []byte) (Registration, error) {
	if g == nil || g.kv == nil {
		return Registration{}, ErrUnknown
	}
	if ok, _ := g.peers.Allow(peer); !ok {
		return Registration{}, ErrTooMany
	}
	if ok, _ := g.all.Allow("all"); !ok {
		return Registration{}, ErrTooMany
	}
	m, err := read(body, g.own)
	if err != nil {
		return Registration{}, err
	}
	switch {
	case m.id != "":
		return Registration{}, unacceptable("client_id is ours to choose")
	case m.jwksURI != "":
		return Registration{}, unacceptable("jwks_uri: we fetch nothing for a stranger; send jwks")
	case m.auth == oauthserver.AuthPrivateKeyJWT:
		if m.jwks, err = checkKeys(m.jwks); err != nil {
			return Registration{}, unacceptable("jwks: %w", err)
		}
	default:
		// Nobody gets a secret: RFC 7591 3.2.1 lets us answer with another method
		// than was asked for.
		m.auth, m.jwks = oauthserver.AuthNone, nil
	}
	// A client registers with the scope of its first refusal and asks for more later.
	// Who can register again is not bounded by that: people's answers are its bounds.
	m.scopes = nil
	m.id = prefix + rand.Text()
	now := time.Now()
	c := m.client(oauthserver.Registered)
	c.Expires = now.Add(UnusedLife)
	return Registration{Client: c, Issued: now}, nil
}

// Keep keeps what Judge made. When too many wait for a first consent, the one
// that waited longest goes. The error wraps ErrTooMany, or is the store's.
func (g *Registry) Keep(ctx context.Context, r Registration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	used, unused, oldest := 0, 0, row{}
	err := g.each(ctx, func(o row) {
		if o.Used {
			used++
			return
		}
		unused++
		if oldest.ID == "" || o.Issued < oldest.Issued {
			oldest = o
		}
	})
	switch {
	case err != nil:
		return err
	case used >= maxUsed:
		return ErrTooMany
	case unused >= maxUnused:
		if _, err := g.kv.Delete(ctx, oldest.ID); err != nil {
			return err
		}
	}
	c := r.Client
	b, err := json.Marshal(row{ID: c.ID, Name: c.Name, Redirects: c.RedirectURIs, Auth: string(c.Auth), JWKS: c.JWKS, Scopes: c.Scopes, DPoP: c.DPoP,
		Issued: r.Issued.Unix(), Ends: c.Expires.Unix()})
	if err != nil {
		return err
	}
	made, err := g.kv.PutIfAbsent(ctx, c.ID, b, c.Expires)
	if err == nil && !made {
		err = errors.New("the registration could not be kept")
	}
	return err
}

func (g *Registry) each(ctx context.Context, f func(row)) error {
	var bad error
	err := g.kv.Scan(ctx, prefix, func(e store.Entry) bool {
		var o row
		if bad = json.Unmarshal(e.Value, &o); bad != nil {
			return false
		}
		f(o)
		return true
	})
	return errors.Join(err, bad)
}

// Client returns the registered client of that ID, or an error that wraps
// ErrUnknown, or that of the store.
func (g *Registry) Client(ctx context.Context, id string) (oauthserver.Client, error) {
	o, _, err := g.find(ctx, id)
	return o.client(), err
}

func (g *Registry) find(ctx context.Context, id string) (row, store.Version, error) {
	if g == nil || g.kv == nil || len(id) < len(prefix)+26 || len(id) > 64 || id[:len(prefix)] != prefix {
		return row{}, 0, ErrUnknown
	}
	e, err := g.kv.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return row{}, 0, fmt.Errorf("%w: it is not registered, or no longer", ErrUnknown)
	}
	if err != nil {
		return row{}, 0, err
	}
	var o row
	if err := json.Unmarshal(e.Value, &o); err != nil {
		return row{}, 0, err
	}
	return o, e.Version, nil
}

// Used notes that a person let the client in, and lets it last for UsedLife.
func (g *Registry) Used(ctx context.Context, id string) error {
	o, version, err := g.find(ctx, id)
	if err != nil {
		return err
	}
	ends := time.Now().Add(UsedLife)
	o.Used, o.Ends = true, ends.Unix()
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	// Whoever else noted it meanwhile noted the same.
	_, err = g.kv.CompareAndSwap(ctx, id, version, b, ends)
	return err
}

// End takes a registration back, and reports whether there was one.
func (g *Registry) End(ctx context.Context, id string) (bool, error) {
	if _, _, err := g.find(ctx, id); err != nil {
		if errors.Is(err, ErrUnknown) {
			return false, nil
		}
		return false, err
	}
	return g.kv.Delete(ctx, id)
}

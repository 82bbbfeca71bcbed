// Package pins remembers which definitions of a server were approved, and holds
// every other one.
//
// Threat: a server that shows one definition to the person who looks and another
// to the model afterwards (rug pull); a tool that comes later, under a new name,
// or under a name that another server's tool has or seems to have; text of one
// server that steers the use of another's tools. What changed once must not
// become the new normal by being seen twice.
//
// Guaranteed: a definition is offered only if its whole canonical form has the
// digest of a pin. A pin is made by a person's approval of exactly that digest,
// or, where the operator's config says so (first sight), once per server and
// list, if no guard and no rule here found anything in it. Pins are signed with
// a key of the gateway's ring; one whose signature does not hold is none. Each
// change of what may be offered moves the generation of its server. What cannot
// be written to the store is held.
//
// Not guaranteed: that an approved definition is honest, that a server behaves
// as it says, or that whoever holds both the store and the keys did not approve.
package pins

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/store"
)

// Bucket is the bucket of the store.
const Bucket = "definition-pins"

// Purpose is that of the key that signs pins.
const Purpose keys.Purpose = "definition-pins"

// Bounds.
const (
	// MostBytes is how large a definition may be to be pinned.
	MostBytes = 400 << 10
	mostHeld  = 2000 // of one server; more are held without being shown
	mostPins  = 50_000
	// sightLasts bounds how long a list may be seen for the first time.
	sightLasts = 10 * time.Minute
)

// How a pin came to be.
const (
	ByFirstSight = "first-sight"
	ByOperator   = "approved"
	ByFile       = "file"
)

// Pin is one approved definition.
type Pin struct {
	Server string          `json:"server"`
	Kind   string          `json:"kind"`
	Name   string          `json:"name"`
	Digest string          `json:"digest"` // SHA-256 of the canonical form, hexadecimal
	Raw    json.RawMessage `json:"definition"`
	How    string          `json:"how"`
	By     string          `json:"by,omitempty"`
	At     time.Time       `json:"at"`
	// Key and Signature are Ed25519 over the rest; see sign.go.
	Key       string `json:"key,omitempty"`
	Signature string `json:"signature,omitempty"`
}

// Hold is one definition that is not offered.
type Hold struct {
	Server   string          `json:"server"`
	Kind     string          `json:"kind"`
	Name     string          `json:"name"`
	Digest   string          `json:"digest"`
	Raw      json.RawMessage `json:"definition"`
	Reason   call.Reason     `json:"reason"`
	Findings []Finding       `json:"findings,omitempty"`
	Score    float64         `json:"score"`
	First    time.Time       `json:"first"`
	Rejected bool            `json:"rejected,omitempty"`
}

// Finding is what was found in a definition that is held.
type Finding struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
	Path   string `json:"path,omitempty"`
	Text   string `json:"text,omitempty"`
}

// Told is told of everything that happens to definitions. It must not block for
// long, and gets no more than one hold for each digest.
type Told interface {
	// Held: a definition is not offered.
	Held(h Hold)
	// Sighted: a list was pinned at first sight.
	Sighted(server, kind string, n int)
}

// Options are the parts of a set of pins. All are required.
type Options struct {
	Store store.KV
	Ring  keys.Ring
	Log   *slog.Logger
	Told  Told
}

// Rule is what the config says of one server.
type Rule struct {
	// Identity is whose pins count: another command or URL under one name may be
	// another identity.
	Identity string
	// Clean pins at first sight what has no finding; else it is held.
	Clean bool
	// Unpinned leaves the server to the guards alone.
	Unpinned bool
	// NewResources lets resources that come later pass if they have no finding.
	NewResources bool
	// SameNames lets this server have names that another server's tools have, or
	// that look like them.
	SameNames bool
}

type place struct{ identity, kind, name string }

// Pins are all pins of a data folder. They outlive a reload. Use Open.
type Pins struct {
	o Options

	writing sync.Mutex // held while the store and the maps change
	mu      sync.RWMutex
	pins    map[place]pinned
	held    map[place]Hold
	counts  map[string]int // held, by identity
	sights  map[place]sight
	gens    map[string]*atomic.Uint64 // by identity
}

type pinned struct {
	digest [32]byte
	pin    Pin
	words  map[string]bool // names that its texts mention
}

// sight is the state of a list that was seen.
type sight struct {
	First  time.Time `json:"first"`
	Closed bool      `json:"closed"`
	count  int
}

// Open reads the pins of a store.
func Open(ctx context.Context, o Options) (*Pins, error) {
	p := &Pins{o: o, pins: map[place]pinned{}, held: map[place]Hold{}, counts: map[string]int{}, sights: map[place]sight{}, gens: map[string]*atomic.Uint64{}}
	var bad error
	err := o.Store.Scan(ctx, "", func(e store.Entry) bool {
		var row row
		if bad = json.Unmarshal(e.Value, &row); bad != nil {
			bad = fmt.Errorf("pins: an entry cannot be read: %w: restore the data folder, or remove store.db to approve anew", bad)
			return false
		}
		at := place{row.Identity, row.Kind, row.Name}
		switch {
		case row.Pin != nil:
			d, ok := readDigest(row.Pin.Digest)
			if !ok || !p.verify(row.Identity, *row.Pin) {
				o.Log.Error("a pin's signature does not hold: its definition is held", "server", row.Pin.Server, "kind", row.Kind, "name", row.Name)
				return true
			}
			p.pins[at] = pinned{d, *row.Pin, mentions(row.Pin.Raw)}
		case row.Held != nil:
			p.held[at] = *row.Held
			p.counts[row.Identity]++
		case row.Sight != nil:
			p.sights[at] = *row.Sight
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return p, err
}

// row is one entry of the store.
type row struct {
	Identity string `json:"identity"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Pin      *Pin   `json:"pin,omitempty"`
	Held     *Hold  `json:"held,omitempty"`
	Sight    *sight `json:"sight,omitempty"`
}

func (p *Pins) put(ctx context.Context, what string, r row) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := store.Key(what, r.Identity, r.Kind, r.Name)
	for range 8 {
		old, err := p.o.Store.Get(ctx, key)
		if err == nil {
			if ok, err := p.o.Store.CompareAndSwap(ctx, key, old.Version, b, time.Time{}); ok || err != nil {
				return err
			}
			continue
		}
		if ok, err := p.o.Store.PutIfAbsent(ctx, key, b, time.Time{}); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("pins: the entry of %s changes too fast: try again", r.Kind)
}

func (p *Pins) drop(ctx context.Context, what string, at place) error {
	_, err := p.o.Store.Delete(ctx, store.Key(what, at.identity, at.kind, at.name))
	return err
}

// The kinds as people read them.
const (
	kindTools     = "tool"
	kindPrompts   = "prompt"
	kindResources = "resource"
	kindTemplates = "template"
	kindServer    = "server"
)

func kindOf(k catalog.Kind) string {
	switch k {
	case mcp.MethodToolsList:
		return kindTools
	case mcp.MethodPromptsList:
		return kindPrompts
	case mcp.MethodResourcesList:
		return kindResources
	case mcp.MethodResourcesTemplatesList:
		return kindTemplates
	case catalog.KindServer:
		return kindServer
	}
	return ""
}

func methodOf(kind string) catalog.Kind {
	switch kind {
	case kindTools:
		return mcp.MethodToolsList
	case kindPrompts:
		return mcp.MethodPromptsList
	case kindResources:
		return mcp.MethodResourcesList
	case kindTemplates:
		return mcp.MethodResourcesTemplatesList
	case kindServer:
		return catalog.KindServer
	}
	return ""
}

func readDigest(s string) (d [32]byte, ok bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, false
	}
	return [32]byte(b), true
}

// generation returns the counter of an identity; mu is not held.
func (p *Pins) generation(identity string) *atomic.Uint64 {
	p.mu.RLock()
	g := p.gens[identity]
	p.mu.RUnlock()
	if g != nil {
		return g
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if g = p.gens[identity]; g == nil {
		g = new(atomic.Uint64)
		p.gens[identity] = g
	}
	return g
}

// Forget drops everything about an identity that is not keep and whose name
// begins with prefix: what is built in changes with the program.
func (p *Pins) Forget(ctx context.Context, prefix, keep string) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	var all []place
	p.mu.RLock()
	for _, m := range []map[place]bool{keysOf(p.pins), keysOf(p.held), keysOf(p.sights)} {
		for at := range m {
			if len(at.identity) >= len(prefix) && at.identity[:len(prefix)] == prefix && at.identity != keep {
				all = append(all, at)
			}
		}
	}
	p.mu.RUnlock()
	for _, at := range all {
		for _, what := range []string{whatPin, whatHeld, whatSight} {
			if err := p.drop(ctx, what, at); err != nil {
				return err
			}
		}
		p.mu.Lock()
		if _, ok := p.held[at]; ok {
			p.counts[at.identity]--
		}
		delete(p.pins, at)
		delete(p.held, at)
		delete(p.sights, at)
		p.mu.Unlock()
	}
	return nil
}

func keysOf[V any](m map[place]V) map[place]bool {
	out := make(map[place]bool, len(m))
	for k := range m {
		out[k] = true
	}
	return out
}

// What an entry of the store is.
const (
	whatPin   = "pin"
	whatHeld  = "held"
	whatSight = "sight"
)

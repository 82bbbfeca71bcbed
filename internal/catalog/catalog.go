// Package catalog remembers the definitions that servers give of their tools
// and prompts, per server and caller.
//
// Threat: judging a call by a definition that somebody else was shown, or
// that is not there any more. Entries are keyed by server, principal and
// client, bounded in number and age, and dropped when the server says that
// its list changed.
//
// It guarantees that an entry came from a complete walk of the list. It does
// not guarantee that a definition is honest: approving definitions is a later
// control.
package catalog

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Kind is the list that a definition stands in: mcp.MethodToolsList or
// mcp.MethodPromptsList.
type Kind string

// Key says whose view of which list is meant.
type Key struct {
	Server string
	Caller string // Principal.CacheKey
	Policy uint64 // generation
	Kind   Kind
}

// Definition is one tool or prompt as the server sent it.
type Definition struct {
	Name   string
	Digest [32]byte
	// Raw is the definition itself.
	Raw []byte
	// Headers are the x-mcp-header annotations of a tool.
	Headers []mcp.ParamHeader
	// Broken says why the definition may not be offered; empty when it may.
	Broken string
	// TaskSupport is execution.taskSupport of a 2025-11-25 tool.
	TaskSupport string
}

// View is one complete list. It is not changed after Put.
type View struct {
	byName  map[string]*Definition
	expires time.Time
}

// Lookup finds a definition by its exact name.
func (v *View) Lookup(name string) (*Definition, bool) {
	if v == nil {
		return nil, false
	}
	d, ok := v.byName[name]
	return d, ok
}

// Len returns the number of definitions.
func (v *View) Len() int {
	if v == nil {
		return 0
	}
	return len(v.byName)
}

// Bounds of a catalogue.
const (
	DefaultViews = 4096
	MaxTTL       = 5 * time.Minute
	DefaultTTL   = time.Minute
)

// Catalog holds views. Use New.
type Catalog struct {
	mu    sync.RWMutex
	lists map[list]map[Key]*View
	views int // in all lists
	most  int
	shape map[[32]byte]*View // views of equal content share their maps
}

// list is one list of one server, which is forgotten as a whole however many
// callers saw it: a server may say that it changed as often as it likes.
type list struct {
	server string
	kind   Kind
}

func (k Key) list() list { return list{k.Server, k.Kind} }

// New returns a catalogue that holds at most most views.
func New(most int) *Catalog {
	return &Catalog{lists: map[list]map[Key]*View{}, shape: map[[32]byte]*View{}, most: most}
}

// Get returns the view of a key while it is fresh.
func (c *Catalog) Get(k Key, now time.Time) (*View, bool) {
	c.mu.RLock()
	v, ok := c.lists[k.list()][k]
	c.mu.RUnlock()
	if !ok || now.After(v.expires) {
		return nil, false
	}
	return v, true
}

// Put stores a complete list of raw definitions and returns its view. ttl is
// bounded to MaxTTL; zero means DefaultTTL.
func (c *Catalog) Put(k Key, raws [][]byte, now time.Time, ttl time.Duration) *View {
	if ttl <= 0 {
		ttl = DefaultTTL
	}
	ttl = min(ttl, MaxTTL)
	h := sha256.New()
	defs := make([]*Definition, 0, len(raws))
	for _, r := range raws {
		d, ok := Read(k.Kind, r)
		if !ok {
			continue
		}
		h.Write(d.Digest[:])
		defs = append(defs, d)
	}
	var sum [32]byte
	h.Sum(sum[:0])
	c.mu.Lock()
	defer c.mu.Unlock()
	v := &View{expires: now.Add(ttl)}
	if same, ok := c.shape[sum]; ok {
		v.byName = same.byName
	} else {
		v.byName = make(map[string]*Definition, len(defs))
		for _, d := range defs {
			if old, dup := v.byName[d.Name]; dup {
				old.Broken = "the server lists this name twice"
				continue
			}
			v.byName[d.Name] = d
		}
		c.shape[sum] = v
	}
	l := c.lists[k.list()]
	if l == nil {
		l = map[Key]*View{}
		c.lists[k.list()] = l
	}
	c.views -= len(l)
	l[k] = v
	c.views += len(l)
	c.evict(now)
	return v
}

// evict drops stale views, then any, until the bound holds.
func (c *Catalog) evict(now time.Time) {
	if c.views <= c.most {
		return
	}
	drop := func(stale func(*View) bool) {
		for at, l := range c.lists {
			for k, v := range l {
				if stale(v) {
					delete(l, k)
					c.views--
				}
			}
			if len(l) == 0 {
				delete(c.lists, at)
			}
		}
	}
	drop(func(v *View) bool { return now.After(v.expires) })
	drop(func(*View) bool { return c.views > c.most })
	clear(c.shape)
}

// Forget drops every view of one list of a server: its list changed.
func (c *Catalog) Forget(server string, kind Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := list{server, kind}
	c.views -= len(c.lists[at])
	delete(c.lists, at)
}

// Read reads one raw definition; ok is false when it has no usable name.
func Read(kind Kind, raw []byte) (d *Definition, ok bool) {
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return nil, false
	}
	name, ok := mcp.Text(o, "name", 1024)
	if !ok || name == "" {
		return nil, false
	}
	d = &Definition{Name: name, Raw: raw}
	canon, err := strictjson.Canonical(raw)
	if err != nil {
		return nil, false
	}
	d.Digest = sha256.Sum256(canon)
	if kind != mcp.MethodToolsList {
		return d, true
	}
	schema, _ := o.Get("inputSchema")
	if strictjson.TypeOf(schema) != strictjson.TypeObject {
		d.Broken = "inputSchema is not an object"
		return d, true
	}
	if d.Headers, err = mcp.ParamHeaders(schema); err != nil {
		d.Broken = fmt.Sprintf("inputSchema: %v", err)
	}
	if ex, has := o.Get("execution"); has {
		if eo, err := strictjson.SplitObject(ex); err == nil {
			d.TaskSupport, _ = mcp.Text(eo, "taskSupport", 32)
		}
	}
	return d, true
}

package schema

import (
	"container/list"
	"context"
	"runtime"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds of what is remembered.
const (
	maxPrograms = 1024     // schemas whose programs are kept
	maxVerdicts = 64 << 10 // schemas of which it is known whether they can be checked
	maxSource   = 16 << 20 // bytes of all schemas whose programs are kept
)

// key names a schema by the digest of the definition that it stands in, and how
// it is compiled.
type key struct {
	definition [32]byte
	which      string
	closed     bool
}

// cache compiles a schema once for all calls, by its digest: a definition that
// changes is another one. It is safe for concurrent use.
type cache struct {
	mu       sync.Mutex
	programs map[key]*list.Element // of *kept
	order    *list.List            // the latest used first
	bytes    int
	verdicts map[key]error
	formats  []*jsonschema.Format
}

// kept are the programs of one schema: as many as ran at once so far, at most
// one for each processor, since one program checks one value at a time.
type kept struct {
	key  key
	size int
	free chan *program
	made chan struct{}
}

func newCache() *cache {
	return &cache{programs: map[key]*list.Element{}, order: list.New(), verdicts: map[key]error{}, formats: formats()}
}

// verdict returns what judge found, if it is remembered.
func (c *cache) verdict(k key) (known bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err, known = c.verdicts[k]
	return known, err
}

// judge reports whether a schema, which may be nil, can be checked. It keeps
// the verdict only: lists name many tools of which few are called.
func (c *cache) judge(k key, raw []byte) error {
	var err error
	if raw != nil {
		_, err = compile(raw, k.closed, c.formats)
	}
	c.remember(k, err)
	return err
}

func (c *cache) remember(k key, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.verdicts) >= maxVerdicts {
		clear(c.verdicts)
	}
	c.verdicts[k] = err
}

// check holds a value to a schema. It waits for a program while every processor
// is busy with one of this schema.
func (c *cache) check(ctx context.Context, id key, raw []byte, v any) error {
	if _, err := c.verdict(id); err != nil {
		return err
	}
	var err error
	k := c.keep(id, len(raw))
	var p *program
	select {
	case p = <-k.free:
	default:
		select {
		case p = <-k.free:
		case k.made <- struct{}{}:
			if p, err = compile(raw, id.closed, c.formats); err != nil {
				<-k.made
				c.remember(id, err)
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// A panic of the validator loses the program and its place; it is refused
	// like any other failure of a guard.
	err = p.check(v)
	k.free <- p
	return err
}

// keep returns the programs of a schema, making room for them.
func (c *cache) keep(id key, size int) *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.programs[id]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*kept)
	}
	n := runtime.GOMAXPROCS(0)
	k := &kept{key: id, size: size, free: make(chan *program, n), made: make(chan struct{}, n)}
	c.programs[id] = c.order.PushFront(k)
	c.bytes += size
	for len(c.programs) > 1 && (len(c.programs) > maxPrograms || c.bytes > maxSource) {
		last := c.order.Back()
		old := c.order.Remove(last).(*kept)
		delete(c.programs, old.key)
		c.bytes -= old.size
	}
	return k
}

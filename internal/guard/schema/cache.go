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
	verdicts map[key]verdict
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
	return &cache{programs: map[key]*list.Element{}, order: list.New(), verdicts: map[key]verdict{}, formats: formats()}
}

// verdict is what is known of one schema of a definition before any value is
// held to it.
type verdict struct {
	err    error // why it cannot be checked
	absent bool  // the definition has none
}

// judge says whether a schema can be checked. source gives it, or nil where the
// definition has none. Only the verdict is kept: lists name many tools of which
// few are called.
func (c *cache) judge(k key, source func() ([]byte, error)) (verdict, error) {
	c.mu.Lock()
	v, known := c.verdicts[k]
	c.mu.Unlock()
	if known {
		return v, nil
	}
	raw, err := source()
	if err != nil {
		return verdict{}, err
	}
	if v.absent = raw == nil; !v.absent {
		_, v.err = compile(raw, k.closed, c.formats)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.verdicts) >= maxVerdicts {
		clear(c.verdicts)
	}
	c.verdicts[k] = v
	return v, nil
}

// check holds a value to a schema. It waits for a program while every processor
// is busy with one of this schema.
func (c *cache) check(ctx context.Context, id key, source func() ([]byte, error), instance []byte) error {
	v, err := c.judge(id, source)
	if err != nil || v.absent {
		return err
	}
	if v.err != nil {
		return v.err
	}
	k := c.keep(id)
	var p *program
	select {
	case p = <-k.free:
	default:
		select {
		case p = <-k.free:
		case k.made <- struct{}{}:
			if p, err = c.program(k, source); err != nil {
				<-k.made
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// A program in which the validator panicked is not used again, and its place
	// is given back: else a few such values would close the tool to everybody.
	whole := false
	defer func() {
		if whole {
			k.free <- p
		} else {
			<-k.made
		}
	}()
	err = p.checkRaw(instance)
	whole = true
	return err
}

// program compiles one more program of a schema.
func (c *cache) program(k *kept, source func() ([]byte, error)) (*program, error) {
	raw, err := source()
	if err != nil {
		return nil, err
	}
	p, err := compile(raw, k.key.closed, c.formats)
	if err == nil {
		c.charge(k, len(raw))
	}
	return p, err
}

// keep returns the programs of a schema.
func (c *cache) keep(id key) *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.programs[id]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*kept)
	}
	n := runtime.GOMAXPROCS(0)
	k := &kept{key: id, free: make(chan *program, n), made: make(chan struct{}, n)}
	c.programs[id] = c.order.PushFront(k)
	return k
}

// charge counts what a program was made of, and makes room for it.
func (c *cache) charge(k *kept, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.programs[k.key]; !ok {
		return // pushed out meanwhile: it ends with its calls
	}
	k.size += size
	c.bytes += size
	for len(c.programs) > 1 && (len(c.programs) > maxPrograms || c.bytes > maxSource) {
		last := c.order.Back()
		old := c.order.Remove(last).(*kept)
		delete(c.programs, old.key)
		c.bytes -= old.size
	}
}

package call

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munjigi/munjigi/internal/minimize"
)

// ID names one call on the record: 128 random bits in hexadecimal.
type ID string

// NewID returns a fresh ID from the system's CSPRNG.
func NewID() ID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	var h [32]byte
	hex.Encode(h[:], b[:])
	return ID(h[:])
}

// Target is what a call is about.
type Target struct {
	Server string // configured name; empty before resolve
	Method string
	Name   string // tool, prompt, URI or task as the server knows it
}

// Generations counts the changes of what a decision rests on. A clearance of
// an older generation is void.
type Generations struct {
	Policy, Pins, Revocation uint64
}

// Asked is how a request was made. The zero Asked says nothing.
type Asked struct {
	// Era is "modern" or "legacy"; empty when nobody said.
	Era string
	// Address is the other end of the connection; not valid where there is no
	// network between.
	Address netip.Addr
}

// Call is one request being judged. Its trail only grows.
type Call struct {
	ID        ID
	Started   time.Time
	Deadline  time.Time
	Principal Principal
	Target    Target
	Session   string // key of the legacy session; empty when stateless
	// Asked is how it was asked, which does not change after decode.
	Asked Asked

	mu     sync.Mutex
	trail  []Decision
	passed uint32
	denied bool
	owed   *minimize.Rules
}

// New returns a call with a fresh ID.
func New(now time.Time) *Call { return &Call{ID: NewID(), Started: now} }

// Decide appends a verdict and returns whether the call goes on.
func (c *Call) Decide(d Decision) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trail == nil {
		c.trail = make([]Decision, 0, 13)
	}
	c.trail = append(c.trail, d)
	c.owed = minimize.Join(c.owed, d.Obligations)
	if d.Effect.Passes() && d.Stage != 0 {
		c.passed |= 1 << d.Stage
		return !c.denied
	}
	c.denied = true
	return false
}

// Owe adds what of the answer may come back to what the verdicts on the call
// said of it; nothing takes any of it away.
func (c *Call) Owe(r *minimize.Rules) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owed = minimize.Join(c.owed, r)
}

// Owed is what of the answer may come back; nil for all of it.
func (c *Call) Owed() *minimize.Rules {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owed
}

// Pass records that a stage allowed the call.
func (c *Call) Pass(s Stage) bool {
	return c.Decide(Decision{Effect: Allow, Stage: s, Reason: ReasonOK})
}

// Fork returns a call of the same principal under the same ID for another
// target, for work that one message makes at several servers. It inherits the
// stages up to Decode; what follows must allow it anew.
func (c *Call) Fork(t Target) *Call {
	f := &Call{ID: c.ID, Started: c.Started, Deadline: c.Deadline, Principal: c.Principal, Target: t, Session: c.Session, Asked: c.Asked}
	c.mu.Lock()
	f.passed = c.passed & (1<<Accept | 1<<Authenticate | 1<<Admit | 1<<Decode)
	f.denied = c.denied
	c.mu.Unlock()
	return f
}

// Trail returns a copy of the verdicts so far.
func (c *Call) Trail() []Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Decision(nil), c.trail...)
}

// Verdict returns the decisive verdict: the first that did not pass, else the
// last.
func (c *Call) Verdict() Decision {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.trail {
		if !d.Effect.Passes() {
			return d
		}
	}
	if len(c.trail) == 0 {
		return Decision{Reason: ReasonNotCleared}
	}
	return c.trail[len(c.trail)-1]
}

// Required stages of each proof. They are constants: config can tune a stage
// and never remove it.
const (
	requiredForClearance = 1<<Accept | 1<<Authenticate | 1<<Admit | 1<<Decode | 1<<Resolve |
		1<<Validate | 1<<Authorize | 1<<InspectRequest
	requiredForRelease = 1<<Accept | 1<<Authenticate | 1<<Admit | 1<<Decode | 1<<Minimize | 1<<InspectResult
)

// Errors of proofs.
var (
	ErrNotCleared = errors.New("a required stage has not allowed this call")
	ErrSpent      = errors.New("this clearance was used already")
	ErrChanged    = errors.New("what is to be sent is not what was judged")
	ErrStale      = errors.New("policy, pins or revocation changed since this call was judged")
)

// Clearance proves that every required stage allowed one message to one
// server. It is opaque, single use, bound to the message's digest and to the
// generations under which it was judged. The zero clearance proves nothing.
type Clearance struct {
	c      *Call
	target Target
	params []byte
	seed   maphash.Seed
	sum    uint64
	gens   Generations
	now    func() Generations
	spent  atomic.Bool
}

// Clear mints a clearance for params if every required stage has passed. The
// digest is keyed by a random seed per clearance: a message changed between
// judging and sending does not spend it. generations returns the values in
// force now.
func (c *Call) Clear(params []byte, generations func() Generations) (*Clearance, error) {
	c.mu.Lock()
	ok := !c.denied && c.passed&requiredForClearance == requiredForClearance
	c.mu.Unlock()
	if !ok || !c.Principal.Valid() || c.Target.Server == "" || c.Target.Method == "" || generations == nil {
		c.Decide(Decision{Effect: Deny, Stage: Clear, Reason: ReasonNotCleared})
		return nil, ErrNotCleared
	}
	c.Pass(Clear)
	cl := &Clearance{c: c, target: c.Target, params: params, seed: maphash.MakeSeed(), gens: generations(), now: generations}
	cl.sum = maphash.Bytes(cl.seed, params)
	return cl, nil
}

// Cleared is what a spent clearance lets an upstream send.
type Cleared struct {
	ID        ID
	Principal Principal
	Target    Target
	Params    []byte
	Session   string
	Deadline  time.Time
}

// Spend uses the clearance up and returns what may be sent. It fails when the
// clearance is zero or used, the message changed, or a generation moved.
func (cl *Clearance) Spend() (Cleared, error) {
	if cl == nil || cl.c == nil {
		return Cleared{}, ErrNotCleared
	}
	if !cl.spent.CompareAndSwap(false, true) {
		return Cleared{}, ErrSpent
	}
	if maphash.Bytes(cl.seed, cl.params) != cl.sum {
		return Cleared{}, ErrChanged
	}
	if cl.now() != cl.gens {
		return Cleared{}, ErrStale
	}
	return Cleared{ID: cl.c.ID, Principal: cl.c.Principal, Target: cl.target, Params: cl.params,
		Session: cl.c.Session, Deadline: cl.c.Deadline}, nil
}

// Current reports whether the generations are still those of the clearance;
// streams ask before each message.
func (cl *Clearance) Current() bool { return cl != nil && cl.c != nil && cl.now() == cl.gens }

// Release proves that one message may go to the client. The writer of replies
// and streams takes nothing else. The zero release carries nothing.
type Release struct {
	parts [][]byte
	spent *atomic.Bool
}

// Release mints a release for bytes that the result inspection allowed. They
// are written in the order of the parts, so that nothing large is copied to
// be wrapped.
func (c *Call) Release(parts ...[]byte) (Release, error) {
	c.mu.Lock()
	ok := !c.denied && c.passed&requiredForRelease == requiredForRelease
	c.mu.Unlock()
	if !ok {
		return Release{}, ErrNotCleared
	}
	return Release{parts: parts, spent: new(atomic.Bool)}, nil
}

// Message mints a release for one message of a stream that the stream
// inspection allowed while the call goes on; verdict is what it said.
func (c *Call) Message(body []byte, verdict Decision) (Release, error) {
	c.mu.Lock()
	ok := !c.denied && c.passed&requiredForClearance == requiredForClearance
	c.mu.Unlock()
	if !ok || !verdict.Effect.Passes() {
		return Release{}, ErrNotCleared
	}
	return Release{parts: [][]byte{body}, spent: new(atomic.Bool)}, nil
}

// Refusal mints a release for our own words: a refusal needs no inspection
// because none of its text comes from a server.
func (c *Call) Refusal(body []byte) Release {
	return Release{parts: [][]byte{body}, spent: new(atomic.Bool)}
}

// Take returns the parts once.
func (r Release) Take() ([][]byte, error) {
	if r.spent == nil {
		return nil, ErrNotCleared
	}
	if !r.spent.CompareAndSwap(false, true) {
		return nil, ErrSpent
	}
	return r.parts, nil
}

package approval

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/store"
)

// row is one request. It stands under the digest of what it is bound to, so
// that there is one for a call; the index leads there from its ID.
type row struct {
	ID         string              `json:"id"`
	State      authz.ApprovalState `json:"state"`
	Owner      string              `json:"owner"` // Principal.Key
	Subject    string              `json:"subject"`
	Issuer     string              `json:"issuer"`
	Client     string              `json:"client"`
	Actors     []string            `json:"actors,omitempty"`
	Server     string              `json:"server"`
	Method     string              `json:"method"`
	Name       string              `json:"name"`
	Arguments  []byte              `json:"arguments,omitempty"`
	Definition string              `json:"definition"`
	Approvers  []string            `json:"approvers,omitempty"`
	Checks     []string            `json:"checks,omitempty"`
	Call       string              `json:"call"`
	Asked      time.Time           `json:"asked"`
	Until      time.Time           `json:"until"`
	By         string              `json:"by,omitempty"`

	key     string
	version store.Version
}

const (
	// keep is how long a row is kept that is over, so that its end gets onto the
	// record although the gateway stood still.
	keep      = time.Hour
	lookAgain = 2 * time.Second

	prefixCall  = "call/"
	prefixID    = "id/"
	prefixOwner = "asked/"
)

func keyOf(match [32]byte) string { return prefixCall + hex.EncodeToString(match[:]) }

func indexKey(id string) string { return prefixID + id }

// ownerKey is the prefix of what one principal asked at one server within the
// last hour.
func ownerKey(principal, server string) string {
	sum := sha256.Sum256([]byte(store.Key(principal, server)))
	return prefixOwner + hex.EncodeToString(sum[:]) + "/"
}

// standing reports that a row says something about the next call.
func (r *row) standing() bool {
	return r.State == authz.Waiting || r.State == authz.Approved || r.State == authz.Denied
}

// gone is when the store may forget a row.
func (r *row) gone() time.Time { return r.Until.Add(keep) }

func (a *Approvals) seal(r *row) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return a.o.Keys.Seal(Purpose, b, []byte(r.key))
}

func (a *Approvals) open(e store.Entry) (*row, error) {
	b, err := a.o.Keys.Open(Purpose, e.Value, []byte(e.Key))
	if err != nil {
		return nil, err
	}
	r := &row{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	r.key, r.version = e.Key, e.Version
	return r, nil
}

// get returns the row under a key.
func (a *Approvals) get(ctx context.Context, key string) (r *row, there bool, err error) {
	e, err := a.o.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	r, err = a.open(e)
	return r, err == nil, err
}

// find returns the row of an ID, or authz.ErrNoApproval.
func (a *Approvals) find(ctx context.Context, id string) (*row, error) {
	if a == nil || a.o.Store == nil || len(id) != 32 {
		return nil, authz.ErrNoApproval
	}
	e, err := a.o.Store.Get(ctx, indexKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, authz.ErrNoApproval
	}
	if err != nil {
		return nil, err
	}
	r, there, err := a.get(ctx, string(e.Value))
	if err != nil {
		return nil, err
	}
	if !there || r.ID != id {
		return nil, authz.ErrNoApproval
	}
	return r, nil
}

// swap puts next in the place of r, if nobody changed it meanwhile.
func (a *Approvals) swap(ctx context.Context, r, next *row) (bool, error) {
	value, err := a.seal(next)
	if err != nil {
		return false, err
	}
	expiry := next.gone()
	if least := time.Now().Add(time.Minute); expiry.Before(least) {
		expiry = least
	}
	return a.o.Store.CompareAndSwap(ctx, r.key, r.version, value, expiry)
}

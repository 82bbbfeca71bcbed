package signin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/store"
)

// How long a session of a browser lasts.
const (
	SessionIdle = 15 * time.Minute
	SessionLife = time.Hour
	// touchAfter is how much of the idle time may pass unwritten.
	touchAfter = time.Minute
)

// Sessions are the browsers that are signed in. The store holds digests of
// their IDs, so that reading it opens none.
type Sessions struct {
	kv    store.KV
	ended func(call.Identity) bool
}

// NewSessions keeps sessions in a bucket of the store. ended, asked at each
// use, reports that the provider or the operator ended what the session rests
// on; nil means that nobody says.
func NewSessions(kv store.KV, ended func(call.Identity) bool) *Sessions {
	return &Sessions{kv: kv, ended: ended}
}

type sessionRow struct {
	Identity   call.Identity `json:"identity"`
	Born, Used int64
}

func (r sessionRow) expiry() time.Time {
	return earlier(time.Unix(r.Born, 0).Add(SessionLife), time.Unix(r.Used, 0).Add(SessionIdle))
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Start makes a session for somebody who just proved who they are and returns
// its ID: at least 128 random bits, never one that a browser brought.
func (s *Sessions) Start(ctx context.Context, p call.Principal) (string, error) {
	if !p.Valid() {
		return "", authn.ErrNoSession
	}
	id := rand.Text()
	now := time.Now()
	row := sessionRow{Identity: p.Identity(), Born: now.Unix(), Used: now.Unix()}
	row.Identity.Claims = nil
	row.Identity.Proof = "browser:" + digest(id)[:16]
	if row.Identity.Issued == 0 {
		row.Identity.Issued = now.Unix()
	}
	row.Identity.Expires = now.Add(SessionLife).Unix()
	b, err := json.Marshal(row)
	if err != nil {
		return "", err
	}
	made, err := s.kv.PutIfAbsent(ctx, digest(id), b, row.expiry())
	if err != nil || !made {
		return "", errors.Join(err, errors.New("the session could not be kept"))
	}
	return id, nil
}

// Find returns whose session it is, and notes that it was used. The error is
// authn.ErrNoSession, or that of the store.
func (s *Sessions) Find(ctx context.Context, id string) (call.Principal, error) {
	if id == "" || len(id) > 64 {
		return call.Principal{}, authn.ErrNoSession
	}
	e, err := s.kv.Get(ctx, digest(id))
	if errors.Is(err, store.ErrNotFound) {
		return call.Principal{}, authn.ErrNoSession
	}
	if err != nil {
		return call.Principal{}, err
	}
	var row sessionRow
	if err := json.Unmarshal(e.Value, &row); err != nil {
		return call.Principal{}, err
	}
	p := call.NewPrincipal(row.Identity)
	now := time.Now()
	if !p.Valid() || !now.Before(row.expiry()) || s.ended != nil && s.ended(row.Identity) {
		_, err := s.kv.Delete(ctx, digest(id))
		return call.Principal{}, errors.Join(authn.ErrNoSession, err)
	}
	if now.Sub(time.Unix(row.Used, 0)) >= touchAfter {
		row.Used = now.Unix()
		b, err := json.Marshal(row)
		if err != nil {
			return call.Principal{}, err
		}
		// Whoever ended or used it meanwhile wins.
		if _, err := s.kv.CompareAndSwap(ctx, digest(id), e.Version, b, row.expiry()); err != nil {
			return call.Principal{}, err
		}
	}
	return p, nil
}

// End ends a session; one that does not exist is no error.
func (s *Sessions) End(ctx context.Context, id string) error {
	if id == "" || len(id) > 64 {
		return nil
	}
	_, err := s.kv.Delete(ctx, digest(id))
	return err
}

// Session is one browser that is signed in.
type Session struct {
	// Name is how the record names it, never the ID itself.
	Name       string
	Principal  call.Principal
	Born, Used time.Time
}

// List returns the sessions, in the order of their names.
func (s *Sessions) List(ctx context.Context) ([]Session, error) {
	var out []Session
	err := s.kv.Scan(ctx, "", func(e store.Entry) bool {
		var row sessionRow
		if json.Unmarshal(e.Value, &row) == nil {
			out = append(out, Session{Name: nameOf(e.Key), Principal: call.NewPrincipal(row.Identity), Born: time.Unix(row.Born, 0), Used: time.Unix(row.Used, 0)})
		}
		return true
	})
	return out, err
}

// nameOf is audit.ShortDigest of the ID whose digest is the key.
func nameOf(key string) string { return key[:min(16, len(key))] }

// EndAll ends the sessions that match, and returns how many.
func (s *Sessions) EndAll(ctx context.Context, match func(Session) bool) (int, error) {
	all, err := s.keys(ctx, match)
	n := 0
	for _, k := range all {
		gone, e := s.kv.Delete(ctx, k)
		err = errors.Join(err, e)
		if gone {
			n++
		}
	}
	return n, err
}

func (s *Sessions) keys(ctx context.Context, match func(Session) bool) ([]string, error) {
	var keys []string
	err := s.kv.Scan(ctx, "", func(e store.Entry) bool {
		var row sessionRow
		if json.Unmarshal(e.Value, &row) != nil || match(Session{Name: nameOf(e.Key), Principal: call.NewPrincipal(row.Identity), Born: time.Unix(row.Born, 0), Used: time.Unix(row.Used, 0)}) {
			keys = append(keys, e.Key)
		}
		return true
	})
	return keys, err
}

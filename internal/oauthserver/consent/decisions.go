// Package consent remembers what each person lets each client do, and leads one
// authorization request from the question to the code.
//
// Threat: the confused deputy, step by step. A client that rides on a consent
// that the provider remembers; a request that one browser approves and another
// one finishes; a person who is signed in by somebody else's link, and whose
// subject then stands behind a client that they never saw; a consent that is
// used for more than it was given for, after the client changed what it is or
// where it sends codes; a consent that nobody can take back.
//
// It guarantees: a request belongs to the browser that saw it first, and only
// that browser can answer it; an approval that was given before signing in
// counts only for the person who then signed in through it, and not when this
// browser was another person's before; nothing is approved that was not asked
// for; a decision is stored for the issuer, subject, client and resource before
// the code is made, lasts ConsentLife at most, and stands only while the client
// describes itself as it did then. Taking a decision back ends what rests on
// it.
//
// It does not prove who somebody is (internal/authn/signin does), shows nothing
// (internal/pages does) and makes no code (the face does). It cannot tell two
// people apart who share one browser profile and one account.
package consent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/store"
)

const (
	maxTries     = 8
	maxRedirects = 16
)

// Decisions are what people let clients do. Use NewDecisions; with the zero
// value nothing stands.
type Decisions struct {
	kv store.KV
}

// NewDecisions keeps decisions in a bucket of the store.
func NewDecisions(kv store.KV) *Decisions { return &Decisions{kv: kv} }

// row is one decision as it is stored. Who it belongs to is only in the key, as
// a digest.
type row struct {
	Client    string   `json:"client"`
	Kind      uint8    `json:"kind"`
	Name      string   `json:"name"`
	Host      string   `json:"host,omitempty"`
	Resource  string   `json:"resource"`
	Scopes    []string `json:"scopes"`
	Redirects []string `json:"redirects"`
	Digest    string   `json:"digest"`
	Since     int64    `json:"since"`
	Ends      int64    `json:"ends"`
}

func (r row) decision() oauthserver.Decision {
	return oauthserver.Decision{Client: r.Client, Kind: oauthserver.Kind(r.Kind), Name: r.Name, Host: r.Host, Resource: r.Resource, Scopes: r.Scopes,
		Redirects: r.Redirects, Since: time.Unix(r.Since, 0), Expires: time.Unix(r.Ends, 0)}
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(store.Key(parts...)))
	return hex.EncodeToString(sum[:])
}

func keyOf(issuer, subject, client, resource string) string {
	return store.Key(digest(issuer, subject), digest(client), digest(resource))
}

// Stands implements oauthserver.Consents.
func (d *Decisions) Stands(ctx context.Context, g oauthserver.Granted) error {
	if d == nil || d.kv == nil || g.Issuer == "" || g.Subject == "" || g.Client.ID == "" || g.Client.Digest == "" || len(g.Scopes) == 0 {
		return oauthserver.ErrNoConsent
	}
	r, _, err := d.find(ctx, keyOf(g.Issuer, g.Subject, g.Client.ID, g.Resource))
	if errors.Is(err, store.ErrNotFound) {
		return oauthserver.ErrNoConsent
	}
	if err != nil {
		return err
	}
	if r.Client != g.Client.ID || r.Kind != uint8(g.Client.Kind) || r.Digest != g.Client.Digest || r.Resource != g.Resource || !within(g.Scopes, r.Scopes) {
		return oauthserver.ErrNoConsent
	}
	return nil
}

func (d *Decisions) find(ctx context.Context, key string) (row, store.Version, error) {
	e, err := d.kv.Get(ctx, key)
	if err != nil {
		return row{}, 0, err
	}
	var r row
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return row{}, 0, err
	}
	if !time.Now().Before(time.Unix(r.Ends, 0)) {
		return row{}, 0, store.ErrNotFound
	}
	return r, e.Version, nil
}

// within reports that every part is in whole.
func within(part, whole []string) bool {
	for _, s := range part {
		if !slices.Contains(whole, s) {
			return false
		}
	}
	return true
}

// give stores that a person grants scopes of what was asked. What they let the
// same client have before stays, but for what they left out now.
func (d *Decisions) give(ctx context.Context, who call.Principal, a oauthserver.Asking, scopes []string) error {
	id := who.Identity()
	key := keyOf(id.Issuer, id.Subject, a.Client.ID, a.Resource)
	now := time.Now()
	ends := now.Add(oauthserver.ConsentLife)
	for range maxTries {
		next := row{Client: a.Client.ID, Kind: uint8(a.Client.Kind), Name: a.Client.Name, Host: a.Client.Host, Resource: a.Resource, Scopes: slices.Clone(scopes),
			Redirects: []string{a.Redirect}, Digest: a.Client.Digest, Since: now.Unix(), Ends: ends.Unix()}
		old, version, err := d.find(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			version = 0
		case err != nil:
			return err
		case old.Digest == next.Digest:
			next.Since = old.Since
			for _, s := range old.Scopes {
				if !slices.Contains(a.Scopes, s) && !slices.Contains(next.Scopes, s) {
					next.Scopes = append(next.Scopes, s)
				}
			}
			for _, to := range old.Redirects {
				if !slices.Contains(next.Redirects, to) && len(next.Redirects) < maxRedirects {
					next.Redirects = append(next.Redirects, to)
				}
			}
		}
		b, err := json.Marshal(next)
		if err != nil {
			return err
		}
		done := false
		if version == 0 {
			done, err = d.kv.PutIfAbsent(ctx, key, b, ends)
		} else {
			done, err = d.kv.CompareAndSwap(ctx, key, version, b, ends)
		}
		if err != nil || done {
			return err
		}
	}
	return errors.New("the decision could not be kept")
}

// before returns what a person lets the client of an asking have at its
// resource, or nil, and whether the client describes itself as it did then.
func (d *Decisions) before(ctx context.Context, who call.Principal, a oauthserver.Asking) (*oauthserver.Decision, bool, error) {
	if !who.Valid() {
		return nil, true, nil
	}
	id := who.Identity()
	r, _, err := d.find(ctx, keyOf(id.Issuer, id.Subject, a.Client.ID, a.Resource))
	if errors.Is(err, store.ErrNotFound) {
		return nil, true, nil
	}
	if err != nil {
		return nil, true, err
	}
	out := r.decision()
	return &out, r.Digest == a.Client.Digest, nil
}

// Given returns what a person lets clients do, in no order that means anything.
func (d *Decisions) Given(ctx context.Context, who call.Principal) ([]oauthserver.Decision, error) {
	if d == nil || d.kv == nil || !who.Valid() {
		return nil, nil
	}
	id := who.Identity()
	var out []oauthserver.Decision
	var bad error
	err := d.kv.Scan(ctx, store.Key(digest(id.Issuer, id.Subject)), func(e store.Entry) bool {
		var r row
		if bad = json.Unmarshal(e.Value, &r); bad != nil {
			return false
		}
		if time.Now().Before(time.Unix(r.Ends, 0)) {
			out = append(out, r.decision())
		}
		return true
	})
	return out, errors.Join(err, bad)
}

// forget deletes what a person lets a client do, and returns how many there
// were.
func (d *Decisions) forget(ctx context.Context, issuer, subject, client string) (int, error) {
	var keys []string
	err := d.kv.Scan(ctx, store.Key(digest(issuer, subject), digest(client)), func(e store.Entry) bool {
		keys = append(keys, e.Key)
		return true
	})
	n := 0
	for _, k := range keys {
		gone, e := d.kv.Delete(ctx, k)
		err = errors.Join(err, e)
		if gone {
			n++
		}
	}
	return n, err
}

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/store"
)

// TokenTTL is how long a client token lasts.
const TokenTTL = 90 * 24 * time.Hour

const (
	bucketTokens  = "client-token"
	bucketRevoked = "client-token-revoked"
)

// tokens keeps which client tokens were given out and which were taken back.
type tokens struct {
	given, back store.KV // tokens given out, and those taken back
	mu          sync.RWMutex
	// revoked holds the proofs of tokens that were taken back.
	revoked map[string]bool
}

type tokenRow struct {
	Serial  uint64 `json:"serial"`
	Expires int64  `json:"expires"`
}

// TokenInfo is one row of `munjigi tokens list`.
type TokenInfo struct {
	Client  string    `json:"client"`
	Serial  uint64    `json:"serial"`
	Expires time.Time `json:"expires"`
	Revoked bool      `json:"revoked"`
}

func openTokens(ctx context.Context, db store.Store) (*tokens, error) {
	t := &tokens{revoked: map[string]bool{}}
	var err error
	if t.given, err = db.Bucket(bucketTokens); err != nil {
		return nil, err
	}
	if t.back, err = db.Bucket(bucketRevoked); err != nil {
		return nil, err
	}
	err = t.back.Scan(ctx, "", func(e store.Entry) bool {
		t.revoked[e.Key] = true
		return true
	})
	return t, err
}

func (t *tokens) isRevoked(proof string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.revoked[proof]
}

// current returns the valid token of a client, making one when there is none.
func (t *tokens) current(ctx context.Context, client string) (local.Token, error) {
	for range 3 {
		e, err := t.given.Get(ctx, client)
		row := tokenRow{}
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return local.Token{}, err
		default:
			if err := json.Unmarshal(e.Value, &row); err != nil {
				return local.Token{}, err
			}
			tok := local.Token{Client: client, Serial: row.Serial, Expires: time.Unix(row.Expires, 0)}
			if !t.isRevoked(tok.Proof()) && time.Until(tok.Expires) > TokenTTL/10 {
				return tok, nil
			}
		}
		next := tokenRow{Serial: row.Serial + 1, Expires: time.Now().Add(TokenTTL).Unix()}
		b, err := json.Marshal(next)
		if err != nil {
			return local.Token{}, err
		}
		var ok bool
		if e.Version == 0 {
			ok, err = t.given.PutIfAbsent(ctx, client, b, time.Time{})
		} else {
			ok, err = t.given.CompareAndSwap(ctx, client, e.Version, b, time.Time{})
		}
		if err != nil {
			return local.Token{}, err
		}
		if ok {
			return local.Token{Client: client, Serial: next.Serial, Expires: time.Unix(next.Expires, 0)}, nil
		}
	}
	return local.Token{}, errors.New("the token store is busy: try again")
}

// revoke takes back every token that a client has.
func (t *tokens) revoke(ctx context.Context, client string) error {
	e, err := t.given.Get(ctx, client)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("no client %q has a token: `munjigi tokens list` shows them", client)
	}
	if err != nil {
		return err
	}
	var row tokenRow
	if err := json.Unmarshal(e.Value, &row); err != nil {
		return err
	}
	for serial := uint64(1); serial <= row.Serial; serial++ {
		proof := local.Token{Client: client, Serial: serial}.Proof()
		if t.isRevoked(proof) {
			continue
		}
		if _, err := t.back.PutIfAbsent(ctx, proof, []byte{1}, time.Now().Add(TokenTTL)); err != nil {
			return err
		}
		t.mu.Lock()
		t.revoked[proof] = true
		t.mu.Unlock()
	}
	return nil
}

func (t *tokens) list(ctx context.Context) ([]TokenInfo, error) {
	var out []TokenInfo
	err := t.given.Scan(ctx, "", func(e store.Entry) bool {
		var row tokenRow
		if json.Unmarshal(e.Value, &row) == nil {
			tok := local.Token{Client: e.Key, Serial: row.Serial, Expires: time.Unix(row.Expires, 0)}
			out = append(out, TokenInfo{e.Key, row.Serial, tok.Expires, t.isRevoked(tok.Proof())})
		}
		return true
	})
	sort.Slice(out, func(i, j int) bool { return out[i].Client < out[j].Client })
	return out, err
}

// ClientToken returns the text of a client's token, made anew when the old
// one was revoked or is about to expire.
func (a *App) ClientToken(ctx context.Context, client string) (string, time.Time, error) {
	t, err := a.tokens.current(ctx, client)
	if err != nil {
		return "", time.Time{}, err
	}
	s, err := a.auth.Mint(t)
	return s, t.Expires, err
}

// RevokeClient takes back a client's tokens at once.
func (a *App) RevokeClient(ctx context.Context, client string) error {
	if err := a.tokens.revoke(ctx, client); err != nil {
		return err
	}
	a.gens.revocation.Add(1)
	return nil
}

// Tokens lists the client tokens without their texts.
func (a *App) Tokens(ctx context.Context) ([]TokenInfo, error) { return a.tokens.list(ctx) }

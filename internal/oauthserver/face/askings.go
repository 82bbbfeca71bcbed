package face

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"

	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/store"
)

const (
	bucketAskings               = "oauth-asking"
	purposeAsking  keys.Purpose = "oauth-asking"
	kindAsking                  = "asking"
	kindPushed                  = "pushed"
	mostAskingSize              = 64 << 10
)

// askings holds authorization requests that wait: pushed ones for their
// browser, and judged ones for their person. The store has digests of their IDs
// and sealed contents, so that reading it opens none.
type askings struct {
	kv   store.KV
	ring keys.Ring
}

// waiting is one of them.
type waiting struct {
	Session goidc.AuthnSession
	// Digest is that of the client when it asked.
	Digest string
	Scopes []string
	Until  int64
}

func newAskings(s store.Store, ring keys.Ring) (*askings, error) {
	kv, err := s.Bucket(bucketAskings)
	return &askings{kv, ring}, err
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func (a *askings) put(ctx context.Context, kind, id string, w waiting, until time.Time) error {
	w.Until = until.Unix()
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	if len(b) > mostAskingSize {
		return errors.New("the request is too long")
	}
	key := store.Key(kind, digest(id))
	sealed, err := a.ring.Seal(purposeAsking, b, []byte(key))
	if err != nil {
		return err
	}
	made, err := a.kv.PutIfAbsent(ctx, key, sealed, until)
	if err == nil && !made {
		err = errors.New("the request is there already")
	}
	return err
}

// get returns what waits under id, or oauthserver.ErrNoAsking.
func (a *askings) get(ctx context.Context, kind, id string) (waiting, error) {
	var w waiting
	if a == nil || len(id) < 22 || len(id) > 64 {
		return w, oauthserver.ErrNoAsking
	}
	key := store.Key(kind, digest(id))
	e, err := a.kv.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return w, oauthserver.ErrNoAsking
	}
	if err != nil {
		return w, err
	}
	b, err := a.ring.Open(purposeAsking, e.Value, []byte(key))
	if err != nil {
		return w, fmt.Errorf("a request that waits cannot be opened: %w", err)
	}
	err = json.Unmarshal(b, &w)
	return w, err
}

// take is get for the one who comes first.
func (a *askings) take(ctx context.Context, kind, id string) (waiting, error) {
	w, err := a.get(ctx, kind, id)
	if err != nil {
		return w, err
	}
	mine, err := a.kv.Delete(ctx, store.Key(kind, digest(id)))
	if err == nil && !mine {
		err = oauthserver.ErrNoAsking
	}
	return w, err
}

package face_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/oauthserver/face"
	"github.com/munjigi/munjigi/internal/store"
)

func published(t *testing.T, f *face.Face) []string {
	t.Helper()
	b, err := f.KeySet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, k := range set.Keys {
		if !k.IsPublic() || k.Use != "sig" || k.Algorithm != "ES256" {
			t.Errorf("%+v", k)
		}
		out = append(out, k.KeyID)
	}
	return out
}

func signedBy(t *testing.T, token string) string {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return jws.Signatures[0].Header.KeyID
}

// TestKeysRotate: the next key is published before it signs, the one before
// after it stopped, and a restart changes nothing.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newParts(t)
		p.rotation = 48 * time.Hour
		f := p.face(t)
		first := login(t, f)
		one := signedBy(t, first.Access)
		if got := published(t, f); len(got) != 1 || got[0] != one {
			t.Fatalf("%v", got)
		}
		f = p.face(t)
		if got := signedBy(t, login(t, f).Access); got != one {
			t.Errorf("a restart made a key")
		}
		time.Sleep(36*time.Hour + time.Minute)
		got := published(t, f)
		if len(got) != 2 || got[0] != one || signedBy(t, login(t, f).Access) != one {
			t.Fatalf("the next key is not announced: %v", got)
		}
		two := got[1]
		last := login(t, f)
		time.Sleep(12 * time.Hour)
		if got := published(t, f); len(got) != 2 || signedBy(t, login(t, f).Access) != two {
			t.Fatalf("%v", got)
		}
		claimsOf(t, f, last.Access) // its key is still there
		time.Sleep(13 * time.Hour)
		if got := published(t, f); len(got) != 1 || got[0] != two {
			t.Errorf("the old key stays: %v", got)
		}
		// Nobody asked for long.
		time.Sleep(9 * 24 * time.Hour)
		f = p.face(t)
		three := signedBy(t, login(t, f).Access)
		if three == two {
			t.Error("a key signs for too long")
		}
		if got := published(t, f); got[len(got)-1] != three && got[len(got)-2] != three {
			t.Errorf("%v", got)
		}
	})
}

// TestKeysAreSealed: whoever reads the store has no key, and a store under
// another root key is an error and not a new key.
func TestKeysAreSealed(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	f := p.face(t)
	login(t, f)
	for _, bucket := range []string{"oauth-signing-key", "oauth-grant", "oauth-grant-of", "oauth-asking"} {
		kv, err := p.store.Bucket(bucket)
		if err != nil {
			t.Fatal(err)
		}
		err = kv.Scan(t.Context(), "", func(e store.Entry) bool {
			if s := string(e.Value) + e.Key; strings.Contains(s, "alice") || strings.Contains(s, "files:list") || strings.Contains(s, "PRIVATE") || strings.Contains(s, `"d"`) {
				t.Errorf("%s: %q", bucket, s)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ring, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	p.ring = ring
	if _, err := p.face(t).KeySet(t.Context()); err == nil {
		t.Error("keys that cannot be opened were replaced")
	}
}

// TestKeysOfTwoProcesses: both make the first key at once and sign with one.
func TestKeysOfTwoProcesses(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	all := make([][]string, 8)
	var wg sync.WaitGroup
	for i := range all {
		f := p.face(t)
		wg.Go(func() { all[i] = published(t, f) })
	}
	wg.Wait()
	for _, got := range all {
		if len(got) != 1 || got[0] != all[0][0] {
			t.Errorf("%v and %v", got, all[0])
		}
	}
}

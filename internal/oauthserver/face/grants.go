package face

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
)

const (
	bucketGrants                = "oauth-grant"
	bucketGrantsOf              = "oauth-grant-of"
	purposeGrant   keys.Purpose = "oauth-grant"
	purposeTicket  keys.Purpose = "oauth-ticket"

	codePrefix    = "mja_"
	refreshPrefix = "mjr_"
)

// errGone says that a grant ended, or never was.
var errGone = errors.New("there is no such grant")

// grants holds what people granted: one row for each grant, which the code, the
// refresh token that is good now and the person are in. Whatever changes it
// changes the one row, once, by its version.
type grants struct {
	o         Options
	kv, index store.KV
}

// grant is one row.
type grant struct {
	ID string
	// Who is the person as they signed in.
	Who        call.Identity
	Client     string
	Digest     string // of the client when it was granted
	Redirect   string
	Resource   string
	Scopes     []string
	Challenge  string // PKCE
	JKT        string // of the DPoP key
	Made       int64
	CodeUntil  int64
	CodeUsed   bool
	Generation int    // of the refresh token that is good
	Refresh    string // its digest
	Rotated    int64  // when it became so, in milliseconds
	Until      int64  // the family's end
	Asserted   bool   // made of an identity assertion: nobody was asked

	version store.Version
}

func newGrants(o Options) (*grants, error) {
	kv, err1 := o.Store.Bucket(bucketGrants)
	index, err2 := o.Store.Bucket(bucketGrantsOf)
	return &grants{o: o, kv: kv, index: index}, errors.Join(err1, err2)
}

// proof names every token of a grant, as call.Identity.Proof does.
func (g *grants) proof(id string) string { return authn.Pair(g.o.Issuer, id) }

func (g *grants) get(ctx context.Context, id string) (*grant, error) {
	e, err := g.kv.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	b, err := g.o.Keys.Open(purposeGrant, e.Value, []byte(id))
	if err != nil {
		return nil, fmt.Errorf("grant %s cannot be opened: %w", id, err)
	}
	var row grant
	if err := json.Unmarshal(b, &row); err != nil {
		return nil, err
	}
	row.version = e.Version
	if row.ID != id || time.Now().Unix() >= row.Until {
		return nil, errGone
	}
	return &row, nil
}

// indexOf is under which the grants of a person and a client are found.
func indexOf(issuer, subject, client string) string {
	return store.Key(digest(authn.Pair(issuer, subject)), digest(client))
}

// put writes a new grant, or a change of the version that was read. It is false
// when somebody else was first.
func (g *grants) put(ctx context.Context, row *grant) (bool, error) {
	b, err := json.Marshal(row)
	if err != nil {
		return false, err
	}
	sealed, err := g.o.Keys.Seal(purposeGrant, b, []byte(row.ID))
	if err != nil {
		return false, err
	}
	until := time.Unix(row.Until, 0)
	if row.version != 0 {
		return g.kv.CompareAndSwap(ctx, row.ID, row.version, sealed, until)
	}
	// The index first: what is granted can always be found and withdrawn.
	if _, err := g.index.PutIfAbsent(ctx, indexOf(row.Who.Issuer, row.Who.Subject, row.Client)+row.ID, []byte{1}, until); err != nil {
		return false, err
	}
	if !row.CodeUsed {
		until = time.Unix(row.CodeUntil, 0)
	}
	return g.kv.PutIfAbsent(ctx, row.ID, sealed, until)
}

// end makes a grant and all its tokens worthless. Its tokens first: a process
// that dies in between leaves a grant that nobody is given tokens of.
func (g *grants) end(ctx context.Context, id string) (bool, error) {
	if err := g.o.Revoke(ctx, g.proof(id)); err != nil {
		return false, err
	}
	return g.kv.Delete(ctx, id)
}

// of lists the grants of a person and a client.
func (g *grants) of(ctx context.Context, issuer, subject, client string) ([]string, error) {
	var ids []string
	prefix := indexOf(issuer, subject, client)
	err := g.index.Scan(ctx, prefix, func(e store.Entry) bool {
		ids = append(ids, strings.TrimPrefix(e.Key, prefix))
		return true
	})
	return ids, err
}

// ticket is what a code or a refresh token says, if we made it: its grant and
// its generation. Nothing needs to be kept of one that has had its time.
type ticket struct {
	grant      string
	generation int
	text       string
}

// issue makes the text of a ticket: prefix, key, grant, generation, 130 random
// bits and a MAC over all of it.
func (g *grants) issue(prefix, grant string, generation int) (ticket, error) {
	id, key, err := g.o.Keys.Subkey(purposeTicket)
	if err != nil {
		return ticket{}, err
	}
	body := prefix + id + "." + grant + "." + strconv.Itoa(generation) + "." + rand.Text()
	return ticket{grant, generation, body + "." + mac(key, body)}, nil
}

func mac(key [32]byte, body string) string {
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte(body))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// read takes a text apart that issue made, and no other.
func (g *grants) read(prefix, text string) (ticket, bool) {
	rest, ok := strings.CutPrefix(text, prefix)
	parts := strings.Split(rest, ".")
	if !ok || len(text) > 256 || len(parts) != 5 {
		return ticket{}, false
	}
	key, err := g.o.Keys.SubkeyByID(purposeTicket, parts[0])
	if err != nil {
		return ticket{}, false
	}
	body := text[:strings.LastIndexByte(text, '.')]
	n, err := strconv.Atoi(parts[2])
	if !hmac.Equal([]byte(mac(key, body)), []byte(parts[4])) || err != nil {
		return ticket{}, false
	}
	return ticket{parts[1], n, text}, true
}

// invalidGrant is the one answer to a code or token that is not good.
func invalidGrant(cause error) error {
	return goidc.WrapError(goidc.ErrorCodeInvalidGrant, "the code or token is not valid here, has ended, or was used: begin again", cause)
}

package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn/jwt"
	"github.com/munjigi/munjigi/internal/authn/spiffe"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/store"
)

const (
	bucketEnded  = "ended"
	bucketLogout = "logout-token"

	// logoutKept outlives every token that was made before a logout.
	logoutKept = jwt.LongestLifetime + 3*jwt.MaxSkew
	// administratorKept is longer, because an administrator's word also ends
	// opaque tokens, whose issuer may let them live for months.
	administratorKept = 400 * 24 * time.Hour
)

// What can have ended.
const (
	endedSubject = "subject" // all that a subject had until a time
	endedUnnamed = "unnamed" // the same, of proofs that name no session
	endedSession = "session" // the proofs of one session of the provider
	endedToken   = "token"   // one proof
)

// ended names one thing that is over. Name is a subject, a session, or a proof;
// Issuer is empty for a proof, which names its own.
type ended struct{ Kind, Issuer, Name string }

// ending is when it was over.
type ending struct {
	ended
	// Until is the Unix time up to which proofs were made that it concerns.
	Until int64 `json:"until"`
	// Told marks an issuer's logout, so that what the issuer says later counts;
	// otherwise it is an administrator's word.
	Told   bool  `json:"told,omitempty"`
	Expiry int64 `json:"-"`
}

// endings remembers what was taken back: on the disk, and in memory because
// each request and each open stream asks.
type endings struct {
	kv, used store.KV

	mu    sync.RWMutex
	by    map[ended]ending
	swept time.Time
}

func openEndings(ctx context.Context, db store.Store) (*endings, error) {
	e := &endings{by: map[ended]ending{}}
	var err error
	if e.kv, err = db.Bucket(bucketEnded); err != nil {
		return nil, err
	}
	if e.used, err = db.Bucket(bucketLogout); err != nil {
		return nil, err
	}
	var bad error
	err = e.kv.Scan(ctx, "", func(row store.Entry) bool {
		var d ending
		if bad = json.Unmarshal(row.Value, &d); bad != nil {
			bad = fmt.Errorf("what was revoked cannot be read, so nobody is let in: %w", bad)
			return false
		}
		d.Expiry = row.Expiry.Unix()
		e.by[d.ended] = d
		return true
	})
	return e, errors.Join(err, bad)
}

// key is how an ending is stored: names can be longer than keys.
func (d ended) key() string {
	sum := sha256.Sum256([]byte(store.Key(d.Kind, d.Issuer, d.Name)))
	return hex.EncodeToString(sum[:])
}

// put adds an ending, or makes the one that is there last longer.
func (e *endings) put(ctx context.Context, d ending, kept time.Duration) error {
	expiry := time.Now().Add(kept)
	for range 8 {
		old, err := e.kv.Get(ctx, d.key())
		fresh := errors.Is(err, store.ErrNotFound)
		if err != nil && !fresh {
			return err
		}
		if !fresh {
			var was ending
			if err := json.Unmarshal(old.Value, &was); err != nil {
				return err
			}
			d.Until, d.Told = max(d.Until, was.Until), d.Told && was.Told
			if old.Expiry.After(expiry) {
				expiry = old.Expiry
			}
		}
		b, err := json.Marshal(d)
		if err != nil {
			return err
		}
		done := false
		if fresh {
			done, err = e.kv.PutIfAbsent(ctx, d.key(), b, expiry)
		} else {
			done, err = e.kv.CompareAndSwap(ctx, d.key(), old.Version, b, expiry)
		}
		if err != nil {
			return err
		}
		if done {
			d.Expiry = expiry.Unix()
			e.remember(d)
			return nil
		}
	}
	return errors.New("the store is busy: try again")
}

func (e *endings) remember(d ending) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.by[d.ended] = d
	if now := time.Now(); now.Sub(e.swept) > time.Hour {
		e.swept = now
		for k, v := range e.by {
			if v.Expiry <= now.Unix() {
				delete(e.by, k)
			}
		}
	}
}

// token reports that a proof was taken back.
func (e *endings) token(proof string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	_, over := e.by[ended{Kind: endedToken, Name: proof}]
	return over
}

// over reports that the subject or the session of an identity ended after its
// proof was made.
func (e *endings) over(id call.Identity) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if len(e.by) == 0 {
		return false
	}
	if d, ok := e.by[ended{endedSubject, id.Issuer, id.Subject}]; ok && d.concerns(id) {
		return true
	}
	if id.Session == "" {
		d, ok := e.by[ended{endedUnnamed, id.Issuer, id.Subject}]
		return ok && d.concerns(id)
	}
	_, ok := e.by[ended{endedSession, id.Issuer, id.Session}]
	return ok
}

// concerns reports that a proof was made before the end. One that does not say
// when it was made counts as old, unless its issuer was asked since: that is
// what Told stands for, because only an introspected proof can lack the time.
func (d ending) concerns(id call.Identity) bool {
	if id.Issued == 0 {
		return !d.Told
	}
	return id.Issued <= d.Until
}

// Revocation names outside tokens that an administrator takes back. Exactly one
// of Subject, Session and ID is set.
type Revocation struct {
	// Issuer may be empty where one is configured.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	Session string `json:"session,omitempty"`
	// ID is the token's jti (uti at Entra).
	ID string `json:"id,omitempty"`
}

// Revoke takes back outside tokens at once and for good, ends the sessions of
// their subject or provider's session, and puts it on the record. It returns how
// many legacy sessions ended.
func (a *App) Revoke(ctx context.Context, r Revocation) (int, error) {
	cfg := a.Config()
	if r.Issuer == "" {
		r.Issuer = onlyIssuer(cfg.Identity, r.Subject)
	}
	known := slices.ContainsFunc(cfg.Identity.Issuers, func(i config.Issuer) bool { return i.URL == r.Issuer }) ||
		slices.ContainsFunc(cfg.Identity.SPIFFE, func(d config.TrustDomain) bool { return spiffe.Issuer(d.Name) == r.Issuer })
	switch {
	case !known:
		return 0, errors.New("name one of the issuers in identity.issuers, exactly as it stands there, or spiffe:// and a trust domain of identity.spiffe")
	case len(slices.DeleteFunc([]string{r.Subject, r.Session, r.ID}, func(s string) bool { return s == "" })) != 1:
		return 0, errors.New("name a subject, a session or a token's ID: one of them")
	}
	at := time.Now().Add(jwt.DefaultSkew).Unix() // the issuer's clock may be ahead
	d := ending{ended{endedSubject, r.Issuer, r.Subject}, at, false, 0}
	detail := map[string]string{"issuer": r.Issuer, "what": endedSubject}
	switch {
	case r.Session != "":
		d.ended = ended{endedSession, r.Issuer, r.Session}
		detail["what"], detail["session"] = endedSession, audit.ShortDigest(r.Session)
	case r.ID != "":
		d.ended = ended{Kind: endedToken, Name: jwt.Proof(r.Issuer, r.ID)}
		detail["what"], detail["token"] = endedToken, r.ID
	}
	if err := a.endings.put(ctx, d, administratorKept); err != nil {
		return 0, fmt.Errorf("it could not be written down, so nothing is revoked: %w", err)
	}
	n := a.endNow(d.ended)
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "administration", Effect: "allow",
		Reason: "token-revoked", Detail: detail}
	if r.Subject != "" {
		e.Principal = r.Subject + "@" + r.Issuer
	}
	return n, a.record.With(log.Strict).Record(ctx, &e)
}

// onlyIssuer is whose a subject can only be: the trust domain that a SPIFFE ID
// names, else the one issuer where there is one.
func onlyIssuer(id config.Identity, subject string) string {
	for _, d := range id.SPIFFE {
		if strings.HasPrefix(subject, spiffe.Issuer(d.Name)+"/") {
			return spiffe.Issuer(d.Name)
		}
	}
	if len(id.Issuers) == 1 {
		return id.Issuers[0].URL
	}
	return ""
}

// endNow lets go of what runs on something that is over: sessions now, streams
// and calls when they next ask, within a second.
func (a *App) endNow(list ...ended) (sessions int) {
	a.gens.revocation.Add(1)
	for _, d := range list {
		sessions += a.sessions.EndOf(func(p call.Principal) bool { return d.about(p.Identity()) })
		if w := a.telling.Load(); w != nil {
			for _, in := range w.asked {
				in.Forget(d.about)
			}
		}
	}
	return sessions
}

// about reports that an identity is one that is over, whenever its proof was
// made.
func (d ended) about(id call.Identity) bool {
	switch d.Kind {
	case endedSubject:
		return id.Issuer == d.Issuer && id.Subject == d.Name
	case endedUnnamed:
		return id.Issuer == d.Issuer && id.Subject == d.Name && id.Session == ""
	case endedSession:
		return id.Issuer == d.Issuer && id.Session == d.Name
	}
	return false
}

// signedOut makes a logout that an issuer told take effect. The error is
// errUsed when the token was used before.
func (a *App) signedOut(ctx context.Context, l jwt.Logout) (sessions int, err error) {
	once := ended{"logout", l.Issuer, l.ID}.key()
	if _, err := a.endings.used.Get(ctx, once); err == nil {
		return 0, errUsed
	} else if !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	var list []ended
	switch {
	case l.Session == "":
		list = []ended{{endedSubject, l.Issuer, l.Subject}}
	case l.Subject == "":
		list = []ended{{endedSession, l.Issuer, l.Session}}
	default:
		// Tokens of the subject that name no session may be of this one.
		list = []ended{{endedSession, l.Issuer, l.Session}, {endedUnnamed, l.Issuer, l.Subject}}
	}
	for _, d := range list {
		if err := a.endings.put(ctx, ending{ended: d, Until: l.At, Told: true}, logoutKept); err != nil {
			return 0, err
		}
	}
	// Only now is the token used up: whoever lost our answer may tell us again.
	first, err := a.endings.used.PutIfAbsent(ctx, once, []byte{1}, time.Unix(l.Until+1, 0))
	if err != nil {
		return 0, err
	}
	if !first {
		return 0, errUsed
	}
	return a.endNow(list...), nil
}

var errUsed = errors.New("the logout token was used before")

// who names whom a logout is about, for the record.
func whoOf(l jwt.Logout) string { return strings.TrimPrefix(l.Subject+"@"+l.Issuer, "@") }

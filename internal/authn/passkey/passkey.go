// Package passkey signs the lone operator in with a passkey (WebAuthn), after a
// code of the terminal let them register one.
//
// Threat: somebody else's passkey. An answer of an authenticator that was made
// for another site, another challenge or another browser; one that is sent
// twice; a passkey that was copied; one that is registered by whoever holds a
// session that they did not begin, so as to come back later; an authenticator
// that nobody had to unlock.
//
// It guarantees: an answer counts for the challenge that this gateway gave to
// this very browser, once, within five minutes, at the gateway's own origin,
// with the person verified by the authenticator (PIN, finger, face); a passkey
// is registered only by somebody who signed in within ten minutes; a signature
// counter that goes back is a refusal. The library (go-webauthn) verifies; what
// it keeps between two steps is sealed in the form and opens only with the
// browser's own cookie.
//
// It does not ask what an authenticator is made of (attestation), and it cannot
// keep a program of the same user from driving the operator's browser.
package passkey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/limit"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store"
)

// Purpose is under which what lies between two steps is sealed.
const Purpose keys.Purpose = "passkey"

// Bounds.
const (
	// StepLife is how long a person may take at their authenticator.
	StepLife = 5 * time.Minute
	// Fresh is how long ago a sign-in may be that registers or removes a passkey.
	Fresh = 10 * time.Minute
	// MostKeys is how many passkeys there can be.
	MostKeys = 16

	maxAnswer = 16 << 10
	rowPrefix = "key:"
	handleKey = "handle"
	maxName   = 40
)

// Options configure Passkeys. All are needed.
type Options struct {
	// Origin is the address of the pages: https with a name, or http on localhost.
	Origin string
	Who    call.Principal
	KV     store.KV
	Ring   keys.Ring
	// Once reports that a key is seen for the first time, for good.
	Once func(ctx context.Context, key string, until time.Time) (bool, error)
}

// Passkeys are the operator's. Use New; the zero value refuses.
type Passkeys struct {
	o      Options
	lib    *webauthn.WebAuthn
	handle []byte
	tries  *limit.Keyed
	mu     sync.Mutex // a passkey is counted and put at one moment
}

// Possible reports that a browser can bind a passkey to an origin: it has a
// name, not an address.
func Possible(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || net.ParseIP(u.Hostname()) != nil {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && u.Hostname() == "localhost"
}

// New judges the options.
func New(ctx context.Context, o Options) (*Passkeys, error) {
	if !o.Who.Valid() || o.KV == nil || o.Ring == nil || o.Once == nil || !Possible(o.Origin) {
		return nil, errors.New("passkeys need an operator, a bucket, keys, a memory of what was used, and an address with a name")
	}
	u, err := url.Parse(o.Origin)
	if err != nil {
		return nil, err
	}
	p := &Passkeys{o: o, tries: limit.NewKeyed(1, 20, 1)}
	required := true
	p.lib, err = webauthn.New(&webauthn.Config{RPID: u.Hostname(), RPDisplayName: "Munjigi", RPOrigins: []string{o.Origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{RequireResidentKey: &required, ResidentKey: protocol.ResidentKeyRequirementRequired,
			UserVerification: protocol.VerificationRequired},
		Timeouts: webauthn.TimeoutsConfig{Login: webauthn.TimeoutConfig{Enforce: true, Timeout: StepLife, TimeoutUVD: StepLife},
			Registration: webauthn.TimeoutConfig{Enforce: true, Timeout: StepLife, TimeoutUVD: StepLife}}})
	if err != nil {
		return nil, err
	}
	p.handle, err = handleOf(ctx, o.KV)
	return p, err
}

// handleOf returns the random name under which authenticators know the
// operator (WebAuthn 5.4.3), making it once.
func handleOf(ctx context.Context, kv store.KV) ([]byte, error) {
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh)
	if _, err := kv.PutIfAbsent(ctx, handleKey, fresh, time.Time{}); err != nil {
		return nil, err
	}
	e, err := kv.Get(ctx, handleKey)
	return e.Value, err
}

// operator is the one user that the library sees.
type operator struct {
	handle []byte
	keys   []webauthn.Credential
}

func (o operator) WebAuthnID() []byte                         { return o.handle }
func (o operator) WebAuthnName() string                       { return "operator" }
func (o operator) WebAuthnDisplayName() string                { return "Munjigi operator" }
func (o operator) WebAuthnCredentials() []webauthn.Credential { return o.keys }

// row is one passkey as it is stored.
type row struct {
	Name string              `json:"name"`
	Born int64               `json:"born"`
	Used int64               `json:"used,omitempty"`
	Key  webauthn.Credential `json:"key"`
}

func nameOf(id []byte) string {
	sum := sha256.Sum256(id)
	return hex.EncodeToString(sum[:16])
}

// all returns the stored passkeys by their names.
func (p *Passkeys) all(ctx context.Context) (map[string]row, error) {
	out := map[string]row{}
	var bad error
	err := p.o.KV.Scan(ctx, rowPrefix, func(e store.Entry) bool {
		var r row
		if bad = json.Unmarshal(e.Value, &r); bad != nil {
			return false
		}
		out[strings.TrimPrefix(e.Key, rowPrefix)] = r
		return true
	})
	return out, errors.Join(err, bad)
}

func (p *Passkeys) operator(ctx context.Context) (operator, error) {
	rows, err := p.all(ctx)
	o := operator{handle: p.handle}
	for _, r := range rows {
		o.keys = append(o.keys, r.Key)
	}
	return o, err
}

// Any reports that there is a passkey to sign in with.
func (p *Passkeys) Any(ctx context.Context) (bool, error) {
	if p == nil || p.lib == nil {
		return false, nil
	}
	rows, err := p.all(ctx)
	return len(rows) > 0, err
}

// step is what lies between the two halves of a ceremony.
type step struct {
	What    string               `json:"w"`
	Session webauthn.SessionData `json:"s"`
	Ends    int64                `json:"x"`
}

const (
	registering = "register"
	signingIn   = "sign-in"
)

// seal closes a step for one browser.
func (p *Passkeys) seal(browser, what string, s *webauthn.SessionData) (string, error) {
	b, err := json.Marshal(step{What: what, Session: *s, Ends: time.Now().Add(StepLife).Unix()})
	if err != nil {
		return "", err
	}
	sealed, err := p.o.Ring.Seal(Purpose, b, aad(browser))
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

func aad(browser string) []byte {
	sum := sha256.Sum256([]byte("browser:" + browser))
	return sum[:]
}

// open takes a step of this browser, once.
func (p *Passkeys) open(ctx context.Context, browser, what, state string) (webauthn.SessionData, error) {
	none := webauthn.SessionData{}
	if browser == "" || len(state) > maxAnswer {
		return none, authn.ErrNotBegun
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(state)
	if err != nil {
		return none, authn.ErrNotBegun
	}
	var s step
	b, err := p.o.Ring.Open(Purpose, sealed, aad(browser))
	if err != nil || json.Unmarshal(b, &s) != nil || s.What != what || time.Now().Unix() >= s.Ends {
		return none, authn.ErrNotBegun
	}
	first, err := p.o.Once(ctx, "passkey:"+s.Session.Challenge, time.Unix(s.Ends, 0).Add(time.Minute))
	if err != nil {
		return none, err
	}
	if !first {
		return none, authn.ErrReplayed
	}
	return s.Session, nil
}

// fresh reports that who is the operator and signed in a short while ago.
func (p *Passkeys) fresh(who call.Principal) bool {
	if p == nil || p.lib == nil || !who.Valid() || who.Key() != p.o.Who.Key() {
		return false
	}
	age := time.Since(time.Unix(who.Identity().AuthTime, 0))
	return who.Identity().AuthTime > 0 && age <= Fresh && age > -time.Minute
}

// BeginRegister returns what the browser of who, who signed in within Fresh,
// asks its authenticator for (PublicKeyCredentialCreationOptionsJSON), and the
// state that comes back with the answer. The error is authn.ErrStale or
// authn.ErrTooMany.
func (p *Passkeys) BeginRegister(ctx context.Context, browser string, who call.Principal) (options, state string, err error) {
	if !p.fresh(who) {
		return "", "", authn.ErrStale
	}
	o, err := p.operator(ctx)
	if err != nil {
		return "", "", err
	}
	if len(o.keys) >= MostKeys {
		return "", "", authn.ErrTooMany
	}
	creation, session, err := p.lib.BeginRegistration(o, webauthn.WithExclusions(webauthn.Credentials(o.keys).CredentialDescriptors()))
	if err != nil {
		return "", "", err
	}
	b, err := json.Marshal(creation.Response)
	if err != nil {
		return "", "", err
	}
	state, err = p.seal(browser, registering, session)
	return string(b), state, err
}

// FinishRegister keeps the passkey that an authenticator made, under a name of
// the person's. The error is authn.ErrStale, authn.ErrNotBegun,
// authn.ErrReplayed, authn.ErrPasskey or authn.ErrTooMany.
func (p *Passkeys) FinishRegister(ctx context.Context, browser string, who call.Principal, state, answer, name string) error {
	if !p.fresh(who) {
		return authn.ErrStale
	}
	session, err := p.open(ctx, browser, registering, state)
	if err != nil {
		return err
	}
	parsed, err := parsedBy(answer, protocol.ParseCredentialCreationResponseBytes)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o, err := p.operator(ctx)
	if err != nil {
		return err
	}
	if len(o.keys) >= MostKeys {
		return authn.ErrTooMany
	}
	key, err := p.lib.CreateCredential(o, session, parsed)
	if err != nil {
		return refused(err)
	}
	if !key.Flags.UserVerified {
		return fmt.Errorf("%w: nobody was verified", authn.ErrPasskey)
	}
	if name = strings.TrimSpace(name); name == "" || !utf8.ValidString(name) || utf8.RuneCountInString(name) > maxName {
		name = "passkey"
	}
	b, err := json.Marshal(row{Name: name, Born: time.Now().Unix(), Key: *key})
	if err != nil {
		return err
	}
	made, err := p.o.KV.PutIfAbsent(ctx, rowPrefix+nameOf(key.ID), b, time.Time{})
	if err == nil && !made {
		err = fmt.Errorf("%w: it is registered already", authn.ErrPasskey)
	}
	return err
}

// BeginSignIn returns what a browser asks its authenticator for
// (PublicKeyCredentialRequestOptionsJSON), and the state that comes back with
// the answer.
func (p *Passkeys) BeginSignIn(browser string) (options, state string, err error) {
	if p == nil || p.lib == nil || browser == "" {
		return "", "", authn.ErrNotBegun
	}
	assertion, session, err := p.lib.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return "", "", err
	}
	b, err := json.Marshal(assertion.Response)
	if err != nil {
		return "", "", err
	}
	state, err = p.seal(browser, signingIn, session)
	return string(b), state, err
}

// FinishSignIn takes an authenticator's answer from browser, and returns the
// operator, with how they signed in. The error is authn.ErrNotBegun,
// authn.ErrReplayed, authn.ErrPasskey or authn.ErrTooMany.
func (p *Passkeys) FinishSignIn(ctx context.Context, browser, state, answer string) (call.Principal, error) {
	if p == nil || p.lib == nil {
		return call.Principal{}, authn.ErrNotBegun
	}
	if ok, _ := p.tries.Allow("all"); !ok {
		return call.Principal{}, authn.ErrTooMany
	}
	session, err := p.open(ctx, browser, signingIn, state)
	if err != nil {
		return call.Principal{}, err
	}
	parsed, err := parsedBy(answer, protocol.ParseCredentialRequestResponseBytes)
	if err != nil {
		return call.Principal{}, err
	}
	o, err := p.operator(ctx)
	if err != nil {
		return call.Principal{}, err
	}
	_, key, err := p.lib.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) {
		if string(handle) != string(p.handle) {
			return nil, errors.New("another user's")
		}
		return o, nil
	}, session, parsed)
	if err != nil {
		return call.Principal{}, refused(err)
	}
	if key.Authenticator.CloneWarning {
		return call.Principal{}, fmt.Errorf("%w: its counter went back: it may have been copied", authn.ErrPasskey)
	}
	if err := p.used(ctx, *key); err != nil {
		return call.Principal{}, err
	}
	id := p.o.Who.Identity()
	// RFC 8176: a key was proved, and a person was verified by it.
	id.AMR, id.AuthTime = []string{"pop", "user", "mfa"}, time.Now().Unix()
	return call.NewPrincipal(id), nil
}

// used stores the counter of a passkey. Of two answers that come at once with
// the same counter, one wins.
func (p *Passkeys) used(ctx context.Context, key webauthn.Credential) error {
	e, err := p.o.KV.Get(ctx, rowPrefix+nameOf(key.ID))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: it was removed", authn.ErrPasskey)
	}
	if err != nil {
		return err
	}
	var r row
	if err := json.Unmarshal(e.Value, &r); err != nil {
		return err
	}
	r.Key, r.Used = key, time.Now().Unix()
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	done, err := p.o.KV.CompareAndSwap(ctx, e.Key, e.Version, b, time.Time{})
	if err == nil && !done {
		err = fmt.Errorf("%w: it was used elsewhere at the same moment", authn.ErrPasskey)
	}
	return err
}

// List returns the passkeys.
func (p *Passkeys) List(ctx context.Context) ([]authn.Passkey, error) {
	if p == nil || p.lib == nil {
		return nil, nil
	}
	rows, err := p.all(ctx)
	var out []authn.Passkey
	for id, r := range rows {
		k := authn.Passkey{ID: id, Name: r.Name, Born: time.Unix(r.Born, 0)}
		if r.Used != 0 {
			k.Used = time.Unix(r.Used, 0)
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b authn.Passkey) int { return a.Born.Compare(b.Born)*2 + strings.Compare(a.ID, b.ID) })
	return out, err
}

// Remove deletes a passkey, for who signed in within Fresh, and reports whether
// there was one. The error is authn.ErrStale, or the store's.
func (p *Passkeys) Remove(ctx context.Context, who call.Principal, id string) (bool, error) {
	if !p.fresh(who) {
		return false, authn.ErrStale
	}
	if len(id) != 32 {
		return false, nil
	}
	return p.o.KV.Delete(ctx, rowPrefix+id)
}

// parsedBy reads an answer, whatever it does to the library.
func parsedBy[T any](answer string, parse func([]byte) (*T, error)) (out *T, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("%w: unreadable", authn.ErrPasskey)
		}
	}()
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("%w: too long", authn.ErrPasskey)
	}
	if out, err = parse([]byte(answer)); err != nil {
		return nil, refused(err)
	}
	return out, nil
}

// refused keeps the library's word for the record, without what was sent.
func refused(err error) error {
	var e *protocol.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%w: %s", authn.ErrPasskey, e.Type)
	}
	return authn.ErrPasskey
}

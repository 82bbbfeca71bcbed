package consent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/store"
)

// Options configure a Consent. All but Used are needed.
type Options struct {
	Decisions *Decisions
	// Steps is the bucket of what is under way.
	Steps store.KV
	Flow  oauthserver.Flow
	// Used is told of each client that registered itself and was let in; nil
	// means that nobody wants to know.
	Used func(ctx context.Context, client string) error
}

// Consent leads requests from the question to the code. Use New; the zero value
// knows no request.
type Consent struct{ o Options }

// New judges the options.
func New(o Options) (*Consent, error) {
	if o.Decisions == nil || o.Decisions.kv == nil || o.Steps == nil || o.Flow == nil {
		return nil, errors.New("consent needs decisions, a bucket and a flow")
	}
	return &Consent{o: o}, nil
}

// step is how far one request is.
type step struct {
	Browser  string   `json:"browser"`            // digest
	Approved []string `json:"approved,omitempty"` // before signing in
	Expected string   `json:"expected,omitempty"` // digest of whose browser it was when it approved; "" where nobody knows
	Returned string   `json:"returned,omitempty"` // digest of who signed in through it
	Another  bool     `json:"another,omitempty"`
}

// personLife is how long it is known whose browser it was.
const personLife = 30 * 24 * time.Hour

func stepKey(id string) string         { return store.Key("step", id) }
func browserKey(browser string) string { return store.Key("browser", digest(browser)) }

func person(who call.Principal) string {
	if !who.Valid() {
		return ""
	}
	id := who.Identity()
	return digest(id.Issuer, id.Subject)
}

// Open returns the request of an ID as it is put to who, at browser, and ties it
// to that browser. who may be nobody. The error is oauthserver.ErrNoAsking,
// ErrOtherBrowser, or one of ours.
func (c *Consent) Open(ctx context.Context, id, browser string, who call.Principal) (oauthserver.Question, error) {
	if c == nil || c.o.Flow == nil || browser == "" {
		return oauthserver.Question{}, oauthserver.ErrNoAsking
	}
	a, err := c.o.Flow.Asking(ctx, id)
	if err != nil {
		return oauthserver.Question{}, err
	}
	s, _, err := c.step(ctx, a, browser, true)
	if err != nil {
		return oauthserver.Question{}, err
	}
	q := oauthserver.Question{Asking: a, Another: s.Another}
	before, same, err := c.o.Decisions.before(ctx, who, a)
	if err != nil {
		return oauthserver.Question{}, err
	}
	if q.Before = before; before != nil {
		q.Changed = !same
		q.NewRedirect = !slices.Contains(before.Redirects, a.Redirect)
		for _, s := range a.Scopes {
			if !slices.Contains(before.Scopes, s) {
				q.Wider = append(q.Wider, s)
			}
		}
	}
	if s.Approved != nil && who.Valid() && s.Returned == person(who) {
		q.Approved = slices.Clone(s.Approved)
	}
	return q, nil
}

// step returns how far a request is at a browser. first ties it to the browser
// where it is tied to none.
func (c *Consent) step(ctx context.Context, a oauthserver.Asking, browser string, first bool) (step, store.Version, error) {
	for range maxTries {
		e, err := c.o.Steps.Get(ctx, stepKey(a.ID))
		if errors.Is(err, store.ErrNotFound) {
			if !first {
				return step{}, 0, oauthserver.ErrNoAsking
			}
			b, err := json.Marshal(step{Browser: digest(browser)})
			if err == nil {
				_, err = c.o.Steps.PutIfAbsent(ctx, stepKey(a.ID), b, a.Until)
			}
			if err != nil {
				return step{}, 0, err
			}
			continue
		}
		if err != nil {
			return step{}, 0, err
		}
		var s step
		if err := json.Unmarshal(e.Value, &s); err != nil {
			return step{}, 0, err
		}
		if s.Browser != digest(browser) {
			return step{}, 0, oauthserver.ErrOtherBrowser
		}
		return s, e.Version, nil
	}
	return step{}, 0, errors.New("the request's state could not be kept")
}

func (c *Consent) put(ctx context.Context, a oauthserver.Asking, version store.Version, s step) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	done, err := c.o.Steps.CompareAndSwap(ctx, stepKey(a.ID), version, b, a.Until)
	if err == nil && !done {
		// Another window of the same browser was faster.
		err = oauthserver.ErrNoAsking
	}
	return err
}

// Approve takes a yes of browser to scopes of a request. Where who is somebody
// the decision is stored and the URL with the code is returned. Where who is
// nobody yet the approval waits for who signs in, and the URL is "". The error is
// oauthserver.ErrNoAsking, ErrOtherBrowser, ErrWider, ErrNothing, or one of ours.
func (c *Consent) Approve(ctx context.Context, id, browser string, who call.Principal, scopes []string) (to string, err error) {
	a, s, version, err := c.open(ctx, id, browser)
	if err != nil {
		return "", err
	}
	switch {
	case len(scopes) == 0:
		return "", oauthserver.ErrNothing
	case !within(scopes, a.Scopes):
		return "", oauthserver.ErrWider
	}
	// In the order in which they were asked for, each once.
	chosen := slices.DeleteFunc(slices.Clone(a.Scopes), func(s string) bool { return !slices.Contains(scopes, s) })
	if !who.Valid() {
		s = step{Browser: s.Browser, Approved: chosen, Another: s.Another}
		if s.Expected, err = c.whose(ctx, browser); err != nil {
			return "", err
		}
		return "", c.put(ctx, a, version, s)
	}
	if err := c.o.Decisions.give(ctx, who, a, chosen); err != nil {
		return "", err
	}
	if a.Client.Kind == oauthserver.Registered && c.o.Used != nil {
		if err := c.o.Used(ctx, a.Client.ID); err != nil {
			return "", err
		}
	}
	if to, err = c.o.Flow.Approve(ctx, id, oauthserver.Approval{Who: who, Scopes: chosen}); err != nil {
		return "", err
	}
	_, err = c.o.Steps.Delete(ctx, stepKey(id))
	return to, err
}

// open finds a request that this browser has seen.
func (c *Consent) open(ctx context.Context, id, browser string) (oauthserver.Asking, step, store.Version, error) {
	if c == nil || c.o.Flow == nil || browser == "" {
		return oauthserver.Asking{}, step{}, 0, oauthserver.ErrNoAsking
	}
	a, err := c.o.Flow.Asking(ctx, id)
	if err != nil {
		return oauthserver.Asking{}, step{}, 0, err
	}
	s, version, err := c.step(ctx, a, browser, false)
	return a, s, version, err
}

// Refuse takes a no of browser, and returns the URL that tells the client.
func (c *Consent) Refuse(ctx context.Context, id, browser string) (to string, err error) {
	if _, _, _, err := c.open(ctx, id, browser); err != nil {
		return "", err
	}
	if to, err = c.o.Flow.Refuse(ctx, id); err != nil {
		return "", err
	}
	_, err = c.o.Steps.Delete(ctx, stepKey(id))
	return to, err
}

// whose returns whose browser it was last, "" where nobody knows.
func (c *Consent) whose(ctx context.Context, browser string) (string, error) {
	e, err := c.o.Steps.Get(ctx, browserKey(browser))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return string(e.Value), err
}

// SignedIn says that who signed in at the browser that was called from and is
// called to now, to go on with the request of id, which is "" where they came
// for something else. An approval of that browser becomes theirs, unless it was
// given while the browser was another person's: then they are asked anew.
func (c *Consent) SignedIn(ctx context.Context, id, from, to string, who call.Principal) (another bool, err error) {
	if c == nil || c.o.Steps == nil || from == "" || to == "" || !who.Valid() {
		return false, nil
	}
	if id != "" {
		if another, err = c.returned(ctx, id, from, to, who); err != nil {
			return false, err
		}
	}
	if _, err := c.o.Steps.Delete(ctx, browserKey(from)); err != nil {
		return another, err
	}
	_, err = c.o.Steps.PutIfAbsent(ctx, browserKey(to), []byte(person(who)), time.Now().Add(personLife))
	return another, err
}

func (c *Consent) returned(ctx context.Context, id, from, to string, who call.Principal) (another bool, err error) {
	a, s, version, err := c.open(ctx, id, from)
	if errors.Is(err, oauthserver.ErrNoAsking) || errors.Is(err, oauthserver.ErrOtherBrowser) {
		return false, nil // the page says so
	}
	if err != nil {
		return false, err
	}
	s.Browser, s.Returned = digest(to), person(who)
	if s.Approved != nil && s.Expected != "" && s.Expected != s.Returned {
		s.Approved, s.Another = nil, true
	}
	err = c.put(ctx, a, version, s)
	if errors.Is(err, oauthserver.ErrNoAsking) {
		err = nil
	}
	return s.Another, err
}

// Given returns what a person lets clients do.
func (c *Consent) Given(ctx context.Context, who call.Principal) ([]oauthserver.Decision, error) {
	if c == nil {
		return nil, nil
	}
	return c.o.Decisions.Given(ctx, who)
}

// Withdraw takes back all that a person lets a client do, and ends what rests on
// it. It reports whether there was anything.
func (c *Consent) Withdraw(ctx context.Context, who call.Principal, client string) (bool, error) {
	if c == nil || c.o.Flow == nil || !who.Valid() || client == "" {
		return false, nil
	}
	id := who.Identity()
	// First the decision: whatever fails afterwards, nothing stands on it.
	n, err := c.o.Decisions.forget(ctx, id.Issuer, id.Subject, client)
	if err != nil {
		return n > 0, err
	}
	ended, err := c.o.Flow.Withdraw(ctx, id.Issuer, id.Subject, client)
	return n+ended > 0, err
}

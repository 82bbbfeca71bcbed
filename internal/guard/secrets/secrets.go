// Package secrets is the guard that keeps credentials out of what a model
// reads and out of what it sends.
//
// Threat: a file, a log or an error message brings a key into the model's
// context, from where it goes into the next commit, the next search and the
// next prompt of somebody else; or a model that was talked into it sends a key
// to a server that has no business with it. Either way the key is known from
// then on to whoever reads along, and nobody notices.
//
// It stops the formats of gitleaks' rule set and some more: in what a server
// says they are masked, and a call that would carry one to a server is refused,
// because a masked argument would still do something, and not what was meant.
// What is encoded or escaped is found by its view (base/normalize). Words are
// found first, in one pass, and an expression is run only near a word that it
// cannot match without, a bounded number of times; a text made to exceed that
// is refused.
//
// It cannot know a password that looks like a word, a key of a format nobody
// described, or one that is spread over several strings.
package secrets

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/redact"
)

// Name is the guard's name in the config.
const Name = "secrets"

// Reasons of this guard. A finding has secret- and the rule that found it.
const (
	// ReasonSent: arguments or answers hold a secret.
	ReasonSent call.Reason = "secret-sent"
	// ReasonShown: a server's words hold a secret, and the operator wants them
	// stopped.
	ReasonShown call.Reason = "secret-shown"
	// ReasonMasked: a secret was taken out.
	ReasonMasked call.Reason = "secret-masked"
	// ReasonTooDense: a text was made so that it could not be looked at within
	// bounds.
	ReasonTooDense call.Reason = "secret-too-dense"
)

// Settings tune the guard. The zero Settings are the safe defaults.
type Settings struct {
	// Rules give actions; the first that fits decides. Without one, what goes
	// to a client is masked, and what goes to a server is refused.
	Rules []redact.Rule
	// Put makes hashes and tokens; nil where no rule asks for any.
	Put func(ctx context.Context, s guard.Subject, a redact.Action, typ string, value []byte) (string, error)
}

// Guard is the check. Make it with New; the zero value denies.
type Guard struct {
	detector func() (*Detector, error)
	set      Settings
}

// New returns the guard. The rules are read when they are first needed; rules
// that cannot be read deny.
func New(set Settings) *Guard { return &Guard{sync.OnceValues(NewDetector), set} }

// Spec returns the guard's plain data.
func (g *Guard) Spec() guard.Spec {
	return guard.Spec{
		Name:      Name,
		Controls:  []string{"6-3", "9-3"},
		Stops:     "Keys, tokens and passwords of known formats, in what servers say and in what is sent to them.",
		Cannot:    "Know a password that looks like a word, a format nobody described, or a secret spread over several strings.",
		Arguments: true, Result: true, Stream: true,
	}
}

// Checks returns the guard's abilities.
func (g *Guard) Checks() guard.Checks {
	return guard.Checks{Arguments: g.toServer, Result: g.toClient, Stream: g.toClient}
}

var errNotMade = errors.New("the secrets guard was not made by New")

func (g *Guard) toServer(ctx context.Context, s guard.Subject) (guard.Verdict, error) {
	return g.judge(ctx, s, redact.ToServer)
}

func (g *Guard) toClient(ctx context.Context, s guard.Subject) (guard.Verdict, error) {
	return g.judge(ctx, s, redact.ToClient)
}

func (g *Guard) judge(ctx context.Context, s guard.Subject, d redact.Direction) (guard.Verdict, error) {
	if g.detector == nil {
		return guard.Verdict{}, errNotMade
	}
	detector, err := g.detector()
	if err != nil {
		return guard.Verdict{}, err
	}
	job := redact.Job{
		Guard: Name, Target: s.Target, Direction: d, Doc: s.Raw,
		Find: func(t redact.Text) ([]redact.Hit, bool) { return find(detector, t, d) },
		Act:  func(h redact.Hit, _ string) redact.Action { return g.action(h, d, s.Target) },
		Put: func(a redact.Action, typ string, value []byte) (string, error) {
			if g.set.Put == nil {
				return "", errors.New("nothing makes hashes or tokens here")
			}
			return g.set.Put(ctx, s, a, typ, value)
		},
		Reason: func(typ string) call.Reason { return call.Reason("secret-" + typ) },
	}
	o, err := job.Run()
	if err != nil {
		return guard.Verdict{}, err
	}
	v := guard.Verdict{Effect: o.Effect, Findings: o.Findings, Rewritten: o.Rewritten, Score: o.Score}
	switch {
	case o.Partly:
		v.Reason, v.Say = ReasonTooDense, "this text cannot be looked through for secrets within bounds; send less of it at once"
	case o.Effect == call.Deny && d == redact.ToServer:
		v.Reason = ReasonSent
		v.Say = "what was sent holds a secret (" + o.Type + " at " + o.Place + "): leave it out, or have the operator let this tool take it"
	case o.Effect == call.Deny:
		v.Reason, v.Say = ReasonShown, "the server's answer holds a secret ("+o.Type+")"
	case o.Effect == call.Redact:
		v.Reason = ReasonMasked
	default:
		v.Reason = o.Reason
	}
	return v, nil
}

// named is the type of a value that the name of its member makes a secret.
const named = "named-secret"

// find looks at one text and its view.
func find(in *Detector, t redact.Text, d redact.Direction) ([]redact.Hit, bool) {
	if t.Kind == redact.Number {
		return nil, true
	}
	return in.Hits(t.Text, d == redact.ToClient && t.Kind == redact.Value && naming(t.Of))
}

// Hits returns the secrets in a text and its view. named says that the name of
// the text makes it a secret unless it is none by its looks.
func (d *Detector) Hits(text []byte, isNamed bool) ([]redact.Hit, bool) {
	found, all := d.Detect(text)
	hits := make([]redact.Hit, 0, len(found))
	for _, f := range found {
		hits = append(hits, redact.Hit{Type: f.Rule, From: f.From, To: f.To, Score: f.Score})
	}
	hits = append(hits, redact.Views(text, func(view []byte) []redact.Hit {
		seen, whole := d.Detect(view)
		all = all && whole
		var out []redact.Hit
		for _, f := range seen {
			if !f.Weak {
				out = append(out, redact.Hit{Type: f.Rule, From: f.From, To: f.To, Score: f.Score})
			}
		}
		return out
	})...)
	if isNamed && len(hits) == 0 && d.opaque(text) {
		hits = append(hits, redact.Hit{Type: named, From: 0, To: len(text), Score: 0.7})
	}
	return redact.Settle(hits), all
}

func (g *Guard) action(h redact.Hit, d redact.Direction, t call.Target) redact.Action {
	for _, r := range g.set.Rules {
		if r.Fits(h.Type, d, t) {
			return r.Action
		}
	}
	if d == redact.ToServer {
		return redact.Block
	}
	return redact.Mask
}

// naming reports the name of a member whose value is a secret by its name.
func naming(name []byte) bool {
	if len(name) < 3 || len(name) > 64 {
		return false
	}
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r | 0x20
		case r == '_' || r == '-' || r == '.' || r == ' ':
			return -1
		}
		return r
	}, string(name))
	for _, end := range [...]string{"password", "passwd", "passphrase", "pwd", "clientsecret", "secretkey", "apikey", "apisecret", "apitoken", "accesstoken",
		"refreshtoken", "authtoken", "bearertoken", "secretaccesskey", "privatekey", "encryptionkey", "signingkey", "signingsecret", "webhooksecret", "connectionstring"} {
		if strings.HasSuffix(plain, end) {
			return true
		}
	}
	return plain == "secret"
}

// opaque reports a value that is not a word, a placeholder, a place or a
// sentence.
func (d *Detector) opaque(v []byte) bool {
	if len(v) < 8 || len(v) > 4096 || entropy(v) < 2.5 || redact.Shaped(v) {
		return false
	}
	odd := false
	for _, c := range v {
		if c <= ' ' || c == '<' || c == '{' || c == '$' || c == '[' {
			return false
		}
		odd = odd || !(c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '.' || c == '-' || c == '/' || c == ':')
	}
	if !odd {
		return false
	}
	for _, a := range d.allow {
		if a.fits(v, v, v) {
			return false
		}
	}
	return true
}

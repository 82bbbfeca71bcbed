// Package bound decides which tokens have to come with proof of a key, and
// takes that proof whatever kind of token it is for.
//
// Threat: a bound token that is accepted like a bearer token because the
// authenticator of its kind did not look, because it came by the other scheme,
// or because the client certificate belongs to somebody else. And a server that
// the operator wants to be reached by bound tokens only, reached by a plain one
// through another path.
//
// It guarantees that a token that names a key is accepted only with a proof of
// that key, of each key if it names two; that the DPoP scheme takes bound
// tokens only and the Bearer scheme none that are bound to a DPoP key; that a
// resource which requires binding refuses everything else; and that the
// challenge says which schemes would do. Whoever sends no token at all may be
// known by its certificate alone where the operator lists its trust domain; a
// token that failed is never made up for by a certificate.
//
// It verifies neither tokens nor proofs nor certificates itself.
package bound

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

// Method is one way in which a token can be bound.
type Method string

// The methods.
const (
	DPoP Method = "dpop" // RFC 9449
	MTLS Method = "mtls" // RFC 8705
)

// Errors of tokens and schemes that do not go together. Their text is what the
// caller reads.
var (
	ErrScheme   = errors.New("the token is bound to a key: send it as Authorization: DPoP, with a proof in the DPoP header")
	ErrUnbound  = errors.New("the token is not bound to a DPoP key: send it as Authorization: Bearer, or get a bound one")
	ErrRequired = errors.New("this resource takes only tokens that are bound to a key: get one that is")
)

// Resource is one address that tokens are made for.
type Resource struct {
	// Metadata is the URL of the protected resource metadata (RFC 9728); Scope
	// the least scope, as a challenge names it.
	Metadata, Scope string
	// Require are the methods of which one is needed; empty takes any token.
	Require []Method
}

// Options are the parts that prove keys.
type Options struct {
	// Resources is every resource by its URL.
	Resources map[string]Resource
	// Proof proves possession of a DPoP key for the token of a request; nil
	// refuses tokens that are bound to one. Its error may say by itself which
	// code and reason it is of (coded).
	Proof func(ctx context.Context, r authn.Request, token, jkt string) error
	// Algorithms are those of proofs, for challenges.
	Algorithms []string
	// Certificate compares the certificate of a request with the one a token is
	// bound to (RFC 8705 3.1); nil refuses tokens that are bound to one.
	Certificate func(r authn.Request, x5t string) error
}

// coded is an error of a proof that knows its code in a challenge (RFC 9449
// 7.1) and its reason on the record.
type coded interface {
	error
	Code() string
	Reason() call.Reason
}

// Keys holds callers to the keys of their tokens. The zero value refuses bound
// tokens.
type Keys struct{ o Options }

// New returns Keys that prove with the parts of o.
func New(o Options) *Keys { return &Keys{o} }

// Confirm proves every key that p's token is bound to. Authenticators call it
// for each request whose token is bound or comes by the DPoP scheme, also when
// they remember the token. The error is a *authn.Refusal.
func (k *Keys) Confirm(ctx context.Context, r authn.Request, scheme, token string, p call.Principal) error {
	c := p.Identity().Confirmation
	dpop := strings.EqualFold(scheme, "DPoP")
	switch {
	case dpop && c.JKT == "":
		return k.refuse(r, scheme, call.ReasonUnbound, "invalid_token", ErrUnbound)
	case !dpop && c.JKT != "":
		return k.refuse(r, scheme, call.ReasonBadProof, "invalid_token", ErrScheme)
	}
	// The certificate first: it uses nothing up.
	if c.X5TS256 != "" {
		if k.o.Certificate == nil {
			return k.refuse(r, scheme, call.ReasonBadCertificate, "invalid_token", errors.New("the token is bound to a certificate, and none is asked for here"))
		}
		if err := k.o.Certificate(r, c.X5TS256); err != nil {
			return k.refuse(r, scheme, call.ReasonBadCertificate, "invalid_token", err)
		}
	}
	if c.JKT == "" {
		return nil
	}
	if k.o.Proof == nil {
		return k.refuse(r, scheme, call.ReasonBadProof, "invalid_token", errors.New("the token is bound to a key and nothing here proves that key"))
	}
	err := k.o.Proof(ctx, r, token, c.JKT)
	var known coded
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return k.refuse(r, scheme, known.Reason(), known.Code(), known)
	}
	return &authn.Refusal{Reason: call.ReasonRecordFailed, Text: "used proofs cannot be written down, so none is accepted: try again in a moment", Cause: err}
}

// refuse makes the refusal of a token and its challenge: the code in the scheme
// that was used, and what else would do.
func (k *Keys) refuse(r authn.Request, scheme string, why call.Reason, code string, cause error) *authn.Refusal {
	return &authn.Refusal{Reason: why, Text: cause.Error(), Cause: cause,
		Challenge: k.challenge(r.Resource, scheme, `error="`+code+`", error_description="`+cause.Error()+`"`)}
}

// challenge is the value of WWW-Authenticate for a resource. What is wrong
// stands in the challenge of the scheme that was used; without one, or where
// that scheme would not do, in the first.
func (k *Keys) challenge(resource, used, wrong string) string {
	res := k.o.Resources[resource]
	var common string
	if res.Metadata != "" {
		common += `, resource_metadata="` + res.Metadata + `"`
	}
	if res.Scope != "" {
		common += `, scope="` + res.Scope + `"`
	}
	bearer := len(res.Require) == 0 || slices.Contains(res.Require, MTLS)
	dpop := k.o.Proof != nil && (len(res.Require) == 0 || slices.Contains(res.Require, DPoP))
	if strings.EqualFold(used, "DPoP") && dpop {
		bearer = false // the client knows what it does
	}
	var list []string
	add := func(scheme, own string) {
		params := own + common
		if wrong != "" {
			params = ", " + wrong + params
			wrong = ""
		}
		list = append(list, strings.TrimSuffix(scheme+" "+strings.TrimPrefix(params, ", "), " "))
	}
	if bearer {
		add("Bearer", "")
	}
	if dpop {
		add("DPoP", `, algs="`+strings.Join(k.o.Algorithms, " ")+`"`)
	}
	return strings.Join(list, ", ")
}

// Known is who a request without a token is by its certificate alone; ok is
// false when the certificate says nothing of the kind.
type Known func(r authn.Request) (p call.Principal, ok bool, err error)

// Over returns an authenticator that asks inner who calls and holds the answer
// to what the resource requires. Inner calls Confirm for bound tokens, and
// answers for principals of known too, which may be nil.
func (k *Keys) Over(inner authn.Authenticator, known Known) authn.Authenticator {
	return over{k, inner, known}
}

type over struct {
	k     *Keys
	inner authn.Authenticator
	known Known
}

// Authenticate implements authn.Authenticator.
func (a over) Authenticate(ctx context.Context, r authn.Request) (call.Principal, error) {
	scheme := ""
	if hs := r.Header["Authorization"]; len(hs) == 1 {
		scheme, _, _ = strings.Cut(hs[0], " ")
	} else if len(hs) == 0 && a.known != nil {
		p, ok, err := a.known(r)
		if errors.Is(err, authn.ErrUnavailable) {
			return call.Principal{}, err
		}
		if err != nil {
			return call.Principal{}, a.k.refuse(r, "", call.ReasonBadCertificate, "invalid_token", err)
		}
		if ok {
			if need := a.k.o.Resources[r.Resource].Require; len(need) > 0 && !slices.Contains(need, MTLS) {
				return call.Principal{}, a.k.refuse(r, "", call.ReasonUnbound, "invalid_token", ErrRequired)
			}
			return p, nil
		}
	}
	p, err := a.inner.Authenticate(ctx, r)
	if err != nil {
		return call.Principal{}, a.amend(r, scheme, err)
	}
	c := p.Identity().Confirmation
	need := a.k.o.Resources[r.Resource].Require
	if _, known := a.k.o.Resources[r.Resource]; !known || len(need) > 0 &&
		(c.JKT == "" || !slices.Contains(need, DPoP)) && (c.X5TS256 == "" || !slices.Contains(need, MTLS)) {
		return call.Principal{}, a.k.refuse(r, scheme, call.ReasonUnbound, "invalid_token", ErrRequired)
	}
	return p, nil
}

// amend gives the challenge of a refused token the schemes that would do.
func (a over) amend(r authn.Request, scheme string, err error) error {
	var no *authn.Refusal
	if !errors.As(err, &no) || no.Challenge == "" || errors.Is(err, authn.ErrUnavailable) {
		return err
	}
	if _, known := a.k.o.Resources[r.Resource]; !known {
		return err
	}
	var wrong string
	if code := param(no.Challenge, "error"); code != "" {
		wrong = `error="` + code + `"`
		if text := param(no.Challenge, "error_description"); text != "" {
			wrong += `, error_description="` + text + `"`
		}
	}
	out := *no
	out.Challenge = a.k.challenge(r.Resource, scheme, wrong)
	return &out
}

// param returns a parameter of a challenge of ours, whose values hold neither
// quotation marks nor backslashes (authn.NotQuotable).
func param(challenge, name string) string {
	for _, before := range []string{" ", ","} {
		if _, rest, ok := strings.Cut(challenge, before+name+`="`); ok {
			v, _, _ := strings.Cut(rest, `"`)
			return v
		}
	}
	return ""
}

// Current implements authn.Authenticator.
func (a over) Current(p call.Principal) bool { return a.inner.Current(p) }

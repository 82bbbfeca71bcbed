package authn

import (
	"errors"
	"fmt"
	"github.com/munjigi/munjigi/internal/call"
	"maps"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/base/egress"
)

// Resource is one address that tokens are made for.
type Resource struct {
	// Audiences are the accepted values of aud; nil means the resource's URL.
	Audiences []string
	// Metadata is the URL of the protected resource metadata (RFC 9728).
	Metadata string
	// Scope is the least scope, as a challenge names it.
	Scope string
}

// Resources are resources that were judged together, so that an audience opens
// one of them only. The zero value has none.
type Resources struct{ by map[string]*Protected }

// Protected is one resource that was judged.
type Protected struct {
	audiences []string
	params    string // of a challenge
}

// JudgeResources holds that every resource is named by a URL, that each audience
// opens one of them and none is the URL of another, and that challenges can be
// written. The error names every fault at once.
func JudgeResources(all map[string]Resource) (*Resources, error) {
	var errs []error
	if len(all) == 0 {
		errs = append(errs, errors.New("no resource is configured: public_url is missing"))
	}
	r := &Resources{by: map[string]*Protected{}}
	owner := map[string]string{}
	for _, u := range slices.Sorted(maps.Keys(all)) {
		res, name := all[u], Canonical(u)
		if _, err := egress.CheckURL(u, egress.Rules{PlainLoopback: true}); err != nil {
			errs = append(errs, fmt.Errorf("resource %s: %w", u, err))
			continue
		}
		list := res.Audiences
		if list == nil {
			list = []string{u}
		}
		if len(list) == 0 {
			errs = append(errs, fmt.Errorf("resource %s: no audience is accepted; name one or leave the key out", u))
		}
		p := &Protected{}
		for _, a := range list {
			a = Canonical(a)
			if a == "" || len(a) > 1024 {
				errs = append(errs, fmt.Errorf("resource %s: an audience is empty or too long", u))
			}
			if other, taken := owner[a]; taken && other != name {
				errs = append(errs, fmt.Errorf("resource %s: audience %q belongs to %s too; no two resources share one", u, a, other))
			}
			owner[a] = name
			p.audiences = append(p.audiences, a)
		}
		if bad := func(s string) bool { return strings.ContainsFunc(s, NotQuotable) }; bad(res.Metadata) || bad(res.Scope) {
			errs = append(errs, fmt.Errorf("resource %s: metadata URL and scope are visible ASCII without quotation marks and backslashes", u))
		}
		if res.Metadata != "" {
			p.params += `, resource_metadata="` + res.Metadata + `"`
		}
		if res.Scope != "" {
			p.params += `, scope="` + res.Scope + `"`
		}
		if r.by[name] != nil {
			errs = append(errs, fmt.Errorf("resource %s: it is configured twice", u))
		}
		r.by[name] = p
	}
	for a, of := range owner {
		if r.by[a] != nil && a != of {
			errs = append(errs, fmt.Errorf("resource %s: its audience %q is the address of another resource", of, a))
		}
	}
	return r, errors.Join(errs...)
}

// Find returns the resource of a URL, or nil.
func (r *Resources) Find(url string) *Protected {
	if r == nil {
		return nil
	}
	if p := r.by[url]; p != nil {
		return p
	}
	return r.by[Canonical(url)]
}

// Accepts reports that one of the audiences of a token is this resource.
func (p *Protected) Accepts(aud []string) bool {
	return slices.ContainsFunc(aud, func(a string) bool { return slices.Contains(p.audiences, Canonical(a)) })
}

// Params are the parameters that every challenge of the resource has (RFC 9728
// 5.1, RFC 6750 3), each with a comma before it; empty for nil.
func (p *Protected) Params() string {
	if p == nil {
		return ""
	}
	return p.params
}

// Canonical lower-cases scheme and authority of a URL and leaves the rest, and
// everything that is no URL, as it is.
func Canonical(s string) string {
	i := strings.Index(s, "://")
	if i <= 0 {
		return s
	}
	end := strings.IndexAny(s[i+3:], "/?#")
	if end < 0 {
		end = len(s)
	} else {
		end += i + 3
	}
	if strings.Contains(s[:end], "@") {
		return s
	}
	return strings.ToLower(s[:end]) + s[end:]
}

// NotQuotable reports what may not stand in a parameter of a challenge (RFC
// 6750 3).
func NotQuotable(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }

// Fault is what a refusal is about, as far as a challenge tells it (RFC 6750 3.1).
type Fault uint8

// The faults. The zero one tells nothing.
const (
	// Untold: the token is not what is wrong, so the challenge has no error code.
	Untold Fault = iota
	// BadRequest: the header is malformed (invalid_request).
	BadRequest
	// BadToken and OldToken: another token may do (invalid_token).
	BadToken
	OldToken
)

// Refuse makes the refusal of a bearer token at this resource, which may be nil.
// The cause's text is public.
func (p *Protected) Refuse(cause error, f Fault) *Refusal {
	out := &Refusal{Reason: call.ReasonUnauthenticated, Text: cause.Error(), Cause: cause, Challenge: "Bearer"}
	code := ""
	switch f {
	case BadRequest:
		out.Reason, code = call.ReasonMalformed, "invalid_request"
	case BadToken:
		code = "invalid_token"
	case OldToken:
		out.Reason, code = call.ReasonTokenExpired, "invalid_token"
	}
	params := ""
	if code != "" {
		params = `, error="` + code + `", error_description="` + out.Text + `"`
	}
	if params += p.Params(); params != "" {
		out.Challenge += params[1:]
	}
	return out
}

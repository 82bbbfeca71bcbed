package peruser

import (
	"slices"
	"strings"
)

// Bounds on what a server says.
const (
	maxChallenges = 16
	maxHeader     = 8 << 10
	maxScopes     = 64
	maxScope      = 256
	maxURL        = 2048
)

// challenge is what a server wants of the gateway (RFC 6750 3, RFC 9728 5.1).
type challenge struct {
	metadata string // resource_metadata
	scopes   []string
	code     string // error
}

// readChallenges takes the first challenge of the schemes Bearer and DPoP. What
// cannot be read as RFC 9110 11.6.1 says is passed over: the well-known
// addresses are then asked.
func readChallenges(values []string) challenge {
	if len(values) > maxChallenges {
		values = values[:maxChallenges]
	}
	for _, v := range values {
		if len(v) > maxHeader {
			continue
		}
		for _, one := range splitChallenges(v) {
			if !strings.EqualFold(one.scheme, "Bearer") && !strings.EqualFold(one.scheme, "DPoP") {
				continue
			}
			c := challenge{metadata: one.params["resource_metadata"], code: one.params["error"]}
			if len(c.metadata) > maxURL {
				c.metadata = ""
			}
			c.scopes = scopesOf(one.params["scope"])
			return c
		}
	}
	return challenge{}
}

type scheme struct {
	scheme string
	params map[string]string
}

// splitChallenges reads one field value: schemes with parameters, in a list
// whose commas also separate the parameters. A parameter that stands twice is
// nobody's word, and makes the rest of the value unread.
func splitChallenges(v string) (out []scheme) {
	r := reader{v}
	for {
		r.skip(" \t,")
		word := r.token()
		if word == "" {
			return out
		}
		if r.equals() {
			// A parameter: it belongs to the scheme before it.
			value, ok := r.value()
			if !ok || len(out) == 0 {
				return out
			}
			p := out[len(out)-1].params
			name := strings.ToLower(word)
			if _, twice := p[name]; twice {
				return out[:len(out)-1]
			}
			p[name] = value
			continue
		}
		out = append(out, scheme{word, map[string]string{}})
		if len(out) > maxChallenges {
			return out
		}
	}
}

type reader struct{ s string }

func (r *reader) skip(set string) { r.s = strings.TrimLeft(r.s, set) }

func (r *reader) token() string {
	n := 0
	for n < len(r.s) && tokenByte(r.s[n]) {
		n++
	}
	t := r.s[:n]
	r.s = r.s[n:]
	return t
}

// equals takes "=" with white space around it, unless a token68 is meant.
func (r *reader) equals() bool {
	rest := strings.TrimLeft(r.s, " \t")
	if !strings.HasPrefix(rest, "=") {
		return false
	}
	r.s = strings.TrimLeft(rest[1:], " \t")
	return true
}

func (r *reader) value() (string, bool) {
	if !strings.HasPrefix(r.s, `"`) {
		t := r.token()
		return t, t != ""
	}
	var b strings.Builder
	for i := 1; i < len(r.s); i++ {
		switch c := r.s[i]; c {
		case '"':
			r.s = r.s[i+1:]
			return b.String(), true
		case '\\':
			if i++; i == len(r.s) {
				return "", false
			}
			b.WriteByte(r.s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

func tokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// scopesOf splits a scope parameter (RFC 6749 3.3): each scope once, in its
// order, at most maxScopes, and none that could not be sent again.
func scopesOf(s string) []string { return cleanScopes(strings.Fields(s)) }

func cleanScopes(list []string) (out []string) {
	for _, s := range list {
		if scopeToken(s) && !slices.Contains(out, s) && len(out) < maxScopes {
			out = append(out, s)
		}
	}
	return out
}

// scopeToken reports that s is a scope-token of RFC 6749 3.3.
func scopeToken(s string) bool {
	if s == "" || len(s) > maxScope {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c == '"' || c == '\\' || c > 0x7e {
			return false
		}
	}
	return true
}

// union adds to a what it lacks of b.
func union(a, b []string) []string { return cleanScopes(slices.Concat(a, b)) }

// beyond lists what b has and a has not.
func beyond(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(b), func(s string) bool { return slices.Contains(a, s) })
}

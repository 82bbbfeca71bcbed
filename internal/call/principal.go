// Package call is the vocabulary of one request being judged: who calls
// (Principal), what is asked (Call), what each stage said (Decision), the
// proof that every required stage allowed it (Clearance) and its twin on the
// way back (Release).
//
// Threat: a check that somebody forgot to wire, or a path around it. Nothing
// reaches a server without a Clearance and nothing reaches a client without a
// Release; both are minted here only, from a Call whose trail shows an allow
// of every stage that is required. The zero value of each type refuses.
//
// It decides nothing itself and knows no transport.
package call

import (
	"strconv"
	"strings"
)

// Kind says what sort of caller a principal is.
type Kind uint8

// The zero Kind is nobody.
const (
	Operator  Kind = iota + 1 // the person who runs the gateway
	Person                    // a user of an identity provider
	Workload                  // a machine identity
	Anonymous                 // insecure_anonymous, loopback only
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case Operator:
		return "operator"
	case Person:
		return "person"
	case Workload:
		return "workload"
	case Anonymous:
		return "anonymous"
	}
	return "nobody"
}

// Identity is what an authenticator proved; NewPrincipal turns it into a
// Principal.
type Identity struct {
	Issuer, Subject string
	Kind            Kind
	// Client is the OAuth client or the named client token.
	Client string
	// Actors are those who act for the subject, each a Principal.Key, the one who
	// acts now first. Only that one is proved; the others are the issuer's word
	// (RFC 8693 4.1).
	Actors []string
	Scopes []string
	// Proof names the proof itself (a token ID), so that it can be revoked.
	Proof string
	// Expires is the Unix time at which the proof ends; 0 means it does not.
	Expires int64
	// Issued is the Unix time at which the proof was made; 0 if nobody said.
	Issued int64
	// Asked says that the proof rests on what its issuer answers when it is asked
	// (RFC 7662), not on a signature.
	Asked bool
	// Granted says that a person granted exactly these scopes to the client, at
	// this gateway; no word of an issuer stands in for a scope that is missing.
	Granted bool
	// Session is the provider's session (sid) that a logout may name.
	Session string
	// Claims is the JSON object that the issuer signed or answered, valid and
	// without duplicate names; nil where there is none. It is shared: read it.
	Claims []byte
	// Tenant, Groups and Roles are what the issuer says of the caller.
	Tenant        string
	Groups, Roles []string
	// GroupsUnknown says that the caller is in groups that the proof does not
	// list, so that an empty Groups proves nothing.
	GroupsUnknown bool
	// ACR, AMR and AuthTime (Unix) say how and when a person signed in (RFC
	// 9470, OpenID Connect Core 2).
	ACR      string
	AMR      []string
	AuthTime int64
	// Confirmation is the key without which the proof is worth nothing.
	Confirmation Confirmation
}

// Confirmation names the key that a proof is bound to (RFC 7800). The zero
// value is a bearer proof.
type Confirmation struct {
	// JKT is the SHA-256 thumbprint of a DPoP key (RFC 9449 6.1).
	JKT string
	// X5TS256 is the SHA-256 thumbprint of a client certificate (RFC 8705 3.1).
	X5TS256 string
}

// Bound reports that there is such a key.
func (c Confirmation) Bound() bool { return c != Confirmation{} }

// Principal is an authenticated caller. Only authenticators make one; the zero
// value is refused everywhere.
type Principal struct {
	id             Identity
	key, clientKey string
	cacheKey       string
}

// NewPrincipal makes a principal of what an authenticator proved. An identity
// without issuer, subject or kind makes the zero principal.
func NewPrincipal(id Identity) Principal {
	if id.Issuer == "" || id.Subject == "" || id.Kind == 0 {
		return Principal{}
	}
	// The lengths make the key injective.
	key := strconv.Itoa(len(id.Issuer)) + ":" + id.Issuer + "|" + id.Subject
	p := Principal{id: id, key: key, clientKey: strconv.Itoa(len(key)) + ":" + key + "|" + id.Client}
	p.cacheKey = strconv.Itoa(len(p.clientKey)) + ":" + p.clientKey
	rights := [...][]string{id.Scopes, id.Actors, id.Roles, id.Groups, id.AMR, {id.Tenant, id.ACR, strconv.FormatBool(id.GroupsUnknown), strconv.FormatBool(id.Granted)}}
	var b strings.Builder
	b.WriteString(p.cacheKey)
	for _, list := range rights {
		b.WriteString("|" + strconv.Itoa(len(list)))
		for _, s := range list {
			b.WriteString("|" + strconv.Itoa(len(s)) + ":" + s)
		}
	}
	p.cacheKey = b.String()
	return p
}

// Valid reports that an authenticator made p.
func (p Principal) Valid() bool { return p.key != "" }

// Key is an injective text of issuer and subject, for use in keys.
func (p Principal) Key() string { return p.key }

// Kind says what sort of caller it is, without a copy of the identity.
func (p Principal) Kind() Kind { return p.id.Kind }

// SplitKey takes a Key apart. It is not ok for a text that is none.
func SplitKey(key string) (issuer, subject string, ok bool) {
	digits, rest, ok := strings.Cut(key, ":")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || n >= len(rest) || rest[n] != '|' || strconv.Itoa(n) != digits {
		return "", "", false
	}
	return rest[:n], rest[n+1:], true
}

// ClientKey adds the client to Key, injectively.
func (p Principal) ClientKey() string { return p.clientKey }

// CacheKey adds to ClientKey, injectively, what rights rest on: scopes, actors,
// roles, groups, tenant, the strength of the sign-in and whether a person
// granted the scopes. What was fetched for
// one set of rights is never shown under another. Other claims are not in it:
// a decision that rests on one of them must not be remembered under this key.
func (p Principal) CacheKey() string { return p.cacheKey }

// Identity returns a copy of what was proved.
func (p Principal) Identity() Identity { return p.id }

// String names the principal for the record: subject at issuer.
func (p Principal) String() string {
	if !p.Valid() {
		return ""
	}
	return p.id.Subject + "@" + p.id.Issuer
}

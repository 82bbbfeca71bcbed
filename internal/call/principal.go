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

import "strconv"

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
	Actors []string
	Scopes []string
	// Proof names the proof itself (a token ID), so that it can be revoked.
	Proof string
	// Expires is the Unix time at which the proof ends; 0 means it does not.
	Expires int64
}

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
	for _, s := range id.Scopes {
		p.cacheKey += "|" + strconv.Itoa(len(s)) + ":" + s
	}
	return p
}

// Valid reports that an authenticator made p.
func (p Principal) Valid() bool { return p.key != "" }

// Key is an injective text of issuer and subject, for use in keys.
func (p Principal) Key() string { return p.key }

// ClientKey adds the client to Key, injectively.
func (p Principal) ClientKey() string { return p.clientKey }

// CacheKey adds the scopes to ClientKey, injectively: what was fetched for one
// set of rights is never shown under another.
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

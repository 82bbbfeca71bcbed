package call

import "github.com/munjigi/munjigi/internal/base/secret"

// Subject is on whose behalf a server is reached: a caller and what it proved
// itself with. The zero Subject is nobody: work of the gateway's own.
type Subject struct {
	Principal Principal
	// Token is the access token that the caller presented, for a token endpoint
	// that exchanges it (RFC 8693). It lives in memory for as long as the call,
	// or the connection that is the caller's own, and is never sent to a server.
	// It is empty where the caller has none.
	Token secret.Value
}

// Fresher reports that s is the newer proof of the principal and client of
// old, or as new: it was issued later, or ends later where nobody said when.
func (s Subject) Fresher(old Subject) bool {
	if !s.Principal.Valid() || s.Principal.ClientKey() != old.Principal.ClientKey() {
		return s.Principal.Valid() && !old.Principal.Valid()
	}
	a, b := s.Principal.Identity(), old.Principal.Identity()
	if a.Issued != 0 && b.Issued != 0 {
		return a.Issued >= b.Issued
	}
	return a.Expires == 0 || b.Expires != 0 && a.Expires >= b.Expires
}

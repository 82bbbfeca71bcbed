// Package signin proves who sits at a browser, for the gateway's own pages.
//
// Threat: somebody else's browser. A link that starts or finishes a grant can
// be sent to another person, a callback can be replayed or planted (login
// CSRF), a session ID can be fixed before sign-in and used after it, the
// answer of one provider can be passed off as that of another (mix-up), and a
// code that the operator's terminal shows can be guessed.
//
// It guarantees: with identity providers, a principal comes only from an ID
// token that was asked for by this very browser within ten minutes, once, with
// PKCE, a nonce and the issuer that was chosen, and it is named as that
// issuer's access tokens name it; without them, only from a code that the
// gateway's own terminal showed for this very browser, once, within minutes
// and few guesses. A session has a new random ID, a short idle and a short
// absolute life, and ends at once when it is ended.
//
// It does not guarantee that the provider authenticated well, and it cannot
// tell people apart who share the terminal or the browser's profile. A
// provider that gives each client another subject for one person (pairwise
// identifiers) makes of that person two. There are no pages here.
package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/munjigi/munjigi/internal/call"
)

// Want is what an ID token is held against.
type Want struct {
	Issuer, Client, Nonce, AccessToken string
}

// Verify turns an ID token into a principal, named as the issuer's access
// tokens name it.
type Verify func(ctx context.Context, idToken string, w Want) (call.Principal, error)

// digest names a secret of a browser without keeping it.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

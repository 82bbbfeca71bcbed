// Package clients knows the OAuth clients of the gateway's own authorization
// server: those that a document describes, whose client_id is the document's
// URL; those that registered themselves; and those of the config.
//
// Threat: whoever can write a document or a registration says what the client
// is called, where codes are sent and with which keys it proves itself. A URL
// that leads to the inside, by its address, by DNS or by a redirect; a document
// without end, or one that grows or changes between the moment it was checked
// and the moment it is used; a document under another client's name; a redirect
// to javascript:, data:, to another program's scheme or to our own pages; a
// secret that two share; a grant that the document asks for and nobody meant to
// allow; registrations without end.
//
// It guarantees that a document was fetched once, by a client that reaches
// public addresses only, without redirects, in bounded time and size, from a
// host or a URL that the operator named; that its client_id is exactly its URL
// and that it is strict JSON; that redirect URIs are https, or http on
// loopback, and compared exactly (but for the port on loopback, RFC 8252 7.3);
// that no client has a secret, that a key set is public and of a kind we
// verify; and that what is returned is a copy nobody changes later. Documents
// are kept for as long as HTTP allows, within bounds. Registrations are
// bounded in number, in rate and in time.
//
// It does not judge whether a client deserves what it asks for: a name is what
// the document's author chose. Consent (internal/oauthserver/consent) shows the
// host instead. Logos and other URIs are checked and then dropped: nobody
// fetches them.
package clients

import (
	"errors"
	"fmt"
)

// Errors of a client. What is returned wraps one of them; the rest of the text
// says what the author of the document or the operator can do.
var (
	// ErrUnknown: there is no such client, or none that the operator trusts.
	ErrUnknown = errors.New("no such client")
	// ErrDocument: there is something, and it is no acceptable document.
	ErrDocument = errors.New("the client's document is not acceptable")
	// ErrUnavailable: the document cannot be fetched now.
	ErrUnavailable = errors.New("the client's document cannot be fetched now")
	// ErrRedirect: a redirect URI of it is not acceptable. It comes with ErrDocument.
	ErrRedirect = errors.New("a redirect URI is not acceptable")
	// ErrTooMany: too many are asked for at once, or are registered.
	ErrTooMany = errors.New("too many clients at once")
)

// Bounds of what a client may say of itself.
const (
	// MaxBytes is the size of the largest document, key set or registration.
	MaxBytes = 16 << 10

	maxID        = 512
	maxName      = 120 // characters
	maxURI       = 2048
	maxRedirects = 16
	maxScopes    = 64
	maxKeys      = 8
)

func unacceptable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDocument, fmt.Errorf(format, args...))
}

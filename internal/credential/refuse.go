package credential

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/oauth"
)

// Bearer returns the header that carries a token (RFC 6750 2.1).
func Bearer(t secret.Value) http.Header {
	return http.Header{"Authorization": {"Bearer " + t.Reveal()}}
}

// SentBearer returns the token that a refused request carried.
func (r Rejection) SentBearer() secret.Value {
	t, _ := strings.CutPrefix(r.Sent.Get("Authorization"), "Bearer ")
	return secret.New(t)
}

// Failed says in the words of this package why a token endpoint gave no token:
// ErrRefused for what will not go away by itself, ErrUnavailable for the rest.
func Failed(err error) error {
	var no *oauth.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrRefused), errors.Is(err, ErrUnavailable):
		return err
	case errors.As(err, &no) && !no.Temporary(), errors.Is(err, oauth.ErrAnswer):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Aimed refuses a token that says it is for somebody else than the server it is
// about to be sent to: a server that gets a token of another resource can use it
// there. A token that is no JWT says nothing and is taken. No audiences: nothing
// is compared.
func Aimed(t oauth.Token, audiences []string) error {
	c, ok := oauth.Peek(t.Access.Reveal())
	if !ok || len(audiences) == 0 {
		return nil
	}
	got, ok := c.Texts("aud")
	if ok && slices.ContainsFunc(got, func(a string) bool { return slices.Contains(audiences, a) }) {
		return nil
	}
	return fmt.Errorf("%w: the token that came is for another audience than this server: have the provider mint it for %s, or name the audience that it uses under audiences",
		ErrRefused, strings.Join(audiences, " or "))
}

package streamable

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/upstream"
)

// send makes one HTTP request and reads the head of its answer; the caller ends
// the flight. A request that the server refused for its credential was not
// executed (RFC 9110 15.5.2, RFC 6750 3.1): it is sent once more when its source
// has another. What the server said of the credential ends here.
func (t *transport) send(ctx context.Context, o outgoing) (flight, error) {
	src := t.d.credential
	if src == nil {
		return t.once(ctx, o)
	}
	s := t.subject(o)
	for again := false; ; again = true {
		var err error
		if o.credential, err = src.Headers(ctx, s); err != nil {
			return flight{}, uncredited(err)
		}
		if p := t.d.prover; p != nil {
			if err = p.Prove(ctx, s, o.method, o.credential); err != nil {
				return flight{}, uncredited(err)
			}
		}
		f, err := t.once(ctx, o)
		if err != nil || !rejects(&f.c.h) {
			return f, err
		}
		r := credential.Rejection{Status: f.c.h.status, Challenges: slices.Clone(f.c.h.challenges), Sent: o.credential, Nonce: f.c.h.nonce, Again: again}
		f.end(true)
		if err = src.Rejected(ctx, s, r); err == nil && again {
			err = credential.ErrRefused
		}
		if err != nil {
			return flight{}, uncredited(fmt.Errorf("the server answered HTTP %d: %w", r.Status, err))
		}
	}
}

// subject is on whose behalf a request is made.
func (t *transport) subject(o outgoing) call.Subject {
	if o.m != nil && o.m.Subject.Principal.Valid() {
		return o.m.Subject
	}
	if t.keeper == nil {
		return call.Subject{}
	}
	return t.keeper()
}

// uncredited marks an error of a credential's source; the cancellation of a
// request is none.
func uncredited(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w: %w", upstream.ErrCredential, err)
}

// rejects reports that an answer refuses the credential: 401, or 403 with a
// challenge that says so (RFC 6750 3.1). Any other 403 may be an answer.
func rejects(h *head) bool {
	if h.status == http.StatusUnauthorized {
		return true
	}
	if h.status != http.StatusForbidden {
		return false
	}
	for _, c := range h.challenges {
		if c = strings.ToLower(c); strings.Contains(c, "insufficient_scope") || strings.Contains(c, "invalid_token") {
			return true
		}
	}
	return false
}

// Package static gives every caller's requests the same header, from a secret
// that the operator named.
//
// Threats: a secret that was rotated and is still sent in its old form until
// somebody restarts the gateway; a secret file that is missing for a moment
// while it is replaced, and takes the server down; a value with a line break
// that would begin a second header; a value that shows in an error.
//
// It guarantees that a value that changed is sent within Options.Every, at once
// after Refresh, and at once after the server refused the old one; that a value
// which cannot be read again leaves the last good one in force, and is told to
// the log; and that what no header can carry is never sent.
//
// It cannot tell callers apart: who may call the server, may do what the secret
// may do.
package static

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/credential"
)

// Header is one header field: its name, what stands before the secret in the
// clear ("Bearer "), and where the secret is.
type Header struct {
	Name, Prefix string
	Secret       secret.Ref
}

// Options say what is sent. Headers and Resolver are required.
type Options struct {
	Headers  []Header
	Resolver secret.Resolver
	// Every bounds how long a value is used before its secret is read again (5 s).
	Every time.Duration
	// Log takes what could not be read again. Nil discards.
	Log *slog.Logger
}

// Source implements credential.Source. The zero Source refuses.
type Source struct {
	o Options

	reading sync.Mutex // one reads at a time
	mu      sync.Mutex
	now     http.Header
	read    time.Time
}

var _ credential.Source = (*Source)(nil)

// New reads the secrets once and says which cannot be.
func New(ctx context.Context, o Options) (*Source, error) {
	if len(o.Headers) == 0 || o.Resolver == nil {
		return nil, errors.New("a static credential needs a header and a way to find its secret")
	}
	if o.Every <= 0 {
		o.Every = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{o: o}
	return s, s.Refresh(ctx)
}

// Headers implements credential.Source.
func (s *Source) Headers(ctx context.Context, _ credential.Subject) (http.Header, error) {
	if s.o.Resolver == nil {
		return nil, credential.ErrNone
	}
	s.mu.Lock()
	now, old := s.now, time.Since(s.read) >= s.o.Every
	s.mu.Unlock()
	if old && s.reading.TryLock() {
		err := s.refresh(ctx)
		s.reading.Unlock()
		if err != nil {
			s.o.Log.Warn("a secret cannot be read again; the last good value is used", "err", err)
		}
		s.mu.Lock()
		now = s.now
		s.mu.Unlock()
	}
	return now.Clone(), nil
}

// Rejected implements credential.Source: another try is worth it when the secret
// has changed since.
func (s *Source) Rejected(ctx context.Context, _ credential.Subject, r credential.Rejection) error {
	if s.o.Resolver == nil {
		return credential.ErrNone
	}
	if !r.Again {
		if err := s.Refresh(ctx); err != nil {
			return fmt.Errorf("%w: %w", credential.ErrUnavailable, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for name, v := range s.now {
			if !slices.Equal(v, r.Sent[name]) {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: put a secret that the server accepts where the config says", credential.ErrRefused)
}

// Refresh reads the secrets now. After an error the last good values stay.
func (s *Source) Refresh(ctx context.Context) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.refresh(ctx)
}

func (s *Source) refresh(ctx context.Context) error {
	next := http.Header{}
	for _, h := range s.o.Headers {
		v, err := s.o.Resolver.Resolve(ctx, h.Secret)
		if err == nil && !sendable(v.Reveal()) {
			err = fmt.Errorf("the secret %v holds characters that no header can carry, a line break or others beside visible ASCII: replace it", h.Secret)
		}
		if err != nil {
			s.mu.Lock()
			s.read = time.Now()
			s.mu.Unlock()
			return err
		}
		next.Set(h.Name, h.Prefix+v.Reveal())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.read = next, time.Now()
	return nil
}

func sendable(v string) bool {
	for i := range len(v) {
		if v[i] < 0x20 || v[i] > 0x7e {
			return false
		}
	}
	return true
}

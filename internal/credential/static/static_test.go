package static_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/static"
)

func fileSource(t *testing.T, value string) (path string, o static.Options) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "token")
	write(t, path, value)
	ref, err := secret.ParseRef("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	return path, static.Options{Resolver: secret.Schemes{secret.SchemeFile: secret.Files{}},
		Headers: []static.Header{{Name: "Authorization", Prefix: "Bearer ", Secret: ref}}}
}

func write(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func auth(t *testing.T, s *static.Source) string {
	t.Helper()
	h, err := s.Headers(t.Context(), credential.Subject{})
	if err != nil {
		t.Fatal(err)
	}
	return h.Get("Authorization")
}

// TestRotation follows a secret file: after a while, at once when the server
// refused, at once at a reload; and bridges the moment in which it is missing.
func TestRotation(t *testing.T) {
	t.Parallel()
	path, o := fileSource(t, "one")
	synctest.Test(t, func(t *testing.T) {
		s, err := static.New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, "two")
		if got := auth(t, s); got != "Bearer one" {
			t.Errorf("at once: %q", got)
		}
		time.Sleep(5 * time.Second)
		if got := auth(t, s); got != "Bearer two" {
			t.Errorf("after a while: %q", got)
		}
		write(t, path, "three")
		if err := s.Rejected(t.Context(), credential.Subject{}, credential.Rejection{Status: 401, Sent: http.Header{"Authorization": {"Bearer two"}}}); err != nil {
			t.Errorf("no second try: %v", err)
		}
		if got := auth(t, s); got != "Bearer three" {
			t.Errorf("after a refusal: %q", got)
		}
		err = s.Rejected(t.Context(), credential.Subject{}, credential.Rejection{Status: 401, Sent: http.Header{"Authorization": {"Bearer three"}}})
		if !errors.Is(err, credential.ErrRefused) {
			t.Errorf("a second try with what was refused: %v", err)
		}
		write(t, path, "four")
		if err := s.Refresh(t.Context()); err != nil || auth(t, s) != "Bearer four" {
			t.Errorf("after a reload: %q, %v", auth(t, s), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := auth(t, s); got != "Bearer four" {
			t.Errorf("without its file: %q", got)
		}
		err = s.Rejected(t.Context(), credential.Subject{}, credential.Rejection{Status: 401})
		if !errors.Is(err, credential.ErrUnavailable) {
			t.Errorf("refused and unreadable: %v", err)
		}
	})
}

// TestUnsendable refuses what would begin another header, and shows none of it.
func TestUnsendable(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"one\r\nX-Evil: two", "one\ntwo", "tab\ttab", "ümlaut", "nul\x00"} {
		_, o := fileSource(t, bad)
		_, err := static.New(t.Context(), o)
		if err == nil {
			t.Errorf("%q was taken", bad)
		} else if strings.Contains(err.Error(), "one") || strings.Contains(err.Error(), "umlaut") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

// TestUnset is refused: nothing is sent without what was configured.
func TestUnset(t *testing.T) {
	t.Parallel()
	var zero static.Source
	if _, err := zero.Headers(t.Context(), credential.Subject{}); err == nil {
		t.Error("the zero source gave something")
	}
	if err := zero.Rejected(t.Context(), credential.Subject{}, credential.Rejection{}); err == nil {
		t.Error("the zero source wants another try")
	}
	if _, err := static.New(t.Context(), static.Options{}); err == nil {
		t.Error("no header is a credential")
	}
}

// TestOwnMap keeps callers from changing each other's headers.
func TestOwnMap(t *testing.T) {
	t.Parallel()
	_, o := fileSource(t, "one")
	o.Every = time.Nanosecond
	s, err := static.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				h, err := s.Headers(context.Background(), credential.Subject{})
				if err != nil || h.Get("Authorization") != "Bearer one" {
					t.Errorf("%v %v", h, err)
				}
				h.Set("Authorization", "changed")
				h.Set("X", "added")
			}
		})
	}
	wg.Wait()
}

package credential_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/credential/credentialtest"
	"github.com/munjigi/munjigi/internal/oauth"
)

// TestNeverPastEitherEnd walks over the ends of the caller's token and of what
// was made of it.
func TestNeverPastEitherEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		caller, given time.Duration
		fetches       int // in an hour, once a minute
	}{
		"the caller's ends first": {30 * time.Minute, time.Hour, 1},
		"the other ends first":    {time.Hour, 10 * time.Minute, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				end := time.Now().Add(tt.caller)
				d, err := credential.NewDelegated(nil, func(p call.Principal) bool { return true }, 0)
				if err != nil {
					t.Fatal(err)
				}
				var n atomic.Int64
				fetch := func(context.Context) (oauth.Token, error) {
					n.Add(1)
					given := time.Now().Add(tt.given)
					return oauth.Token{Access: secret.New(strconv.FormatInt(given.Unix(), 10)), Expires: given}, nil
				}
				who := credentialtest.Subject("https://idp.example", "kim", "agent", "tok", end.Unix())
				for range 60 {
					h, err := d.Headers(t.Context(), who, fetch)
					now := time.Now()
					switch {
					case now.After(end):
						if !errors.Is(err, credential.ErrRefused) || h != nil {
							t.Errorf("%v after the caller's end: %v %v", now.Sub(end), h, err)
						}
					case err != nil:
						if end.Sub(now) > 10*time.Second {
							t.Errorf("%v before the end: %v", end.Sub(now), err)
						}
					default:
						text := strings.TrimPrefix(h.Get("Authorization"), "Bearer ")
						if given, err := strconv.ParseInt(text, 10, 64); err != nil || now.Unix() >= given {
							t.Errorf("a token was given out after its end: %s at %d", text, now.Unix())
						}
					}
					synctest.Wait()
					if now.Before(end) && int(n.Load()) > tt.fetches+2 {
						t.Fatalf("%d fetches", n.Load())
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

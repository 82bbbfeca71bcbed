package call_test

import (
	"testing"

	"github.com/munjigi/munjigi/internal/call"
)

// TestFresher compares proofs of one caller by when they were made, else by when
// they end; another caller's is never fresher, and anybody's is fresher than
// nobody's.
func TestFresher(t *testing.T) {
	t.Parallel()
	who := func(name, client string, issued, expires int64) call.Subject {
		return call.Subject{Principal: call.NewPrincipal(call.Identity{Issuer: "i", Subject: name, Kind: call.Person, Client: client, Issued: issued, Expires: expires})}
	}
	for name, tt := range map[string]struct {
		new, old call.Subject
		want     bool
	}{
		"issued later":            {who("a", "c", 20, 30), who("a", "c", 10, 99), true},
		"issued earlier":          {who("a", "c", 10, 99), who("a", "c", 20, 30), false},
		"the same":                {who("a", "c", 10, 99), who("a", "c", 10, 99), true},
		"ends later":              {who("a", "c", 0, 99), who("a", "c", 0, 30), true},
		"ends earlier":            {who("a", "c", 0, 30), who("a", "c", 0, 99), false},
		"does not end":            {who("a", "c", 0, 0), who("a", "c", 0, 99), true},
		"ends where one does not": {who("a", "c", 0, 99), who("a", "c", 0, 0), false},
		"another subject":         {who("b", "c", 20, 99), who("a", "c", 10, 30), false},
		"another client":          {who("a", "d", 20, 99), who("a", "c", 10, 30), false},
		"somebody for nobody":     {who("a", "c", 1, 2), call.Subject{}, true},
		"nobody for somebody":     {call.Subject{}, who("a", "c", 1, 2), false},
		"nobody for nobody":       {call.Subject{}, call.Subject{}, false},
	} {
		if got := tt.new.Fresher(tt.old); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

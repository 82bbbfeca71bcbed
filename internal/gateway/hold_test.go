package gateway_test

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/authz/approval"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/gateway"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

// holder is a guard that holds arguments with a word in them.
type holder struct{ name, word string }

func (h holder) Spec() guard.Spec { return guard.Spec{Name: h.name, Arguments: true} }
func (h holder) Checks() guard.Checks {
	return guard.Checks{Arguments: func(_ context.Context, s guard.Subject) (guard.Verdict, error) {
		if bytes.Contains(s.Raw, []byte(h.word)) {
			return guard.Verdict{Effect: call.Hold, Reason: "private-data"}, nil
		}
		return guard.Verdict{Effect: call.Allow}, nil
	}}
}

// holding is a gateway whose guards hold calls.
func holding(t *testing.T, guards ...guard.Guard) (*bench, *approval.Approvals) {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "s.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	kv, err := db.Bucket("approval")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.NewDerived(keys.GenerateRoot())
	if err != nil {
		t.Fatal(err)
	}
	set, err := guard.Build(guards, nil)
	if err != nil {
		t.Fatal(err)
	}
	var held *approval.Approvals
	b := start(t, func(o *gateway.Options) {
		if held, err = approval.New(approval.Options{Store: kv, Keys: ring, Record: o.Record, Wait: time.Minute, UseWithin: time.Minute, MostWaiting: 2, MostPerHour: 20,
			Strength: call.Requirement{MaxAge: time.Minute}}); err != nil {
			t.Fatal(err)
		}
		o.Guards, o.Approvals = set, held
	})
	return b, held
}

func (b *bench) count(t *testing.T, text string) string {
	t.Helper()
	_, body := b.modern(t, "/mcp/demo", "tools/call", "count_words", `"name":"count_words","arguments":{"text":"`+text+`"}`)
	return body
}

// TestAGuardHolds what a person can let pass: once, all guards that hold it
// together, and nothing that was changed.
func TestAGuardHolds(t *testing.T) {
	t.Parallel()
	b, held := holding(t, holder{"one", "secret"}, holder{"two", "secret"}, holder{"three", "other"})
	terminal := authz.Approver{Principal: local.Attached("terminal"), Terminal: true}
	if body := b.count(t, "a secret"); !strings.Contains(body, "Held by the gateway") {
		t.Fatal(body)
	}
	list, err := held.Waiting(t.Context(), terminal)
	if err != nil || len(list) != 1 || !slices.Equal(list[0].Checks, []string{"one/private-data", "two/private-data"}) || !slices.Equal(list[0].Approvers, []string{"operator"}) {
		t.Fatalf("%+v %v", list, err)
	}
	if err := held.Decide(t.Context(), list[0].ID, terminal, true); err != nil {
		t.Fatal(err)
	}
	if body := b.count(t, "a secret other"); !strings.Contains(body, "Held by the gateway") {
		t.Errorf("another call: %s", body)
	}
	if body := b.count(t, "a secret"); strings.Contains(body, "by the gateway") {
		t.Errorf("the approved call: %s", body)
	}
	if body := b.count(t, "a secret"); !strings.Contains(body, "Held by the gateway") {
		t.Errorf("once more: %s", body)
	}
	if body := b.count(t, "secret three"); !strings.Contains(body, "too many calls wait") {
		t.Errorf("a third that waits: %s", body)
	}
	if body := b.count(t, "a word"); strings.Contains(body, "by the gateway") {
		t.Errorf("nothing holds this: %s", body)
	}
	if body := b.count(t, strings.Repeat("secret ", 3000)); !strings.Contains(body, "too large for one to judge") {
		t.Errorf("unreadable: %.300s", body)
	}
}

// TestTwoCallersWithOneApproval: one of them goes through.
func TestTwoCallersWithOneApproval(t *testing.T) {
	t.Parallel()
	b, held := holding(t, holder{"one", "secret"})
	terminal := authz.Approver{Principal: local.Attached("terminal"), Terminal: true}
	for range 4 {
		b.count(t, "a secret")
		list, err := held.Waiting(t.Context(), terminal)
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v %v", list, err)
		}
		if err := held.Decide(t.Context(), list[0].ID, terminal, true); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		through := 0
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				body := b.count(t, "a secret")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case !strings.Contains(body, "by the gateway"):
					through++
				case !strings.Contains(body, "Held by the gateway") && !strings.Contains(body, "was used by another one"):
					t.Errorf("%s", body)
				}
			})
		}
		wg.Wait()
		if through != 1 {
			t.Errorf("%d went through", through)
		}
		for _, p := range waitingOf(t, held, terminal) {
			if err := held.Decide(t.Context(), p.ID, terminal, true); err != nil {
				t.Fatal(err)
			}
			b.count(t, "a secret") // uses it up
		}
	}
}

func waitingOf(t *testing.T, held *approval.Approvals, who authz.Approver) []authz.Approval {
	t.Helper()
	list, err := held.Waiting(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestNobodyToAsk: without approvals what is held is refused, and nothing
// waits.
func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	set, err := guard.Build([]guard.Guard{holder{"one", "secret"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, func(o *gateway.Options) { o.Guards = set })
	if body := b.count(t, "a secret"); !strings.Contains(body, "cannot wait for a person here") {
		t.Errorf("%s", body)
	}
}

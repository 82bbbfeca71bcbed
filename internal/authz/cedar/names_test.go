package cedar

import (
	"slices"
	"testing"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

func FuzzPrincipalIDsAreInjective(f *testing.F) {
	f.Add("a|b", "c", "a", "b|c")
	f.Add("a%7Cb", "c", "a|b", "c")
	f.Add("a%257Cb", "c", "a%7Cb", "c")
	f.Add("https://idp.example/realms/corp", "alice", "https://idp.example/realms/corp", "Alice")
	f.Fuzz(func(t *testing.T, i1, s1, i2, s2 string) {
		a, errA := principalUID(call.Identity{Issuer: i1, Subject: s1, Kind: call.Person})
		b, errB := principalUID(call.Identity{Issuer: i2, Subject: s2, Kind: call.Person})
		if errA != nil || errB != nil {
			return
		}
		if (a == b) != (i1 == i2 && s1 == s2) {
			t.Errorf("%q %q and %q %q: %v and %v", i1, s1, i2, s2, a, b)
		}
		if m := nameProblem(a); m != "" {
			t.Errorf("a policy cannot name %v: %s", a, m)
		}
	})
}

func FuzzTargetIDsAreInjective(f *testing.F) {
	f.Add("a", "b/c", "a", "b", uint8(0), uint8(0))
	f.Add("a/b", "c", "a", "b/c", uint8(0), uint8(0))
	f.Add("a", "file:///x_y", "a", "file:///x:y", uint8(2), uint8(2))
	f.Add("a", "b", "a", "b", uint8(0), uint8(1))
	f.Add("*", "b", "a", "b", uint8(0), uint8(4))
	f.Fuzz(func(t *testing.T, s1, n1, s2, n2 string, k1, k2 uint8) {
		kinds := resourceTypes()
		t1, t2 := kinds[int(k1)%len(kinds)], kinds[int(k2)%len(kinds)]
		a, errA := targetUID(t1, call.Target{Server: s1, Name: n1})
		b, errB := targetUID(t2, call.Target{Server: s2, Name: n2})
		if errA != nil || errB != nil {
			return
		}
		same := t1 == t2 && s1 == s2 && (n1 == n2 || t1 == typeServer)
		if (a == b) != same {
			t.Errorf("%s %q %q and %s %q %q: %v and %v", t1, s1, n1, t2, s2, n2, a, b)
		}
		if m := nameProblem(a); m != "" {
			t.Errorf("a policy cannot name %v: %s", a, m)
		}
		if a.Type != typeServer && serverOf(a) != s1 {
			t.Errorf("%v is of %q, not of %q", a, serverOf(a), s1)
		}
	})
}

func TestOneKindIsNotAnother(t *testing.T) {
	t.Parallel()
	seen := map[types.EntityUID]call.Kind{}
	for _, k := range []call.Kind{call.Operator, call.Person, call.Workload, call.Anonymous} {
		u, err := principalUID(call.Identity{Issuer: "i", Subject: "s", Kind: k})
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[u]; taken {
			t.Errorf("%v and %v are both %v", k, other, u)
		}
		seen[u] = k
	}
	if _, err := principalUID(call.Identity{Issuer: "i", Subject: "s"}); err == nil {
		t.Error("nobody has an entity")
	}
}

// TestEveryMethodHasAnAction walks over all that a client may send. A method
// that is added to the wire and not to the table fails here, and is denied.
func TestEveryMethodHasAnAction(t *testing.T) {
	t.Parallel()
	sent := []string{mcp.NotifyInitialized, mcp.NotifyCancelled, mcp.NotifyProgress, mcp.NotifyRootsChanged}
	for _, m := range wireMethods(t) {
		for _, e := range []mcp.Era{mcp.Legacy, mcp.Modern} {
			if _, ok := mcp.RouteOf(e, m); ok && !slices.Contains(sent, m) {
				sent = append(sent, m)
			}
		}
	}
	if len(sent) < 24 {
		t.Fatalf("only %d methods were seen: %v", len(sent), sent)
	}
	table := rules()
	for _, m := range sent {
		r, ok := table[m]
		if !ok {
			t.Errorf("%s has no action", m)
			continue
		}
		if !slices.Contains(actions(), r.action) || len(r.kinds) == 0 {
			t.Errorf("%s: %+v", m, r)
		}
		for _, k := range r.kinds {
			if !slices.Contains(resourceTypes(), k) {
				t.Errorf("%s is about %s", m, k)
			}
		}
	}
	for m := range table {
		asked := []string{mcp.MethodSampling, mcp.MethodElicit, mcp.MethodRootsList} // by servers
		if !slices.Contains(sent, m) && !slices.Contains(asked, m) {
			t.Errorf("the table has %s, which nobody may send", m)
		}
	}
}

package app

import (
	"testing"

	"github.com/munjigi/munjigi/internal/keys/file"
)

// TestResultHash: equal values of one server are seen to be equal, by who has the
// key, and nothing else is.
func TestResultHash(t *testing.T) {
	t.Parallel()
	hash := func() func(string, []byte) string {
		ring, err := file.Open(file.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		h, err := resultHash(ring)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h, other := hash(), hash()
	one := h("crm", []byte(`"kim"`))
	if one != h("crm", []byte(`"kim"`)) || len(one) != len("hash:")+32 {
		t.Errorf("%q", one)
	}
	for name, x := range map[string]string{"another value": h("crm", []byte(`"lee"`)), "another server": h("hr", []byte(`"kim"`)),
		"another key": other("crm", []byte(`"kim"`)), "another border": h("crm\"", []byte(`kim"`))} {
		if x == one {
			t.Errorf("%s has the same digest", name)
		}
	}
}

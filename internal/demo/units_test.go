package demo

import (
	"math"
	"math/big"
	"testing"
)

// TestUnits holds that each unit is written so that it can be reckoned with,
// once, and that there and back is where one started.
func TestUnits(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, u := range units {
		if seen[u.name] {
			t.Errorf("%s stands twice", u.name)
		}
		seen[u.name] = true
		for _, s := range []string{u.factor, u.offset} {
			if _, ok := new(big.Rat).SetString(s); !ok {
				t.Errorf("%s: %q is not a fraction", u.name, s)
			}
		}
		if u.ratio(u.factor).Sign() <= 0 {
			t.Errorf("%s: the factor is %s", u.name, u.factor)
		}
		for _, v := range units {
			if v.kind != u.kind {
				continue
			}
			for _, value := range []float64{0, 1, -40, 1e-9, 123456.789} {
				there, ok := convert(value, u, v)
				back, ok2 := convert(there, v, u)
				if !ok || !ok2 || math.Abs(back-value) > 1e-9*(1+math.Abs(value)) {
					t.Errorf("%v %s is %v %s is %v %s", value, u.name, there, v.name, back, u.name)
				}
			}
		}
	}
}

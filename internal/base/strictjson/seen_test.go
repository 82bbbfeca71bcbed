package strictjson

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// steps returns the work of finding duplicates in text.
func steps(t *testing.T, text []byte) (int, Kind) {
	t.Helper()
	var d seen
	_, kind := validate(text, Limits{Bytes: MaxBytes, Depth: MaxDepth, Members: MaxBytes}, &d)
	return d.steps, kind
}

func repeat(n int, unit []byte) []byte {
	b := append([]byte{'['}, unit...)
	for range n - 1 {
		b = append(append(b, ','), unit...)
	}
	return append(b, ']')
}

// Each hostile shape must cost a bounded number of steps per byte, however
// long it is.
func TestWorkIsLinear(t *testing.T) {
	t.Parallel()
	object := func(n int, format string) []byte {
		b := []byte{'{'}
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '"')
			b = fmt.Appendf(b, format, i)
			b = append(b, `":0`...)
		}
		return append(b, '}')
	}
	nested := func(depth, members int) []byte {
		var b []byte
		for d := range depth {
			b = append(b, '{')
			for i := range members {
				b = fmt.Appendf(b, `"%d":0,`, i)
			}
			b = fmt.Appendf(b, `"d%d":`, d)
		}
		b = append(b, '0')
		return append(b, bytes.Repeat([]byte{'}'}, depth)...)
	}
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		name string
		make func(scale int) []byte
	}{
		{"one flat object", func(s int) []byte { return object(3000*s, "%d") }},
		{"escaped names", func(s int) []byte { return object(3000*s, `\u0061%d`) }},
		{"equal ends", func(s int) []byte { return object(3000*s, "aaaaaaaa%05dzzzzzzzz") }},
		{"equal ends in small objects", func(s int) []byte { return repeat(50*s, object(few, "aaaaaaaa%02dzzzzzzzz")) }},
		{"long equal prefixes", func(s int) []byte { return object(30*s, long+"%05d"+"zzzzzzzz") }},
		{"long equal prefixes, small", func(s int) []byte { return repeat(s, object(few, long+"%02d"+"zzzzzzzz")) }},
		{"just few members", func(s int) []byte { return repeat(50*s, object(few, "%x")) }},
		{"just more than few", func(s int) []byte { return repeat(50*s, object(few+1, "%x")) }},
		{"large, nested", func(s int) []byte { return nested(8*s, few+1) }},
		{"larger, nested", func(s int) []byte { return nested(2*s, 400) }},
		{"a large one before many small", func(s int) []byte {
			return bytes.Join([][]byte{[]byte(`[`), object(3000*s, "%d"), []byte(`,`), repeat(100*s, object(few+1, "%x")), []byte(`]`)}, nil)
		}},
		{"open large ones around small ones", func(s int) []byte {
			outer := object(3000*s, "%d")
			outer = outer[:len(outer)-1]
			outer = append(outer, `,"last":`...)
			outer = append(outer, repeat(100*s, object(few+1, "%x"))...)
			return append(outer, '}')
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, scale := range []int{1, 4, 16} {
				text := c.make(scale)
				n, kind := steps(t, text)
				if kind != 0 {
					t.Fatalf("scale %d: %v", scale, kind)
				}
				if n == 0 {
					t.Fatal("no steps were counted")
				}
				if most := 6 * len(text); n > most {
					t.Errorf("scale %d: %d steps for %d bytes", scale, n, len(text))
				}
			}
		})
	}
}

// Tables are used again: memory grows with nesting, not with the number of
// large objects.
func TestTablesAreReused(t *testing.T) {
	t.Parallel()
	inner := names(few + 1)
	text := names(few + 1)
	text = append(text[:len(text)-1], `,"inner":`...)
	text = append(append(text, repeat(100, inner)...), '}')
	var d seen
	if _, kind := validate(repeat(100, text), Limits{MaxBytes, MaxDepth, MaxBytes}, &d); kind != 0 {
		t.Fatal(kind)
	}
	if len(d.tables) != 2 || d.inUse != 0 {
		t.Errorf("%d tables, %d of them in use at the end; want 2, 0", len(d.tables), d.inUse)
	}
}

func TestHostileObjectOfManyMembers(t *testing.T) {
	t.Parallel()
	text := names(200_000)
	l := Default()
	l.Bytes = len(text)
	if err := Validate(text, l); err != nil {
		t.Fatal(err)
	}
	// The very last member repeats the first, in the guise of an escape.
	text = append(text[:len(text)-1], `,"\u006eame0":0}`...)
	l.Bytes, l.Members = len(text), 200_001
	if kind, _ := kindOf(t, Validate(text, l)); kind != KindDuplicate {
		t.Errorf("%v, want %v", kind, KindDuplicate)
	}
}

// A duplicate must be found wherever it stands, on both sides of the step from
// comparing to hashing and of each growth of the table.
func TestDuplicateAnywhere(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, few - 1, few, few + 1, few + 2, 2*few - 1, 2 * few, 2*few + 1, 4 * few, 300} {
		for at := range n {
			for _, form := range []string{`"name%d"`, `"n\u0061me%d"`} {
				text := names(n)
				text = append(text[:len(text)-1], ',')
				text = fmt.Appendf(text, form, at)
				text = append(text, `:0}`...)
				if kind, _ := kindOf(t, Validate(text, wide())); kind != KindDuplicate {
					t.Fatalf("%d members, the last repeats %d as %s: %v", n, at, form, kind)
				}
			}
		}
		text := names(n)
		text = append(text[:len(text)-1], `,"\u006eame":{"name0":0}}`...)
		if err := Validate(text, wide()); err != nil {
			t.Errorf("%d members: %v", n, err)
		}
	}
}

// The names of an object must neither leak into the next one nor be forgotten
// while an inner object, large or small, is read.
func TestDuplicateAroundInnerObjects(t *testing.T) {
	t.Parallel()
	for _, outer := range []int{1, few, few + 1, 200} {
		for _, inner := range []int{0, 1, few, few + 1, 500} {
			in := names(inner)
			text := names(outer)
			text = append(text[:len(text)-1], `,"inner":`...)
			text = append(text, in...)
			text = append(text, `,"again":[`...)
			text = append(append(append(text, in...), ','), in...)
			text = append(text, `]`...)
			if err := Validate(append(bytes.Clone(text), '}'), wide()); err != nil {
				t.Errorf("outer %d, inner %d: %v", outer, inner, err)
			}
			if kind, _ := kindOf(t, Validate(append(bytes.Clone(text), `,"name0":0}`...), wide())); kind != KindDuplicate {
				t.Errorf("outer %d, inner %d: %v", outer, inner, kind)
			}
			if kind, _ := kindOf(t, Validate(append(bytes.Clone(text), `,"inner":0}`...), wide())); kind != KindDuplicate {
				t.Errorf("outer %d, inner %d: %v", outer, inner, kind)
			}
		}
	}
}

// Names whose cheap fingerprints are equal are still different names.
func TestFingerprintIsNotTrusted(t *testing.T) {
	t.Parallel()
	texts := []string{"aaaaaaaa1zzzzzzzz", "aaaaaaaa2zzzzzzzz", "aaaaaaaa3zzzzzzzz"}
	marks := map[uint64]bool{}
	for _, s := range texts {
		marks[fingerprint([]byte(s), 0, len(s))] = true
	}
	if len(marks) != 1 {
		t.Fatalf("%d fingerprints: the test no longer makes them equal", len(marks))
	}
	text := fmt.Sprintf(`{"%s":1,"%s":2,"%s":3}`, texts[0], texts[1], texts[2])
	if err := Validate([]byte(text), wide()); err != nil {
		t.Error(err)
	}
}

func TestFingerprintIgnoresWhatFollows(t *testing.T) {
	t.Parallel()
	for n := range 12 {
		name := strings.Repeat("n", n)
		alone := fingerprint([]byte(name), 0, n)
		for _, after := range []string{"x", `":1,"b":2`, "\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
			b := []byte("ab" + name + after)
			if fingerprint(b, 2, 2+n) != alone {
				t.Errorf("%q: its fingerprint depends on %q after it", name, after)
			}
		}
	}
}

package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

var _ Ring = (*Derived)(nil)

const (
	wantSubkey = "437e1a863d6cb475 c58aac341cc874603c2ec4b532b67e66bbaef222171ca1c8a061160e70fc62a5"
	wantSealed = "AUN+GoY9bLR1K7y9jyz68HWCDRw0lfIVDyqd6SHxLNnHOlWQZ5+S4s40of7+mDi5QAdEkq2S7equonSP"
)

func testRoot(t *testing.T, b byte) Root {
	t.Helper()
	r, err := NewRoot([32]byte(bytes.Repeat([]byte{b}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func testRing(t *testing.T, active Root, earlier ...Root) *Derived {
	t.Helper()
	d, err := NewDerived(active, earlier...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What is sealed today must open for ever, so the derivation and the envelope are held by values taken once.
func TestDerivationStays(t *testing.T) {
	t.Parallel()
	d := testRing(t, testRoot(t, 7))
	id, key, err := d.Subkey("store")
	if err != nil {
		t.Fatal(err)
	}
	if got := id + " " + hex.EncodeToString(key[:]); got != wantSubkey {
		t.Errorf("the subkey changed: %s", got)
	}
	sealed, err := base64.StdEncoding.DecodeString(wantSealed)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := d.Open("store", sealed, []byte("aad")); err != nil || string(plain) != "sealed once" {
		t.Errorf("%q %v", plain, err)
	}
}

func TestSealOpensOnlyAsSealed(t *testing.T) {
	t.Parallel()
	d := testRing(t, testRoot(t, 1))
	sealed, err := d.Seal("grants", []byte("refresh token"), []byte("issuer|subject"))
	if err != nil {
		t.Fatal(err)
	}
	if len(sealed) != len("refresh token")+Overhead || bytes.Contains(sealed, []byte("token")) {
		t.Errorf("%d bytes: %q", len(sealed), sealed)
	}
	if plain, err := d.Open("grants", sealed, []byte("issuer|subject")); err != nil || string(plain) != "refresh token" {
		t.Fatalf("%q %v", plain, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return d.Open("grant", sealed, []byte("issuer|subject")) },
		"another owner":   func() ([]byte, error) { return d.Open("grants", sealed, []byte("issuer|mallory")) },
		"no owner":        func() ([]byte, error) { return d.Open("grants", sealed, nil) },
		"another root key": func() ([]byte, error) {
			return testRing(t, testRoot(t, 2)).Open("grants", sealed, []byte("issuer|subject"))
		},
		"nothing":         func() ([]byte, error) { return d.Open("grants", nil, []byte("issuer|subject")) },
		"only the header": func() ([]byte, error) { return d.Open("grants", sealed[:Overhead-1], []byte("issuer|subject")) },
		"one byte more": func() ([]byte, error) {
			return d.Open("grants", append(bytes.Clone(sealed), 0), []byte("issuer|subject"))
		},
	} {
		if plain, err := open(); err != ErrSealed || plain != nil {
			t.Errorf("%s: %q %v", name, plain, err)
		}
	}
	for i := range sealed {
		for bit := range 8 {
			altered := bytes.Clone(sealed)
			altered[i] ^= 1 << bit
			if plain, err := d.Open("grants", altered, []byte("issuer|subject")); err != ErrSealed || plain != nil {
				t.Fatalf("bit %d of byte %d altered: %q %v", bit, i, plain, err)
			}
		}
	}
	again, err := d.Seal("grants", []byte("refresh token"), []byte("issuer|subject"))
	if err != nil || bytes.Equal(again, sealed) {
		t.Error("two seals of one text are alike")
	}
}

func TestSubkeysAreUnrelated(t *testing.T) {
	t.Parallel()
	a, b := testRoot(t, 1), testRoot(t, 2)
	seen := map[[32]byte]string{}
	for name, d := range map[string]*Derived{"a": testRing(t, a), "b": testRing(t, b)} {
		for _, p := range []Purpose{"x", "xy", "x-y", "y"} {
			_, key, err := d.Subkey(p)
			if err != nil {
				t.Fatal(err)
			}
			if other := seen[key]; other != "" || key == a.Reveal() {
				t.Errorf("%s/%s has the key of %s", name, p, other)
			}
			seen[key] = name + "/" + string(p)
			sealed, err := d.Seal(p, []byte("text"), nil)
			if err != nil {
				t.Fatal(err)
			}
			aead, err := chacha20poly1305.NewX(key[:])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := aead.Open(nil, sealed[9:33], sealed[33:], nil); err == nil {
				t.Error("the subkey that is handed out opens what was sealed")
			}
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	before, after := testRing(t, testRoot(t, 1)), testRing(t, testRoot(t, 2), testRoot(t, 1))
	sealed, err := before.Seal("p", []byte("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := after.Open("p", sealed, nil); err != nil || string(plain) != "old" {
		t.Errorf("what the earlier key sealed: %q %v", plain, err)
	}
	newer, err := after.Seal("p", []byte("new"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Open("p", newer, nil); err != ErrSealed {
		t.Errorf("the earlier key opens what the newer one sealed: %v", err)
	}
	oldID, oldKey, _ := before.Subkey("p")
	newID, newKey, _ := after.Subkey("p")
	if oldID == newID || oldKey == newKey || newID != after.ActiveID() {
		t.Error("the active key did not change")
	}
	if key, err := after.SubkeyByID("p", oldID); err != nil || key != oldKey {
		t.Errorf("the earlier subkey: %v", err)
	}
	for _, id := range []string{"", "x", newID, strings.ToUpper(oldID) + " ", newID + "00", newID[:14], strings.Repeat("0", 16)} {
		if _, err := before.SubkeyByID("p", id); err != ErrUnknownKey {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := NewDerived(testRoot(t, 1), testRoot(t, 2), testRoot(t, 1)); err == nil {
		t.Error("one key was taken twice")
	}
}

func TestZeroValuesRefuse(t *testing.T) {
	t.Parallel()
	if _, err := NewRoot([32]byte{}); err == nil {
		t.Error("a key of zeros was taken")
	}
	if _, err := NewDerived(Root{}); err == nil {
		t.Error("a ring was made of nothing")
	}
	if id := (Root{}).ID(); id != "" {
		t.Errorf("no key has the ID %s", id)
	}
	for _, d := range []*Derived{nil, {}} {
		_, _, err1 := d.Subkey("p")
		_, err2 := d.SubkeyByID("p", "0000000000000000")
		_, err3 := d.Seal("p", nil, nil)
		_, err4 := d.Open("p", make([]byte, 100), nil)
		if err1 == nil || err2 == nil || err3 == nil || err4 == nil || d.ActiveID() != "" {
			t.Errorf("%v %v %v %v", err1, err2, err3, err4)
		}
	}
	d := testRing(t, GenerateRoot())
	for _, p := range []Purpose{"", "A", "1a", "-a", "a_b", "a\x00b", "a b", "é", Purpose(strings.Repeat("a", 65))} {
		_, _, err1 := d.Subkey(p)
		_, err2 := d.SubkeyByID(p, d.ActiveID())
		_, err3 := d.Seal(p, nil, nil)
		_, err4 := d.Open(p, make([]byte, 100), nil)
		if err1 == nil || err2 == nil || err3 == nil || err4 == nil {
			t.Errorf("%q: %v %v %v %v", p, err1, err2, err3, err4)
		}
	}
}

func TestKeysAreNotShown(t *testing.T) {
	t.Parallel()
	r := testRoot(t, 0xab)
	d := testRing(t, r)
	if _, _, err := d.Subkey("p"); err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(map[string]any{"r": r, "d": d})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		b = fmt.Appendf(b, verb+verb+verb, r, d, struct{ r Root }{r})
	}
	for _, form := range []string{"\xab\xab", "abab", "171 171", "0xab", "q6ur"} {
		if bytes.Contains(b, []byte(form)) {
			t.Errorf("%q is shown in %s", form, b)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	d := testRing(t, testRoot(t, 1), testRoot(t, 2))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 20 {
				p := Purpose(fmt.Sprint("p", j))
				sealed, err := d.Seal(p, []byte{byte(i)}, nil)
				if err != nil {
					t.Error(err)
				}
				if plain, err := d.Open(p, sealed, nil); err != nil || plain[0] != byte(i) {
					t.Error(plain, err)
				}
			}
		})
	}
	wg.Wait()
}

// Whatever is opened either was sealed once or is ErrSealed.
func FuzzOpen(f *testing.F) {
	key, err := NewRoot([32]byte(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		f.Fatal(err)
	}
	d, err := NewDerived(key)
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := base64.StdEncoding.DecodeString(wantSealed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:Overhead])
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := d.Open("store", b, []byte("aad")); err == nil && !bytes.Equal(b, sealed) || err != nil && !errors.Is(err, ErrSealed) {
			t.Errorf("%q %v", plain, err)
		}
	})
}

func BenchmarkSealOpen(b *testing.B) {
	d, err := NewDerived(GenerateRoot())
	if err != nil {
		b.Fatal(err)
	}
	text := bytes.Repeat([]byte("x"), 200)
	b.ReportAllocs()
	for b.Loop() {
		sealed, err := d.Seal("p", text, text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Open("p", sealed, text); err != nil {
			b.Fatal(err)
		}
	}
}

package literal_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/literal"
)

func places(s *literal.Set, text string) []string {
	var got []string
	s.Each([]byte(text), func(w, from, to int) bool {
		got = append(got, fmt.Sprint(w, from, to))
		return true
	})
	slices.Sort(got)
	return got
}

func TestEach(t *testing.T) {
	t.Parallel()
	words := []string{"he", "she", "HIS", "hers", "", "é", "he"}
	got := places(literal.New(words), "uSHErs his É é")
	want := []string{"0 2 4", "1 1 4", "2 7 10", "3 2 6", "5 14 16", "6 2 4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var zero literal.Set
	if zero.Has([]byte("x")) || literal.New(nil).Has([]byte("x")) || !literal.New(words).Has([]byte("The")) {
		t.Error("Has")
	}
	n := 0
	literal.New(words).Each([]byte("hehehe"), func(int, int, int) bool { n++; return false })
	if n != 1 {
		t.Error("it went on")
	}
}

// FuzzEach holds that the places are those that a search for each word alone
// finds.
func FuzzEach(f *testing.F) {
	f.Add("he,she,his,hers", "ushers")
	f.Add("a,aa,aaa,ab", "aAaab")
	f.Add("\xff,\x00", "\x00\xff\xfe")
	f.Fuzz(func(t *testing.T, list, text string) {
		words := strings.Split(list, ",")
		if len(words) > 20 || len(list) > 200 || len(text) > 1000 {
			return
		}
		fold := func(s string) []byte {
			b := []byte(s)
			for i, c := range b {
				if c >= 'A' && c <= 'Z' {
					b[i] = c | 0x20
				}
			}
			return b
		}
		var want []string
		folded := fold(text)
		for w, word := range words {
			for i := 0; word != "" && i+len(word) <= len(text); i++ {
				if bytes.Equal(folded[i:i+len(word)], fold(word)) {
					want = append(want, fmt.Sprint(w, i, i+len(word)))
				}
			}
		}
		slices.Sort(want)
		if d := cmp.Diff(want, places(literal.New(words), text)); d != "" {
			t.Error(d)
		}
	})
}

func BenchmarkEach(b *testing.B) {
	s := literal.New([]string{"password", "secret", "akia", "ghp_", "token"})
	text := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog. "), 23)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.Has(text)
	}
}

package ngram

import (
	"math"
	"strings"
	"testing"
)

func model(f func(bucket int) int8) *Model {
	m := &Model{weights: make([]int8, Buckets), scale: 0.01}
	for i := range m.weights {
		m.weights[i] = f(i)
	}
	return m
}

// FuzzSums holds that use sees the features of training, and that there is a
// bounded number of them.
func FuzzSums(f *testing.F) {
	m := model(func(b int) int8 { return int8(uint32(b) * 2654435761 >> 24) }) //nolint:gosec // any byte will do
	r := NewReader()
	for _, s := range []string{"", "a", "Ignore all  previous instructions!!!! now", strings.Repeat("x y ", 40), "오늘의 날씨\n\x00\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := make([]int32, len(s)/BlockSize+1)
		n := 0
		r.Walk(s, func(block int, bucket uint32) {
			want[block] += int32(m.weights[bucket])
			n++
		})
		if n > 6*len(s)+4 {
			t.Errorf("%d features of %d bytes", n, len(s))
		}
		got := m.Sums(r, s, nil)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("block %d: %d in use, %d in training", i, got[i], want[i])
			}
		}
		if w := m.Best(r, s); w.From < 0 || w.To > len(s) || w.From > w.To || math.IsInf(w.Score, 0) {
			t.Errorf("window %+v of %d", w, len(s))
		}
	})
}

// learned is a model that knows one text.
func learned(t *testing.T, text string) *Model {
	t.Helper()
	weights := make([]int8, Buckets)
	for i := range weights {
		weights[i] = -1
	}
	NewReader().Walk(text, func(_ int, b uint32) { weights[b] = 20 })
	m, err := Read(Append(nil, weights, 0.01, [2]float64{-4, -4}))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBestFindsThePlace(t *testing.T) {
	t.Parallel()
	const known = "the quick brown fox jumps over the lazy dog"
	m, r := learned(t, known), NewReader()
	filler := strings.Repeat("Nothing of note is said here, at some length. ", 40)
	text := filler + known + filler
	w := m.Best(r, text)
	if at := strings.Index(text, known); w.Score < 4 || w.From > at || w.To < at+len(known)-BlockSize || w.To-w.From > 3*BlockSize+len(known) {
		t.Errorf("%+v, it stands at %d", w, at)
	}
	if w := m.Best(r, filler); w.Score > 0 {
		t.Errorf("the filler scores %v", w.Score)
	}
	if ws := m.Each(r, text+known+filler, 4, 8); len(ws) != 2 {
		t.Errorf("%v", ws)
	}
	if w := (&Model{}).Best(r, known); w.Score != 0 {
		t.Errorf("the zero model says %v", w.Score)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	good := Append(nil, make([]int8, Buckets), 1, [2]float64{})
	if _, err := Read(good); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"empty": nil, "short": good[:100], "magic": append([]byte("x"), good[1:]...),
		"scale": Append(nil, make([]int8, Buckets), 0, [2]float64{}), "bias": Append(nil, make([]int8, Buckets), 1, [2]float64{math.NaN()})} {
		if _, err := Read(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func BenchmarkBest(b *testing.B) {
	m, r := model(func(b int) int8 { return int8(uint32(b) * 2654435761 >> 24) }), NewReader() //nolint:gosec // any byte will do
	s := strings.Repeat("The quick brown fox jumps over the lazy dog and then returns to the river to see what happened. ", 700)
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		m.Best(r, s)
	}
}

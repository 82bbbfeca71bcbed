package main

import (
	"math"
	"math/rand/v2"
	"sort"

	"github.com/munjigi/munjigi/internal/base/ngram"
)

// learner is a model in training: logistic regression on the best window of
// each text, with AdaGrad and features that drop out.
type learner struct {
	w, h []float32 // weights, and the sums of their squared gradients
	bias [2]float64
	hb   [2]float64
	r    *ngram.Reader
	// of the text at hand
	buckets []uint32
	blocks  []int32
	sums    []float64
}

func newLearner() *learner {
	return &learner{w: make([]float32, ngram.Buckets), h: make([]float32, ngram.Buckets), bias: [2]float64{-3, -4}, r: ngram.NewReader()}
}

type window struct {
	k, from, to int // kind and blocks
	z           float64
}

// read walks a text; mask drops features out.
func (l *learner) read(text string, mask uint32, keep float64) {
	l.buckets, l.blocks = l.buckets[:0], l.blocks[:0]
	n := len(text)/ngram.BlockSize + 1
	if cap(l.sums) < n {
		l.sums = make([]float64, n)
	}
	l.sums = l.sums[:n]
	clear(l.sums)
	limit := uint32(keep * math.MaxUint32)
	l.r.Walk(text, func(block int, b uint32) {
		if mask != 0 && (b^mask)*2654435761 > limit {
			return
		}
		l.buckets = append(l.buckets, b)
		l.blocks = append(l.blocks, int32(block)) //nolint:gosec // texts are small
		l.sums[block] += float64(l.w[b]) / keep
	})
}

// windows gives the best window of each kind that overlaps the blocks a to b.
func (l *learner) windows(a, b int) [2]window {
	var out [2]window
	for k, size := range [...]int{ngram.Short, ngram.Long} {
		out[k] = window{k: k, z: math.Inf(-1)}
		sum := 0.0
		for i := range l.sums {
			sum += l.sums[i]
			if i >= size {
				sum -= l.sums[i-size]
			}
			from := max(0, i+1-size)
			if i+1 < size && i+1 < len(l.sums) || i < a || from > b {
				continue
			}
			if z := sum + l.bias[k]; z > out[k].z {
				out[k] = window{k, from, i, z}
			}
		}
	}
	return out
}

// learn moves the weights of a window toward y.
func (l *learner) learn(w window, y, weight, rate, keep float64) {
	g := (1/(1+math.Exp(-w.z)) - y) * weight
	if math.Abs(g) < 1e-3 {
		return
	}
	step := g / keep
	for i, b := range l.buckets {
		if int(l.blocks[i]) < w.from || int(l.blocks[i]) > w.to {
			continue
		}
		l.h[b] += float32(step * step)
		l.w[b] -= float32(rate * step / math.Sqrt(float64(l.h[b])+1))
	}
	l.hb[w.k] += g * g
	l.bias[w.k] -= rate * 4 * g / math.Sqrt(l.hb[w.k]+1)
}

// fit trains on attacks and honest texts.
func fit(bad, good []example, o options, seed uint64) *learner {
	l := newLearner()
	r := rand.New(rand.NewPCG(seed, 11)) // #nosec G404 -- the same each time
	all := make([]example, 0, len(bad)+len(good))
	all = append(append(all, bad...), good...)
	for e := range o.epochs {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		rate := o.rate / (1 + 0.5*float64(e))
		for _, x := range all {
			keep := o.keep
			l.read(x.Text, r.Uint32()|1, keep)
			if x.To > 0 {
				a, b := x.From/ngram.BlockSize, (x.To-1)/ngram.BlockSize
				if e == 0 && x.From > 0 {
					b = a
				}
				ws := l.windows(a, b)
				best := ws[0]
				if ws[1].z > best.z {
					best = ws[1]
				}
				l.learn(best, 1, 1, rate, keep)
				continue
			}
			ws := l.windows(0, len(l.sums))
			for _, w := range ws {
				l.learn(w, 0, 1.5, rate, keep)
			}
		}
		for i, w := range l.w {
			l.w[i] = w * 0.98
		}
	}
	return l
}

// quantize makes the weights small.
func (l *learner) quantize() ([]int8, float64) {
	size := make([]float64, 0, len(l.w))
	for _, w := range l.w {
		size = append(size, math.Abs(float64(w)))
	}
	sort.Float64s(size)
	scale := max(size[len(size)-1-len(size)/20000], 1e-9) / 127
	out := make([]int8, len(l.w))
	for i, w := range l.w {
		out[i] = int8(min(max(math.Round(float64(w)/scale), -127), 127))
	}
	return out, scale
}

// model is the trained model as it is used.
func (l *learner) model() (*ngram.Model, []byte, error) {
	w, scale := l.quantize()
	b := ngram.Append(nil, w, scale, l.bias)
	m, err := ngram.Read(b)
	return m, b, err
}

// Package ngram scores text by a linear model over hashed n-grams of letters
// and words, and says which window of the text scored best.
//
// Threat: a text that hides a few words that matter among many that do not. A
// score of the whole would drown them; the best window does not.
//
// It guarantees one pass over the text whatever it holds, no allocation that
// grows beyond a number for each 32 bytes, and the same features in training
// and in use. What a model knows is its trainer's matter, and no model
// understands what it reads.
package ngram

import (
	"encoding/binary"
	"errors"
	"math"
)

// Bits is the width of a bucket's number.
const Bits = 18

// Buckets is the number of weights of a model.
const Buckets = 1 << Bits

// BlockSize is the bytes of one block: windows begin and end at blocks.
const BlockSize = 32

// The windows, in blocks.
const (
	Short = 4
	Long  = 9
)

// Model is a linear model with small weights. Make it with Read; the zero
// Model gives every text the score of no evidence.
type Model struct {
	weights []int8
	scale   float64
	// bias is added to a short and to a long window.
	bias [2]float64
}

// magic begins a stored model.
const magic = "ngram01\n"

// Size is the length of a stored model.
const Size = len(magic) + 3*8 + Buckets

// Append stores a model: the magic, scale, both biases as IEEE 754 bits in
// little endian, and the weights.
func Append(dst []byte, weights []int8, scale float64, bias [2]float64) []byte {
	dst = append(dst, magic...)
	for _, f := range []float64{scale, bias[0], bias[1]} {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
	}
	for _, w := range weights {
		dst = append(dst, byte(w)) //nolint:gosec // two's complement is meant
	}
	return dst
}

// Read reads a stored model, which is not copied bit by bit but kept.
func Read(b []byte) (*Model, error) {
	if len(b) != Size || string(b[:len(magic)]) != magic {
		return nil, errors.New("not a stored n-gram model: train it anew")
	}
	m := &Model{weights: make([]int8, Buckets)}
	f := func(i int) float64 {
		return math.Float64frombits(binary.LittleEndian.Uint64(b[len(magic)+8*i:]))
	}
	m.scale, m.bias = f(0), [2]float64{f(1), f(2)}
	for i, w := range b[len(magic)+24:] {
		m.weights[i] = int8(w) //nolint:gosec // two's complement is meant
	}
	if !(m.scale > 0) || math.IsNaN(m.bias[0]+m.bias[1]) || math.IsInf(m.scale+m.bias[0]+m.bias[1], 0) {
		return nil, errors.New("the n-gram model has numbers that are none: train it anew")
	}
	return m, nil
}

// Window is a range of a text in bytes and its log odds.
type Window struct {
	Score    float64
	From, To int
}

// Kinds of bytes: letters and digits make words, everything else is between.
const (
	between = iota
	letter
)

// alphabet maps a byte to what n-grams are made of: small letters, one digit,
// one space; kind tells words apart.
func alphabet() (norm, kind [256]byte) {
	for c := range 256 {
		b := byte(c)
		switch {
		case b >= 'A' && b <= 'Z':
			norm[c], kind[c] = b+'a'-'A', letter
		case b >= 'a' && b <= 'z' || b >= 0x80:
			norm[c], kind[c] = b, letter
		case b >= '0' && b <= '9':
			norm[c], kind[c] = '0', letter
		case b <= ' ' || b == 0x7f || b == '_' || b == '+':
			norm[c] = ' '
		default:
			norm[c] = b
		}
	}
	return norm, kind
}

const (
	mul4  = 0x9e3779b97f4a7c15
	mul6  = 0xc2b2ae3d27d4eb4f
	mulW  = 0xff51afd7ed558ccd
	prime = 0x100000001b3
	seed  = 0xcbf29ce484222325
)

// Reader walks texts. It holds tables and may be used by many at once; make it
// with NewReader.
type Reader struct{ norm, kind [256]byte }

// NewReader returns a reader.
func NewReader() *Reader {
	r := &Reader{}
	r.norm, r.kind = alphabet()
	return r
}

// Walk gives each feature of a text with its block, for training.
func (r *Reader) Walk(text string, emit func(block int, bucket uint32)) {
	sums := r.walk(text, nil, emit)
	_ = sums
}

// Sums returns the sum of a model's weights in each block of a text, appended
// to dst.
func (m *Model) Sums(r *Reader, text string, dst []int32) []int32 {
	if m.weights == nil {
		return append(dst, make([]int32, len(text)/BlockSize+1)...)
	}
	return r.sums(text, (*[Buckets]int8)(m.weights), dst)
}

// walk is the one walk that training sees.
func (r *Reader) walk(text string, _ []int32, emit func(int, uint32)) []int32 {
	var s state
	s.word, s.reg = seed, ' '
	for i := 0; i < len(text); i++ {
		c := r.norm[text[i]]
		if r.kind[text[i]] == letter {
			s.word = (s.word ^ uint64(c)) * prime
			s.in = true
		} else {
			if s.in {
				for _, h := range s.end() {
					emit(i/BlockSize, uint32(h>>(64-Bits)))
				}
			}
			if uint64(c) == s.reg&0xff && uint64(c) == s.reg>>8&0xff || c == ' ' && s.reg&0xff == ' ' {
				continue
			}
		}
		s.reg = s.reg<<8 | uint64(c)
		emit(i/BlockSize, uint32((s.reg&0xffffffff)*mul4>>(64-Bits)))
		emit(i/BlockSize, uint32((s.reg&0xffffffffffff)*mul6>>(64-Bits)))
	}
	if s.in {
		for _, h := range s.end() {
			emit(max(0, len(text)-1)/BlockSize, uint32(h>>(64-Bits)))
		}
	}
	return nil
}

// state is what a walk remembers.
type state struct {
	reg                uint64 // the last eight of the alphabet
	word               uint64 // the word at hand
	last, second, more uint64 // those before it
	in                 bool
}

// end finishes a word and gives its features: itself, it after the last word,
// it after any word after the second last, and three in a row.
func (s *state) end() [4]uint64 {
	w := s.word
	out := [4]uint64{w * mulW, (w + s.last*3) * mulW, (w + s.second*5 + 1) * mulW, (w + s.last*7 + s.second*11 + 2) * mulW}
	s.more, s.second, s.last, s.word, s.in = s.second, s.last, w, seed, false
	return out
}

// sums is walk with the weights at hand.
func (r *Reader) sums(text string, w *[Buckets]int8, dst []int32) []int32 {
	word, reg := uint64(seed), uint64(' ')
	var last, second uint64
	in := false
	base := len(dst)
	dst = append(dst, make([]int32, len(text)/BlockSize+1)...)
	out := dst[base:]
	for b := range out {
		sum := int32(0)
		from := b * BlockSize
		for i := from; i < min(from+BlockSize, len(text)); i++ {
			c := r.norm[text[i]]
			if r.kind[text[i]] == letter {
				word = (word ^ uint64(c)) * prime
				in = true
			} else {
				if in {
					sum += int32(w[word*mulW>>(64-Bits)]) + int32(w[(word+last*3)*mulW>>(64-Bits)]) +
						int32(w[(word+second*5+1)*mulW>>(64-Bits)]) + int32(w[(word+last*7+second*11+2)*mulW>>(64-Bits)])
					second, last, word, in = last, word, seed, false
				}
				if uint64(c) == reg&0xff && uint64(c) == reg>>8&0xff || c == ' ' && reg&0xff == ' ' {
					continue
				}
			}
			reg = reg<<8 | uint64(c)
			sum += int32(w[(reg&0xffffffff)*mul4>>(64-Bits)]) + int32(w[(reg&0xffffffffffff)*mul6>>(64-Bits)])
		}
		out[b] = sum
	}
	if in {
		out[max(0, len(text)-1)/BlockSize] += int32(w[word*mulW>>(64-Bits)]) + int32(w[(word+last*3)*mulW>>(64-Bits)]) +
			int32(w[(word+second*5+1)*mulW>>(64-Bits)]) + int32(w[(word+last*7+second*11+2)*mulW>>(64-Bits)])
	}
	return dst
}

// Best returns the best window of a text.
func (m *Model) Best(r *Reader, text string) Window {
	sums := m.Sums(r, text, make([]int32, 0, len(text)/BlockSize+1))
	return m.best(sums, len(text))
}

func (m *Model) best(sums []int32, size int) Window {
	top := Window{Score: math.Inf(-1)}
	for k, blocks := range [...]int{Short, Long} {
		var sum int64
		for i, s := range sums {
			sum += int64(s)
			if i >= blocks {
				sum -= int64(sums[i-blocks])
			}
			if i+1 < blocks && i+1 < len(sums) {
				continue
			}
			if z := float64(sum)*m.scale + m.bias[k]; z > top.Score {
				top = Window{z, max(0, i+1-blocks) * BlockSize, min((i+1)*BlockSize, size)}
			}
		}
	}
	// The part of the window that speaks for itself.
	a, b := top.From/BlockSize, (top.To+BlockSize-1)/BlockSize
	for a < b-1 && sums[a] <= 0 {
		a++
	}
	for b-1 > a && sums[b-1] <= 0 {
		b--
	}
	top.From, top.To = a*BlockSize, min(b*BlockSize, size)
	return top
}

// Each gives every window of a text whose score is at least z, best first of
// those that overlap, at most most of them.
func (m *Model) Each(r *Reader, text string, z float64, most int) []Window {
	sums := m.Sums(r, text, make([]int32, 0, len(text)/BlockSize+1))
	var out []Window
	for len(out) < most {
		w := m.best(sums, len(text))
		if w.Score < z {
			break
		}
		out = append(out, w)
		for i := w.From / BlockSize; i < len(sums) && i*BlockSize < w.To; i++ {
			sums[i] = math.MinInt32 / 64
		}
	}
	return out
}

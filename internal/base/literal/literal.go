// Package literal finds many fixed words in a text in one pass.
//
// Threat: a check that costs so much per byte that it is turned off, or that
// grows with the number of its words, or with a text made for it. Expressions
// are run near a word that they cannot match without; this package finds the
// words.
//
// It guarantees that every place of every word is told, whatever the letter
// case of ASCII letters, in one look-up for each byte of the text (the
// automaton of Aho and Corasick, Communications of the ACM 18(6), 1975, with
// all its transitions written out). It says nothing of what a place means.
package literal

import "slices"

// Set is a set of words, made by New. It does not change and may be used by
// many at once. The zero Set finds nothing.
type Set struct {
	class [256]uint8
	width int
	next  []uint32 // by state and class; states are multiplied by width already
	ends  [][]int  // the words that end in a state, by state
	first uint32   // states from here on, multiplied, end a word
	words []int    // the lengths of the words
}

// New makes a set. Words of no bytes are never found.
func New(words []string) *Set {
	s := &Set{words: make([]int, len(words))}
	used := [256]bool{}
	for i, w := range words {
		s.words[i] = len(w)
		for j := range len(w) {
			used[lower(w[j])] = true
		}
	}
	s.width = 1 // class 0 is every byte that no word has
	for c, u := range used {
		if u {
			s.class[c] = uint8(s.width) //nolint:gosec // at most 256 less 26 lower-case letters' capitals
			s.width++
		}
	}
	for c := range s.class {
		s.class[c] = s.class[lower(byte(c))] //nolint:gosec // c is an index of an array of 256
	}
	s.build(words)
	return s
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// node is a state while the set is built.
type node struct {
	next []int32
	fail int32
	ends []int
}

func (s *Set) build(words []string) {
	size := 1
	for _, w := range words {
		size += len(w)
	}
	nodes := make([]node, 1, size)
	room := make([]int32, size*s.width)
	for i := range room {
		room[i] = -1
	}
	fresh := func() node {
		n := node{next: room[:s.width:s.width]}
		room = room[s.width:]
		return n
	}
	nodes[0] = fresh()
	for i, w := range words {
		if w == "" {
			continue
		}
		at := int32(0)
		for j := range len(w) {
			c := s.class[w[j]]
			if nodes[at].next[c] < 0 {
				nodes[at].next[c] = int32(len(nodes)) //nolint:gosec // bounded by the words
				nodes = append(nodes, fresh())
			}
			at = nodes[at].next[c]
		}
		nodes[at].ends = append(nodes[at].ends, i)
	}
	order := []int32{0}
	for k := 0; k < len(order); k++ {
		at := order[k]
		for c := range nodes[at].next {
			to := nodes[at].next[c]
			back := int32(0)
			if at != 0 {
				back = nodes[nodes[at].fail].next[c]
			}
			if to < 0 {
				nodes[at].next[c] = max(back, 0)
				continue
			}
			nodes[to].fail = max(back, 0)
			nodes[to].ends = append(nodes[to].ends, nodes[nodes[to].fail].ends...)
			order = append(order, to)
		}
	}
	s.lay(nodes)
}

// lay writes the states into one table, those that end a word last, so that one
// comparison tells them.
func (s *Set) lay(nodes []node) {
	place := make([]uint32, len(nodes))
	var sorted []int32
	for i := range nodes {
		sorted = append(sorted, int32(i)) //nolint:gosec // bounded by the words
	}
	slices.SortStableFunc(sorted, func(a, b int32) int {
		return min(len(nodes[a].ends), 1) - min(len(nodes[b].ends), 1)
	})
	s.next, s.ends = make([]uint32, len(nodes)*s.width), make([][]int, len(nodes))
	s.first = uint32(len(nodes) * s.width) //nolint:gosec // bounded by the words
	for i, old := range sorted {
		place[old] = uint32(i * s.width) //nolint:gosec // bounded by the words
		if len(nodes[old].ends) > 0 && place[old] < s.first {
			s.first = place[old]
		}
	}
	for old := range nodes {
		at := int(place[old])
		s.ends[at/s.width] = nodes[old].ends
		for c, to := range nodes[old].next {
			s.next[at+c] = place[to]
		}
	}
}

// Each tells the words in text: the index that the word had in New, and where
// it begins and ends. It goes on until f returns false.
func (s *Set) Each(text []byte, f func(word, from, to int) bool) {
	if len(s.next) == 0 {
		return
	}
	state := uint32(0)
	for i, c := range text {
		state = s.next[state+uint32(s.class[c])]
		if state < s.first {
			continue
		}
		for _, w := range s.ends[int(state)/s.width] {
			if !f(w, i+1-s.words[w], i+1) {
				return
			}
		}
	}
}

// Has reports whether one of the words is in text.
func (s *Set) Has(text []byte) bool {
	found := false
	s.Each(text, func(int, int, int) bool { found = true; return false })
	return found
}

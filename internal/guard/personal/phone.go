package personal

// phone judges a telephone number: by its form where that is one, else by a
// word beside it.
func (s *scan) phone(p *part) bool {
	to := p.to
	ext := p.w.ext && p.b == len(p.w.groups)
	if ext {
		to = p.w.to
	} else if n := s.spelled(p.to); n > 0 {
		to, ext = n, true
	}
	if p.n > 15 || s.dated(p) {
		return false
	}
	// A form counts only where the number is written by itself.
	score := 0.0
	if p.a == 0 && p.b == len(p.w.groups) {
		score = s.formed(p, ext)
	}
	if score == 0 {
		if p.n < 6 || p.n > 13 || !s.beside(Phone, p.from, to) || !even(p) {
			return false
		}
		score = 0.7
	}
	s.add(Phone, p.from, to, score)
	return true
}

// spelled reads " ext. 123" and returns its end.
func (s *scan) spelled(i int) int {
	if s.byteAt(i) != ' ' {
		return 0
	}
	rest := s.text[min(i+1, len(s.text)):min(i+20, len(s.text))]
	for _, word := range [...]string{"ext. ", "ext ", "ext.", "extension ", "x ", "x"} {
		if len(rest) > len(word) && fold(rest[:len(word)], word) && isDigit(rest[len(word)]) {
			k := len(word)
			for k < len(rest) && isDigit(rest[k]) {
				k++
			}
			if !isAlnum(s.byteAt(i + 1 + k)) {
				return i + 1 + k
			}
		}
	}
	return 0
}

func fold(b []byte, word string) bool {
	for i := range b {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// dated reports groups that are a day: these are never a telephone number.
func (s *scan) dated(p *part) bool {
	if p.w.plus || p.b-p.a < 3 {
		return false
	}
	g := p.w.groups[p.a:p.b]
	v := func(i int) int { return num(s.text[g[i].from:g[i].to]) }
	year := func(i int) bool { return g[i].len() == 4 && v(i) >= 1800 && v(i) < 2200 }
	if p.w.signs[p.a+1] == ' ' || p.w.signs[p.a+1] != p.w.signs[p.a+2] {
		return false
	}
	return year(0) && g[1].len() <= 2 && g[2].len() <= 2 && date(4, v(1), v(2)) ||
		year(2) && g[0].len() <= 2 && g[1].len() <= 2 && (date(4, v(1), v(0)) || date(4, v(0), v(1)))
}

// formed scores a form that few other numbers have; 0 is none.
func (s *scan) formed(p *part, ext bool) float64 {
	groups := p.b - p.a
	first := p.w.groups[p.a].len()
	opened := p.w.signs[p.a] == '('
	switch {
	case p.w.plus && p.a == 0:
		if p.n >= 8 && p.digits[0] != '0' && (groups > 1 || p.n >= 10) && p.uniform != '/' {
			return 0.95
		}
	case p.digits[0] == '0' && p.digits[1] == '0' && p.digits[2] != '0':
		if p.n >= 10 && groups > 1 && p.uniform != '.' {
			return 0.9
		}
	case ext && p.n >= 7:
		return 0.9
	case p.n == 10 && (p.lens(3, 3, 4)) && p.uniform != ' ' && p.uniform != '/':
		return 0.9
	case p.n == 11 && p.lens(1, 3, 3, 4) && p.digits[0] == '1':
		return 0.9
	case opened && groups > 1 && first <= 5 && p.n >= 8 && p.n <= 12:
		return 0.85
	case p.digits[0] == '0' && p.digits[1] != '0' && groups > 1 && p.n >= 9 && p.n <= 12 && even(p):
		if p.uniform != '.' {
			return 0.85
		}
		if p.lens(2, 2, 2, 2, 2) {
			return 0.85
		}
	case p.n == 10 && p.digits[0] == '0' && groups == 1, p.n == 11 && p.digits[0] == '0' && p.digits[1] == '1' && groups == 1:
		// A Korean or a French number without spaces: a word has to say so.
		return 0
	}
	return 0
}

// even reports that the groups may be those of a telephone number: none longer
// than the rest of it could be, and no fraction.
func even(p *part) bool {
	for i := p.a; i < p.b; i++ {
		n := p.w.groups[i].len()
		if i > p.a && n == 1 && i < p.b-1 || n > 8 && p.b-p.a > 1 {
			return false
		}
	}
	return p.uniform != '/' && (p.uniform != '.' || p.b-p.a > 2)
}

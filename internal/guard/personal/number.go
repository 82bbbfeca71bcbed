package personal

// group is a run of digits of a number as it is written.
type group struct{ from, to int }

func (g group) len() int { return g.to - g.from }

// written is a number as it is written: groups with one sign, or a parenthesis,
// between.
type written struct {
	groups []group
	// signs[i] stands before groups[i]: 0 for nothing; '(' for an opening
	// parenthesis, ')' for a closing one, whatever is beside it.
	signs []byte
	plus  bool // a plus stands before
	from  int
	to    int
	ext   bool // an extension follows, which to includes
}

const mostGroups = 10

// read reads the groups from i on.
func (s *scan) read(i int) written {
	w := written{from: i}
	if s.text[i] == '+' {
		w.plus = true
		i++
	}
	sign := byte(0)
	if s.byteAt(i) == '(' {
		sign = '('
		i++
	}
	for len(w.groups) < mostGroups && i < len(s.text) && isDigit(s.text[i]) {
		g := group{from: i}
		for i < len(s.text) && isDigit(s.text[i]) {
			i++
		}
		g.to = i
		w.groups, w.signs = append(w.groups, g), append(w.signs, sign)
		w.to = i
		sign = 0
		switch c := s.byteAt(i); {
		case c == ')':
			sign = ')'
			if i++; s.byteAt(i) == ' ' || s.byteAt(i) == '-' {
				i++
			}
		case c == ' ' && s.byteAt(i+1) == '(', c == '-' && s.byteAt(i+1) == '(':
			sign = '('
			i += 2
		case c == ' ' || c == '-' || c == '.' || c == '/':
			sign = c
			i++
		case c == 0xc2 && s.byteAt(i+1) == 0xa0: // a space that does not break
			sign = ' '
			i += 2
		case c == 0xe2 && s.byteAt(i+1) == 0x80 && s.byteAt(i+2) >= 0x90 && s.byteAt(i+2) <= 0x93: // dashes
			sign = '-'
			i += 3
		}
		if sign == 0 {
			break
		}
	}
	return w
}

// part is some groups of a written number.
type part struct {
	w       *written
	a, b    int // the first group, and the one after the last
	from    int
	to      int
	n       int // digits
	digits  [24]byte
	uniform byte // the one sign between all groups; 0 for none, 1 where they differ
}

func (s *scan) part(w *written, a, b int) (p part, ok bool) {
	p = part{w: w, a: a, b: b, from: w.groups[a].from, to: w.groups[b-1].to}
	if a == 0 {
		p.from = w.from
	} else if w.signs[a] == '(' {
		p.from--
	}
	for i := a; i < b; i++ {
		g := w.groups[i]
		if p.n+g.len() > len(p.digits) {
			return p, false
		}
		copy(p.digits[p.n:], s.text[g.from:g.to])
		p.n += g.len()
		if i > a {
			switch sign := w.signs[i]; {
			case i == a+1:
				p.uniform = sign
			case sign != p.uniform:
				p.uniform = 1
			}
		}
	}
	// What is cut off at either end must not be part of it.
	if a > 0 && w.signs[a] != ' ' && w.signs[a] != '(' || b < len(w.groups) && w.signs[b] != ' ' && w.signs[b] != '(' {
		return p, false
	}
	return p, true
}

func (p *part) lens(want ...int) bool {
	if p.b-p.a != len(want) {
		return false
	}
	for i, n := range want {
		if p.w.groups[p.a+i].len() != n {
			return false
		}
	}
	return true
}

// number looks at the number that begins at i, and returns where to go on.
func (s *scan) number(i int) int {
	if before := s.byteAt(i - 1); isLetter(before) || before == '_' {
		if !isDigit(s.text[i]) {
			return i + 1
		}
		return s.lettered(i)
	}
	w := s.read(i)
	if len(w.groups) == 0 {
		return i + 1
	}
	// A short number with nothing around it is nothing, and most are.
	if len(w.groups) == 1 && w.to-w.groups[0].from < 6 {
		if c := s.byteAt(w.to); !isAlnum(c) {
			return w.to
		}
	}
	end := w.to
	if c, d := s.byteAt(i-1), s.byteAt(i-2); (c == '-' || c == '/' || c == '.') && isAlnum(d) && s.text[i] != '+' && s.text[i] != '(' {
		return s.skip(end)
	}
	if c := s.byteAt(end); isLetter(c) || c == '_' {
		if next, ok := s.extension(&w); ok {
			end = next
		} else if done, ok := s.tailed(&w); ok {
			return done
		} else {
			// The last group belongs to a word.
			w.groups, w.signs = w.groups[:len(w.groups)-1], w.signs[:len(w.signs)-1]
			if len(w.groups) == 0 {
				return s.skip(end)
			}
			w.to = w.groups[len(w.groups)-1].to
		}
	}
	for a := 0; a < len(w.groups); {
		found := 0
		for b := len(w.groups); b > a; b-- {
			p, ok := s.part(&w, a, b)
			if ok && s.judge(&p) {
				found = b
				break
			}
		}
		a = max(found, a+1)
	}
	return end
}

// skip goes to the end of the word that goes on at i.
func (s *scan) skip(i int) int {
	for i < len(s.text) && (isAlnum(s.text[i]) || s.text[i] == '_') {
		i++
	}
	return i
}

// extension reads x123, ext. 123 and the like.
func (s *scan) extension(w *written) (end int, ok bool) {
	i := w.to
	if s.byteAt(i)|0x20 != 'x' {
		return 0, false
	}
	start := i + 1
	for i = start; isDigit(s.byteAt(i)); i++ {
	}
	if i == start || i-start > 6 || isAlnum(s.byteAt(i)) {
		return 0, false
	}
	w.ext, w.to = true, i
	return i, true
}

// judge decides what a part is.
func (s *scan) judge(p *part) bool {
	if p.n < 6 {
		return false
	}
	switch {
	case s.card(p):
		return true
	case p.n == 9 && s.nine(p):
		return true
	case p.b-p.a == 4 && p.uniform == '.' && p.n <= 12 && !p.w.plus:
		if s.ip4(p.from, p.to) && s.byteAt(p.to) != '.' || s.ip4(p.from, p.to) && !isDigit(s.byteAt(p.to+1)) {
			s.add(IP, p.from, p.to, 0.9)
			return true
		}
		return false
	case s.rrn(p), s.national(p), s.document(p):
		return true
	}
	return s.phone(p)
}

// card judges a number of a payment card (ISO/IEC 7812): its issuer's first
// digits, its length, and Luhn's check digit.
func (s *scan) card(p *part) bool {
	if p.n < 12 || p.n > 19 || p.w.plus || p.b-p.a > 1 && p.uniform != ' ' && p.uniform != '-' {
		return false
	}
	groups := p.b - p.a
	if groups > 1 {
		ok := p.lens(4, 6, 5) || p.lens(4, 6, 4)
		if !ok {
			ok = true
			for i := p.a; i < p.b-1; i++ {
				ok = ok && p.w.groups[i].len() == 4
			}
			ok = ok && p.w.groups[p.b-1].len() <= 4
		}
		if !ok {
			return false
		}
	}
	sure := issued(p.digits[:p.n])
	if sure == 0 || !luhn(p.digits[:p.n]) {
		return false
	}
	if sure == 1 && !s.beside(Card, p.from, p.to) {
		return false
	}
	s.add(Card, p.from, p.to, 0.95)
	return true
}

// issued says how likely the first digits and the length are a card's: 0 not,
// 1 only where a word says so, 2 by themselves.
func issued(d []byte) int {
	head := func(n int) int {
		v := 0
		for _, c := range d[:n] {
			v = v*10 + int(c-'0')
		}
		return v
	}
	n, two, three, four := len(d), head(2), head(3), head(4)
	switch {
	case d[0] == '4':
		switch n {
		case 16:
			return 2
		case 13, 19:
			return 1 + n/19
		}
	case two >= 51 && two <= 55 || four >= 2221 && four <= 2720:
		if n == 16 {
			return 2
		}
	case two == 34 || two == 37:
		if n == 15 {
			return 2
		}
	case three >= 300 && three <= 305 || two == 36 || two == 38 || two == 39:
		if n >= 14 && n <= 16 {
			return 2
		}
	case four >= 3528 && four <= 3589, four == 2131 || four == 1800:
		if n == 16 || n == 15 && four < 3000 {
			return 2
		}
	case four == 6011 || two == 65 || three >= 644 && three <= 649, two == 62, two == 60, two == 81:
		if n >= 16 {
			return 2
		}
	}
	if two == 35 && n == 16 || two == 50 || two >= 56 && two <= 69 {
		if n == 16 {
			return 2
		}
		return 1
	}
	return 0
}

func luhn(d []byte) bool {
	sum, all := 0, byte(0)
	for i := range d {
		v := int(d[len(d)-1-i] - '0')
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
		all |= d[i] ^ d[0]
	}
	return sum%10 == 0 && all != 0
}

// nine judges nine digits: a social security number, or one for taxes.
func (s *scan) nine(p *part) bool {
	d := p.digits[:9]
	area, grp, serial := num(d[:3]), num(d[3:5]), num(d[5:])
	if p.w.plus || grp == 0 || serial == 0 || area == 0 {
		return false
	}
	dashed := p.lens(3, 2, 4) && p.uniform == '-'
	if !dashed && !(p.b-p.a == 1 || p.lens(3, 2, 4) && (p.uniform == ' ' || p.uniform == '.')) {
		return false
	}
	if area >= 900 {
		if !(grp >= 50 && grp <= 65 || grp >= 70 && grp <= 88 || grp >= 90 && grp <= 92 || grp >= 94) || !dashed && !s.beside(ITIN, p.from, p.to) {
			return false
		}
		s.add(ITIN, p.from, p.to, 0.85)
		return true
	}
	if area == 666 || !dashed && !s.beside(SSN, p.from, p.to) {
		return false
	}
	s.add(SSN, p.from, p.to, 0.9)
	return true
}

func num(d []byte) int {
	v := 0
	for _, c := range d {
		v = v*10 + int(c-'0')
	}
	return v
}

// date reports a day of the calendar; a year of two digits may be any.
func date(year, month, day int) bool {
	if month < 1 || month > 12 || day < 1 {
		return false
	}
	days := [...]int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	return day <= days[month-1] && (month != 2 || day < 29 || year%4 == 0)
}

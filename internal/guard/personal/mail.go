package personal

import (
	"bytes"
	"net/netip"
)

// email looks at the text around an at-sign (RFC 5321, in the form that people
// use: no quotes, no comments, ASCII).
func (s *scan) email(i int) {
	from := i
	for from > 0 && i-from < 64 && mailbox(s.text[from-1]) {
		from--
	}
	for from < i && (s.text[from] == '.' || s.text[from] == '-' || s.text[from] == '\'' || s.text[from] == '=' || s.text[from] == '/') {
		from++
	}
	to, dot := i+1, 0
	for to < len(s.text) && to-i < 255 && (isAlnum(s.text[to]) || s.text[to] == '-' || s.text[to] == '.' && isAlnum(s.byteAt(to+1))) {
		if s.text[to] == '.' {
			dot = to
		}
		to++
	}
	for to > i && s.text[to-1] == '-' {
		to--
	}
	if from == i || dot == 0 || to-dot < 3 || s.text[i-1] == '.' || !letters(s.text[dot+1:to]) {
		return
	}
	local, domain := s.text[from:i], s.text[i+1:to]
	switch {
	case s.byteAt(from-1) == '/' && s.byteAt(from-2) == '/', // the user of a URL
		s.byteAt(from-1) == ':' && bytes.Contains(s.text[max(from-80, 0):from], []byte("://")),
		s.byteAt(to) == ':' && bytes.EqualFold(local, []byte("git")),
		bytes.EqualFold(s.text[dot+1:to], []byte("invalid")), alike(local, 'x') && alike(domain, 'x'):
		return
	}
	s.add(Email, from, to, 0.97)
}

func mailbox(c byte) bool {
	switch c {
	case '.', '_', '%', '+', '-', '\'', '=', '/', '!', '#', '&', '*', '~':
		return true
	}
	return isAlnum(c)
}

func letters(b []byte) bool {
	if len(b) > 4 && bytes.EqualFold(b[:4], []byte("xn--")) {
		return true
	}
	for _, c := range b {
		if !isLetter(c) {
			return false
		}
	}
	return true
}

// alike reports that every letter and digit is c, or the 0 that goes with it.
func alike(b []byte, c byte) bool {
	for _, x := range b {
		if isAlnum(x) && x|0x20 != c && x != '0' {
			return false
		}
	}
	return true
}

// colons looks at the text around a colon: an address of IPv6 or of a network
// card. It returns where to go on.
func (s *scan) colons(i int) int {
	from, to, n := i, i, 0
	for from > 0 && i-from < 40 && (isHex(s.text[from-1]) || s.text[from-1] == ':') {
		from--
	}
	for to < len(s.text) && to-from < 60 && (isHex(s.text[to]) || s.text[to] == ':' || s.text[to] == '.' && n > 1) {
		if s.text[to] == ':' {
			n++
		}
		to++
	}
	if n < 3 || isAlnum(s.byteAt(from-1)) || isAlnum(s.byteAt(to)) {
		return max(to, i+1)
	}
	for to > i && (s.text[to-1] == '.' || s.text[to-1] == ':' && s.byteAt(to-2) != ':') {
		to--
	}
	run := s.text[from:to]
	if len(run) == 17 && n == 5 && pairs(run, ':') {
		if !alike(run, '0') && !alike(run, 'f') {
			s.add(MAC, from, to, 0.9)
		}
		return to
	}
	// A label before the address ends in a colon of its own.
	for len(run) > 0 && run[0] == ':' && !bytes.HasPrefix(run, []byte("::")) {
		run, from = run[1:], from+1
	}
	a, err := netip.ParseAddr(string(run))
	if err == nil && a.Is6() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsMulticast() && hasDigit(run) && !alike(run, '0') {
		s.add(IP, from, to, 0.9)
	}
	return to
}

func hasDigit(b []byte) bool {
	for _, c := range b {
		if isDigit(c) {
			return true
		}
	}
	return false
}

// pairs reports two hexadecimal digits between signs.
func pairs(b []byte, sign byte) bool {
	for i, c := range b {
		if i%3 == 2 && c != sign || i%3 != 2 && !isHex(c) {
			return false
		}
	}
	return true
}

// ip4 judges four groups of digits with dots between.
func (s *scan) ip4(from, to int) bool {
	a, err := netip.ParseAddr(string(s.text[from:to]))
	if err != nil || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
		return false
	}
	b := a.As4()
	if b[0] == 0 || b[0] == 255 || b[3] == 0 && b[2] == 0 || b[0] >= 240 {
		return false
	}
	// Four small numbers are more often a version.
	if b[0] < 20 && b[1] < 20 && b[2] < 20 && b[3] < 20 && !s.beside(IP, from, to) {
		return false
	}
	before := bytes.ToLower(s.text[max(from-12, 0):from])
	return !bytes.Contains(before, []byte("version")) && !bytes.HasSuffix(before, []byte("v")) && !bytes.HasSuffix(before, []byte("v."))
}

package personal

import (
	"slices"

	"github.com/munjigi/munjigi/internal/base/literal"
	"github.com/munjigi/munjigi/internal/redact"
)

// The types that are found.
const (
	Email    = "email"
	Phone    = "phone"
	Card     = "card"
	IBAN     = "iban"
	IP       = "ip-address"
	MAC      = "mac-address"
	SSN      = "us-ssn"
	ITIN     = "us-itin"
	Licence  = "driver-licence"
	Passport = "passport"
	RRN      = "kr-rrn"
)

// Types lists every type, for the reader of configs.
func Types() []string {
	all := []string{Email, Phone, Card, IBAN, IP, MAC, SSN, ITIN, Licence, Passport, RRN, "es-dni", "es-nie", "fi-hetu", "ie-pps", "gb-nino", "it-codice-fiscale"}
	for _, n := range nationals() {
		all = append(all, n.typ)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Detector finds structured personal data. Make it with NewDetector. It may be
// used by many at once.
type Detector struct {
	near      map[string]*literal.Set // by type, the words that stand beside it
	any       *literal.Set            // all of them
	nationals []national
}

// NewDetector returns a detector.
func NewDetector() *Detector {
	d := &Detector{near: map[string]*literal.Set{}, nationals: nationals()}
	var every []string
	for typ, words := range besides {
		d.near[typ] = literal.New(words)
		every = append(every, words...)
	}
	for _, n := range d.nationals {
		d.near[n.typ] = literal.New(n.words)
		every = append(every, n.words...)
	}
	d.any = literal.New(every)
	return d
}

// Detect returns what was found in a text, in order; it does not overlap.
func (d *Detector) Detect(text []byte) []redact.Hit {
	s := scan{d: d, text: text}
	for i := 0; i < len(text); {
		switch kinds[text[i]] {
		case other:
			i++
		case digit:
			i = max(s.number(i), i+1)
		case at:
			s.email(i)
			i++
		case colon:
			i = max(s.colons(i), i+1)
		case opens:
			// A number may begin with a sign or a parenthesis.
			if i+1 < len(text) && isDigit(text[i+1]) {
				i = max(s.number(i), i+1)
			} else {
				i++
			}
		}
	}
	return redact.Settle(s.hits)
}

// The kinds of bytes that something can begin with, or that give it away.
const (
	other = iota
	digit
	at
	colon
	opens
)

var kinds = [256]uint8{
	'0': digit, '1': digit, '2': digit, '3': digit, '4': digit, '5': digit, '6': digit, '7': digit, '8': digit, '9': digit,
	'@': at, ':': colon, '+': opens, '(': opens,
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isAlnum(c byte) bool  { return isDigit(c) || isLetter(c) }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// scan is one text while it is looked at.
type scan struct {
	d    *Detector
	text []byte
	hits []redact.Hit
	// mute says that no word of any type stands beside the number that is looked
	// at; known, that this was found out.
	mute, known bool
	near0       [2]int
}

func (s *scan) add(typ string, from, to int, score float64) {
	s.hits = append(s.hits, redact.Hit{Type: typ, From: from, To: to, Score: score})
}

// byteAt is the byte at a place, a space beyond the ends.
func (s *scan) byteAt(i int) byte {
	if i < 0 || i >= len(s.text) {
		return ' '
	}
	return s.text[i]
}

// How far from a value a word may stand that says what it is.
const (
	wordsBefore = 56
	wordsAfter  = 20
)

// beside reports that a word of the type stands before from or after to. Before
// it no more than one line may begin.
func (s *scan) beside(typ string, from, to int) bool {
	words := s.d.near[typ]
	if words == nil || s.silent(from, to) {
		return false
	}
	start, lines := from, 0
	for start > 0 && from-start < wordsBefore {
		if s.text[start-1] == '\n' {
			if lines++; lines > 1 {
				break
			}
		}
		start--
	}
	if s.word(words, start, from) {
		return true
	}
	end := to
	for end < len(s.text) && end-to < wordsAfter && s.text[end] != '\n' && s.text[end] != ',' && s.text[end] != ';' {
		end++
	}
	if typ == Phone {
		words = s.d.near[after]
	}
	return s.word(words, to, end)
}

// silent reports that no word of any type stands near, which is so of most
// numbers and is found out once for each.
func (s *scan) silent(from, to int) bool {
	if !s.known || from < s.near0[0] || to > s.near0[1] {
		s.known, s.near0 = true, [2]int{from, max(to, from+40)}
		s.mute = !s.d.any.Has(s.text[max(from-wordsBefore, 0):min(s.near0[1]+wordsAfter, len(s.text))])
	}
	return s.mute
}

// word reports a word of the set that begins where a word begins.
func (s *scan) word(words *literal.Set, from, to int) bool {
	found := false
	words.Each(s.text[from:to], func(_, a, _ int) bool {
		c := s.byteAt(from + a - 1)
		found = !isLetter(c) || isLetter(c) && c >= 'a' && s.text[from+a] < 'a'
		return !found
	})
	return found
}

// after is what stands behind a telephone number, and would say less before it.
const after = "after a phone"

// besides are words that say what a value is.
var besides = map[string][]string{
	Phone: {"phone", "tel", "mobile", "cell", "fax", "call", "dial", "ring me", "reach", "contact", "sms", "whatsapp", "hotline", "helpline", "answering", "messages to",
		"message to", "text me", "desk:", "home:", "home number", "work:", "registered ", "handy", "mobil", "móvil", "celular", "cellulare", "puhelin", "gsm", "numéro", "appel", "llama", "rufnummer", "rufen",
		"전화", "연락", "휴대", "핸드폰", "팩스", "電話", "电话", "手机", "携帯", "тел", "моб"},
	Card:     {"card", "credit", "cc", "visa", "master", "amex", "american express", "maestro", "diners", "jcb", "discover", "debit", "pan", "karte", "carte", "carta", "tarjeta", "kort", "kaart", "카드", "カード", "卡号"},
	after:    {"office", "home", "work", "fax", "mobile", "cell", "desk", "phone"},
	SSN:      {"ssn", "social security", "social sec", "soc sec", "social"},
	ITIN:     {"itin", "taxpayer", "tax id"},
	Licence:  {"driver's lic", "drivers lic", "driver lic", "driving lic", "driver’s lic", "dl number", "dl no", "dl#", "dl:", "licence no", "license no", "운전면허"},
	Passport: {"passport", "passeport", "pasaporte", "passaporto", "reisepass", "paspoort", "여권"},
	RRN:      {"주민", "rrn", "resident registration", "외국인등록", "alien registration"},
	IP:       {"ip", "address", "host", "client", "peer", "from", "login", "logged"},
}

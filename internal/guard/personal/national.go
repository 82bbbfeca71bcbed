package personal

// national is a number that a state gives to a person, written in digits alone.
type national struct {
	typ   string
	lens  []int // of the groups where it is written in groups
	sign  byte  // between them
	n     int   // digits
	check func(d []byte) bool
	words []string
	// alone says that the written form with its groups is enough without a word.
	alone bool
}

// nationals are the numbers of the states of the EU, and of some beside it,
// that have a check digit. Each is found with a word beside it; those with a
// birthday, a check digit and a form of their own also without.
func nationals() []national {
	return []national{
		{typ: "fr-nir", n: 15, check: nir, words: []string{"nir", "sécurité sociale", "securite sociale", "insee", "numéro de sécu"}},
		{typ: "de-tax-id", n: 11, check: mod1110, words: []string{"steuer", "tax id", "tin", "idnr", "id-nr"}},
		{typ: "nl-bsn", n: 9, check: bsn, words: []string{"bsn", "burgerservice", "sofi"}},
		{typ: "be-nrn", lens: []int{2, 2, 2, 3, 2}, n: 11, check: nrn, words: []string{"rijksregister", "registre national", "nrn", "niss", "insz", "national number"}},
		{typ: "pl-pesel", n: 11, check: pesel, words: []string{"pesel"}},
		{typ: "se-personnummer", lens: []int{6, 4}, sign: '-', n: 10, check: personnummer, words: []string{"personnummer", "pnr", "personal identity", "personnr"}, alone: true},
		{typ: "se-personnummer", lens: []int{8, 4}, sign: '-', n: 12, check: func(d []byte) bool {
			return (d[0] == '1' && d[1] == '9' || d[0] == '2' && d[1] == '0') && personnummer(d[2:])
		}, words: []string{"personnummer", "pnr", "personal identity", "personnr"}, alone: true},
		{typ: "dk-cpr", lens: []int{6, 4}, sign: '-', n: 10, check: func(d []byte) bool { return date(4, num(d[2:4]), num(d[:2])) }, words: []string{"cpr", "personnummer"}},
		{typ: "ro-cnp", n: 13, check: cnp, words: []string{"cnp", "cod numeric"}},
		{typ: "bg-egn", n: 10, check: egn, words: []string{"egn", "егн", "единен граждански"}},
		{typ: "cz-birth-number", lens: []int{6, 4}, sign: '/', n: 10, check: czech, words: []string{"rodné číslo", "rodne cislo", "rodného čísla", "r.č.", "birth number"}, alone: true},
		{typ: "pt-nif", n: 9, check: nif, words: []string{"nif", "contribuinte", "tax number"}},
		{typ: "gr-amka", n: 11, check: func(d []byte) bool { return date(4, num(d[2:4]), num(d[:2])) && luhn(d) }, words: []string{"amka", "αμκα", "α.μ.κ.α"}},
		{typ: "hr-oib", n: 11, check: oib, words: []string{"oib"}},
		{typ: "baltic-personal-code", n: 11, check: baltic, words: []string{"isikukood", "asmens kod", "personal code", "isiku"}},
		{typ: "lv-personal-code", lens: []int{6, 5}, sign: '-', n: 11, check: latvian, words: []string{"personas kod", "personal code"}},
		{typ: "at-svnr", lens: []int{4, 6}, sign: ' ', n: 10, check: svnr, words: []string{"svnr", "sozialversicherung", "sv-nr", "versicherungsnummer"}},
		{typ: "si-emso", n: 13, check: emso, words: []string{"emšo", "emso"}},
		{typ: "kr-business-number", lens: []int{3, 2, 5}, sign: '-', n: 10, check: korean, words: []string{"사업자", "business registration"}, alone: true},
		{typ: "kr-driver-licence", lens: []int{2, 2, 6, 2}, sign: '-', n: 12, check: func(d []byte) bool { return num(d[:2]) >= 11 && num(d[:2]) <= 28 }, words: []string{"운전면허", "면허", "driver"}, alone: true},
	}
}

// national judges a part by the numbers of states.
func (s *scan) national(p *part) bool {
	if p.w.plus {
		return false
	}
	for i := range s.d.nationals {
		n := &s.d.nationals[i]
		if p.n != n.n {
			continue
		}
		whole := p.b-p.a == 1
		form := n.lens != nil && p.lens(n.lens...) && (n.sign == 0 || p.uniform == n.sign)
		spaced := n.lens == nil && !whole && (p.uniform == ' ' || p.uniform == '-' || p.uniform == '.')
		if !whole && !form && !spaced || !n.check(p.digits[:p.n]) {
			continue
		}
		if form && n.alone || s.beside(n.typ, p.from, p.to) {
			s.add(n.typ, p.from, p.to, 0.9)
			return true
		}
	}
	return false
}

// rrn judges a Korean resident's number: a birthday, a digit for century and
// sex, and a check digit, which numbers given from October 2020 on do not have.
func (s *scan) rrn(p *part) bool {
	form := p.lens(6, 7) && p.uniform == '-'
	if p.n != 13 || p.w.plus || !form && !(p.b-p.a == 1 && s.beside(RRN, p.from, p.to)) {
		return false
	}
	d := p.digits[:13]
	if !date(num(d[:2]), num(d[2:4]), num(d[4:6])) || d[6] == '0' || d[6] == '9' {
		return false
	}
	sum := weigh(d[:12], 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
	checked := (11-sum%11)%10 == int(d[12]-'0') || d[6] >= '5' && d[6] <= '8' && (13-sum%11)%10 == int(d[12]-'0')
	fresh := (d[6] == '3' || d[6] == '4' || d[6] == '7' || d[6] == '8') && num(d[:2]) >= 20
	if !checked && !fresh && !s.beside(RRN, p.from, p.to) {
		return false
	}
	s.add(RRN, p.from, p.to, 0.95)
	return true
}

// document judges a number that only a word beside it says what it is.
func (s *scan) document(p *part) bool {
	if p.b-p.a > 1 || p.w.plus || p.n < 6 || p.n > 14 {
		return false
	}
	for _, typ := range [...]string{Licence, Passport} {
		if s.beside(typ, p.from, p.to) {
			s.add(typ, p.from, p.to, 0.75)
			return true
		}
	}
	return false
}

func weigh(d []byte, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += w * int(d[i]-'0')
	}
	return sum
}

func nir(d []byte) bool {
	v := 0
	for _, c := range d[:13] {
		v = (v*10 + int(c-'0')) % 97
	}
	return (d[0] == '1' || d[0] == '2') && num(d[3:5]) >= 1 && (num(d[3:5]) <= 12 || num(d[3:5]) >= 20) && 97-v == num(d[13:])
}

// mod1110 is ISO/IEC 7064 MOD 11,10, which the tax numbers of Germany and the
// personal numbers of Croatia end with.
func mod1110(d []byte) bool { return d[0] != '0' && oib(d) }

func oib(d []byte) bool {
	p := 10
	for _, c := range d[:10] {
		p = (p + int(c-'0')) % 10
		if p == 0 {
			p = 10
		}
		p = p * 2 % 11
	}
	return (11-p)%10 == int(d[10]-'0')
}

func bsn(d []byte) bool { return weigh(d, 9, 8, 7, 6, 5, 4, 3, 2, -1)%11 == 0 && num(d) > 0 }

func nrn(d []byte) bool {
	v, check := num(d[:9]), num(d[9:])
	return date(4, num(d[2:4])%20, max(num(d[4:6]), 1)) && (97-v%97 == check || 97-(2000000000+v)%97 == check)
}

func pesel(d []byte) bool {
	return date(4, num(d[2:4])%20, num(d[4:6])) && (10-weigh(d, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3)%10)%10 == int(d[10]-'0')
}

func personnummer(d []byte) bool {
	day := num(d[4:6])
	if day > 60 {
		day -= 60
	}
	return date(4, num(d[2:4]), day) && luhn(d)
}

func cnp(d []byte) bool {
	return d[0] != '0' && date(4, num(d[3:5]), num(d[5:7])) && weigh(d, 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)%11%10 == int(d[12]-'0')
}

func egn(d []byte) bool {
	return date(4, num(d[2:4])%20, num(d[4:6])) && weigh(d, 2, 4, 8, 5, 10, 9, 7, 3, 6)%11%10 == int(d[9]-'0')
}

func czech(d []byte) bool {
	month := num(d[2:4])
	if month > 50 {
		month -= 50
	}
	if month > 20 {
		month -= 20
	}
	return date(4, month, num(d[4:6])) && (num(d)%11 == 0 || num(d[:9])%11 == 10 && d[9] == '0')
}

func nif(d []byte) bool {
	check := 11 - weigh(d, 9, 8, 7, 6, 5, 4, 3, 2)%11
	if check > 9 {
		check = 0
	}
	return d[0] != '0' && d[0] != '4' && check == int(d[8]-'0')
}

func baltic(d []byte) bool {
	sum := weigh(d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1) % 11
	if sum == 10 {
		sum = weigh(d, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3) % 11 % 10
	}
	return d[0] >= '1' && d[0] <= '6' && date(4, num(d[3:5]), num(d[5:7])) && sum == int(d[10]-'0')
}

func latvian(d []byte) bool {
	old := date(4, num(d[2:4]), num(d[:2])) && (1101-weigh(d, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))%11 == int(d[10]-'0')
	return old || d[0] == '3' && d[1] >= '2'
}

func svnr(d []byte) bool {
	return d[0] != '0' && weigh(d, 3, 7, 9, 0, 5, 8, 4, 2, 1, 6)%11 == int(d[3]-'0') && date(4, num(d[6:8]), num(d[4:6]))
}

func emso(d []byte) bool {
	check := 11 - weigh(d, 7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11
	return date(4, num(d[2:4]), num(d[:2])) && check%11 < 10 && check%11 == int(d[12]-'0')
}

func korean(d []byte) bool {
	sum := weigh(d, 1, 3, 7, 1, 3, 7, 1, 3, 5)
	return (10-(sum+int(d[8]-'0')*5/10)%10)%10 == int(d[9]-'0')
}

// The letters that the identity cards of Spain and Finland end with.
const (
	spanish = "TRWAGMYFPDXBNJZSQVHLCKE"
	finnish = "0123456789ABCDEFHJKLMNPRSTUVWXY"
)

// tailed looks at digits that letters follow, and returns where to go on.
func (s *scan) tailed(w *written) (int, bool) {
	g := w.groups[len(w.groups)-1]
	end := s.skip(g.to)
	c := s.byteAt(g.to)
	switch {
	case g.len() == 8 && end == g.to+1:
		if spanish[num(s.text[g.from:g.to])%23] == c&^0x20 {
			s.add("es-dni", g.from, end, 0.9)
			return end, true
		}
	case g.len() == 7 && (end == g.to+1 || end == g.to+2):
		if irish(s.text[g.from:end]) && s.beside("ie-pps", g.from, end) {
			s.add("ie-pps", g.from, end, 0.85)
			return end, true
		}
	case g.len() == 6 && end == g.to+5 || g.len() == 3 && len(w.groups) > 1:
		from := g.from - 7
		if g.len() == 6 {
			from = g.from
		}
		if s.hetu(from) {
			s.add("fi-hetu", from, from+11, 0.9)
			return from + 11, true
		}
	}
	return 0, false
}

// hetu judges a Finnish personal code: a birthday, a sign for the century,
// three digits and a letter of all of them.
func (s *scan) hetu(from int) bool {
	if from < 0 || from+11 > len(s.text) || isAlnum(s.byteAt(from+11)) {
		return false
	}
	b := s.text[from : from+11]
	for i, c := range b[:10] {
		if i != 6 && !isDigit(c) {
			return false
		}
	}
	switch b[6] {
	case '+', '-', 'A', 'B', 'C', 'D', 'E', 'F', 'U', 'V', 'W', 'X', 'Y':
	default:
		return false
	}
	return date(4, num(b[2:4]), num(b[:2])) && finnish[(num(b[:6])*1000+num(b[7:10]))%31] == b[10]
}

func irish(b []byte) bool {
	sum := weigh(b, 8, 7, 6, 5, 4, 3, 2)
	if len(b) == 9 && b[8]&^0x20 != 'W' {
		sum += 9 * int(b[8]&^0x20-'A'+1)
	}
	return "WABCDEFGHIJKLMNOPQRSTUV"[sum%23] == b[7]&^0x20
}

// lettered looks at digits that stand behind letters - an IBAN, a code of
// letters and digits, the number of a document - and returns where to go on.
func (s *scan) lettered(i int) int {
	from := i
	for from > 0 && i-from < 8 && (isAlnum(s.text[from-1]) || s.text[from-1] == '_') {
		from--
	}
	end := s.skip(i)
	if s.byteAt(from-1) == '_' || isAlnum(s.byteAt(from-1)) {
		return end
	}
	n := i - from
	switch {
	case n == 2 && isLetter(s.text[from]) && isLetter(s.text[from+1]):
		if to := s.iban(from); to > 0 {
			s.add(IBAN, from, to, 0.97)
			return to
		}
		if end-from == 9 && british(s.text[from:end]) && s.beside("gb-nino", from, end) {
			s.add("gb-nino", from, end, 0.85)
			return end
		}
	case n == 1 && end-from == 9 && (s.text[from]&^0x20 >= 'X' && s.text[from]&^0x20 <= 'Z'):
		b := []byte(string(s.text[from:end]))
		b[0] = b[0]&^0x20 - 'X' + '0'
		if digits(b[:8]) && spanish[num(b[:8])%23] == b[8]&^0x20 {
			s.add("es-nie", from, end, 0.9)
			return end
		}
	case n == 6 && end-from == 16 && italian(s.text[from:end]):
		s.add("it-codice-fiscale", from, end, 0.95)
		return end
	}
	if n <= 2 && end-i >= 5 && end-i <= 14 && digits(s.text[i:end]) {
		for _, typ := range [...]string{Licence, Passport} {
			if s.beside(typ, from, end) {
				s.add(typ, from, end, 0.8)
				return end
			}
		}
	}
	return end
}

func digits(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) > 0
}

func british(b []byte) bool {
	return digits(b[2:8]) && isLetter(b[8]) && b[8]&^0x20 <= 'D'
}

// italian judges a codice fiscale by the letter it ends with.
func italian(b []byte) bool {
	odd := [...]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i, c := range b {
		letter := i < 6 || i == 8 || i == 11 || i == 15
		v := int(c - '0')
		if isLetter(c) {
			v = int(c&^0x20 - 'A')
		}
		// Letters stand for digits where two people would have the same code.
		if letter && !isLetter(c) || !letter && isLetter(c) && c&^0x20 < 'L' || v > 25 {
			return false
		}
		if !letter && isLetter(c) && i%2 == 1 {
			v = int(c&^0x20 - 'A')
		}
		if i == 15 {
			return sum%26 == v
		}
		if i%2 == 0 {
			v = odd[v]
		}
		sum += v
	}
	return false
}

// ibans are the lengths of account numbers by country (the registry of ISO
// 13616).
var ibans = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24,
	"DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27,
	"GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
	"LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24,
	"PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25,
	"SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

// iban reads an account number that begins at from, with or without spaces, and
// returns its end, 0 when there is none.
func (s *scan) iban(from int) int {
	want := ibans[string([]byte{s.text[from] &^ 0x20, s.text[from+1] &^ 0x20})]
	if want == 0 {
		return 0
	}
	var b [40]byte
	n, i := 0, from
	for ; i < len(s.text) && n < want; i++ {
		c := s.text[i]
		if isAlnum(c) {
			b[n] = c
			n++
			continue
		}
		if c != ' ' && c != '-' || !isAlnum(s.byteAt(i+1)) || n%4 != 0 {
			return 0
		}
	}
	if n != want || isAlnum(s.byteAt(i)) || !isDigit(b[2]) || !isDigit(b[3]) {
		return 0
	}
	// The first four move to the end, letters count from ten, and what is left of
	// 97 is one.
	v := 0
	for k := range want {
		c := b[(k+4)%want]
		if isDigit(c) {
			v = (v*10 + int(c-'0')) % 97
		} else {
			v = (v*100 + int(c&^0x20-'A') + 10) % 97
		}
	}
	if v != 1 {
		return 0
	}
	return i
}

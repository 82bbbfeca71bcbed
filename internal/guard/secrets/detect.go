package secrets

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/munjigi/munjigi/internal/base/literal"
	"github.com/munjigi/munjigi/internal/redact"
)

// Found is one secret in a text. It does not hold it.
type Found struct {
	// Rule is the kebab-case name of the kind of secret.
	Rule string
	// From and To bound the secret, in bytes of the text.
	From, To int
	// Score says how sure this is, from 0 to 1.
	Score float64
	// Weak marks a value that only its name makes a secret.
	Weak bool
}

// Detector finds secrets. Make it with NewDetector. It may be used by many at
// once.
type Detector struct {
	rules   []rule
	allow   []allow
	words   *literal.Set
	rulesOf [][]int // by word
}

// NewDetector reads the rules. Their expressions are compiled when they are
// first needed.
func NewDetector() (*Detector, error) {
	d := &Detector{}
	var err error
	if d.rules, d.allow, err = load(); err != nil {
		return nil, err
	}
	var words []string
	at := map[string]int{}
	for i := range d.rules {
		for _, k := range d.rules[i].keywords {
			j, known := at[k]
			if !known {
				j = len(words)
				at[k] = j
				words, d.rulesOf = append(words, k), append(d.rulesOf, nil)
			}
			d.rulesOf[j] = append(d.rulesOf[j], i)
		}
	}
	d.words = literal.New(words)
	return d, nil
}

// The budget of the expressions that are run on one text, in bytes times the
// weight of the expression: for each byte of the text, and at least.
const (
	budgetPerByte = 8
	leastBudget   = 512 << 10
)

// Detect returns the secrets in text in their order; they do not overlap. all
// is false when the text was made so that it could not be looked at within
// bounds.
func (d *Detector) Detect(text []byte) (found []Found, all bool) {
	budget := leastBudget + len(text)*budgetPerByte
	until := map[int]int(nil) // by rule, how far a far or near one has looked
	all = true
	d.words.Each(text, func(word, from, to int) bool {
		for _, i := range d.rulesOf[word] {
			r := &d.rules[i]
			a, b, ok := r.window(text, from, to)
			if !ok {
				continue
			}
			if at := r.where().shape; at == far || at == near {
				if until[i] >= b {
					continue
				}
				if until == nil {
					until = map[int]int{}
				}
				until[i] = b
			}
			found = d.run(found, r, text, a, b, &budget)
			if budget < 0 {
				all = false
				return false
			}
		}
		return true
	})
	return settle(found), all
}

// run runs a rule's expression on one part of a text.
func (d *Detector) run(found []Found, r *rule, text []byte, a, b int, budget *int) []Found {
	for at := a; at < b; {
		if *budget -= (b - at) * r.where().weight; *budget < 0 {
			return found
		}
		m := r.pattern().FindSubmatchIndex(text[at:b])
		if m == nil {
			return found
		}
		for i := range m {
			if m[i] >= 0 {
				m[i] += at
			}
		}
		next := max(m[1], at+1)
		// What ends where the part was cut may go on beyond.
		if m[1] != b || b == len(text) {
			if f, ok := d.judge(r, text, m); ok {
				found = append(found, f)
			}
		}
		at = next
	}
	return found
}

// judge decides whether a match is a secret.
func (d *Detector) judge(r *rule, text []byte, m []int) (Found, bool) {
	from, to := m[0], m[1]
	for from < to && text[to-1] == '\n' {
		to--
	}
	match := text[from:to]
	if r.group > 0 && 2*r.group+1 < len(m) && m[2*r.group] >= 0 {
		from, to = m[2*r.group], m[2*r.group+1]
	} else {
		for g := 2; g+1 < len(m); g += 2 {
			if m[g] >= 0 && m[g] < m[g+1] {
				from, to = m[g], m[g+1]
				break
			}
		}
	}
	secret := text[from:to]
	if redact.Shaped(secret) || bytes.Contains(secret, []byte("[redacted:")) {
		return Found{}, false
	}
	bits := entropy(secret)
	sum := proved(secret)
	if sum != right {
		if r.entropy > 0 && bits <= r.entropy {
			return Found{}, false
		}
		line := lineOf(text, m[0], m[1])
		for _, list := range [][]allow{d.allow, r.allow} {
			for _, a := range list {
				if a.fits(secret, match, line) {
					return Found{}, false
				}
			}
		}
	}
	f := Found{Rule: r.id, From: from, To: to, Score: 0.9, Weak: r.weak}
	switch {
	case sum == right:
		f.Score = 1
	case r.weak:
		f.Score = min(0.5+max(bits-r.entropy, 0)/6, 0.85)
	case sum == wrong:
		f.Score = 0.8
	}
	return f, true
}

// settle orders what was found and keeps the surer of two that overlap.
func settle(found []Found) []Found {
	if len(found) < 2 {
		return found
	}
	slices.SortFunc(found, func(a, b Found) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.To, a.To), cmp.Compare(b.Score, a.Score), cmp.Compare(a.Rule, b.Rule))
	})
	out := found[:1]
	for _, f := range found[1:] {
		last := &out[len(out)-1]
		if f.From >= last.To {
			out = append(out, f)
			continue
		}
		to := max(last.To, f.To)
		if f.Score > last.Score || last.Weak && !f.Weak {
			f.From = last.From
			*last = f
		}
		last.To = to
	}
	return out
}

// window is the part of the text in which a match with this keyword stands; ok
// is false when there is none.
func (r *rule) window(text []byte, from, to int) (a, b int, ok bool) {
	at := r.where()
	switch at.shape {
	case headed:
		for _, h := range at.heads {
			if begins(text[from:], h) && (r.id != "private-key" || privately(text[from:])) {
				b = min(from+at.ahead+8, len(text))
				for i := from; !at.spaced && i < b; i++ {
					if text[i] <= ' ' || text[i] == '"' {
						b = min(i+3, len(text))
						break
					}
				}
				return max(from-at.back, 0), b, true
			}
		}
		return 0, 0, false
	case assigned:
		return r.assignment(text, from, to)
	case far:
		if r.id == "kubernetes-secret-yaml" && !(bytes.Contains(text[to:min(to+512, len(text))], []byte("data:")) || bytes.Contains(text[max(from-1024, 0):from], []byte("data:"))) {
			return 0, 0, false
		}
	case near:
		switch r.id {
		case "curl-auth-header", "curl-auth-user":
			return curl(text, from, r.id == "curl-auth-user")
		case "url-password":
			return userinfo(text, from, to)
		case "lob-api-key", "lob-pub-api-key":
			if i := max(from-at.back, 0); !bytes.Contains(bytes.ToLower(text[i:to]), []byte("lob")) {
				return 0, 0, false
			}
		}
	}
	return max(from-at.back, 0), min(to+at.ahead, len(text)), true
}

// privately reports that a block that begins here is a private key's.
func privately(text []byte) bool {
	line, _, _ := bytes.Cut(text[:min(len(text), 140)], []byte("KEY"))
	return bytes.HasSuffix(bytes.ToUpper(bytes.TrimSpace(line)), []byte("PRIVATE"))
}

func begins(text []byte, head []set) bool {
	if len(text) < len(head) {
		return false
	}
	for i := range head {
		if !head[i].has(text[i]) {
			return false
		}
	}
	return true
}

// assignment finds the name around a keyword, the operator after it, and the
// value after that.
func (r *rule) assignment(text []byte, from, to int) (a, b int, ok bool) {
	i := to
	for n := 0; i < len(text) && n < 24 && (wordly(text[i]) || spacing(text[i])); n++ {
		i++
	}
	if i >= len(text) || !operator(text[i]) {
		return 0, 0, false
	}
	for n := 0; i < len(text) && n < 9 && (operator(text[i]) || spacing(text[i]) || text[i] == '`'); n++ {
		i++
	}
	run := i
	for i < len(text) && i-run < 600 && (wordly(text[i]) || text[i] == '=' || text[i] == '+' || text[i] == '/' || !r.weak && (text[i] == ':' || text[i] == '%' || text[i] == '~')) {
		i++
	}
	if i-run < 8 || r.weak && !r.likely(text[run:i], text[i:]) {
		return 0, 0, false
	}
	a = from
	for n := 0; a > 0 && n < 50 && wordly(text[a-1]); n++ {
		a--
	}
	return a, min(i+3, len(text)), true
}

// likely reports that a value of no known format may be a secret, before the
// expression is run: it is the whole value, not words alone, and irregular.
func (r *rule) likely(value, after []byte) bool {
	if len(value) < 10 || len(after) > 0 && !spacing(after[0]) && after[0] != ';' && after[0] != '`' {
		return false
	}
	odd, slashed := false, false
	for _, c := range value {
		odd = odd || !(c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '.' || c == '-')
		slashed = slashed || c == '+' || c == '/'
	}
	if !odd || len(value) > 150 && !slashed && len(value) < 600 {
		return false
	}
	value = bytes.TrimLeft(value, "=")
	if r.entropy > 0 && entropy(value) <= r.entropy {
		return false
	}
	for _, a := range r.allow {
		if a.target == "" && !a.all && a.stop != nil && a.stop.Has(value) {
			return false
		}
	}
	return true
}

func operator(c byte) bool {
	return c == '=' || c == '>' || c == ':' || c == '|' || c == '?' || c == ','
}

func spacing(c byte) bool {
	return c == ' ' || c == '\'' || c == '"' || c == '\n' || c == '\t' || c == '\r' || c == '\\'
}

func wordly(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

// userinfo finds the name and password of a URL whose "://" ends at to.
func userinfo(text []byte, from, to int) (a, b int, ok bool) {
	colon := false
	for b = to; b < len(text) && b-to < 220; b++ {
		switch c := text[b]; {
		case c == '@' && colon:
			for a = from; a > 0 && from-a < 24 && wordly(text[a-1]); {
				a--
			}
			for n := 0; b < len(text) && n < 260 && (wordly(text[b]) || text[b] == '@' || text[b] == '['); n++ {
				b++
			}
			return a, min(b+1, len(text)), true
		case c == ':':
			colon = true
		case c <= ' ' || c == '/' || c == '?' || c == '#' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '@':
			return 0, 0, false
		}
	}
	return 0, 0, false
}

// curl finds the command that begins with the word, if it has the option.
func curl(text []byte, from int, user bool) (a, b int, ok bool) {
	b = min(from+2048, len(text))
	lines := 0
	for i := from; i < b; i++ {
		if text[i] == '\n' {
			if lines++; lines > 6 {
				b = i
			}
		}
	}
	command := text[from:b]
	if user {
		ok = bytes.Contains(command, []byte("-u")) || bytes.Contains(command, []byte("--user"))
	} else {
		ok = bytes.Contains(command, []byte("-H")) || bytes.Contains(command, []byte("--header"))
	}
	return max(from-1, 0), b, ok
}

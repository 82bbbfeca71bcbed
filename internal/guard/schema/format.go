package schema

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"unicode"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// formats are the formats in which the validator's own checks are laxer or
// stricter than the specifications that JSON Schema names for them.
func formats() []*jsonschema.Format {
	uri := uriSyntax("")
	iri := uriSyntax(`\x{a0}-\x{d7ff}\x{f900}-\x{fdcf}\x{fdf0}-\x{ffef}\x{10000}-\x{10fffd}`)
	names := idna.New(idna.ValidateLabels(true), idna.VerifyDNSLength(true), idna.BidiRule(), idna.StrictDomainName(true),
		idna.CheckHyphens(true), idna.CheckJoiners(true))
	host := hostname{names}
	return []*jsonschema.Format{
		text("uri", "not a URI with a scheme (RFC 3986)", uri.absolute),
		text("uri-reference", "not a URI or a relative reference (RFC 3986)", uri.reference),
		text("iri", "not an IRI with a scheme (RFC 3987)", iri.absolute),
		text("iri-reference", "not an IRI or a relative reference (RFC 3987)", iri.reference),
		text("uri-template", "not a URI template (RFC 6570)", regexp.MustCompile(templateSyntax).MatchString),
		text("duration", "not a duration (RFC 3339 appendix A)", regexp.MustCompile(durationSyntax).MatchString),
		text("ipv4", "not an IPv4 address in dotted decimals", func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err == nil && a.Is4()
		}),
		text("hostname", "not a host name (RFC 1123)", host.ascii),
		text("idn-hostname", "not an internationalized host name (RFC 5890)", host.unicode),
		text("email", "not a mail address (RFC 5321)", func(s string) bool { return mail(s, false, host) }),
		text("idn-email", "not a mail address (RFC 6531)", func(s string) bool { return mail(s, true, host) }),
	}
}

// text makes a format of strings; values of other types have every format.
func text(name, fault string, valid func(string) bool) *jsonschema.Format {
	err := errors.New(fault)
	return &jsonschema.Format{Name: name, Validate: func(v any) error {
		if s, ok := v.(string); ok && !valid(s) {
			return err
		}
		return nil
	}}
}

// grammar is RFC 3986 appendix A, or RFC 3987 section 2.2 with its further
// characters.
type grammar struct{ abs, rel *regexp.Regexp }

func uriSyntax(more string) grammar {
	pct := `%[0-9A-Fa-f]{2}`
	plain := `A-Za-z0-9._~!$&'()*+,;=\-` + more
	pchar := `(?:[` + plain + `:@]|` + pct + `)`
	private := ""
	if more != "" {
		private = `\x{e000}-\x{f8ff}\x{f0000}-\x{ffffd}\x{100000}-\x{10fffd}`
	}
	host := `(?:\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:\-]+)\]|(?:[` + plain + `]|` + pct + `)*)`
	authority := `(?:(?:[` + plain + `:]|` + pct + `)*@)?` + host + `(?::[0-9]*)?`
	tail := `(?:\?(?:[` + plain + private + `:@/?]|` + pct + `)*)?(?:#(?:[` + plain + `:@/?]|` + pct + `)*)?`
	segments := `(?:/` + pchar + `*)*`
	first := `(?:[` + plain + `@]|` + pct + `)+`
	rooted := `(?://` + authority + segments + `|/(?:` + pchar + `+` + segments + `)?`
	return grammar{
		abs: regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.\-]*:` + rooted + `|` + pchar + `+` + segments + `)?` + tail + `$`),
		rel: regexp.MustCompile(`^` + rooted + `|` + first + segments + `)?` + tail + `$`),
	}
}

func (x grammar) absolute(s string) bool { return x.abs.MatchString(s) && literalHost(s) }
func (x grammar) reference(s string) bool {
	return x.absolute(s) || x.rel.MatchString(s) && literalHost(s)
}

// literalHost reports that an address in brackets, if there is one, is IPv6.
func literalHost(s string) bool {
	open, end := strings.IndexByte(s, '['), strings.IndexByte(s, ']')
	if open < 0 || end < open || s[open+1]|0x20 == 'v' {
		return true
	}
	a, err := netip.ParseAddr(s[open+1 : end])
	return err == nil && a.Is6() && a.Zone() == ""
}

// templateSyntax is RFC 6570 section 2.
const templateSyntax = `^(?:[!#$&'(-;=?-\[\]_a-z~\x{a0}-\x{d7ff}\x{e000}-\x{fdcf}\x{fdf0}-\x{ffef}\x{10000}-\x{10fffd}]|%[0-9A-Fa-f]{2}|` +
	`\{[+#./;?&=,!@|]?` + variable + `(?:,` + variable + `)*\})*$`

const variable = varChar + `(?:\.?` + varChar + `)*(?::[1-9][0-9]{0,3}|\*)?`

const varChar = `(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})`

// durationSyntax is RFC 3339 appendix A: parts follow one another without gaps.
const durationSyntax = `^P(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)(?:T` + clock + `)?|T` + clock + `)$`

const clock = `(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)`

// hostname judges names by RFC 1123, RFC 5891 and the contextual rules of RFC
// 5892 appendix A.
type hostname struct{ profile *idna.Profile }

func (h hostname) ascii(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; c != '-' && (c < '0' || c > '9') && !letter(c) {
				return false
			}
		}
		if len(label) > 3 && label[2:4] == "--" {
			u, err := h.profile.ToUnicode(strings.ToLower(label))
			if err != nil || u == strings.ToLower(label) || !h.label(u) {
				return false
			}
		}
	}
	return true
}

func (h hostname) unicode(s string) bool {
	s = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(s)
	a, err := h.profile.ToASCII(s)
	if err != nil || !h.ascii(a) {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !isASCII(label) && !h.label(label) {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// label judges one label in Unicode.
func (h hostname) label(u string) bool {
	rs := []rune(u)
	if !norm.NFKC.IsNormalString(u) {
		return false // unstable, RFC 5892 2.2
	}
	if len(rs) == 0 || unicode.Is(unicode.M, rs[0]) || rs[0] == '-' || rs[len(rs)-1] == '-' || len(rs) > 3 && rs[2] == '-' && rs[3] == '-' {
		return false
	}
	if a, err := h.profile.ToASCII(u); err != nil || len(a) > 63 {
		return false
	}
	at := func(i int) rune {
		if i < 0 || i >= len(rs) {
			return -1
		}
		return rs[i]
	}
	var arabic, extended bool
	for i, r := range rs {
		switch {
		case r == 0x00b7 && (at(i-1) != 'l' || at(i+1) != 'l'),
			r == 0x0375 && !unicode.Is(unicode.Greek, at(i+1)),
			(r == 0x05f3 || r == 0x05f4) && !unicode.Is(unicode.Hebrew, at(i-1)),
			r == 0x30fb && !strings.ContainsFunc(u, kana),
			// Neither a letter or digit (RFC 5892 2.1) nor an exception to that
			// (2.6), or an exception the other way.
			!unicode.In(r, unicode.L, unicode.Nd, unicode.Mn, unicode.Mc) &&
				!strings.ContainsRune("-\u00b7\u0375\u05f3\u05f4\u06fd\u06fe\u0f0b\u200c\u200d\u3007\u30fb", r),
			strings.ContainsRune("\u0640\u07fa\u302e\u302f\u3031\u3032\u3033\u3034\u3035\u303b", r):
			return false
		case r >= 0x0660 && r <= 0x0669:
			arabic = true
		case r >= 0x06f0 && r <= 0x06f9:
			extended = true
		}
	}
	return !arabic || !extended
}

func kana(r rune) bool {
	return r != 0x30fb && unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Han)
}

// mail judges the addr-spec of RFC 5321 section 4.1.2: a dotted or a quoted
// local part, and a host name or an address literal.
func mail(s string, international bool, h hostname) bool {
	i := strings.LastIndexByte(s, '@')
	if i <= 0 || i > 64 && !international || len(s) > 254 {
		return false
	}
	local, domain := s[:i], s[i+1:]
	if !international && !isASCII(local) {
		return false
	}
	if len(local) > 2 && local[0] == '"' && local[len(local)-1] == '"' {
		if !quotedText(local[1 : len(local)-1]) {
			return false
		}
	} else {
		for atom := range strings.SplitSeq(local, ".") {
			if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return r < 0x80 && !atomText(byte(r)) }) {
				return false
			}
		}
	}
	if len(domain) > 1 && domain[0] == '[' && domain[len(domain)-1] == ']' {
		lit := domain[1 : len(domain)-1]
		v6, is6 := strings.CutPrefix(lit, "IPv6:")
		a, err := netip.ParseAddr(v6)
		return err == nil && a.Zone() == "" && is6 == a.Is6()
	}
	if international {
		return h.unicode(norm.NFC.String(domain))
	}
	return h.ascii(domain)
}

func atomText(c byte) bool {
	return letter(c) || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func quotedText(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] == 0x7f {
				return false
			}
		case c == '"' || c < ' ' || c == 0x7f:
			return false
		}
	}
	return true
}

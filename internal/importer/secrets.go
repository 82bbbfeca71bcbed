package importer

import (
	"strings"

	"github.com/munjigi/munjigi/internal/config"
)

// secretLooking reports whether a value could be a secret, by the name of what
// holds it and by itself. When in doubt it is one.
func secretLooking(name, text string) bool {
	if config.Setting(name, text) {
		return false
	}
	return name != "" && config.SecretName(name) || config.SecretText(text) || config.SecretInURL(text) || namedIn(text) || randomIn(text)
}

// literal makes a text without variables a value. The lead, which is known to
// be no secret, goes before it.
func (r *reader) literal(s *Server, where, name, lead, text string) config.Value {
	if !secretLooking(name, text) {
		return config.Value{Text: lead + text}
	}
	at := secretStart(text)
	if secretLooking("", text[:at]) {
		at = 0
	}
	how := "the value that stands there in the client's file"
	if lead += text[:at]; lead != "" {
		how = "all that follows " + show(lead) + " there in the client's file"
	}
	return config.Value{Text: lead, Secret: r.fresh(s, where, how)}
}

// secretStart finds where the secret part of a text begins: after the scheme
// of an authorization, or within a URL. It is 0 when that cannot be told.
func secretStart(text string) int {
	for _, scheme := range []string{"Bearer ", "Basic ", "Token "} {
		if len(text) > len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
			return len(scheme)
		}
	}
	if at, ok := secretInURL(text); ok {
		return at
	}
	return 0
}

// secretInURL finds the first secret of a text that is one URL.
func secretInURL(text string) (at int, ok bool) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || strings.ContainsAny(scheme, " =,;\"'") {
		return 0, false
	}
	begin := len(scheme) + len("://")
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	if i := strings.LastIndexByte(rest[:end], '@'); i >= 0 {
		if colon := strings.IndexByte(rest[:i], ':'); colon >= 0 {
			return begin + colon + 1, true
		}
		return begin, true
	}
	path, query := rest[end:], ""
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i+1:]
	}
	place := begin + end
	for _, part := range strings.SplitAfter(path, "/") {
		if randomIn(part) || config.SecretText(part) {
			return place, true
		}
		place += len(part)
	}
	place = begin + end + len(path) + 1
	for _, pair := range strings.SplitAfter(query, "&") {
		name, value, _ := strings.Cut(strings.TrimSuffix(pair, "&"), "=")
		if secretLooking(name, value) {
			return min(place+len(name)+1, len(text)), true
		}
		place += len(pair)
	}
	return 0, false
}

// namedIn reports whether a text holds a telling name with a value after it,
// as JSON, YAML, headers and shells write it: "token": "…", token: …, TOKEN=….
func namedIn(text string) bool {
	start := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && tokenByte(text[i]) {
			continue
		}
		word := text[start:i]
		start = i + 1
		rest := text[i:]
		for len(rest) > 0 && strings.IndexByte(`"'\`, rest[0]) >= 0 {
			rest = rest[1:]
		}
		if word == "" || len(rest) < 2 || rest[0] != '=' && !(rest[0] == ':' && strings.IndexByte(" \t\"'\\", rest[1]) >= 0) {
			continue
		}
		value := strings.TrimLeft(rest[1:], " \t\"'\\=:")
		if end := strings.IndexAny(value, " \t\"'\\,;&}]\n"); end >= 0 {
			value = value[:end]
		}
		if config.SecretName(word) && !config.Setting(word, value) {
			return true
		}
	}
	return false
}

// randomIn reports whether a text holds a run of 20 characters or more that
// nobody would have chosen: not made of words, dates and version numbers.
func randomIn(text string) bool {
	start, before := 0, byte(0)
	for i := 0; i <= len(text); i++ {
		if i < len(text) && tokenByte(text[i]) {
			continue
		}
		if random(text[start:i], before, text[:start]) {
			return true
		}
		if i < len(text) {
			before = text[i]
		}
		start = i + 1
	}
	return false
}

func tokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-.+~", c) >= 0
}

func random(word string, before byte, lead string) bool {
	if len(word) < 20 {
		return false
	}
	if hexadecimal(word) && (len(word) == 64 && strings.HasSuffix(lead, "sha256:") || len(word) == 40 && before == '@') {
		return false
	}
	odd, mixed := 0, 0
	for _, piece := range strings.FieldsFunc(word, func(r rune) bool { return strings.ContainsRune("_-.+~", r) }) {
		if !natural(piece) {
			odd += len(piece)
		}
		if len(piece) >= 5 && strings.ContainsAny(piece, "0123456789") && strings.Trim(piece, "0123456789") != "" {
			mixed++
		}
	}
	return odd >= 8 || mixed >= 3
}

func hexadecimal(word string) bool {
	return strings.Trim(word, "0123456789abcdef") == ""
}

// natural reports whether a piece of a word is one that people write: letters
// with perhaps a number before or after them, or a number.
func natural(piece string) bool {
	letters := strings.Trim(piece, "0123456789")
	digits := len(piece) - len(letters)
	if letters == "" {
		return digits <= 12
	}
	if strings.ContainsAny(letters, "0123456789") || digits > 4 && len(letters) < 3 || digits > 8 {
		return false
	}
	upper, run := 0, 0
	for i := range len(letters) {
		capital := letters[i] >= 'A' && letters[i] <= 'Z'
		if capital {
			upper++
			if i > 0 && letters[i-1] >= 'a' {
				run = 0
			}
		}
		if run++; run > 22 {
			return false
		}
	}
	return upper == len(letters) || 5*upper <= 2*len(letters) || len(letters) <= 4
}

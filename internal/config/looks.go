package config

import (
	"net/url"
	"strings"
	"unicode"
)

// SecretName reports whether the name of a variable, a header, a flag or a
// parameter says that its value is a secret. When in doubt it is one.
func SecretName(name string) bool {
	flat := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r == ' ' {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
	for _, part := range []string{"token", "secret", "passw", "passphrase", "credential", "apikey", "accesskey", "privatekey",
		"authorization", "cookie", "bearer", "connectionstring", "databaseurl", "webhook", "accessid"} {
		if strings.Contains(flat, part) {
			return true
		}
	}
	for _, word := range words(name) {
		switch word {
		case "key", "keys", "pass", "pwd", "auth", "cred", "creds", "pat", "jwt", "dsn", "sig", "signature", "salt", "otp", "pin", "session", "private", "sid":
			return true
		}
	}
	return false
}

// words parts a name at everything that is no letter or digit, and where a
// capital letter follows a small one, and makes the parts lower case.
func words(name string) []string {
	var list []string
	var b strings.Builder
	end := func() {
		if b.Len() > 0 {
			list = append(list, b.String())
			b.Reset()
		}
	}
	small := false
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			end()
			small = false
			continue
		}
		if unicode.IsUpper(r) && small {
			end()
		}
		small = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	end()
	return list
}

// Setting reports whether a value is no secret whatever the name of what holds
// it: a switch, or a small number under a name that speaks of numbers.
func Setting(name, value string) bool {
	switch strings.ToLower(value) {
	case "", "true", "false", "yes", "no", "on", "off", "0", "1", "none", "null", "default":
		return true
	}
	if len(value) > 6 || strings.Trim(value, "0123456789") != "" {
		return false
	}
	lower := strings.ToLower(name)
	for _, word := range []string{"timeout", "ttl", "max", "min", "size", "limit", "count", "port", "length", "interval", "expir", "tokens", "retries"} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}

// SecretText reports whether a text holds a token of a well-known form, a
// private key, an authorization, or a password in a URL.
func SecretText(text string) bool {
	if strings.Contains(text, "-----BEGIN ") || secretUserInfo(text) {
		return true
	}
	before := ""
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'`=,:;/?&!*#%(){}[]<>|\\", r) }) {
		if knownToken(word) || len(word) >= 8 && (strings.EqualFold(before, "bearer") || strings.EqualFold(before, "basic")) {
			return true
		}
		before = word
	}
	return false
}

// SecretInURL reports whether a URL seems to hold a secret in its query, or a
// token of a well-known form anywhere.
func SecretInURL(text string) bool {
	if SecretText(text) {
		return true
	}
	_, query, _ := strings.Cut(text, "?")
	for _, pair := range strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if SecretName(name) && !Setting(name, value) {
			return true
		}
	}
	return false
}

// secretUserInfo finds scheme://user:password@host anywhere in the text, and
// of the schemes of HTTP also user@host, where the user is often a token.
func secretUserInfo(text string) bool {
	for {
		scheme, rest, ok := strings.Cut(text, "://")
		if !ok {
			return false
		}
		authority := rest
		if i := strings.IndexAny(rest, "/?# \t\r\n\"'"); i >= 0 {
			authority = rest[:i]
		}
		if i := strings.LastIndexByte(authority, '@'); i > 0 {
			_, password, ok := strings.Cut(authority[:i], ":")
			if ok && password != "" && !strings.HasPrefix(password, "$") {
				return true
			}
			if !ok && (strings.HasSuffix(scheme, "http") || strings.HasSuffix(scheme, "https")) && !strings.HasSuffix(scheme, "git+https") {
				return true
			}
		}
		text = rest
	}
}

// tokenForm is how the tokens of one issuer begin and how short they can be.
type tokenForm struct {
	prefix string
	least  int
}

// tokenForms are the forms of tokens that issuers document.
var tokenForms = []tokenForm{
	{"ghp_", 20}, {"gho_", 20}, {"ghu_", 20}, {"ghs_", 20}, {"ghr_", 20}, {"github_pat_", 30},
	{"glpat-", 20}, {"gldt-", 20}, {"glrt-", 20}, {"glcbt-", 20},
	{"sk-", 20}, {"sk_live_", 16}, {"sk_test_", 16}, {"rk_live_", 16}, {"rk_test_", 16}, {"whsec_", 16},
	{"xoxb-", 16}, {"xoxp-", 16}, {"xoxa-", 16}, {"xoxe", 16}, {"xoxs-", 16}, {"xapp-", 16},
	{"AKIA", 20}, {"ASIA", 20}, {"AIza", 30}, {"ya29.", 20}, {"GOCSPX-", 20}, {"LTAI", 16},
	{"npm_", 30}, {"pypi-", 30}, {"hf_", 20}, {"dckr_pat_", 20}, {"shpat_", 20}, {"shpss_", 20},
	{"dop_v1_", 20}, {"doo_v1_", 20}, {"SG.", 30}, {"lin_api_", 20}, {"ntn_", 20}, {"secret_", 24}, {"figd_", 20},
	{"dapi", 32}, {"hvs.", 20}, {"hvb.", 20}, {"nvapi-", 20}, {"gsk_", 20}, {"r8_", 20}, {"tvly-", 16}, {"fc-", 24},
	{"pplx-", 20}, {"sntrys_", 20}, {"sntryu_", 20}, {"CFPAT-", 20}, {"PMAK-", 20}, {"ATATT3", 20}, {"ATBB", 20},
	{"sbp_", 20}, {"phx_", 20}, {"pat-na1-", 20}, {"pat-eu1-", 20}, {"xai-", 20}, {"AGE-SECRET-KEY-1", 20},
	{"glsa_", 20}, {"sgp_", 20}, {"rnd_", 20}, {"vcp_", 20}, {"pul-", 20}, {"key-", 28}, {"patA", 20}, {"EAAC", 30},
}

// knownToken reports whether a word is a token of a well-known form.
func knownToken(word string) bool {
	if len(word) < 16 {
		return false
	}
	if strings.HasPrefix(word, "eyJ") && strings.Count(word, ".") >= 2 {
		return true
	}
	for _, f := range tokenForms {
		if len(word) >= f.least && strings.HasPrefix(word, f.prefix) && strings.ContainsAny(word[len(f.prefix):], "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			return true
		}
	}
	return false
}

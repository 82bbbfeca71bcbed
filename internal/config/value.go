package config

import (
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Value is text of the file, or text followed by a secret that the file only
// names. The zero Value is empty text.
type Value struct {
	// Text is the whole value, or what stands before the secret.
	Text string
	// Secret is zero for plain text.
	Secret Ref
}

// IsSecret reports whether the value is only known once Secret is looked up.
func (v Value) IsSecret() bool { return v.Secret != Ref{} }

// String shows the value with a placeholder for its secret.
func (v Value) String() string {
	if !v.IsSecret() {
		return v.Text
	}
	return v.Text + "<secret " + v.Secret.String() + ">"
}

// Ref names a secret: where it is kept, never what it is.
type Ref struct {
	// Scheme is env, file or sealed.
	Scheme string
	// Name is a variable of the gateway's environment, an absolute path, or
	// the name of a sealed entry.
	Name string
}

// String gives the reference as the file writes it.
func (r Ref) String() string {
	if r == (Ref{}) {
		return ""
	}
	return r.Scheme + ":" + r.Name
}

// ParseRef reads env:NAME, file:PATH or sealed:NAME. The text is not repeated
// when it is wrong, for it may be the secret itself.
func ParseRef(text string) (Ref, bool) {
	scheme, name, ok := strings.Cut(text, ":")
	if !ok {
		return Ref{}, false
	}
	switch scheme {
	case "env":
		ok = envName(name)
	case "sealed":
		ok = sealedName(name)
	case "file":
		ok = name != "" && !strings.ContainsFunc(name, Hidden)
	default:
		ok = false
	}
	if !ok {
		return Ref{}, false
	}
	return Ref{Scheme: scheme, Name: name}, true
}

func envName(s string) bool {
	if s == "" || len(s) > 256 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if !alnum(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}

func sealedName(s string) bool {
	if s == "" || len(s) > 128 || !alnum(s[0]) {
		return false
	}
	for i := range len(s) {
		if !alnum(s[i]) && !strings.ContainsRune("_.-", rune(s[i])) {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// value reads plain text, or a mapping that names a secret.
func (s *source) value(n *yaml.Node, key string) (Value, bool) {
	if n.Kind == yaml.MappingNode {
		return s.secret(n, key)
	}
	if n.Kind == yaml.AliasNode {
		return Value{}, false
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		s.fail(n, key, "must be text or a secret, and is "+kind(n), `write text in quotation marks, "" for no text, or { secret: env:NAME }`)
		return Value{}, false
	}
	if strings.ContainsRune(n.Value, 0) {
		s.fail(n, key, "holds a zero byte", "leave it out: no program can be given one")
		return Value{}, false
	}
	return Value{Text: n.Value}, true
}

func (s *source) secret(n *yaml.Node, key string) (Value, bool) {
	before := len(s.problems) + s.omitted
	var v Value
	readMapping(s, n, key, []field[Value]{
		{"secret", func(s *source, n *yaml.Node, key string, into *Value) { into.Secret, _ = s.ref(n, key) }},
		{"prefix", func(s *source, n *yaml.Node, key string, into *Value) {
			t, ok := s.scalar(n, key, "text", "put quotation marks around it", "!!str", "!!int", "!!bool", "!!float")
			if ok && strings.ContainsRune(t, 0) {
				s.fail(n, key, "holds a zero byte", "leave it out")
			}
			into.Text = t
		}},
	}, &v)
	if len(s.problems)+s.omitted > before {
		return Value{}, false
	}
	if !v.IsSecret() {
		s.fail(n, key, "names no secret", "write { secret: env:NAME }, or plain text")
		return Value{}, false
	}
	return v, true
}

func (s *source) ref(n *yaml.Node, key string) (Ref, bool) {
	const next = "write env:NAME, file:PATH or sealed:NAME; the secret itself never stands in this file"
	t, ok := s.scalar(n, key, "a reference to a secret", next, "!!str")
	if !ok {
		return Ref{}, false
	}
	r, ok := ParseRef(t)
	if !ok {
		s.fail(n, key, "is not a reference to a secret", next)
		return Ref{}, false
	}
	if r.Scheme == "file" {
		r.Name = s.path(r.Name)
	}
	return r, true
}

// path makes a path of the file absolute.
func (s *source) path(p string) string {
	if !filepath.IsAbs(p) {
		p = filepath.Join(s.dir, p)
	}
	return filepath.Clean(p)
}

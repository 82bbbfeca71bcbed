package config

import (
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/munjigi/munjigi/internal/base/secret"
)

// Value is text of the file, or text followed by a secret that the file only
// names. The zero Value is empty text.
type Value struct {
	// Text is the whole value, or what stands before the secret.
	Text string
	// Secret is zero for plain text. The path of a file: reference is
	// absolute.
	Secret secret.Ref
}

// IsSecret reports whether the value is only known once Secret is looked up.
func (v Value) IsSecret() bool { return v.Secret != secret.Ref{} }

// String shows the value with a placeholder for its secret.
func (v Value) String() string {
	if !v.IsSecret() {
		return v.Text
	}
	return v.Text + "<secret " + v.Secret.String() + ">"
}

// value reads plain text, or a mapping that names a secret.
func (s *source) value(n *yaml.Node, key string) (Value, bool) {
	if n.Kind == yaml.MappingNode {
		return s.secretValue(n, key)
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

func (s *source) secretValue(n *yaml.Node, key string) (Value, bool) {
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

func (s *source) ref(n *yaml.Node, key string) (secret.Ref, bool) {
	const next = "write env:NAME, file:PATH or sealed:NAME; the secret itself never stands in this file"
	t, ok := s.scalar(n, key, "a reference to a secret", next, "!!str")
	if !ok {
		return secret.Ref{}, false
	}
	r, err := secret.ParseRef(t)
	if err != nil || strings.ContainsFunc(t, Hidden) {
		s.fail(n, key, "is not a reference to a secret", next)
		return secret.Ref{}, false
	}
	if r.Scheme() == secret.SchemeFile {
		if r, err = secret.ParseRef(secret.SchemeFile + ":" + s.path(r.Name())); err != nil {
			s.fail(n, key, "is not a reference to a secret", next)
			return secret.Ref{}, false
		}
	}
	return r, true
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// path makes a path of the file absolute.
func (s *source) path(p string) string {
	if !filepath.IsAbs(p) {
		p = filepath.Join(s.dir, p)
	}
	return filepath.Clean(p)
}

package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// SignIn is this gateway as a client of an identity provider, at which people
// sign in to the gateway's own pages. It is zero where they cannot.
type SignIn struct {
	ClientID string
	// ClientSecret is always a secret, or zero for a public client.
	ClientSecret Value
	// Scopes are asked for beside openid; empty is what the provider's recipe
	// needs.
	Scopes []string
}

// Enabled reports whether people can sign in there.
func (s SignIn) Enabled() bool { return s.ClientID != "" }

func signInFields() []field[SignIn] {
	return []field[SignIn]{
		{"client_id", func(s *source, n *yaml.Node, key string, v *SignIn) {
			if t, ok := s.text(n, key); ok {
				v.ClientID = t
			}
		}},
		{"client_secret", func(s *source, n *yaml.Node, key string, v *SignIn) {
			if n.Kind == yaml.ScalarNode {
				s.fail(n, key, "must name a secret, and is text", "write { secret: env:NAME }, or leave the key out for a public client")
				return
			}
			if value, ok := s.value(n, key); ok {
				v.ClientSecret = value
			}
		}},
		{"scopes", func(s *source, n *yaml.Node, key string, v *SignIn) {
			s.checked(n, key, checkAnyScope, &v.Scopes)
		}},
	}
}

func readSignIn(s *source, n *yaml.Node, key string, i *Issuer) {
	readMapping(s, n, key, signInFields(), &i.SignIn)
	if !i.SignIn.Enabled() && n.Kind == yaml.MappingNode && !s.said(join(key, "client_id")) {
		s.fail(n, key, "names no client_id", "write the client_id under which the gateway is registered at this provider")
	}
}

// checkAnyScope is RFC 6749, section 3.3.
func checkAnyScope(t string) complaint {
	if strings.ContainsFunc(t, func(r rune) bool { return r <= 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
		return complaint{"is no scope", "write one scope for each item, in plain ASCII without spaces"}
	}
	return complaint{}
}

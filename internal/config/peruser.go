package config

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// CredentialPerUser is each person's own grant, given in a browser.
const CredentialPerUser CredentialType = "per_user"

// PerUser is what only a credential of the type per_user has.
type PerUser struct {
	// ClientDocument is the URL of a Client ID Metadata Document that the operator
	// publishes for this gateway; empty means the gateway's own.
	ClientDocument string
	// InsecurePrivateHosts are hosts that the server may name and that are fetched
	// from although they are private.
	InsecurePrivateHosts []string
}

func perUserFields() []field[Credential] {
	return []field[Credential]{
		{"client_document", func(s *source, n *yaml.Node, key string, c *Credential) {
			if t, ok := s.text(n, key); ok {
				c.ClientDocument = t
				s.complain(n, key, checkURL(t))
			}
		}},
		{"insecure_private_hosts", func(s *source, n *yaml.Node, key string, c *Credential) {
			s.checked(n, key, checkHostPort, &c.InsecurePrivateHosts)
		}},
	}
}

// judgePerUser holds the rules about one credential of the type per_user.
func (s *source) judgePerUser(key string, v Server) {
	c := v.Credential
	switch {
	case v.URL.IsSecret():
		s.failKey(key, "of type per_user shows people the server's URL, which holds a secret here", "write url: in plain text, or a credential of another type")
	case c.ClientID == "" && (c.ClientSecret.IsSecret() || c.PrivateKey.IsSecret()):
		s.failKey(key, "names no client_id", "write client_id: as the authorization server knows this gateway, or take its secret out")
	case c.ClientSecret.IsSecret() && c.PrivateKey.IsSecret():
		s.failKey(join(key, "private_key"), "stands beside a client_secret", "keep one proof: client_secret or private_key")
	case c.ClientID != "" && c.Issuer == "":
		s.failKey(join(key, "client_id"), "is told to no authorization server but its own, and none is named", "write issuer: https://… beside it")
	case c.Resource == NoResource:
		s.failKey(join(key, "resource"), "is none, and people grant nothing without one", "leave the key out, or write what the server's metadata says")
	}
}

func (c Credential) departures(at string) (list []Departure) {
	for i, h := range c.InsecurePrivateHosts {
		list = append(list, Departure{index(at+".insecure_private_hosts", i), Visible(h),
			"the server may send the gateway to this host although it is private"})
	}
	return list
}

// judged reports that a type's own rules are those of a token server.
func (t CredentialType) judged(reads []string) bool {
	return t != CredentialPerUser && slices.Contains(reads, "issuer")
}

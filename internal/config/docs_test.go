package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/config"
)

// TestDocumentedCredentials reads every example of docs/credentials.md as the
// gateway would.
func TestDocumentedCredentials(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/credentials.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	seen := map[config.CredentialType]bool{}
	for i, b := range blocks {
		b, _, _ = strings.Cut(b, "```")
		whole := "public_url: https://mcp.example.com\nidentity: { issuers: [{ issuer: https://login.example.com/realms/corp }] }\n" + b
		c, err := config.Build{Getenv: home, Identity: true, Policy: true}.Parse(at("m.yaml"), []byte(whole))
		if err != nil {
			t.Errorf("example %d: %v", i+1, err)
			continue
		}
		for _, s := range c.Servers {
			seen[s.Credential.Type] = true
		}
	}
	for _, want := range []config.CredentialType{config.CredentialStatic, config.CredentialClient, config.CredentialJWTBearer, config.CredentialExchange,
		config.CredentialIDJAG, config.CredentialPerUser} {
		if !seen[want] {
			t.Errorf("no example of %s", want)
		}
	}
}

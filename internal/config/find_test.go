package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/config"
)

func TestFindRules(t *testing.T) {
	t.Parallel()
	build := config.Build{Getenv: home, Guards: []string{"schema", "secrets", "personal"}}
	c, err := build.Parse(at("m.yaml"), []byte(`
guards:
  personal:
    rules:
      - { types: [email], direction: results, servers: [crm], tools: [search], do: hash }
      - { do: annotate }
  secrets:
    mode: enforce
    rules: [{ direction: arguments, do: mask }]
    insecure_allow: [{ servers: [deploy] }]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Guard{
		{Name: "personal", Mode: config.ModeEnforce, Rules: []config.FindRule{
			{Types: []string{"email"}, Direction: "results", Servers: []string{"crm"}, Tools: []string{"search"}, Do: "hash"}, {Do: "annotate"}}},
		{Name: "secrets", Mode: config.ModeEnforce, Rules: []config.FindRule{{Direction: "arguments", Do: "mask"}}, InsecureAllow: []config.FindRule{{Servers: []string{"deploy"}}}},
	}
	if d := cmp.Diff(want, c.Guards); d != "" {
		t.Error(d)
	}
	for text, words := range map[string]string{
		"guards: { schema: { rules: [{ do: block }] } }":                   "belongs to the guards secrets and personal",
		"guards: { personal: { insecure_allow: [{ servers: [a] }] } }":     "belongs to the guard secrets",
		"guards: { secrets: { insecure_allow: [{ types: [jwt] }] } }":      "names no server",
		"guards: { secrets: { rules: [{ do: annotate }] } }":               "guards.secrets.rules[0].do",
		"guards: { personal: { rules: [{ types: [email] }] } }":            "does not say what to do",
		"guards: { personal: { rules: [{ direction: up, do: block }] } }":  "guards.personal.rules[0].direction",
		"guards: { personal: { rules: { do: block } } }":                   "must be a list",
		"guards: { personal: { rules: [{ types: email, do: block }] } }":   "must be a list",
		"guards: { personal: { rules: [{ tool: [email], do: block }] } }":  "did you mean tools?",
		"guards: { secrets: { rules: [{ servers: [a, a], do: block }] } }": "is listed twice",
	} {
		if _, err := build.Parse(at("m.yaml"), []byte(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", text, err, words)
		}
	}
}

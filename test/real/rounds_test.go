//go:build real

package real

import (
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/test/real/kit"
)

// round is a tool that asks while it works, and what must come of it.
type round struct {
	tool      string
	arguments string
	asked     []string
	text      string // must be in the result
}

// sdkRounds are the asking tools of the Go SDK's server.
func sdkRounds() []round {
	return []round{
		{"test_sampling", `{"prompt":"say something"}`, []string{"sampling"}, "sampled words"},
		{"test_elicitation", `{"message":"who?"}`, []string{"elicitation"}, "action=accept"},
		{"test_input_required_result_list_roots", `{}`, []string{"roots"}, "file:///rooted"},
		{"test_input_required_result_multiple_inputs", `{}`, []string{"elicitation", "roots", "sampling"}, "sampled words elicited name"},
	}
}

// ourRounds are the asking tools of the fixture.
func ourRounds() []round {
	return []round{
		{"test_sampling", `{"prompt":"say something"}`, []string{"sampling"}, "LLM response: sampled words"},
		{"test_elicitation", `{"message":"who?"}`, []string{"elicitation"}, "elicited username"},
		{"test_roots", `{}`, []string{"roots"}, "Client exposed 1 root(s): file:///rooted"},
		{"test_input_required_result_elicitation", `{}`, []string{"elicitation"}, "Hello, elicited name!"},
		{"test_input_required_result_multiple_inputs", `{}`, []string{"elicitation", "roots", "sampling"}, "sampled words elicited name, 1 root(s)"},
		{"test_input_required_result_multi_round", `{}`, []string{"elicitation", "elicitation"}, "elicited name likes elicited color"},
	}
}

func named(name string) client {
	for _, c := range clients() {
		if c.name == name {
			return c
		}
	}
	panic("no client " + name)
}

// TestRounds has the tools of one era ask the clients of the other: whole
// rounds through the gateway, over HTTP and stdio on either side.
func TestRounds(t *testing.T) {
	tools := parts(t)
	through := func(t *testing.T, s kit.Server) place {
		t.Helper()
		return at(gateway(t, map[string]kit.Server{"x": s}).URL("x"))
	}
	for _, c := range []struct {
		name    string
		clients []string
		place   func(t *testing.T) place
		rounds  []round
	}{
		{
			"modern client, the SDK's legacy server over HTTP",
			[]string{"Go SDK, modern", "TypeScript SDK, modern"},
			func(t *testing.T) place {
				return through(t, kit.Server{URL: everything(t, false), Era: "legacy"})
			},
			sdkRounds(),
		},
		{
			"modern client, the SDK's legacy server over stdio",
			[]string{"Go SDK, modern"},
			func(t *testing.T) place {
				return through(t, kit.Server{Command: []string{tools.Everything}, Era: "legacy"})
			},
			sdkRounds(),
		},
		{
			"modern client, our legacy server over HTTP",
			[]string{"Go SDK, modern"},
			func(t *testing.T) place {
				return through(t, kit.Server{URL: fixture(t, "-era", "legacy")})
			},
			ourRounds(),
		},
		{
			"modern client, our legacy server over stdio",
			[]string{"Go SDK, modern"},
			func(t *testing.T) place {
				return through(t, kit.Server{Command: []string{tools.Fixture, "-era", "legacy"}})
			},
			ourRounds(),
		},
		{
			"modern client, wrap, our legacy server",
			[]string{"Go SDK, modern", "TypeScript SDK, modern"},
			func(t *testing.T) place { return place{command: wrap(t, tools.Fixture, "-era", "legacy")} },
			ourRounds(),
		},
		{
			"legacy client, our modern server over HTTP",
			[]string{"Go SDK, legacy", "TypeScript SDK, legacy"},
			func(t *testing.T) place {
				return through(t, kit.Server{URL: fixture(t, "-era", "modern")})
			},
			ourRounds(),
		},
		{
			"legacy client, our modern server over stdio",
			[]string{"Go SDK, legacy", "TypeScript SDK, legacy"},
			func(t *testing.T) place {
				return through(t, kit.Server{Command: []string{tools.Fixture, "-era", "modern"}})
			},
			ourRounds(),
		},
		{
			"legacy client, wrap, our modern server",
			[]string{"Go SDK, legacy", "TypeScript SDK, legacy"},
			func(t *testing.T) place { return place{command: wrap(t, tools.Fixture, "-era", "modern")} },
			ourRounds(),
		},
		{
			"modern client, our modern server over HTTP",
			[]string{"Go SDK, modern"},
			func(t *testing.T) place {
				return through(t, kit.Server{URL: fixture(t, "-era", "modern")})
			},
			ourRounds(),
		},
		{
			"legacy client, our legacy server over stdio",
			[]string{"Go SDK, legacy"},
			func(t *testing.T) place {
				return through(t, kit.Server{Command: []string{tools.Fixture, "-era", "legacy"}})
			},
			ourRounds(),
		},
		{
			"directly, modern", []string{"Go SDK, modern", "TypeScript SDK, modern"},
			func(*testing.T) place { return as(tools.Fixture, "-era", "modern") }, ourRounds(),
		},
		{
			"directly, legacy", []string{"Go SDK, legacy", "TypeScript SDK, legacy"},
			func(*testing.T) place { return as(tools.Fixture, "-era", "legacy") }, ourRounds(),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.place(t)
			for _, name := range c.clients {
				for _, r := range c.rounds {
					t.Run(name+", "+r.tool, func(t *testing.T) {
						got := named(name).run(t, p, r.tool, r.arguments)
						want := slices.Clone(r.asked)
						if strings.HasPrefix(name, "Go SDK") { // it serves roots by itself and tells nobody
							want = slices.DeleteFunc(want, func(s string) bool { return s == "roots" })
						}
						slices.Sort(got.asked)
						if !slices.Equal(got.asked, want) {
							t.Errorf("asked %v, want %v", got.asked, want)
						}
						if !strings.Contains(got.text, r.text) {
							t.Errorf("text %q, want %q in it", got.text, r.text)
						}
					})
				}
			}
		})
	}
}

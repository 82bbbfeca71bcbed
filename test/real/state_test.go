//go:build real

package real

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/test/real/kit"
)

// asked is an input_required result.
type asked struct {
	Type     string                     `json:"resultType"`
	Requests map[string]json.RawMessage `json:"inputRequests"`
	State    string                     `json:"requestState"`
}

// ask calls a tool that asks, and returns what it asks.
func ask(t *testing.T, p *kit.Peer, name, arguments string) asked {
	t.Helper()
	r := tool(t, p, name, arguments, nil)
	var a asked
	if err := json.Unmarshal(r.Result, &a); err != nil || a.Type != "input_required" || len(a.Requests) == 0 {
		t.Fatalf("not asked: %s", r.Body)
	}
	if a.State == "" {
		t.Fatalf("no requestState: %s", r.Body)
	}
	return a
}

const accepted = `{"action":"accept","content":{"username":"ada"}}`

// retry answers every question of a with the same words.
func (a asked) retry(words string) kit.Params {
	responses := map[string]any{}
	for key := range a.Requests {
		responses[key] = raw(words)
	}
	return kit.Params{"inputResponses": responses, "requestState": a.State}
}

func with(p kit.Params, name string, v any) kit.Params {
	out := kit.Params{}
	maps.Copy(out, p)
	out[name] = v
	return out
}

// altered changes one character in the middle of a state.
func altered(state string, i int) string {
	c := byte('A')
	if state[i] == c {
		c = 'B'
	}
	return state[:i] + string(c) + state[i+1:]
}

// refused wants an error, and one that does not tell why: what is another's
// looks like what never was.
func refused(t *testing.T, r *kit.Reply) {
	t.Helper()
	if r.Error == nil {
		t.Errorf("taken: %s", r.Body)
		return
	}
	if r.Code() != -32602 {
		t.Errorf("error %s, want -32602", r.Error)
	}
}

// TestRequestState brings back states that are not what was given: altered, of
// another call, of another caller, and a second time.
func TestRequestState(t *testing.T) {
	tools := parts(t)
	modern := func() *kit.Peer { return &kit.Peer{Modern: true, Capabilities: kit.Everything} }
	for _, c := range []struct {
		name   string
		server func(t *testing.T) kit.Server
		// once is true where a suspended call hangs on the state.
		once bool
	}{
		{"a legacy server over HTTP", func(t *testing.T) kit.Server { return kit.Server{URL: fixture(t, "-era", "legacy")} }, true},
		{"a legacy server over stdio", func(*testing.T) kit.Server {
			return kit.Server{Command: []string{tools.Fixture, "-era", "legacy"}}
		}, true},
		{"a modern server over HTTP", func(t *testing.T) kit.Server { return kit.Server{URL: fixture(t, "-era", "modern")} }, false},
		{"a modern server over stdio", func(*testing.T) kit.Server {
			return kit.Server{Command: []string{tools.Fixture, "-era", "modern"}}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := c.server(t)
			g := gateway(t, map[string]kit.Server{"x": s, "y": s})
			p := overHTTP(t, g.URL("x"), modern(), nil)
			const name, arguments = "test_elicitation", `{"message":"who?"}`
			a := ask(t, p, name, arguments)
			good := a.retry(accepted)

			t.Run("altered", func(t *testing.T) {
				for _, i := range []int{0, len(a.State) / 3, len(a.State) / 2, len(a.State) - 2} {
					refused(t, tool(t, p, name, arguments, with(good, "requestState", altered(a.State, i))))
				}
				refused(t, tool(t, p, name, arguments, with(good, "requestState", a.State[:len(a.State)-4])))
				refused(t, tool(t, p, name, arguments, with(good, "requestState", a.State+"AAAA")))
			})
			t.Run("with other arguments", func(t *testing.T) {
				refused(t, tool(t, p, name, `{"message":"who else?"}`, good))
			})
			t.Run("for another tool", func(t *testing.T) {
				refused(t, tool(t, p, "test_elicitation_sep1034_defaults", `{}`, good))
			})
			t.Run("at another server", func(t *testing.T) {
				refused(t, tool(t, overHTTP(t, g.URL("y"), modern(), nil), name, arguments, good))
			})
			t.Run("at another gateway", func(t *testing.T) {
				other := gateway(t, map[string]kit.Server{"x": s})
				refused(t, tool(t, overHTTP(t, other.URL("x"), modern(), nil), name, arguments, good))
			})
			t.Run("not a string", func(t *testing.T) {
				refused(t, tool(t, p, name, arguments, with(good, "requestState", 7)))
			})
			t.Run("an answer that was not asked for completes nothing", func(t *testing.T) {
				b := ask(t, p, name, arguments)
				r := tool(t, p, name, arguments, kit.Params{
					"inputResponses": map[string]any{"never-asked": raw(accepted)}, "requestState": b.State,
				})
				var again asked
				if r.Error == nil && (json.Unmarshal(r.Result, &again) != nil || again.Type != "input_required") {
					t.Errorf("completed: %s", r.Body)
				}
			})
			t.Run("an answer that does not fit what was asked", func(t *testing.T) {
				b := ask(t, p, name, arguments)
				r := tool(t, p, name, arguments, b.retry(`{"action":"accept","content":{"username":{"not":"text"}}}`))
				if r.Error == nil && !strings.Contains(string(r.Result), "input_required") && !strings.Contains(string(r.Result), `"isError":true`) {
					t.Errorf("completed: %s", r.Body)
				}
			})
			t.Run("good after all that", func(t *testing.T) {
				r := tool(t, p, name, arguments, good)
				if !strings.Contains(r.Text(), "ada") {
					t.Fatalf("not completed: %s", r.Body)
				}
				if c.once {
					refused(t, tool(t, p, name, arguments, good))
				}
			})
		})
	}
}

// TestStrangersState has one client bring back the state of another: both are
// let in, each with a token of its own.
func TestStrangersState(t *testing.T) {
	dir := t.TempDir()
	conf, err := kit.NewConfig(dir, map[string]kit.Server{"x": {URL: fixture(t, "-era", "legacy")}})
	if err != nil {
		t.Fatal(err)
	}
	conf.Identity = nil
	g := serve(t, dir, conf)
	tokens := clientTokens(t, g, conf.Data)
	as := func(token string) *kit.Peer {
		return overHTTP(t, g.URL("x"), &kit.Peer{Modern: true, Capabilities: kit.Everything},
			http.Header{"Authorization": {"Bearer " + token}})
	}
	const name, arguments = "test_elicitation", `{"message":"who?"}`
	mine, stranger := as(tokens[0]), as(tokens[1])
	a := ask(t, mine, name, arguments)
	refused(t, tool(t, stranger, name, arguments, a.retry(accepted)))
	if r := tool(t, mine, name, arguments, a.retry(accepted)); !strings.Contains(r.Text(), "ada") {
		t.Errorf("the owner's own state: %s", r.Body)
	}
	none := kit.DialHTTP(g.URL("x"), &kit.Peer{Modern: true}, nil)
	r, err := none.Do(hurry(t), "tools/list", nil)
	if err == nil && r.Error == nil || r == nil || r.Status != http.StatusUnauthorized {
		t.Errorf("without a token: %+v, %v", r, err)
	}
}

// clientTokens are two different tokens that the gateway gave out: those in
// the lines to paste, and the operator's.
func clientTokens(t *testing.T, g *kit.Gateway, data string) []string {
	t.Helper()
	bearer := regexp.MustCompile(`Bearer\s+([A-Za-z0-9._~+/=-]{16,})`)
	var tokens []string
	eventually(t, "two tokens", func(context.Context) bool {
		tokens = nil
		for _, m := range bearer.FindAllStringSubmatch(g.Output(), -1) {
			if !slices.Contains(tokens, m[1]) {
				tokens = append(tokens, m[1])
			}
		}
		if b, err := os.ReadFile(filepath.Join(data, "operator.token")); err == nil {
			tokens = append(tokens, strings.TrimSpace(string(b)))
		}
		return len(tokens) >= 2
	})
	return tokens
}

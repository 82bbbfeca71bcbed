//go:build real

package real

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/munjigi/munjigi/test/real/kit"
)

// request is one request whose answers are compared.
type request struct {
	method string
	params kit.Params
}

func toolCall(name, arguments string) request {
	return request{"tools/call", kit.Params{"name": name, "arguments": raw(arguments)}}
}

// fidelity is one real server. It is started afresh for each way to reach it,
// so that servers with a memory see the same calls in the same order.
type fidelity struct {
	name string
	// command runs it over stdio; dir is a folder of its own.
	command func(t *testing.T, dir string) (cmd []string, env map[string]string)
	// http runs it over HTTP and returns its endpoint; nil where it has none.
	http func(t *testing.T) string
	// modern is true for a server that speaks 2026-07-28.
	modern bool
	// fixed is true for a server that works in one folder of which its answers
	// tell; it gets the same folder every time.
	fixed bool
	calls []request
}

// callsNeeded is how many calls of each server must have a result to compare.
const callsNeeded = 10

func lists() []request {
	return []request{
		{"tools/list", nil},
		{"prompts/list", nil},
		{"resources/list", nil},
		{"resources/templates/list", nil},
	}
}

func realServers(t *testing.T) []fidelity {
	tools := parts(t)
	js := func(name string) []string {
		return []string{tools.Node, tools.Package(name, "dist", "index.js")}
	}
	sdkCalls := []request{
		toolCall("test_simple_text", `{}`),
		toolCall("test_image_content", `{}`),
		toolCall("test_audio_content", `{}`),
		toolCall("test_embedded_resource", `{}`),
		toolCall("test_multiple_content_types", `{}`),
		toolCall("test_error_handling", `{}`),
		toolCall("test_x_mcp_header", `{"level":7}`),
		{"resources/read", kit.Params{"uri": "test://static-text"}},
		{"resources/read", kit.Params{"uri": "test://template/123/data"}},
		{"prompts/get", kit.Params{"name": "test_prompt_with_arguments", "arguments": raw(`{"arg1":"<a>","arg2":"é"}`)}},
		{"prompts/get", kit.Params{"name": "test_prompt_with_image"}},
		{"completion/complete", kit.Params{
			"ref": raw(`{"type":"ref/prompt","name":"test_prompt_with_arguments"}`), "argument": raw(`{"name":"arg1","value":"t"}`),
		}},
	}
	return []fidelity{
		{
			name: "server-everything",
			command: func(*testing.T, string) ([]string, map[string]string) {
				return js("@modelcontextprotocol/server-everything"), nil
			},
			http: everythingJS,
			calls: []request{
				toolCall("echo", `{"message":"héllo <&> \u0000 \ud83d\ude00"}`),
				toolCall("echo", `{"message":""}`),
				toolCall("get-sum", `{"a":1.5,"b":2}`),
				toolCall("get-sum", `{"a":-1,"b":1e2}`),
				toolCall("get-tiny-image", `{}`),
				toolCall("get-annotated-message", `{"messageType":"error","includeImage":true}`),
				toolCall("get-annotated-message", `{"messageType":"success"}`),
				toolCall("get-structured-content", `{"location":"New York"}`),
				toolCall("get-structured-content", `{"location":"Chicago"}`),
				toolCall("get-resource-links", `{"count":3}`),
				{"prompts/get", kit.Params{"name": "simple-prompt"}},
				{"prompts/get", kit.Params{"name": "args-prompt", "arguments": raw(`{"city":"Oslo"}`)}},
			},
		},
		{
			name: "server-filesystem", fixed: true,
			command: func(t *testing.T, dir string) ([]string, map[string]string) {
				if err := os.RemoveAll(filepath.Join(dir, "w.txt")); err != nil {
					t.Fatal(err)
				}
				for name, content := range map[string]string{"a.txt": "one\ntwo é\n", "b/c.json": `{"x":1}`, "p.png": "\x89PNG\r\n"} {
					file := filepath.Join(dir, name)
					if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return append(js("@modelcontextprotocol/server-filesystem"), dir), nil
			},
			calls: []request{
				toolCall("list_allowed_directories", `{}`),
				toolCall("read_text_file", `{"path":"DIR/a.txt"}`),
				toolCall("read_text_file", `{"path":"DIR/a.txt","head":1}`),
				toolCall("read_text_file", `{"path":"DIR/none.txt"}`),
				toolCall("read_text_file", `{"path":"/etc/hostname"}`),
				toolCall("read_media_file", `{"path":"DIR/p.png"}`),
				toolCall("read_multiple_files", `{"paths":["DIR/a.txt","DIR/b/c.json"]}`),
				toolCall("list_directory", `{"path":"DIR"}`),
				toolCall("directory_tree", `{"path":"DIR"}`),
				toolCall("search_files", `{"path":"DIR","pattern":"**/*.json"}`),
				toolCall("write_file", `{"path":"DIR/w.txt","content":"w"}`),
				toolCall("edit_file", `{"path":"DIR/w.txt","edits":[{"oldText":"w","newText":"v"}]}`),
			},
		},
		{
			name: "server-memory",
			command: func(_ *testing.T, dir string) ([]string, map[string]string) {
				return js("@modelcontextprotocol/server-memory"), map[string]string{"MEMORY_FILE_PATH": filepath.Join(dir, "memory.jsonl")}
			},
			calls: []request{
				toolCall("create_entities", `{"entities":[{"name":"Ada","entityType":"person","observations":["writes é"]},{"name":"Engine","entityType":"machine","observations":[]}]}`),
				toolCall("create_relations", `{"relations":[{"from":"Ada","to":"Engine","relationType":"programs"}]}`),
				toolCall("add_observations", `{"observations":[{"entityName":"Ada","contents":["first"]}]}`),
				toolCall("read_graph", `{}`),
				toolCall("search_nodes", `{"query":"Ada"}`),
				toolCall("open_nodes", `{"names":["Engine"]}`),
				toolCall("delete_observations", `{"deletions":[{"entityName":"Ada","observations":["first"]}]}`),
				toolCall("delete_relations", `{"relations":[{"from":"Ada","to":"Engine","relationType":"programs"}]}`),
				toolCall("delete_entities", `{"entityNames":["Engine"]}`),
				toolCall("add_observations", `{"observations":[{"entityName":"nobody","contents":["x"]}]}`),
				toolCall("read_graph", `{}`),
			},
		},
		{
			name:    "everything-server",
			command: func(*testing.T, string) ([]string, map[string]string) { return []string{tools.Everything}, nil },
			http:    func(t *testing.T) string { return everything(t, false) },
			calls:   sdkCalls,
		},
		{
			name:    "everything-server-stateless",
			command: func(*testing.T, string) ([]string, map[string]string) { return []string{tools.Everything}, nil },
			http:    func(t *testing.T) string { return everything(t, true) },
			modern:  true,
			calls:   sdkCalls,
		},
		{
			name: "fixture",
			command: func(*testing.T, string) ([]string, map[string]string) {
				return []string{tools.Fixture, "-odd", "-era", "both"}, nil
			},
			http:   func(t *testing.T) string { return fixture(t, "-odd", "-era", "both") },
			modern: true,
			calls: append(sdkCalls,
				toolCall("odd_bytes", `{}`),
				toolCall("odd_echo", `{"n":1.0,"e":1E+2,"big":12345678901234567890,"u":"\u00e9\/","__proto__":{"a":[1,2]}}`),
				toolCall("test_structured", `{"n":21}`),
				toolCall("odd_big", `{"n":300000}`),
			),
		},
	}
}

// everythingJS runs server-everything over HTTP. It would listen on every
// interface, so a script that is loaded before it says otherwise.
func everythingJS(t *testing.T) string {
	t.Helper()
	tools := parts(t)
	addr, err := kit.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	preload, err := filepath.Abs(filepath.Join("testdata", "loopback.cjs"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := kit.Start(t.Context(), kit.Command{
		Name: "server-everything",
		Path: tools.Node,
		Args: []string{"--require", preload, tools.Package("@modelcontextprotocol/server-everything", "dist", "index.js"), "streamableHttp"},
		Env:  append(os.Environ(), "PORT="+addr[len("127.0.0.1:"):]),
		Addr: addr,
	})
	ending(t, p, err)
	return "http://" + addr + "/mcp"
}

// way is one way to reach a server.
type way struct {
	name   string
	modern bool
	dial   func(t *testing.T, f fidelity, dir string) *kit.Peer
}

func stdioEnv(extra map[string]string) []string {
	env := os.Environ()
	for k, v := range extra {
		env = append(env, k+"="+v)
	}
	return env
}

func directStdio(modern bool) way {
	return way{"stdio", modern, func(t *testing.T, f fidelity, dir string) *kit.Peer {
		cmd, env := f.command(t, dir)
		return overStdio(t, kit.Command{Name: f.name, Path: cmd[0], Args: cmd[1:], Env: stdioEnv(env)}, &kit.Peer{Modern: modern})
	}}
}

func directHTTP(modern bool) way {
	return way{"HTTP", modern, func(t *testing.T, f fidelity, _ string) *kit.Peer {
		return overHTTP(t, f.http(t), &kit.Peer{Modern: modern}, nil)
	}}
}

func throughStdio(modern bool) way {
	return way{"gateway to stdio", modern, func(t *testing.T, f fidelity, dir string) *kit.Peer {
		cmd, env := f.command(t, dir)
		g := gateway(t, map[string]kit.Server{"x": {Command: cmd, Env: env}})
		return overHTTP(t, g.URL("x"), &kit.Peer{Modern: modern}, nil)
	}}
}

func throughHTTP(modern bool) way {
	return way{"gateway to HTTP", modern, func(t *testing.T, f fidelity, _ string) *kit.Peer {
		g := gateway(t, map[string]kit.Server{"x": {URL: f.http(t)}})
		return overHTTP(t, g.URL("x"), &kit.Peer{Modern: modern}, nil)
	}}
}

func throughWrap(modern bool) way {
	return way{"wrap", modern, func(t *testing.T, f fidelity, dir string) *kit.Peer {
		cmd, env := f.command(t, dir)
		if len(env) > 0 {
			cmd = append(append([]string{"/usr/bin/env"}, pairs(env)...), cmd...)
		}
		return overStdio(t, wrap(t, cmd...), &kit.Peer{Modern: modern})
	}}
}

// pairs are NAME=value words for env(1): a wrapped server inherits nothing.
func pairs(env map[string]string) []string {
	var out []string
	for k, v := range env {
		out = append(out, k+"="+v)
	}
	return out
}

func TestFidelity(t *testing.T) {
	for _, f := range realServers(t) {
		t.Run(f.name, func(t *testing.T) {
			base := t.TempDir()
			ask := func(t *testing.T, w way) []*kit.Reply {
				t.Helper()
				dir := base
				if !f.fixed {
					dir = t.TempDir()
				}
				p := w.dial(t, f, dir)
				var out []*kit.Reply
				for _, r := range append(lists(), f.calls...) {
					out = append(out, do(t, p, r.method, placed(r.params, dir)))
				}
				return out
			}
			direct := map[string][]*kit.Reply{"stdio legacy": ask(t, directStdio(false))}
			if f.http != nil {
				direct["HTTP legacy"] = ask(t, directHTTP(false))
			}
			if f.modern {
				direct["stdio modern"] = ask(t, directStdio(true))
				direct["HTTP modern"] = ask(t, directHTTP(true))
			}
			t.Run("directly again", func(t *testing.T) {
				again := ask(t, directStdio(false))
				answered := 0
				for i, r := range append(lists(), f.calls...) {
					same(t, fmt.Sprintf("%s %s changes by itself", r.method, label(r)), direct["stdio legacy"][i], again[i], false)
					if i >= len(lists()) && again[i].Error == nil {
						answered++
					}
				}
				if answered < callsNeeded {
					t.Errorf("%d calls have a result, want %d", answered, callsNeeded)
				}
			})
			type pair struct {
				way     way
				with    string
				bridged bool
			}
			all := []pair{{throughStdio(false), "stdio legacy", false}, {throughWrap(false), "stdio legacy", false}}
			if f.http != nil {
				all = append(all, pair{throughHTTP(false), "HTTP legacy", false})
			}
			if f.modern {
				all = append(all,
					pair{throughStdio(true), "stdio modern", false},
					pair{throughHTTP(true), "HTTP modern", false},
					pair{throughWrap(true), "stdio modern", false})
			} else {
				all = append(all, pair{throughStdio(true), "stdio legacy", true})
			}
			for _, p := range all {
				name := p.way.name + " legacy"
				if p.way.modern {
					name = p.way.name + " modern"
				}
				t.Run(name, func(t *testing.T) {
					got := ask(t, p.way)
					for i, r := range append(lists(), f.calls...) {
						same(t, fmt.Sprintf("%s %s", r.method, label(r)), direct[p.with][i], got[i], p.bridged)
					}
				})
			}
		})
	}
}

// placed writes the server's folder where the arguments say DIR.
func placed(p kit.Params, dir string) kit.Params {
	out := kit.Params{}
	for k, v := range p {
		if b, ok := v.(json.RawMessage); ok {
			v = json.RawMessage(bytes.ReplaceAll(b, []byte("DIR"), []byte(dir)))
		}
		out[k] = v
	}
	return out
}

func label(r request) string {
	if name, ok := r.params["name"].(string); ok {
		return name
	}
	uri, _ := r.params["uri"].(string)
	return uri
}

// eraFields are the members that an era adds to a result by itself, and the
// hints that the gateway sets anew: all others keep their bytes.
func eraFields() []string { return []string{"resultType", "ttlMs", "cacheScope"} }

// ownMeta are the _meta members that belong to a hop and not to the result.
func ownMeta() []string { return []string{"io.modelcontextprotocol/serverInfo", "dev.munjigi/id"} }

// same compares two replies. Between a legacy client and a legacy server
// nothing may differ; otherwise what belongs to the era may.
func same(t *testing.T, what string, direct, through *kit.Reply, bridged bool) {
	t.Helper()
	if (direct.Error == nil) != (through.Error == nil) {
		t.Errorf("%s: directly %s, through the gateway %s", what, direct.Body, through.Body)
		return
	}
	if direct.Error != nil {
		if direct.Code() != through.Code() && !bridged {
			t.Errorf("%s: error %s directly, %s through the gateway", what, direct.Error, through.Error)
		}
		return
	}
	want, got := compared(direct), compared(through)
	for name, b := range want {
		if !bytes.Equal(b, got[name]) {
			t.Errorf("%s: member %q\ndirectly    %s\nthe gateway %s", what, name, clip(b), clip(got[name]))
		}
	}
	for name, b := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: member %q was added: %s", what, name, clip(b))
		}
	}
}

// compared is what of a result is compared, by member.
func compared(r *kit.Reply) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for name, b := range r.Members() {
		switch {
		case slices.Contains(eraFields(), name):
		case name == "_meta":
			var meta map[string]json.RawMessage
			if json.Unmarshal(b, &meta) != nil {
				out[name] = b
				continue
			}
			for k, v := range meta {
				if !slices.Contains(ownMeta(), k) {
					out["_meta."+k] = v
				}
			}
		default:
			out[name] = b
		}
	}
	return out
}

func clip(b []byte) []byte {
	const most = 400
	if len(b) > most {
		return append(b[:most:most], "…"...)
	}
	return b
}

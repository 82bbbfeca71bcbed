package config_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
)

func ref(text string) secret.Ref {
	r, err := secret.ParseRef(text)
	if err != nil {
		panic(err)
	}
	return r
}

const whole = `
listen: "[::1]:9000"
public_url: https://mcp.example.com/
data: ../state
protocol_floor: 2025-11-25
merged: [github]
allowed_origins: [https://app.example.com, "vscode-webview://abc", "http://[::1]:3000"]
allowed_hosts: [gateway.internal, "gateway.internal:8931", "::1"]
egress: { allow: ["127.0.0.1:9080", login.internal] }
audit: { durability: relaxed }
limits: { body: 8MiB, depth: 32, header_timeout: 5s, per_principal_calls: 8 }
servers:
  github:
    url: https://mcp.example.net/mcp?x=1
    era: modern
    shared: true
    audience: [api://1f0c]
    credential:
      type: static
      headers:
        authorization: { prefix: "Bearer ", secret: env:GITHUB_TOKEN }
        X-Second: { secret: file:second.key }
    audit: { durability: strict }
    timeout: 90s
    deadline: 20m
  files:
    command: [npx, -y, "@modelcontextprotocol/server-filesystem@2025.1.1", 8080, { prefix: --key=, secret: sealed:files-key }]
    env: { LOG_LEVEL: info, TOKEN: { secret: env:FILES_TOKEN }, PORT: 8080, EMPTY: "", DEBUG: true }
    cwd: work
    insecure_unsandboxed: true
    max_processes: 2
    idle_timeout: 1m
  off: { command: [x], enabled: false, era: legacy }
  secret-url: { url: { prefix: "https://mcp.example.com/api/", secret: env:PATH_OF_IT } }
  local: { url: "http://127.0.0.1:3001/mcp" }
`

func TestEveryKeyIsRead(t *testing.T) {
	t.Parallel()
	got := parse(t, whole)
	dir := filepath.Dir(at("x"))
	server := func(name string, edit func(*config.Server)) config.Server {
		s := config.NewServer(name)
		s.Enabled = true
		s.Cwd = dir
		s.Durability = config.DurabilityRelaxed
		edit(&s)
		return s
	}
	limits := config.DefaultLimits()
	limits.Body, limits.Depth, limits.HeaderTimeout, limits.PerPrincipalCalls = 8<<20, 32, 5*time.Second, 8
	want := &config.Config{
		File:           at("munjigi.yaml"),
		Listen:         "[::1]:9000",
		PublicURL:      "https://mcp.example.com",
		Data:           filepath.Join(filepath.Dir(dir), "state"),
		ProtocolFloor:  "2025-11-25",
		Merged:         []string{"github"},
		AllowedOrigins: []string{"https://app.example.com", "vscode-webview://abc", "http://[::1]:3000"},
		AllowedHosts:   []string{"gateway.internal", "gateway.internal:8931", "::1"},
		Egress:         config.Egress{Allow: []string{"127.0.0.1:9080", "login.internal"}},
		Audit:          config.Audit{Durability: config.DurabilityRelaxed},
		Limits:         limits,
		Servers: []config.Server{
			server("files", func(s *config.Server) {
				s.Command = []config.Value{{Text: "npx"}, {Text: "-y"}, {Text: "@modelcontextprotocol/server-filesystem@2025.1.1"}, {Text: "8080"},
					{Text: "--key=", Secret: ref("sealed:files-key")}}
				s.Env = []config.EnvVar{
					{Name: "LOG_LEVEL", Value: config.Value{Text: "info"}},
					{Name: "TOKEN", Value: config.Value{Secret: ref("env:FILES_TOKEN")}},
					{Name: "PORT", Value: config.Value{Text: "8080"}},
					{Name: "EMPTY"},
					{Name: "DEBUG", Value: config.Value{Text: "true"}},
				}
				s.Cwd = filepath.Join(dir, "work")
				s.InsecureUnsandboxed = true
				s.MaxProcesses, s.IdleTimeout = 2, time.Minute
			}),
			server("github", func(s *config.Server) {
				s.URL = config.Value{Text: "https://mcp.example.net/mcp?x=1"}
				s.Era, s.Shared, s.Audience = config.EraModern, true, []string{"api://1f0c"}
				s.Credential = config.Credential{Type: config.CredentialStatic, Headers: []config.CredentialHeader{
					{Name: "Authorization", Value: config.Value{Text: "Bearer ", Secret: ref("env:GITHUB_TOKEN")}},
					{Name: "X-Second", Value: config.Value{Secret: ref("file:" + filepath.Join(dir, "second.key"))}},
				}}
				s.Durability = config.DurabilityStrict
				s.Timeout, s.Deadline = 90*time.Second, 20*time.Minute
			}),
			server("local", func(s *config.Server) { s.URL.Text = "http://127.0.0.1:3001/mcp" }),
			server("off", func(s *config.Server) {
				s.Command, s.Enabled, s.Era = []config.Value{{Text: "x"}}, false, config.EraLegacy
			}),
			server("secret-url", func(s *config.Server) {
				s.URL = config.Value{Text: "https://mcp.example.com/api/", Secret: ref("env:PATH_OF_IT")}
			}),
		},
	}
	want.Approval = config.Approval{Wait: config.DefaultApprovalWait, UseWithin: config.DefaultApprovalUseWithin, Waiting: config.DefaultApprovalWaiting,
		PerHour: config.DefaultApprovalPerHour, MaxAge: config.DefaultApprovalMaxAge}
	got.Warnings = nil
	if d := cmp.Diff(want, got, plain); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	if got.Digest != sha256.Sum256([]byte(whole)) {
		t.Error("the digest is not of the file's bytes")
	}
	if _, ok := got.Server("off"); !ok {
		t.Error("Server does not find a server")
	}
	if _, ok := got.Server("of"); ok {
		t.Error("Server finds what is not there")
	}
}

func TestDefault(t *testing.T) {
	t.Parallel()
	c, err := config.Default(home)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:8931" || !c.Demo || c.ProtocolFloor != "2025-06-18" || len(c.Servers) != 0 || c.Audit.Durability != config.DurabilityStrict {
		t.Errorf("default: %+v", c)
	}
	if d := c.Departures(); len(d) != 0 {
		t.Errorf("the defaults depart from the defaults: %v", d)
	}
	if !filepath.IsAbs(c.Data) || !strings.HasSuffix(c.Data, "munjigi") {
		t.Errorf("data is %q", c.Data)
	}
	if _, err := config.Default(func(string) string { return "" }); err == nil {
		t.Error("a folder for data was found where the environment names none")
	}
	if _, err := config.Default(func(string) string { return "relative" }); err == nil {
		t.Error("a relative folder for data was taken")
	}
}

// TestDefaultsOfAnEmptyFile is about a file that says nothing: safe, no demo.
func TestDefaultsOfAnEmptyFile(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "---\n", "\ufeff# with a byte order mark\n"} {
		c := parse(t, text)
		if c.Demo || c.Listen != config.DefaultListen || len(c.Departures()) != 0 || len(c.Warnings) != 1 {
			t.Errorf("%q: demo %v listen %s departures %v warnings %v", text, c.Demo, c.Listen, c.Departures(), c.Warnings)
		}
	}
}

func TestMerged(t *testing.T) {
	t.Parallel()
	servers := "servers: { a: { url: https://a.example }, b: { url: https://b.example }, c: { url: https://c.example, enabled: false } }\n"
	issuers := "public_url: https://mcp.example.com\nidentity: { issuers: [{ issuer: https://login.example.com }] }\n"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"all without identity", servers, []string{"a", "b"}},
		{"the named ones", servers + "merged: [b]\n", []string{"b"}},
		{"none", servers + "merged: []\n", nil},
		{"none with identity", servers + issuers, nil},
		{"the named ones with identity", servers + issuers + "merged: [a, c]\n", []string{"a"}},
	} {
		got, err := config.Build{Identity: true, Getenv: home}.Parse(at("m.yaml"), []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got.MergedServers()); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// TestNothingComesFromTheEnvironment sets every variable that somebody might
// think of, and writes variables where other tools would replace them.
func TestNothingComesFromTheEnvironment(t *testing.T) {
	t.Parallel()
	getenv := func(key string) string {
		if key == "HOME" || key == "LocalAppData" {
			return home(key)
		}
		return "true"
	}
	text := `servers: { a: { command: [x, "${HOME}", "$HOME"], env: { A: "${MUNJIGI_A:-b}" }, enabled: false } }`
	c, err := config.Build{Getenv: getenv}.Parse(at("m.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := c.Server("a")
	if a.Command[1].Text != "${HOME}" || a.Command[2].Text != "$HOME" || a.Env[0].Value.Text != "${MUNJIGI_A:-b}" {
		t.Errorf("a variable was replaced: %v %v", a.Command, a.Env)
	}
	if d := c.Departures(); len(d) != 0 {
		t.Errorf("the environment weakened the config: %v", d)
	}
	if _, err := (config.Build{Getenv: getenv}).Parse(at("m.yaml"), []byte(`servers: { a: { command: [x], insecure_unsandboxed: "${YES}" } }`)); err == nil {
		t.Error("an insecure key was taken from a variable")
	}
}

func TestProblemAtAKey(t *testing.T) {
	t.Parallel()
	c := parse(t, "servers:\n  a:\n    url: https://a.example\n")
	got := c.Problem("servers.a.url", "answers nothing", "start it")
	if got.Line != 3 || got.Column != 10 || got.File != c.File {
		t.Errorf("%+v", got)
	}
	if got := c.Problem("servers.a.era", "x", "y"); got.Line != 2 || got.Column != 3 {
		t.Errorf("the nearest key above: %+v", got)
	}
}

func TestLoadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	build := config.Build{Getenv: home}
	good := filepath.Join(dir, "good.yaml")
	write(t, good, "servers: { a: { url: https://a.example } }\n", 0o600)
	if c, err := build.Load(good); err != nil || c.File != good {
		t.Fatalf("%v %v", c, err)
	}
	for name, wantCause := range map[string]bool{"missing.yaml": true, "folder": false, "huge.yaml": false} {
		path := filepath.Join(dir, name)
		switch name {
		case "folder":
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		case "huge.yaml":
			write(t, path, strings.Repeat("# large\n", 17<<17), 0o600)
		}
		_, err := build.Load(path)
		var list *config.Errors
		if !errors.As(err, &list) || len(list.List) != 1 || list.List[0].Next == "" {
			t.Fatalf("%s: %v", name, err)
		}
		if got := errors.Is(err, fs.ErrNotExist); got != wantCause {
			t.Errorf("%s: the cause is %v", name, errors.Unwrap(err))
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestManyErrors is a file with more errors than anybody reads.
func TestManyErrors(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "key%d: x\n", i)
	}
	_, err := config.Build{Getenv: home}.Parse(at("m.yaml"), []byte(b.String()))
	var list *config.Errors
	if !errors.As(err, &list) || len(list.List)+list.Omitted != 5000 || len(list.List) != 1000 {
		t.Fatalf("kept %d, omitted %d", len(list.List), list.Omitted)
	}
	if !strings.Contains(err.Error(), "and 4000 more") {
		t.Error("the text does not say that there are more")
	}
}

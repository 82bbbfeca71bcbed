package app_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/upstream/stdio"
)

var update = flag.Bool("update", false, "write the wanted parts of the goldens anew")

// TestMain lets the test binary stand in for a server on standard streams: it
// connects back to the test and copies.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "stdio-upstream" {
		os.Exit(pipe(os.Args[2]))
	}
	flag.Parse()
	os.Exit(m.Run())
}

func pipe(addr string) int {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 3
	}
	env := os.Environ()
	slices.Sort(env)
	if _, err := fmt.Fprintf(c, "%q\n", env); err != nil {
		return 3
	}
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.Close()
	}()
	_, _ = io.Copy(os.Stdout, c)
	return 0
}

// TestGolden plays every archive of testdata/golden through a whole gateway;
// README.md there says how they are written.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			playFile(t, file)
		})
	}
}

func playFile(t *testing.T, file string) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := playArchive(t, a)
	if *update {
		if t.Failed() {
			return
		}
		a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want.") })
		a.Files = append(a.Files, got...)
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, g := range got {
		if diff := cmp.Diff(strings.Split(section(a, g.Name), "\n"), strings.Split(string(g.Data), "\n")); diff != "" {
			t.Errorf("%s: wanted (-), got (+):\n%s", g.Name, diff)
		}
	}
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func hasSection(a *txtar.Archive, name string) bool {
	return slices.ContainsFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
}

// patience bounds a whole archive: whoever waits longer waits for ever.
const patience = time.Minute

// gatewayUnderTest is a whole running gateway of one archive.
type gatewayUnderTest struct {
	app    *app.App
	base   string
	data   string
	stop   context.CancelFunc
	served chan error
	closed bool
}

// playArchive runs one archive and returns its wanted sections as they are.
func playArchive(t *testing.T, a *txtar.Archive) []txtar.File {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := newBoard()
	var fakes []*fake
	var names []string
	places := map[string]string{"command": ""}
	shown := []string{}
	for _, f := range a.Files {
		name, ok := strings.CutPrefix(f.Name, "upstream")
		if !ok {
			continue
		}
		name = strings.TrimPrefix(name, ".")
		s, err := readScript(strings.ReplaceAll(string(f.Data), `"~/`, `"`+metaPrefix))
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		prefix := ""
		if name != "" {
			prefix = name + ":"
		}
		u := newFake(t, ctx, prefix, s, b)
		defer u.close()
		fakes, names = append(fakes, u), append(names, name)
		places[f.Name] = u.http.URL + "/mcp"
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		places[strings.Replace(f.Name, "upstream", "command", 1)] = fmt.Sprintf("[%q, stdio-upstream, %q]", self, u.pipe.Addr().String())
		shown = append(shown, u.http.URL, "«"+f.Name+"»")
	}
	conf := section(a, "config.yaml")
	var idp *goldenIssuer
	if hasSection(a, "issuer") {
		idp = newGoldenIssuer(t)
		places["issuer"], places["issuer host"] = idp.URL, strings.TrimPrefix(idp.URL, "http://")
		shown = append(shown, idp.URL, "«issuer»", idp.inside.URL, "«inside»")
		conf = "public_url: ${gateway}\nidentity: { issuers: [{ issuer: \"${issuer}\"" + strings.TrimSpace(section(a, "issuer")) +
			" }]" + strings.TrimSpace(section(a, "identity")) + " }\negress: { allow: [\"${issuer host}\"] }\npolicy: [policy.cedar]\n" + conf
	}
	if !strings.Contains(conf, "servers:") && len(fakes) == 1 {
		era := "auto"
		if s := fakes[0].script; !s.legacy {
			era = "modern"
		} else if !s.modern {
			era = "legacy"
		}
		asks := ""
		if idp == nil && !strings.Contains(conf, "policy:") {
			asks = ", may_ask: [sampling, elicitation, roots]"
		}
		conf += "servers:\n  s: { url: \"${upstream}\", era: " + era + asks + " }\n"
	}
	for name, v := range places {
		conf = strings.ReplaceAll(conf, "${"+name+"}", v)
	}
	policy := allowAll
	if hasSection(a, "policy.cedar") {
		policy = strings.ReplaceAll(section(a, "policy.cedar"), "${issuer}", places["issuer"])
	}
	g := openGatewayUnder(t, ctx, conf, policy)
	shown = append(shown, fmt.Sprintf("%q", "PATH="+stdio.DefaultPath()), "the default PATH")
	shown = append(shown, g.base, "«gateway»", strings.TrimPrefix(g.base, "http://"), "«gateway host»")
	v := newViews(shown...)
	c := newClient(t, ctx, b, g.base, g.token(t, ctx), v)
	if idp != nil {
		idp.resource = g.base + "/mcp/s"
		v.byName["gateway"], v.byName["gateway host"], v.byName["issuer"] = g.base, strings.TrimPrefix(g.base, "http://"), idp.URL
		c.issuer, c.who, c.token = idp, "kim", idp.named(t)
	}
	c.drain = func() { g.close(t) }
	c.decide = func(yes bool) error {
		// At the terminal: the one that waits.
		all, err := app.Approvals(g.app).Waiting(ctx, app.Terminal())
		if err != nil || len(all) != 1 {
			return fmt.Errorf("%d calls wait: %w", len(all), err)
		}
		return app.Approvals(g.app).Decide(ctx, all[0].ID, app.Terminal(), yes)
	}
	c.stdio = func(server string) *lines {
		return newLines(func(r io.Reader, w io.Writer) error { return g.app.ServeStdio(ctx, server, r, w) })
	}
	err := c.play(string(v.expand(section(a, "client"))))
	for name, e := range c.open {
		e.cancel()
		<-e.done
		if err == nil {
			t.Errorf("%s was left open", name)
		}
	}
	g.close(t)
	for _, u := range fakes {
		u.close()
	}
	out := []txtar.File{{Name: "want.client", Data: []byte(c.out.String())}}
	for i, u := range fakes {
		name := "want.upstream"
		if names[i] != "" {
			name += "." + names[i]
		}
		out = append(out, txtar.File{Name: name, Data: []byte(v.upstream(u.view()))})
	}
	if idp != nil {
		out = append(out, txtar.File{Name: "want.issuer", Data: []byte(idp.asked())})
	}
	out = append(out, txtar.File{Name: "want.audit", Data: []byte(record(t, g, v))})
	if err != nil {
		for _, f := range out {
			t.Logf("%s:\n%s", f.Name, f.Data)
		}
		t.Fatal(err)
	}
	checkUpstreams(t, idp, fakes)
	return out
}

const allowAll = "permit (principal, action, resource);\n"

// openGateway builds and serves a gateway of a config on a port of its own.
func openGateway(t *testing.T, ctx context.Context, conf string) *gatewayUnderTest {
	t.Helper()
	return openGatewayUnder(t, ctx, conf, allowAll)
}

// openGatewayUnder gives policy.cedar beside the config.
func openGatewayUnder(t *testing.T, ctx context.Context, conf, policy string) *gatewayUnderTest {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(conf, "definitions:") && (strings.Contains(conf, "issuers:") || strings.Contains(conf, "spiffe:")) {
		conf += "\ndefinitions: { first_sight: clean }\n" // holding at first sight has tests of its own
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	conf = "listen: " + l.Addr().String() + "\ndata: " + data + "\n" + strings.ReplaceAll(conf, "${gateway}", "http://"+l.Addr().String())
	if err := os.WriteFile(filepath.Join(dir, "policy.cedar"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := app.Build(func(string) string { return "" }).Parse(filepath.Join(dir, "munjigi.yaml"), []byte(conf))
	if err != nil {
		t.Fatalf("%v\n%s", err, conf)
	}
	none := func(string) string { return "" }
	a, err := app.Open(ctx, cfg, app.Options{Version: "test", Getenv: none, LookupEnv: func(name string) (string, bool) { return "the value of " + name, name == "KEY" }})
	if err != nil {
		t.Fatal(err)
	}
	sctx, stop := context.WithCancel(ctx)
	g := &gatewayUnderTest{app: a, base: "http://" + l.Addr().String(), data: data, stop: stop, served: make(chan error, 1)}
	go func() { g.served <- a.Serve(sctx, l) }()
	t.Cleanup(func() { g.close(t) })
	return g
}

// close stops the gateway gracefully, once.
func (g *gatewayUnderTest) close(t *testing.T) {
	if g.closed {
		return
	}
	g.closed = true
	g.stop()
	if err := <-g.served; err != nil {
		t.Errorf("the gateway did not stop gracefully: %v", err)
	}
	if err := g.app.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("the gateway did not close: %v", err)
	}
}

// token returns the bearer tokens of named clients; "operator" is the
// operator's own.
func (g *gatewayUnderTest) token(t *testing.T, ctx context.Context) func(string) string {
	known := map[string]string{}
	return func(name string) string {
		if known[name] == "" {
			text, _, err := g.app.ClientToken(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			known[name] = text
		}
		return known[name]
	}
}

// record reads what is on the record, each call's entries together, the calls
// by the time they came.
func record(t *testing.T, g *gatewayUnderTest, v *views) string {
	t.Helper()
	type entries struct {
		began time.Time
		list  []audit.Event
	}
	byID, violated := map[string]*entries{}, map[string]bool{}
	var all []*entries
	err := log.Read(filepath.Join(g.data, "audit"), log.OldestFirst, func(e audit.Event) bool {
		if e.Kind == audit.KindEvent && e.Stage == "config" {
			return true
		}
		if e.Kind == audit.KindEvent && e.Reason == "definitions-pinned" {
			return true
		}
		if e.Kind == audit.KindEvent && e.Reason == "server-violation" {
			violated[e.Server+" "+e.Detail["kind"]] = true // nothing orders it among the calls
			return true
		}
		c := byID[e.ID]
		if c == nil {
			c = &entries{}
			byID[e.ID], all = c, append(all, c)
		}
		if c.began.IsZero() || e.Kind == audit.KindOutcome {
			c.began = e.Time.Add(-e.Duration)
		}
		c.list = append(c.list, e)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(all, func(a, b *entries) int { return a.began.Compare(b.began) })
	var out strings.Builder
	for _, c := range all {
		outcomes := 0
		for i, e := range c.list {
			if e.Kind == audit.KindOutcome {
				outcomes++
			}
			if e.Kind == audit.KindIntent && i > 0 {
				t.Errorf("an intent that is not the first entry of its call: %+v", e)
			}
			fmt.Fprintf(&out, "%s %s %s %s", e.Kind, e.Stage, e.Effect, e.Reason)
			for _, s := range []string{e.Server, e.Method, e.Target} {
				if s == "" {
					s = "-"
				}
				if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
					s = strconv.Quote(s)
				}
				out.WriteString(" " + s)
			}
			switch who := e.Principal + "/" + e.Client; who {
			case "operator@munjigi:local/golden":
			case "/":
				out.WriteString(" by nobody")
			default:
				out.WriteString(" by " + who)
			}
			out.WriteByte('\n')
		}
		if c.list[0].Kind != audit.KindEvent && outcomes != 1 {
			t.Errorf("a call has %d outcomes: %+v", outcomes, c.list)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(violated)) {
		fmt.Fprintf(&out, "violation %s\n", what)
	}
	for id := range v.calls {
		if byID[id] == nil {
			t.Errorf("a client was told the ID %s, which is not on the record", id)
		}
	}
	return ownConn.ReplaceAllString(recordID.ReplaceAllString(v.upstream(out.String()), "«id»"), "«connection».")
}

// checkUpstreams holds what no archive may break: no credential of a client
// reaches a server.
func checkUpstreams(t *testing.T, idp *goldenIssuer, fakes []*fake) {
	t.Helper()
	for _, u := range fakes {
		for _, b := range append(u.raw, []byte(u.view())) {
			if strings.Contains(string(b), "mjc_") || strings.Contains(string(b), "mjo_") {
				t.Errorf("a client's token reached the server: %s", b)
			}
			if idp == nil {
				continue
			}
			if piece := idp.leaked(b); piece != "" {
				t.Errorf("a piece of a token, %q, reached the server: %s", piece, b)
			}
		}
	}
}

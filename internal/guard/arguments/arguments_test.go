package arguments_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/arguments"
	"github.com/munjigi/munjigi/internal/guard/guardtest"
)

// configured reads lines: root SERVER DIR, kind TOOL KIND ARGUMENT, unchecked X,
// writes TOOL, host HOST.
func configured(t *testing.T, config string) guard.Guard {
	t.Helper()
	s := arguments.Settings{Roots: map[string][]string{}, Tools: map[string]map[string]arguments.Kind{}}
	for line := range strings.Lines(config) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "root":
			s.Roots[f[1]] = append(s.Roots[f[1]], f[2])
		case f[0] == "kind":
			if s.Tools[f[1]] == nil {
				s.Tools[f[1]] = map[string]arguments.Kind{}
			}
			s.Tools[f[1]][f[3]] |= map[string]arguments.Kind{"command": arguments.Command, "template": arguments.Template, "url": arguments.URL, "path": arguments.Path, "word": arguments.Word, "sql": arguments.SQL, "header": arguments.Header}[f[2]]
		case f[0] == "unchecked":
			s.Unchecked = append(s.Unchecked, f[1])
		case f[0] == "writes":
			s.SQLWrites = append(s.SQLWrites, f[1])
		case f[0] == "host":
			s.PrivateHosts = append(s.PrivateHosts, f[1])
		default:
			t.Fatalf("config: %q", line)
		}
	}
	return arguments.New(s)
}

func TestGuard(t *testing.T) {
	t.Parallel()
	guardtest.Run(t, configured)
}

func judge(t testing.TB, g guard.Guard, tool, args string) guard.Verdict {
	t.Helper()
	raw := `{"arguments":` + args + `}`
	if err := strictjson.Validate([]byte(raw), strictjson.Default()); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	v, err := g.Checks().Arguments(t.Context(), guard.Subject{Target: call.Target{Server: "s", Method: "tools/call", Name: tool}, Request: true, Raw: []byte(raw)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func one(name, value string) string {
	b, err := json.Marshal(map[string]string{name: value})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestHosts holds that a host is private in every spelling, and that public ones
// are not.
func TestHosts(t *testing.T) {
	t.Parallel()
	g := configured(t, "")
	for _, h := range []string{"127.0.0.1", "127.1", "127.0.1", "0x7f000001", "0X7F.0.0.1", "017700000001", "0177.0.0.1", "00000177.0.0.1", "2130706433", "127.0.0.1.", "127.000.000.001", "010.0.0.1", "10.1", "012.0.0.1", "192.168.257", "172.16.0.1", "172.31.255.255",
		"169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518", "100.100.100.200", "168.63.129.16", "0.0.0.0", "0", "255.255.255.255", "224.0.0.1", "198.18.0.1", "100.64.0.1",
		"[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25eth0]", "[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]", "[::5efe:10.0.0.1]",
		"localhost", "LocalHost", "localhost.", "a.localhost", "localhost.localdomain", "x.local", "metadata.google.internal", "metadata", "kubernetes.default.svc", "printer.lan", "router.home.arpa", "db.corp", "10.0.0.1.nip.io", "7f000001.nip.io", "www.10.0.0.1.sslip.io", "app.lvh.me", "localtest.me", "foo.10-0-0-1.example.com", "10.0.0.1.example.com", "ip-10-1-2-3.example.com",
		"１２７.0.0.1", "127。0。0。1", "127｡0｡0｡1", "①②⑦.0.0.1", "ｌｏｃａｌｈｏｓｔ", "loc\u00adalhost", "127.0.0.1:80", "user@127.0.0.1", "user:pw@localhost:8080", "a@b@127.0.0.1", "example.com:80@10.0.0.1", "%6c%6f%63%61%6c%68%6f%73%74", "%25%36c%25%36fcalhost",
	} {
		for _, u := range []string{"http://" + h + "/", "HTTPS://" + h, "http:" + h + "/x", "ws://" + h + "?x", " \thttp://" + h + "#x", "http:\\\\" + h + "\\x", "view-source:http://" + h + "/"} {
			if v := judge(t, g, "fetch", one("url", u)); v.Reason != arguments.ReasonURL {
				t.Errorf("%q passes: %v %s", u, v.Effect, v.Say)
			}
		}
	}
	for _, h := range []string{"example.com", "8.8.8.8", "134744072", "0x08080808", "[2606:4700:4700::1111]", "[64:ff9b::808:808]", "[::ffff:8.8.8.8]", "11.0.0.1", "172.32.0.1", "192.169.0.1", "xn--o39aom842a.example", "한국.example.com", "a.local.example.com", "localhost.example.com", "my-localhost.com", "10.example.com", "ec2-8-8-8-8.compute.amazonaws.com", "nip.io.example.com", "1password.com", "user@example.com", "b.com:8080"} {
		if v := judge(t, g, "fetch", one("url", "https://"+h+"/a/b?c=d&e=%2F..%2F#f")); !v.Effect.Passes() {
			t.Errorf("%q is refused: %s", h, v.Say)
		}
	}
}

// TestSchemesOfServers: servers name their own things by URIs, whose first part is
// a name of theirs and no host.
func TestSchemesOfServers(t *testing.T) {
	t.Parallel()
	g := configured(t, "")
	for _, u := range []string{"test://example-resource", "memo://notes/1", "repo://owner/name", "resource://static", "urn:isbn:1", "ui://widget/a.html", "vscode://file/a"} {
		for _, name := range []string{"resourceUri", "uri", "x"} {
			if v := judge(t, g, "read", one(name, u)); !v.Effect.Passes() {
				t.Errorf("%s %q is refused: %s", name, u, v.Say)
			}
		}
	}
	for _, u := range []string{"test://127.0.0.1/", "foo://[::1]/", "bar://localhost", "telnet://redis:6379", "x://0x7f.1/"} {
		if v := judge(t, g, "read", one("uri", u)); v.Effect.Passes() {
			t.Errorf("%q passes", u)
		}
	}
}

// TestReadsAndWrites holds SQL that reads apart from SQL that does more.
func TestReadsAndWrites(t *testing.T) {
	t.Parallel()
	g := configured(t, "")
	for _, q := range []string{"select 1", "SELECT * FROM t;", "  (SELECT 1) UNION (SELECT 2)", "VALUES (1,2)", "TABLE t", "SHOW TABLES", "DESCRIBE t", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "PRAGMA table_info(t)", "pragma main.index_list('t')", "select `a`.`update` from a", "select x.delete from x",
		"SELECT 'a\\b' FROM t", "SELECT E'\\n'", "select a::jsonb->>'b' from t where c @> '{}' and d && array[1,2]", "SELECT last_update, created, called FROM t", "select count(*) filter (where a <> 'x--y') from t", "SELECT 1 -- done", "select $1, :x, ?", "select 5 % 2, -1 - -2", ""} {
		if v := judge(t, g, "sql", one("sql", q)); !v.Effect.Passes() {
			t.Errorf("%q is refused: %s", q, v.Say)
		}
	}
	for _, q := range []string{"drop table t", "SELECT 1;SELECT 2", "insert into t values (1)", "begin; delete from t; commit", "call p()", "EXEC xp_cmdshell 'dir'", "select load_file('/etc/passwd')", "select * from dblink('host=x','y') as t(a int)", "select lo_import('/etc/passwd')", "copy t to program 'id'",
		"select sleep(10)", "select 1; -- x\n drop table t", "with a as (update t set b=1 returning *) select * from a", "explain analyze update t set a=1", "select utl_http.request('http://x')", "set role admin", "attach database '/x' as y", "select load_extension('x')", "SELECT 'a' \x00", "select 'unfinished", "select * from t where a = 'x\\' or 1=1 --'",
		"replace into t values (1)", "select\u00a01;drop table t", "／＊ select 1", "grant all to x", "list all tables please", "select * from read_csv('/etc/passwd')"} {
		if v := judge(t, g, "sql", one("sql", q)); v.Reason != arguments.ReasonSQL {
			t.Errorf("%q passes: %s", q, v.Say)
		}
	}
	if v := judge(t, configured(t, "writes s/sql"), "sql", one("sql", "delete from t where a = 1")); !v.Effect.Passes() {
		t.Error(v.Say)
	}
	if v := judge(t, configured(t, "writes s/sql"), "sql", one("sql", "delete from t; drop table t")); v.Effect.Passes() {
		t.Error("two statements pass where one may write")
	}
}

// FuzzReencoding: an attack that is refused is refused however it is encoded once
// more.
func FuzzReencoding(f *testing.F) {
	f.Add("url", "http://169.254.169.254/", uint8(0))
	f.Add("path", "../../etc/passwd", uint8(1))
	f.Add("subject", "a\r\nb", uint8(2))
	f.Add("name", "{{x.__class__}}", uint8(3))
	g := arguments.New(arguments.Settings{})
	encodings := []func(string) string{
		url.PathEscape,
		func(s string) string {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, "%%%02x", c)
			}
			return b.String()
		},
		func(s string) string { // full width
			return strings.Map(func(r rune) rune {
				if r > ' ' && r < 0x7F {
					return r + 0xFEE0
				}
				return r
			}, s)
		},
		func(s string) string { // entities
			var b strings.Builder
			for _, r := range s {
				fmt.Fprintf(&b, "&#%d;", r)
			}
			return b.String()
		},
		func(s string) string { return "\u200b" + strings.Join(strings.Split(s, ""), "\u200b") },
	}
	f.Fuzz(func(t *testing.T, name, value string, how uint8) {
		if len(value) > 200 || strings.Contains(value, "\ufffd") {
			t.Skip("too long, or no text")
		}
		known := map[string]bool{"url": true, "path": true, "subject": true, "name": true}
		if !known[name] || strictjson.Validate([]byte(one(name, value)), strictjson.Default()) != nil {
			t.Skip("no argument of a known kind")
		}
		plain := judge(t, g, "t", one(name, value))
		if plain.Effect.Passes() || strings.Contains(plain.Say, "longer") {
			return
		}
		again := encodings[int(how)%len(encodings)](value)
		// What begins or ends with a space, or is a URL with several readings, is
		// refused for its plain form, which an encoding is not.
		if v := judge(t, g, "t", one(name, again)); v.Effect.Passes() && hidden(plain.Reason, value) {
			t.Errorf("%s %q is refused (%s), and %q passes", name, value, plain.Say, again)
		}
	})
}

// hidden reports values whose encoding means the same to who decodes it: paths
// with a step up, lines, expressions, and URLs with a host.
func hidden(why call.Reason, value string) bool {
	switch why {
	case arguments.ReasonPath:
		return strings.Contains(value, "../") && !strings.ContainsAny(value, "%&\\;\n\r\x00") && strings.TrimSpace(value) == value
	case arguments.ReasonURL:
		return strings.HasPrefix(value, "http://") && !strings.ContainsAny(value, " %&\\\t\n\r\x00@")
	}
	// HTML has no entity for NUL and for the controls behind U+007F.
	return !strings.ContainsAny(value, "%&\\\x00\u0085") && strings.TrimRight(value, "\n") == value
}

// BenchmarkArguments judges 1 KB of honest arguments of thirty members.
func BenchmarkArguments(b *testing.B) {
	var args strings.Builder
	for i := range 30 {
		fmt.Fprintf(&args, `,"member_%d":"a value of some words %d"`, i, i)
	}
	raw := []byte(`{"arguments":{"path":"src/a/b.go"` + args.String() + `}}`)
	d := &guard.Declared{Digest: [32]byte{1}, Raw: []byte(`{"name":"t","description":"Edits a file"}`)}
	check := arguments.New(arguments.Settings{}).Checks().Arguments
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if v, err := check(b.Context(), guard.Subject{Target: call.Target{Server: "s", Method: "tools/call", Name: "t"}, Request: true, Definition: d, Raw: raw}); err != nil || !v.Effect.Passes() {
			b.Fatal(v, err)
		}
	}
}

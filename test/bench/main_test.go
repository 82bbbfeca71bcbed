package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/munjigi/munjigi/test/bench/internal/echo"
)

// TestMain lets this test program play all parts: those of the benchmark, and
// that of a gateway, which is a bare proxy and a bare pipe here.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-test.") {
		// Under the race detector each child would sleep a second at its end.
		if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	var err error
	switch args := os.Args[2:]; os.Args[1] {
	case "serve":
		err = fakeServe(args[1])
	case "wrap":
		err = runPipe(args[slices.Index(args, "--")+1:], os.Stdin, os.Stdout)
	default:
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitCouldNot)
	}
}

// gatewayConfig is what the gateway's contract says of the keys used here.
type gatewayConfig struct {
	Listen   string
	Data     string
	Identity struct {
		Anonymous bool `yaml:"insecure_anonymous"`
		Issuers   []struct{ Issuer string }
	}
	PublicURL string `yaml:"public_url"`
	Egress    struct{ Allow []string }
	Policy    []string
	Guards    map[string]struct{ Mode string }
	Audit     struct{ Durability string }
	Limits    map[string]int
	Servers   map[string]struct {
		URL, Era  string
		SameNames bool `yaml:"insecure_same_names"`
	}
	Definitions struct {
		FirstSight string `yaml:"first_sight"`
	}
	// Spoil is not a key of the gateway's: it makes the fake answer wrongly.
	Spoil string
}

func readConfig(file string) (gatewayConfig, error) {
	var c gatewayConfig
	f, err := os.Open(file)
	if err != nil {
		return c, err
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	return c, d.Decode(&c)
}

func fakeServe(file string) error {
	c, err := readConfig(file)
	if err != nil {
		return err
	}
	if c.Spoil == "refuses to start" {
		return errors.New("munjigi.yaml:3: this is the gateway's own complaint")
	}
	mux := http.NewServeMux()
	for name, s := range c.Servers {
		u, err := url.Parse(s.URL)
		if err != nil {
			return err
		}
		h := newProxy(u)
		if c.Spoil != "" {
			h = spoiled(u, c.Spoil)
		}
		mux.Handle("/mcp/"+name, h)
	}
	// Standard input stays open while the benchmark lives.
	return listen(c.Listen, mux, os.Stdin, io.Discard)
}

// spoiled is a proxy that changes long answers.
func spoiled(u *url.URL, letters string) http.Handler {
	from, to, _ := strings.Cut(letters, "->")
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = u },
		ModifyResponse: func(resp *http.Response) error {
			body, err := io.ReadAll(resp.Body)
			if len(body) > 500 {
				body = bytes.Replace(body, []byte(from), []byte(to), 1)
			}
			resp.Body = io.NopCloser(bytes.NewReader(body))
			return err
		},
	}
}

type ran struct {
	status      int
	out, errout string
	report      struct {
		Results []struct {
			Cell, Through, Failure string
			Median                 struct {
				Rate, P50, P99, MiddleCPU *float64
				Calls, Errors             uint64
			}
			OfDirect, OfBare *float64
			Samples          []json.RawMessage
		}
		Growth []struct {
			Grows, Calls, Failure string
			Count, Alive, Asked   int
			Median                struct{ Calls, Errors uint64 }
		}
	}
}

func runBench(t *testing.T, args ...string) ran {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.json")
	args = append(args, "-json", file, "-munjigi", exe, "-data", t.TempDir())
	var out, progress bytes.Buffer
	var r ran
	r.status = run(t.Context(), args, strings.NewReader(""), &out, &progress)
	r.out, r.errout = out.String(), progress.String()
	if raw, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(raw, &r.report); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestSpeed runs parts of the table with short runs and a gateway that is a
// proxy.
func TestSpeed(t *testing.T) {
	t.Parallel()
	overHTTP, overLines := []string{"direct", "proxy", "munjigi", "munjigi-guards", "munjigi-strict"}, []string{"direct", "pipe", "munjigi", "munjigi-strict"}
	for _, tc := range []struct {
		cells  []string
		rounds int
		ways   []string
	}{
		{[]string{"http/modern/1KB/1", "http/legacy/64KB/1"}, 2, overHTTP},
		{[]string{"stdio/modern/64KB/1", "stdio/legacy/1KB/1"}, 1, overLines},
	} {
		t.Run(tc.ways[1], func(t *testing.T) {
			t.Parallel()
			r := runBench(t, "-d", "30ms", "-rounds", fmt.Sprint(tc.rounds), "-cell", "^("+strings.Join(tc.cells, "|")+")$")
			if r.status != exitDone {
				t.Fatalf("status %d\n%s\n%s", r.status, r.out, r.errout)
			}
			var got, want []string
			for _, row := range r.report.Results {
				got = append(got, row.Cell+" "+row.Through)
				m := row.Median
				if m.Calls == 0 || m.Errors != 0 || len(row.Samples) != tc.rounds || m.Rate == nil || *m.Rate <= 0 || row.OfDirect == nil || row.OfBare == nil {
					t.Errorf("row %+v", row)
				}
			}
			for _, cell := range tc.cells {
				for _, way := range tc.ways {
					want = append(want, cell+" "+way)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("rows are %q, want %q", got, want)
			}
			if strings.Contains(r.errout, "at the end") || !strings.Contains(r.out, "munjigi-strict") {
				t.Errorf("output:\n%s\n%s", r.out, r.errout)
			}
		})
	}
}

// TestWrongGateway holds that a gateway's wrong answers are errors, and no
// speed.
func TestWrongGateway(t *testing.T) {
	t.Parallel()
	extra := filepath.Join(t.TempDir(), "extra.yaml")
	if err := os.WriteFile(extra, []byte("spoil: team->teem\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runBench(t, "-d", "30ms", "-rounds", "1", "-cell", "http/modern/1KB/1$", "-subjects", "proxy,munjigi", "-config-extra", extra)
	if r.status != exitWrong || len(r.report.Results) != 2 {
		t.Fatalf("status %d\n%s\n%s", r.status, r.out, r.errout)
	}
	right, wrong := r.report.Results[0], r.report.Results[1]
	if right.Failure != "" || right.Median.Errors != 0 || right.Median.Calls == 0 {
		t.Errorf("the proxy: %+v", right)
	}
	if wrong.Median.Calls != 0 || !strings.Contains(wrong.Failure, "is not the call's arguments") || !strings.Contains(r.out, "is not the call's arguments") {
		t.Errorf("the gateway: %+v\n%s", wrong, r.out)
	}
}

func TestGatewayThatDoesNotStart(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &workshop{binary: exe, folder: t.TempDir(), extra: "spoil: refuses to start\n"}
	w.env = w.environment()
	_, err = w.open(t.Context(), "relaxed", callers{}, []server{{"echo", "http://127.0.0.1:1/mcp"}})
	if err == nil || !strings.Contains(err.Error(), "the gateway's own complaint") {
		t.Errorf("error is %v, want the gateway's last words", err)
	}
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	for _, through := range []string{nameRelaxed, nameProxy} {
		t.Run(through, func(t *testing.T) {
			t.Parallel()
			r := runBench(t, "growth", "-through", through, "-d", "30ms", "-rounds", "1", "-servers", "1,20", "-tools", "1,1001", "-sessions", "1,150")
			if r.status != exitDone {
				t.Fatalf("status %d\n%s\n%s", r.status, r.out, r.errout)
			}
			var got []string
			for _, row := range r.report.Growth {
				got = append(got, strings.TrimSpace(fmt.Sprint(row.Grows, row.Count, " ", row.Calls)))
				if row.Failure != "" || row.Median.Calls == 0 || row.Median.Errors != 0 || row.Alive != row.Asked {
					t.Errorf("row %+v", row)
				}
			}
			want := []string{"servers1 one", "servers20 one", "servers1 all", "servers20 all", "tools1", "tools1001", "sessions1", "sessions150"}
			if !slices.Equal(got, want) {
				t.Errorf("rows are %q, want %q", got, want)
			}
		})
	}
}

func TestPeer(t *testing.T) {
	t.Parallel()
	var authorized int
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		authorized++
		echo.New(1).Handler().ServeHTTP(w, r)
	}))
	defer peer.Close()
	r := runBench(t, "-d", "20ms", "-rounds", "1", "-cell", "http/modern/1KB/1$", "-subjects", "with,without",
		"-peer", "with="+peer.URL, "-peer-header", "with=Authorization: Bearer x", "-peer", "without="+peer.URL)
	if r.status != exitWrong || len(r.report.Results) != 2 {
		t.Fatalf("status %d\n%s\n%s", r.status, r.out, r.errout)
	}
	if with := r.report.Results[0]; with.Failure != "" || with.Median.Calls == 0 || authorized == 0 {
		t.Errorf("with its header: %+v", with)
	}
	if without := r.report.Results[1]; !strings.Contains(without.Failure, "401") || without.Median.Rate != nil {
		t.Errorf("without: %+v", without)
	}
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-nonsense"},
		{"grow"},
		{"-cell", "["},
		{"-cell", "no such cell"},
		{"-rounds", "0"},
		{"-d", "0s"},
		{"-peer", "x"},
		{"-peer", "=http://127.0.0.1:1/"},
		{"-peer", "x=https://127.0.0.1:1/"},
		{"-peer", "munjigi=http://127.0.0.1:1/"},
		{"-peer", "x=http://127.0.0.1:1/", "-peer", "x=http://127.0.0.1:2/"},
		{"-peer-header", "x=A: b"},
		{"-peer", "x=http://127.0.0.1:1/", "-peer-header", "x=A"},
		{"-peer", "x=http://127.0.0.1:1/", "-peer-header", "x=A: b\r\nC: d"},
		{"growth", "-servers", "10,1"},
		{"growth", "-tools", "0"},
		{"growth", "-sessions", "x"},
		{"growth", "-through", "elsewhere"},
		{"growth", "-rounds", "0"},
		{"growth", "-through", "proxy", "-what", "debts"},
	} {
		var progress bytes.Buffer
		if status := run(t.Context(), args, strings.NewReader(""), io.Discard, &progress); status != exitUsage || progress.Len() == 0 {
			t.Errorf("%q: status %d, %q; want %d and a reason", args, status, &progress, exitUsage)
		}
	}
}

// TestConfig reads the config that is written for the gateway.
func TestConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "munjigi.yaml")
	text := config("127.0.0.1:1234", `C:\a "folder"`, "strict", "identity: { insecure_anonymous: true }\n", "spoil: x\n", []server{{"s1", "http://127.0.0.1:1/mcp"}, {"s2", "http://127.0.0.1:2/mcp"}})
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:1234" || c.Data != `C:\a "folder"` || !c.Identity.Anonymous || c.Audit.Durability != "strict" || c.Spoil != "x" ||
		len(c.Servers) != 2 || c.Servers["s2"].URL != "http://127.0.0.1:2/mcp" || c.Servers["s2"].Era != "auto" {
		t.Errorf("%s is read as %+v", text, c)
	}
}

package load

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/munjigi/munjigi/test/bench/internal/echo"
)

// childKind names the variable that makes this test program a stdio server.
const childKind = "BENCH_LOAD_TEST_CHILD"

// childEnv is the environment of such a server; the race detector would let
// it sleep a second before it ends.
func childEnv(kind string) []string {
	return []string{childKind + "=" + kind, "GORACE=atexit_sleep_ms=0"}
}

func TestMain(m *testing.M) {
	kind := os.Getenv(childKind)
	if kind == "" {
		os.Exit(m.Run())
	}
	if err := child(kind, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child serves lines, and from the fourth answer on (after the handshake, the
// list and the first call) does what kind says.
func child(kind string, in io.Reader, out io.Writer) error {
	if kind == "right" {
		return echo.New(3).ServeLines(in, out)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(echo.New(3).ServeLines(in, w)) }()
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil
		}
		if n > 3 {
			if line = spoil(kind, line); line == nil {
				return nil
			}
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
}

// spoil changes a right answer, or returns nil for none and the end.
func spoil(kind string, line []byte) []byte {
	replace := func(old, with string) []byte { return bytes.Replace(line, []byte(old), []byte(with), 1) }
	switch kind {
	case "wrong id":
		return replace(`"id":1`, `"id":2`)
	case "no id":
		return replace(`"id":`, `"ID":`)
	case "wrong text":
		return replace("team", "teem")
	case "wrong nonce":
		return replace(`nonce\":\"1`, `nonce\":\"2`)
	case "tool error":
		return replace(`"content"`, `"isError":true,"content"`)
	case "protocol error":
		return replace(`"result"`, `"error"`)
	case "twice":
		return append(bytes.Clone(line), line...)
	case "asks":
		return []byte(`{"jsonrpc":"2.0","id":1,"method":"roots/list"}` + "\n")
	case "not JSON":
		return []byte("oops\n")
	case "notification first":
		return append([]byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{}}`+"\n"), line...)
	}
	return nil // "ends"
}

func runJob(t *testing.T, job Job) Result {
	t.Helper()
	run, err := Prepare(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	res := run.Measure(t.Context())
	if err := run.Close(); err != nil && res.Errors == 0 {
		t.Error(err)
	}
	return res
}

func wantRight(t *testing.T, res Result, calls uint64) {
	t.Helper()
	if res.Calls != calls || res.Errors != 0 || len(res.Reasons) > 0 {
		t.Errorf("%d calls, %d errors %q; want %d right calls", res.Calls, res.Errors, res.Reasons, calls)
	}
	if res.P50 <= 0 || res.P99 < res.P50 || res.Max < res.P99 || res.Rate() <= 0 {
		t.Errorf("times do not fit together: %+v", res)
	}
}

func TestRight(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, modern := range []bool{true, false} {
		for _, size := range []int{1 << 10, 64 << 10} {
			for _, connections := range []int{1, 16} {
				job := Job{Modern: modern, Size: size, Connections: connections, Calls: 20}
				t.Run(fmt.Sprintf("http/modern=%v/%d/%d", modern, size, connections), func(t *testing.T) {
					t.Parallel()
					server := echo.New(1)
					back := httptest.NewServer(server.Handler())
					defer back.Close()
					u, err := url.Parse(back.URL)
					if err != nil {
						t.Fatal(err)
					}
					proxy := httputil.NewSingleHostReverseProxy(u)
					front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						// Without it net/http may close the body that the proxy
						// still sends on, and break the answer off.
						_ = http.NewResponseController(w).EnableFullDuplex()
						proxy.ServeHTTP(w, r)
					}))
					defer front.Close()
					for _, at := range []string{back.URL, front.URL} {
						job := job
						job.URLs = []string{at + "/mcp"}
						wantRight(t, runJob(t, job), uint64(20*connections))
					}
					if n := server.Sessions(); n != 0 {
						t.Errorf("the runs left %d sessions behind", n)
					}
				})
				t.Run(fmt.Sprintf("stdio/modern=%v/%d/%d", modern, size, connections), func(t *testing.T) {
					t.Parallel()
					job := job
					job.Command, job.Env = []string{exe}, childEnv("right")
					wantRight(t, runJob(t, job), uint64(20*connections))
				})
			}
		}
	}
}

// TestWrongOverHTTP holds that no wrong answer counts as a call.
func TestWrongOverHTTP(t *testing.T) {
	t.Parallel()
	replace := func(old, with string) func(http.ResponseWriter, []byte) {
		return func(w http.ResponseWriter, body []byte) {
			_, _ = w.Write(bytes.Replace(body, []byte(old), []byte(with), 1))
		}
	}
	tests := map[string]struct {
		spoil func(http.ResponseWriter, []byte)
		why   string
	}{
		"id of another call":      {replace(`"id":1`, `"id":2`), "the answer's id"},
		"payload of another call": {replace(`nonce\":\"1`, `nonce\":\"2`), "is not the call's arguments"},
		"payload changed":         {replace("team", "teem"), "is not the call's arguments"},
		"payload cut off":         {replace("please", ""), ""},
		"tool error":              {replace(`"content"`, `"isError":true,"content"`), "the tool reports"},
		"protocol error":          {replace(`"result"`, `"error"`), "is an error"},
		"empty":                   {func(http.ResponseWriter, []byte) {}, ""},
		"status 500": {func(w http.ResponseWriter, body []byte) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(body)
		}, "status 500"},
		"refused": {func(w http.ResponseWriter, _ []byte) {
			w.WriteHeader(http.StatusTooManyRequests)
		}, "status 429"},
		"closes each time": {func(w http.ResponseWriter, body []byte) {
			w.Header().Set("Connection", "close")
			_, _ = w.Write(body)
		}, "closes the connection"},
		"breaks off": {func(w http.ResponseWriter, body []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)+1))
			_, _ = w.Write(body)
		}, "unexpected EOF"},
		"stream without response": {func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, ": nothing\n\n")
		}, "without a response"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "payload cut off" {
				tc.spoil = func(w http.ResponseWriter, body []byte) { _, _ = w.Write(body[:len(body)-20]) }
			}
			var calls atomic.Int64
			handler := echo.New(1).Handler()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				handler.ServeHTTP(rec, r)
				if r.Header.Get("Mcp-Method") == "tools/call" && calls.Add(1) > 1 {
					tc.spoil(w, rec.Body.Bytes())
					return
				}
				for name, values := range rec.Header() {
					w.Header()[name] = values
				}
				w.WriteHeader(rec.Code)
				_, _ = w.Write(rec.Body.Bytes())
			}))
			defer srv.Close()
			run, err := Prepare(t.Context(), Job{URLs: []string{srv.URL}, Modern: true, Size: 1024, Connections: 1, Calls: 10})
			if err != nil {
				t.Fatal(err)
			}
			res := run.Measure(t.Context())
			_ = run.Close() // some of these servers have broken the connection
			if res.Calls != 0 || res.Errors != 10 || res.Rate() != 0 {
				t.Errorf("%d calls, %d errors; want all 10 to be errors", res.Calls, res.Errors)
			}
			if !strings.Contains(strings.Join(res.Reasons, "\n"), tc.why) {
				t.Errorf("reasons are %q, want %q among them", res.Reasons, tc.why)
			}
		})
	}
}

func TestWrongOverLines(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"wrong id", "no id", "wrong text", "wrong nonce", "tool error", "protocol error", "asks", "not JSON", "ends"} {
		for _, connections := range []int{1, 4} {
			t.Run(fmt.Sprint(kind, "/", connections), func(t *testing.T) {
				t.Parallel()
				// Each slot has made its first call before: of the children's
				// first three answers only one is to a call, so Prepare fails.
				_, err := Prepare(t.Context(), Job{
					Command: []string{exe}, Env: childEnv(kind),
					Size: 1024, Connections: connections, Calls: 5,
				})
				if connections > 1 && err == nil {
					t.Fatal("a wrong first answer was taken")
				}
				if connections > 1 {
					return
				}
				run, err := Prepare(t.Context(), Job{
					Command: []string{exe}, Env: childEnv(kind),
					Size: 1024, Connections: 1, Calls: 5,
				})
				if err != nil {
					t.Fatal(err)
				}
				res := run.Measure(t.Context())
				_ = run.Close() // a child that ended early has its own status
				if res.Calls != 0 || res.Errors == 0 || len(res.Reasons) == 0 {
					t.Errorf("%+v: want errors only", res)
				}
			})
		}
	}
	t.Run("answers twice", func(t *testing.T) {
		t.Parallel()
		run, err := Prepare(t.Context(), Job{Command: []string{exe}, Env: childEnv("twice"), Size: 1024, Connections: 1, Calls: 5})
		if err != nil {
			t.Fatal(err)
		}
		if res := run.Measure(t.Context()); res.Errors == 0 {
			t.Errorf("%+v: the second answer to one call went unseen", res)
		}
		_ = run.Close()
	})
	t.Run("notifications are no answers", func(t *testing.T) {
		t.Parallel()
		wantRight(t, runJob(t, Job{Command: []string{exe}, Env: childEnv("notification first"), Size: 1024, Connections: 2, Calls: 5}), 10)
	})
}

func TestStreams(t *testing.T) {
	t.Parallel()
	handler := echo.New(1).Handler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		if id := rec.Header().Get("Mcp-Session-Id"); id != "" {
			w.Header().Set("Mcp-Session-Id", id)
		}
		if rec.Code != http.StatusOK {
			w.WriteHeader(rec.Code)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, ": comment\n\n")
		_ = http.NewResponseController(w).Flush()
		_, _ = fmt.Fprintf(w, "event: message\ndata: %s\n\n", rec.Body)
	}))
	defer srv.Close()
	for _, modern := range []bool{true, false} {
		wantRight(t, runJob(t, Job{URLs: []string{srv.URL}, Modern: modern, Size: 64 << 10, Connections: 3, Calls: 5}), 15)
	}
}

func TestURLsTakeTurns(t *testing.T) {
	t.Parallel()
	handler := echo.New(1).Handler()
	hits := make([]atomic.Int64, 5)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var i int
		if _, err := fmt.Sscanf(r.URL.Path, "/mcp/s%d", &i); err == nil && r.Header.Get("Mcp-Method") == "tools/call" {
			hits[i].Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	defer srv.Close()
	var urls []string
	for i := range hits {
		urls = append(urls, fmt.Sprintf("%s/mcp/s%d", srv.URL, i))
	}
	job := Job{URLs: urls, Modern: true, Size: 100, Connections: 2, Calls: 10}
	wantRight(t, runJob(t, job), 20)
	for i := range hits {
		if n := hits[i].Load(); n < 4 {
			t.Errorf("URL %d was called %d times", i, n)
		}
	}
	job.Modern = false
	if _, err := Prepare(t.Context(), job); err == nil {
		t.Error("one legacy session was spread over several endpoints")
	}
}

func TestTools(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(echo.New(2500).Handler())
	defer srv.Close()
	for _, modern := range []bool{true, false} {
		for tool, ok := range map[string]bool{"": true, "echo-2500": true, "echo-2501": false} {
			run, err := Prepare(t.Context(), Job{URLs: []string{srv.URL}, Modern: modern, Tool: tool, Size: 100, Connections: 1, Calls: 1})
			if (err == nil) != ok {
				t.Errorf("tool %q: %v", tool, err)
			}
			if err == nil {
				_ = run.Close()
			}
		}
	}
}

func TestListTime(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(echo.New(2500).Handler())
	defer srv.Close()
	if n, took, err := ListTime(t.Context(), srv.URL); n != 2500 || took <= 0 || err != nil {
		t.Errorf("%d tools in %v, %v", n, took, err)
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var id int
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Sscanf(string(body), `{"jsonrpc":"2.0","id":%d,`, &id)
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%d,"result":{"tools":[],"nextCursor":"again"}}`, id)
	}))
	defer endless.Close()
	if _, _, err := ListTime(t.Context(), endless.URL); err == nil {
		t.Error("a list without end was read to its end")
	}
}

func TestRefusedJobs(t *testing.T) {
	t.Parallel()
	for name, job := range map[string]Job{
		"zero":         {},
		"nowhere":      {Connections: 1, Calls: 1, Size: 100},
		"two ways":     {URLs: []string{"http://127.0.0.1:1/"}, Command: []string{"x"}, Connections: 1, Calls: 1, Size: 100},
		"no end":       {URLs: []string{"http://127.0.0.1:1/"}, Connections: 1, Size: 100},
		"TLS":          {URLs: []string{"https://127.0.0.1:1/"}, Connections: 1, Calls: 1, Size: 100},
		"two hosts":    {URLs: []string{"http://127.0.0.1:1/", "http://127.0.0.1:2/"}, Modern: true, Connections: 1, Calls: 1, Size: 100},
		"nobody there": {URLs: []string{"http://127.0.0.1:1/"}, Modern: true, Connections: 1, Calls: 1, Size: 100},
		"no program":   {Command: []string{"/nonexistent"}, Connections: 1, Calls: 1, Size: 100},
	} {
		if _, err := Prepare(t.Context(), job); err == nil {
			t.Errorf("%s: the job was taken", name)
		}
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	server := echo.New(1)
	srv := httptest.NewServer(server.Handler())
	defer srv.Close()
	ids, err := OpenSessions(t.Context(), srv.URL, 101, 7)
	if err != nil || len(ids) != 101 || server.Sessions() != 101 {
		t.Fatalf("%d sessions, the server has %d, %v", len(ids), server.Sessions(), err)
	}
	alive, err := TouchSessions(t.Context(), srv.URL, "echo", append(ids[:10:10], "guessed"))
	if alive != 10 || err == nil {
		t.Errorf("%d of 10 are alive, a guessed one says %v", alive, err)
	}
	stateless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
	}))
	defer stateless.Close()
	if _, err := OpenSessions(context.WithoutCancel(t.Context()), stateless.URL, 2, 1); err == nil {
		t.Error("a server without sessions was said to have some")
	}
}

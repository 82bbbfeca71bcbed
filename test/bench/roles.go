package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"

	"github.com/munjigi/munjigi/test/bench/internal/echo"
	"github.com/munjigi/munjigi/test/bench/internal/load"
)

// Names under which this program starts itself. Each role ends when its
// standard input does, so none outlives the run.
const (
	roleEcho  = "echo"
	roleProxy = "proxy"
	rolePipe  = "pipe"
	roleLoad  = "load"
)

// hello is the first line that a listening role prints.
type hello struct{ Addr string }

// listen serves h on addr until in ends.
func listen(addr string, h http.Handler, in io.Reader, out io.Writer) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(hello{ln.Addr().String()}); err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ErrorLog: log.New(os.Stderr, "", 0)}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, in)
		ended <- err
	}()
	select {
	case err := <-failed:
		return err
	case err := <-ended:
		return err
	}
}

func runEcho(args []string, in io.Reader, out io.Writer) error {
	fs := flag.NewFlagSet(roleEcho, flag.ContinueOnError)
	addr := fs.String("addr", "127.0.0.1:0", "listen here")
	tools := fs.Int("tools", 1, "list so many tools")
	stdio := fs.Bool("stdio", false, "speak newline-delimited JSON instead of HTTP")
	if err := parse(fs, args, os.Stderr); err != nil {
		return err
	}
	const fewCollections = 400 // what the echo saves, the subject's share grows by
	debug.SetGCPercent(fewCollections)
	server := echo.New(*tools)
	if *stdio {
		return server.ServeLines(in, out)
	}
	return listen(*addr, server.Handler(), in, out)
}

func runProxy(args []string, in io.Reader, out io.Writer) error {
	fs := flag.NewFlagSet(roleProxy, flag.ContinueOnError)
	to := fs.String("to", "", "send everything to this URL")
	if err := parse(fs, args, os.Stderr); err != nil {
		return err
	}
	target, err := url.Parse(*to)
	if err != nil {
		return err
	}
	return listen("127.0.0.1:0", newProxy(target), in, out)
}

// newProxy is the bare reverse proxy that all else is compared with. It is
// the standard one but for two things that would make it worse than bare: by
// default its transport keeps two idle connections, and net/http may close a
// request's body that is still on its way up when the answer is early.
func newProxy(target *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = target },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 4096,
			DisableCompression:  true,
		},
		ErrorLog: log.New(os.Stderr, "", 0),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// runPipe starts the program in args and only copies: what a process between
// two pipes costs at the least.
func runPipe(args []string, in io.Reader, out io.Writer) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{} // above all without this process's GODEBUG
	cmd.Stderr = os.Stderr
	childIn, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	childOut, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	const size = 64 << 10
	up := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(onlyWriter{childIn}, in, make([]byte, size))
		childIn.Close()
		up <- err
	}()
	if _, err := io.CopyBuffer(onlyWriter{out}, childOut, make([]byte, size)); err != nil {
		return err
	}
	if err := <-up; err != nil {
		return err
	}
	return cmd.Wait()
}

// onlyWriter hides what would let io.Copy hand the work to the kernel, which
// no gateway that reads its messages can do.
type onlyWriter struct{ io.Writer }

// What a load process and its parent say to each other, one JSON value a line:
// the job goes in, ready comes out, anything goes in, the result comes out.
type (
	ready struct {
		Child int
		Error string `json:",omitempty"`
	}
	goAhead struct{}
)

func runLoad(ctx context.Context, in io.Reader, out io.Writer) error {
	lines, answers := bufio.NewScanner(in), json.NewEncoder(out)
	lines.Buffer(nil, 16<<20)
	if !lines.Scan() {
		return fmt.Errorf("no job came: %w", lines.Err())
	}
	var job load.Job
	if err := json.Unmarshal(lines.Bytes(), &job); err != nil {
		return err
	}
	run, err := load.Prepare(ctx, job)
	if err != nil {
		return answers.Encode(ready{Error: strings.ReplaceAll(err.Error(), "\n", "; ")})
	}
	if err := answers.Encode(ready{Child: run.Child()}); err != nil {
		return err
	}
	if !lines.Scan() {
		return run.Close()
	}
	if err := answers.Encode(run.Measure(ctx)); err != nil {
		return err
	}
	// The parent looks at what the child used before it is gone.
	lines.Scan()
	return run.Close()
}

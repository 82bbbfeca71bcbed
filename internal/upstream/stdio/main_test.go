package stdio

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serverEnv makes the test binary a server; its value is what it does.
const serverEnv = "STDIO_TEST_SERVER"

// quickExit keeps the race detector from waiting when a process ends.
const quickExit = "GORACE=atexit_sleep_ms=0"

// addrEnv is where a grandchild reports that it runs.
const addrEnv = "STDIO_TEST_ADDR"

func TestMain(m *testing.M) {
	if role := os.Getenv(serverEnv); role != "" {
		serve(role)
		os.Exit(0)
	}
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines are left behind:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// leaked returns the stacks of goroutines of this package that do not end.
func leaked() string {
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		var left []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "upstream/stdio.(*") {
				left = append(left, g)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}

type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Do   string `json:"do"`
		N    int    `json:"n"`
		Text string `json:"text"`
	} `json:"params"`
}

// serve reads requests and does what their params say. Roles change what the
// process does beside that.
func serve(role string) {
	out := bufio.NewWriter(os.Stdout)
	switch role {
	case "crash":
		os.Exit(7)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "echo":
		echo(out)
		return
	case "grandchild":
		// Holds the pipes of its parent and does not end with its input.
		c, err := net.Dial("tcp", os.Getenv(addrEnv))
		if err != nil {
			os.Exit(9)
		}
		_, _ = c.Write([]byte("here"))
		time.Sleep(time.Hour)
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if role == "stubborn" {
				time.Sleep(time.Hour)
			}
			return
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			fmt.Fprintln(os.Stderr, "bad line:", err)
			os.Exit(9)
		}
		do(r, string(line), out)
		out.Flush()
	}
}

func do(r request, line string, out *bufio.Writer) {
	answer := func(id, result string) {
		fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", id, result)
	}
	notify := func(n int) {
		fmt.Fprintf(out, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"n":%d}}`+"\n", n)
	}
	id := string(r.ID)
	switch r.Params.Do {
	case "":
		if id != "" {
			answer(id, `{}`)
		}
	case "line":
		b, _ := json.Marshal(strings.TrimSuffix(line, "\n"))
		answer(id, `{"line":`+string(b)+`}`)
	case "env":
		b, _ := json.Marshal(os.Environ())
		dir, _ := os.Getwd()
		d, _ := json.Marshal(dir)
		answer(id, `{"env":`+string(b)+`,"dir":`+string(d)+`}`)
	case "silent":
	case "text":
		answer(id, `{"text":"`+strings.Repeat("x", r.Params.N)+`"}`)
	case "texttail":
		fmt.Fprintf(out, `{"result":{"text":"%s"},"jsonrpc":"2.0","id":%s}`+"\n", strings.Repeat("x", r.Params.N), id)
	case "notify":
		for i := range r.Params.N {
			notify(i)
		}
		answer(id, `{}`)
	case "twice":
		answer(id, `{"n":1}`)
		answer(id, `{"n":2}`)
	case "other":
		answer("999999", `{"foreign":true}`)
		answer(`"`+id+`"`, `{"foreign":true}`)
		answer(id, `{}`)
	case "flood":
		for range 10_000 {
			fmt.Fprintln(out, "this is no message")
		}
	case "requests":
		for i := range 20_000 {
			fmt.Fprintf(out, `{"jsonrpc":"2.0","id":"s%d","method":"roots/list"}`+"\n", i)
		}
		answer(id, `{}`)
	case "half":
		fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":{`, id)
		out.Flush()
		os.Exit(0)
	case "batch":
		fmt.Fprintf(out, `[{"jsonrpc":"2.0","id":%s,"result":{}}]`+"\n", id)
		answer(id, `{"after":true}`)
	case "endless":
		for {
			if _, err := out.WriteString(strings.Repeat("y", 1<<16)); err != nil {
				os.Exit(0)
			}
		}
	case "exit":
		out.Flush()
		os.Exit(3)
	case "closeout":
		os.Stdout.Close()
		time.Sleep(time.Hour)
	case "stderr":
		for i := range r.Params.N {
			fmt.Fprintln(os.Stderr, "complaint", i, r.Params.Text)
		}
		answer(id, `{}`)
	case "fork":
		c := exec.Command(os.Args[0])
		c.Env = []string{serverEnv + "=grandchild", quickExit, addrEnv + "=" + r.Params.Text}
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			os.Exit(9)
		}
		answer(id, `{}`)
	case "closein":
		answer(id, `{}`)
		out.Flush()
		os.Stdin.Close()
		time.Sleep(time.Hour)
	case "deaf":
		answer(id, `{}`)
		out.Flush()
		time.Sleep(time.Hour)
	}
}

// echo answers each line with a result of the line's own size, without
// decoding more than the ID.
func echo(out *bufio.Writer) {
	in := bufio.NewReaderSize(os.Stdin, 256<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		rest := line[len(`{"jsonrpc":"2.0","id":`):]
		n := 0
		for rest[n] != ',' {
			n++
		}
		_, _ = io.WriteString(out, `{"jsonrpc":"2.0","id":`)
		_, _ = out.Write(rest[:n])
		_, _ = io.WriteString(out, `,"result":{"echo":`)
		i := strings.Index(string(line[:128]), `"params":`) + len(`"params":`)
		_, _ = out.Write(line[i : len(line)-2])
		_, _ = io.WriteString(out, "}}\n")
		out.Flush()
	}
}

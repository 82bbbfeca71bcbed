package app_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestHardProcess is no test of its own: other tests run it in a process, as
// an MCP server on standard streams that does harm where it is asked to.
func TestHardProcess(t *testing.T) {
	if flag.Arg(0) != "server" {
		return // the server that other tests start is not asked for
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil && flag.Arg(1) == "stubborn" {
			<-t.Context().Done()
		}
		if err != nil {
			os.Exit(0)
		}
		var m message
		if json.Unmarshal(line, &m) == nil && m.ID != nil && m.Method != "" {
			processAnswers(m)
		}
	}
}

// command is how a config runs it. A stubborn one does not end with its input.
func command(t *testing.T, manner ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[%q, \"-test.run=^TestHardProcess$\", \"--\", server, %s]", self, strings.Join(append(manner, "plain"), ", "))
}

// process is a config of one server in a process.
func process(t *testing.T, members, more string) string {
	t.Helper()
	return "servers:\n  s: { command: " + command(t) + ", era: modern, may_ask: [sampling, elicitation, roots], insecure_unsandboxed: true" + members + " }\n" + more
}

func tell(format string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, format+"\n", args...) }

func processAnswers(m message) {
	ok := func(result string) { tell(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result) }
	switch m.Method {
	case "server/discover":
		ok(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":60000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"process","version":"1"}}}`)
		return
	case "tools/list":
		var list []string
		for _, name := range harms() {
			list = append(list, fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, name))
		}
		ok(`{"resultType":"complete","tools":[` + strings.Join(list, ",") + `],"ttlMs":60000,"cacheScope":"private"}`)
		return
	}
	var p struct {
		Name      string
		Arguments struct {
			Text string
			N    int
		}
		Meta struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	_ = json.Unmarshal(m.Params, &p)
	switch p.Name {
	case "echo":
		ok(text(p.Arguments.Text))
	case "pid":
		ok(text(strconv.Itoa(os.Getpid())))
	case "crash":
		os.Exit(7)
	case "hang":
		if p.Meta.Token != nil {
			tell(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, p.Meta.Token)
		}
	case "chat":
		go func() {
			for i := range 20_000 {
				tell(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"message":%q}}`, p.Meta.Token, i+1, strings.Repeat("y", 4096))
			}
		}()
	case "flood":
		for i := range 20_000 {
			tell(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":%d}}`, i)
		}
		ok(text("flooded"))
	case "twice":
		ok(text("first"))
		ok(text("second"))
	case "others":
		// IDs that are taken, that never were, and of another type.
		for i := range 50 {
			tell(`{"jsonrpc":"2.0","id":%d,"result":%s}`, i+1000, text("stolen"))
			tell(`{"jsonrpc":"2.0","id":"%d","result":%s}`, i, text("stolen"))
		}
		ok(text("mine"))
	case "asks":
		// Nobody declared roots, and nobody may be asked by a modern server.
		for i := range 50 {
			tell(`{"jsonrpc":"2.0","id":"q%d","method":"roots/list"}`, i)
			tell(`{"jsonrpc":"2.0","id":"q%d","method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}`, i)
		}
		ok(text("asked"))
	case "big":
		ok(text(strings.Repeat("x", p.Arguments.N)))
	case "endless":
		for s := strings.Repeat("x", 1<<20); ; {
			if _, err := os.Stdout.WriteString(s); err != nil {
				os.Exit(1)
			}
		}
	case "utf8":
		ok(`{"content":[{"type":"text","text":"` + "\xff\xfe" + `"}]}`)
	case "lone":
		ok(`{"content":[{"type":"text","text":"\ud800"}]}`)
	case "doubled":
		ok(`{"content":[],"content":[{"type":"text","text":"x"}]}`)
	case "list":
		ok(`[]`)
	case "noise":
		for range 50 {
			tell(`Listening on port 3000`)
		}
		ok(text("noisy"))
	case "batch":
		tell(`[{"jsonrpc":"2.0","id":%s,"result":%s}]`, m.ID, text("batched"))
		ok(text("single"))
	}
}

func harms() []string {
	return strings.Fields("echo pid crash hang chat flood twice others asks big endless utf8 lone doubled list noise batch")
}

package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/control"
)

// approving is a gateway whose calls wait for the operator.
type approving struct {
	*ruled
	term *terminal
	ask  func(arguments string) string
}

func newApproving(t *testing.T, more string, term *terminal) *approving {
	t.Helper()
	url, _ := looker(t)
	a := &approving{term: term, ruled: newRuled(t, `permit (principal, action in [Munjigi::Action::"connect", Munjigi::Action::"list"], resource);
@approval("operator") permit (principal, action == Munjigi::Action::"call", resource);`, "servers: { s: { url: \""+url+"\" } }\n"+more)}
	// The path of a socket is short.
	dir, err := os.MkdirTemp("", "mj")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, "m.yaml", strings.ReplaceAll(string(text), a.data, filepath.Join(dir, "data")))
	a.data = filepath.Join(dir, "data")
	o := app.Options{Version: "test", Getenv: os.Getenv, LookupEnv: os.LookupEnv, Load: func() (*config.Config, error) {
		return config.Build{Identity: true, Policy: true, Getenv: os.Getenv}.Load(a.file)
	}}
	if term != nil {
		o.Terminal = term
	}
	if a.App, err = app.Open(t.Context(), a.load(t), o); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 2)
	go func() { served <- a.ServeControl(ctx) }()
	in, client := io.Pipe()
	answers, out := io.Pipe()
	go func() { served <- a.ServeStdio(ctx, "s", in, out) }()
	t.Cleanup(func() {
		_ = client.Close()
		stop()
		<-served
		<-served
		if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for {
		if _, err := os.Stat(app.ControlPath(a.data)); err == nil {
			break
		}
		select {
		case err := <-served:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	lines := bufio.NewReader(answers)
	a.ask = func(arguments string) string {
		t.Helper()
		msg := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","arguments":` + arguments +
			`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`
		if _, err := io.WriteString(client, msg+"\n"); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	return a
}

func (a *approving) do(t *testing.T, op string, args, out any) error {
	t.Helper()
	return control.Call(t.Context(), app.ControlPath(a.data), op, args, out)
}

func (a *approving) waits(t *testing.T) []app.ApprovalInfo {
	t.Helper()
	var rows []app.ApprovalInfo
	if err := a.do(t, app.OpApprovals, nil, &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestApproveByCode: what reaches the control socket sees and refuses, and
// approves only with the code that the terminal shows for this very call.
func TestApproveByCode(t *testing.T) {
	t.Parallel()
	a := newApproving(t, "", &terminal{})
	if got := a.ask(`{}`); !strings.Contains(got, "Held by the gateway") {
		t.Fatal(got)
	}
	if got := a.ask(`{"x":"\u202e1"}`); !strings.Contains(got, "Held by the gateway") {
		t.Fatal(got)
	}
	rows := a.waits(t)
	if len(rows) != 2 || rows[0].Name != "look" || rows[0].Client == "" || !rows[0].Code || string(rows[0].Arguments) != "{}" {
		t.Fatalf("%+v", rows)
	}
	first, second := rows[0].ID, rows[1].ID
	give := func(id, code string) error {
		return a.do(t, app.OpApprovalsGive, app.ApprovalArg{Name: id, Code: code}, nil)
	}
	if give(first, "") == nil || give(first, "AAAA-AAAA") == nil {
		t.Error("approved without a code")
	}
	var shown app.ApprovalInfo
	if err := a.do(t, app.OpApprovalsShow, app.NameArg{Name: second}, &shown); err != nil || shown.ID != second {
		t.Fatal(err)
	}
	code := a.term.code()
	if text := a.term.text(); code == "" || !strings.Contains(text, `"x": "\u{202e}1"`) || !strings.Contains(text, "look") {
		t.Fatalf("the terminal shows %q", text)
	}
	if b, err := json.Marshal(shown); err != nil || strings.Contains(string(b), code) {
		t.Errorf("the code is in the answer: %s %v", b, err)
	}
	if give(first, code) == nil {
		t.Error("the code of one call approved another")
	}
	if err := give(second, strings.ToLower(code)); err != nil {
		t.Fatal(err)
	}
	if give(second, code) == nil {
		t.Error("a code served twice")
	}
	if got := a.ask(`{}`); !strings.Contains(got, "Held by the gateway") {
		t.Errorf("the other call: %s", got)
	}
	if got := a.ask(`{"x":"\u202e1"}`); strings.Contains(got, "by the gateway") {
		t.Errorf("the approved call: %s", got)
	}
	if got := a.ask(`{"x":"\u202e1"}`); !strings.Contains(got, "Held by the gateway") {
		t.Errorf("a second time: %s", got)
	}
	if err := a.do(t, app.OpApprovalsDeny, app.NameArg{Name: first}, nil); err != nil {
		t.Fatal(err)
	}
	if got := a.ask(`{}`); !strings.Contains(got, "refused it") {
		t.Errorf("after the no: %s", got)
	}
	if a.do(t, app.OpApprovalsShow, app.NameArg{Name: first}, nil) == nil || a.do(t, app.OpApprovalsDeny, app.NameArg{Name: strings.Repeat("a", 32)}, nil) == nil {
		t.Error("what is over, or never was, was found")
	}
}

// TestAnApprovalEndsWithTheRules: a reload with other policies leaves nothing
// of it.
func TestAnApprovalEndsWithTheRules(t *testing.T) {
	t.Parallel()
	a := newApproving(t, "approval: { insecure_without_code: true }\n", nil)
	a.ask(`{}`)
	give := func() {
		t.Helper()
		rows := a.waits(t)
		if len(rows) != 1 || rows[0].Code {
			t.Fatalf("%+v", rows)
		}
		if err := a.do(t, app.OpApprovalsGive, app.ApprovalArg{Name: rows[0].ID}, nil); err != nil {
			t.Fatal(err)
		}
	}
	give()
	text, err := os.ReadFile(filepath.Join(a.dir, "p.cedar"))
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, "p.cedar", string(text)+"// another file\n")
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := a.ask(`{}`); !strings.Contains(got, "Held by the gateway") {
		t.Fatalf("under other rules: %s", got)
	}
	a.write(t, "p.cedar", string(text))
	if err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := a.ask(`{}`); strings.Contains(got, "by the gateway") {
		t.Errorf("under the same rules again: %s", got)
	}
}

// TestNoTerminalNoCode: a gateway without a terminal approves nothing by its
// socket, unless its config says so.
func TestNoTerminalNoCode(t *testing.T) {
	t.Parallel()
	a := newApproving(t, "", nil)
	a.ask(`{}`)
	id := a.waits(t)[0].ID
	if err := a.do(t, app.OpApprovalsShow, app.NameArg{Name: id}, nil); err == nil || !strings.Contains(err.Error(), "no terminal") {
		t.Errorf("%v", err)
	}
	if a.do(t, app.OpApprovalsGive, app.ApprovalArg{Name: id}, nil) == nil || a.do(t, app.OpApprovalsGive, app.ApprovalArg{Name: id, Code: "AAAA-AAAA"}, nil) == nil {
		t.Error("approved")
	}
}

// TestUnknownApproversDoNotLoad: nobody could ever say yes.
func TestUnknownApproversDoNotLoad(t *testing.T) {
	t.Parallel()
	url, _ := looker(t)
	r := newRuled(t, `@approval("bosses operator") permit (principal, action == Munjigi::Action::"call", resource);`, "servers: { s: { url: \""+url+"\" } }\n")
	_, _, err := app.Policies(r.load(t))
	if err == nil || !strings.Contains(err.Error(), `"bosses"`) || !strings.Contains(err.Error(), "nobody could give it") {
		t.Errorf("check: %v", err)
	}
	if err := r.open(t); err == nil {
		t.Error("it is served")
	}
}

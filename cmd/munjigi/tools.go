package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/pins"
)

const toolsUsage = "munjigi tools list | diff [SERVER [NAME]] | approve SERVER [NAME…] | reject SERVER [NAME…] | withdraw SERVER NAME… | export [SERVER] | import FILE"

// cmdTools shows which definitions are served and which are held, and lets a
// person decide.
func cmdTools(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "tools", toolsUsage, "Definitions of servers: tools, prompts, resources, templates and what servers say of themselves. What is held is neither listed nor callable until it is approved. To approve needs the code that the gateway shows on its own terminal.")
	k := asking{e, fs.String("c", "", "config file"), fs.String("data", "", "data folder"), fs.Bool("json", false, "print JSON")}
	only := fs.String("only", "", "list: held, pinned or rejected")
	if code, done := parse(e, fs, args); done {
		return code
	}
	t := toolsCommand{k, *only}
	switch {
	case fs.Arg(0) == "list" && fs.NArg() <= 2:
		return t.list(ctx, fs.Arg(1))
	case fs.Arg(0) == "diff" && fs.NArg() <= 3:
		return t.diff(ctx, fs.Arg(1), fs.Arg(2))
	case (fs.Arg(0) == app.DoApprove || fs.Arg(0) == app.DoReject) && fs.NArg() >= 2:
		return t.decide(ctx, fs.Arg(0), fs.Arg(1), fs.Args()[2:])
	case fs.Arg(0) == app.DoWithdraw && fs.NArg() >= 3:
		return t.withdraw(ctx, fs.Arg(1), fs.Args()[2:])
	case fs.Arg(0) == "export" && fs.NArg() <= 2:
		return t.export(ctx, fs.Arg(1))
	case fs.Arg(0) == app.DoImport && fs.NArg() == 2:
		return t.load(ctx, fs.Arg(1))
	}
	return wrongUse(e, errors.New("say: "+toolsUsage))
}

type toolsCommand struct {
	asking
	only string
}

// nameless is how what a server says of itself is named.
const nameless = "server"

func shownName(kind, name string) string {
	if name == "" {
		return "(" + kind + ")"
	}
	return name
}

func (t toolsCommand) list(ctx context.Context, server string) int {
	var rows []pins.Row
	if err := t.call(ctx, app.OpToolsList, app.ToolsArg{Server: server}, &rows); err != nil {
		return failed(t.e, err)
	}
	kept, held := []pins.Row{}, 0
	for _, r := range rows {
		if r.State != "pinned" {
			held++
		}
		if t.only == "" || r.State == t.only {
			kept = append(kept, r)
		}
	}
	if *t.asJSON {
		return printJSON(t.e, kept)
	}
	if len(kept) == 0 {
		fmt.Fprintln(t.e.stdout, "nothing was seen yet: definitions are seen when a client lists or calls")
		return exitDone
	}
	out := newTable("state", "server", "kind", "name", "why or how", "digest", "since")
	for _, r := range kept {
		why := string(r.Reason)
		if why == "" {
			why = r.How
			if r.By != "" {
				why += " by " + r.By
			}
		}
		out.row(r.State, r.Server, r.Kind, shownName(r.Kind, r.Name), why, r.Digest[:min(12, len(r.Digest))], r.At.Local().Format(time.DateTime))
	}
	out.print(t.e.stdout)
	if held > 0 {
		fmt.Fprintf(t.e.stdout, "\n%s held: munjigi tools diff shows why\n", are(held, "definition"))
	}
	return exitDone
}

func are(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " is"
	}
	return fmt.Sprintf("%d %ss are", n, noun)
}

func (t toolsCommand) diff(ctx context.Context, server, name string) int {
	var all []pins.Difference
	if err := t.call(ctx, app.OpToolsDiff, app.ToolsArg{Server: server, Name: name}, &all); err != nil {
		return failed(t.e, err)
	}
	if *t.asJSON {
		if code := printJSON(t.e, all); code != exitDone {
			return code
		}
	} else {
		for _, d := range all {
			showDifference(t.e.stdout, d)
		}
	}
	if len(all) == 0 {
		if !*t.asJSON {
			fmt.Fprintln(t.e.stdout, "nothing is held")
		}
		return exitDone
	}
	return exitRefused
}

// showDifference writes one held definition as a person reads it. All text of
// the server passes Visible.
func showDifference(w io.Writer, d pins.Difference) {
	h := d.Hold
	state := "held"
	if h.Rejected {
		state = "rejected"
	}
	fmt.Fprintf(w, "%s %s %s, %s: %s\n", config.Visible(h.Server), config.Visible(h.Kind), config.Visible(shownName(h.Kind, h.Name)), state, config.Visible(string(h.Reason)))
	for _, f := range h.Findings {
		line := f.Reason
		if f.Path != "" {
			line += " at " + f.Path
		}
		if f.Text != "" {
			line += ": " + f.Text
		}
		fmt.Fprintf(w, "  ! %s\n", config.Visible(line))
	}
	if d.Approved == nil {
		for _, c := range pins.Diff([]byte("{}"), h.Raw) {
			fmt.Fprintf(w, "  + %s  %s\n", config.Visible(c.Path), config.Visible(c.New))
		}
		fmt.Fprintln(w)
		return
	}
	for _, c := range d.Changes {
		switch c.What {
		case "added":
			fmt.Fprintf(w, "  + %s  %s\n", config.Visible(c.Path), config.Visible(c.New))
		case "removed":
			fmt.Fprintf(w, "  - %s  %s\n", config.Visible(c.Path), config.Visible(c.Old))
		default:
			fmt.Fprintf(w, "  ~ %s\n      %s\n", config.Visible(c.Path), wordsShown(c.Old, c.New))
		}
		if c.Means != "" {
			fmt.Fprintf(w, "      (%s)\n", config.Visible(c.Means))
		}
	}
	fmt.Fprintln(w)
}

// wordsShown marks what went [-so-] and what came {+so+}.
func wordsShown(before, after string) string {
	var b strings.Builder
	for _, p := range pins.Words(before, after) {
		text := config.Visible(p.Text)
		switch p.Op {
		case '-':
			b.WriteString("[-" + text + "-]")
		case '+':
			b.WriteString("{+" + text + "+}")
		default:
			b.WriteString(text)
		}
	}
	return b.String()
}

// decide shows what is held and asks for a decision on exactly that.
func (t toolsCommand) decide(ctx context.Context, do, server string, names []string) int {
	var all []pins.Difference
	if err := t.call(ctx, app.OpToolsDiff, app.ToolsArg{Server: server}, &all); err != nil {
		return failed(t.e, err)
	}
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	var choices []pins.Choice
	for _, d := range all {
		n := d.Hold.Name
		if n == "" {
			n = nameless
		}
		if len(names) > 0 && !wanted[n] {
			continue
		}
		delete(wanted, n)
		showDifference(t.e.stdout, d)
		choices = append(choices, pins.Choice{Server: d.Hold.Server, Kind: d.Hold.Kind, Name: d.Hold.Name, Digest: d.Hold.Digest})
	}
	for n := range wanted {
		return refused(t.e, fmt.Errorf("%s of %s is not held: munjigi tools list shows what is", shown(n), shown(server)))
	}
	if len(choices) == 0 {
		fmt.Fprintf(t.e.stdout, "nothing of %s is held\n", config.Visible(server))
		return exitDone
	}
	return t.ask(ctx, app.ToolsAsk{Do: do, Choices: choices})
}

func (t toolsCommand) withdraw(ctx context.Context, server string, names []string) int {
	var rows []pins.Row
	if err := t.call(ctx, app.OpToolsList, app.ToolsArg{Server: server}, &rows); err != nil {
		return failed(t.e, err)
	}
	var choices []pins.Choice
	for _, n := range names {
		found := false
		for _, r := range rows {
			if r.State == "pinned" && (r.Name == n || r.Name == "" && n == nameless) {
				choices = append(choices, pins.Choice{Server: r.Server, Kind: r.Kind, Name: r.Name, Digest: r.Digest})
				found = true
			}
		}
		if !found {
			return refused(t.e, fmt.Errorf("%s of %s has no pin: munjigi tools list shows them", shown(n), shown(server)))
		}
	}
	return t.ask(ctx, app.ToolsAsk{Do: app.DoWithdraw, Choices: choices})
}

func (t toolsCommand) export(ctx context.Context, server string) int {
	var f pins.File
	if err := t.call(ctx, app.OpToolsExport, app.ToolsArg{Server: server}, &f); err != nil {
		return failed(t.e, err)
	}
	return printJSON(t.e, f)
}

func (t toolsCommand) load(ctx context.Context, path string) int {
	b, err := os.ReadFile(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return failed(t.e, err)
	}
	var f pins.File
	if err := json.Unmarshal(b, &f); err != nil {
		return refused(t.e, fmt.Errorf("%s is not a file of approvals: %w", shown(path), err))
	}
	for _, p := range f.Pins {
		fmt.Fprintf(t.e.stdout, "%s %s %s  %s\n", config.Visible(p.Server), config.Visible(p.Kind), config.Visible(shownName(p.Kind, p.Name)), config.Visible(p.Digest[:min(12, len(p.Digest))]))
	}
	return t.ask(ctx, app.ToolsAsk{Do: app.DoImport, File: &f})
}

// ask has the gateway show a code and sends what the person types.
func (t toolsCommand) ask(ctx context.Context, a app.ToolsAsk) int {
	var asked app.ToolsAsked
	if err := t.call(ctx, app.OpToolsAsk, a, &asked); err != nil {
		return refused(t.e, err)
	}
	fmt.Fprintf(t.e.stdout, "The gateway shows a code on its own terminal. To %s, type it here: ", a.Do)
	line, err := bufio.NewReader(io.LimitReader(t.e.stdin, 256)).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(t.e.stdout)
		return refused(t.e, errors.New("no code was typed, and nothing was decided"))
	}
	var done app.ToolsDone
	if err := t.call(ctx, app.OpToolsDecide, app.ToolsCode{ID: asked.ID, Code: strings.TrimSpace(line)}, &done); err != nil {
		return refused(t.e, err)
	}
	if *t.asJSON {
		return printJSON(t.e, done)
	}
	fmt.Fprintf(t.e.stdout, "%s: done for %d\n", a.Do, done.N)
	return exitDone
}

// approveHeld asks the person at the terminal about what is held of a wrapped
// server.
func approveHeld(ctx context.Context, e *env, a *app.App) int {
	if !e.isTerminal(e.stdin) {
		return refused(e, errors.New("definitions are approved by a person at a terminal: run this there"))
	}
	all := a.HeldDefinitions()
	if len(all) == 0 {
		fmt.Fprintln(e.stdout, "nothing is held")
		return exitDone
	}
	var choices []pins.Choice
	for _, d := range all {
		showDifference(e.stdout, d)
		choices = append(choices, pins.Choice{Server: d.Hold.Server, Kind: d.Hold.Kind, Name: d.Hold.Name, Digest: d.Hold.Digest})
	}
	fmt.Fprintf(e.stdout, "Approve %d of them? Type yes: ", len(choices))
	line, err := bufio.NewReader(io.LimitReader(e.stdin, 64)).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		return refused(e, errors.Join(errors.New("nothing was approved"), err))
	}
	if err := a.ApproveDefinitions(ctx, choices); err != nil {
		return failed(e, err)
	}
	return exitDone
}

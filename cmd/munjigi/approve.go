package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/app"
)

// cmdApprovals lists the calls that wait for a person.
func cmdApprovals(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "approvals", "munjigi approvals list", "Calls that wait for the approval of a person. munjigi approve ID shows one whole, and lets it pass once; munjigi deny ID refuses it.")
	k := asking{e, fs.String("c", "", "config file"), fs.String("data", "", "data folder"), fs.Bool("json", false, "print JSON")}
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() != 1 || fs.Arg(0) != "list" {
		return wrongUse(e, errors.New("say: munjigi approvals list"))
	}
	var rows []app.ApprovalInfo
	if err := k.call(ctx, app.OpApprovals, nil, &rows); err != nil {
		return failed(e, err)
	}
	if *k.asJSON {
		return printJSON(e, rows)
	}
	t := newTable("id", "who", "client", "calls", "approvers", "until")
	for _, r := range rows {
		t.row(r.ID, r.Subject, r.Client, r.Server+"/"+r.Name, strings.Join(r.Approvers, " "), r.Until.Local().Format(time.TimeOnly))
	}
	t.print(e.stdout)
	return exitDone
}

// cmdApprove shows a call that waits and lets it pass once, by the code that the
// gateway's own terminal shows.
func cmdApprove(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "approve", "munjigi approve ID", "Let a call that waits pass once. The gateway shows the call and a code on its own terminal; the code is read from standard input here.")
	k := asking{e, fs.String("c", "", "config file"), fs.String("data", "", "data folder"), nil}
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() != 1 {
		return wrongUse(e, errors.New("say: munjigi approve ID; munjigi approvals list shows the IDs"))
	}
	var call app.ApprovalInfo
	if err := k.call(ctx, app.OpApprovalsShow, app.NameArg{Name: fs.Arg(0)}, &call); err != nil {
		return failed(e, err)
	}
	fmt.Fprint(e.stdout, call.Text())
	arg := app.ApprovalArg{Name: fs.Arg(0)}
	if call.Code {
		fmt.Fprint(e.stderr, "The code that the gateway's terminal shows for this call: ")
		line, err := bufio.NewReader(io.LimitReader(e.stdin, 256)).ReadString('\n')
		if arg.Code = strings.TrimSpace(line); arg.Code == "" {
			return refused(e, errors.Join(errors.New("nothing was typed, so nothing is approved"), ignoreEOF(err)))
		}
	}
	if err := k.call(ctx, app.OpApprovalsGive, arg, nil); err != nil {
		return failed(e, err)
	}
	fmt.Fprintln(e.stdout, "approved: the same call passes once")
	return exitDone
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// cmdDeny refuses a call that waits.
func cmdDeny(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "deny", "munjigi deny ID", "Refuse a call that waits for approval.")
	k := asking{e, fs.String("c", "", "config file"), fs.String("data", "", "data folder"), nil}
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() != 1 {
		return wrongUse(e, errors.New("say: munjigi deny ID; munjigi approvals list shows the IDs"))
	}
	if err := k.call(ctx, app.OpApprovalsDeny, app.NameArg{Name: fs.Arg(0)}, nil); err != nil {
		return failed(e, err)
	}
	fmt.Fprintln(e.stdout, "denied")
	return exitDone
}

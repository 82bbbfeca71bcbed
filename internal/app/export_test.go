package app

import (
	"context"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/credential/peruser"
	"github.com/munjigi/munjigi/internal/guard"
)

// Approvals are the calls that wait for a person, and Terminal who decides at
// the gateway's terminal.
func Approvals(a *App) authz.Approvals { return a.approvals.Load() }

// Terminal is the operator at the terminal.
func Terminal() authz.Approver { return operatorAtTerminal() }

// Waiting is the number of connections that wait for their client's next
// request.
func Waiting(a *App) int {
	a.door.mu.Lock()
	defer a.door.mu.Unlock()
	return a.door.waiting.Len()
}

// Look looks at the files of certificates and keys once, as a running gateway
// does every second.
func Look(a *App) { a.lookOnce() }

// Grants are the grants of people of the newest snapshot.
func Grants(a *App) *peruser.Grants { return a.grants.Load() }

// JudgeArguments asks the guards of a config about the params of one tools/call; reason is empty
// where they pass.
func JudgeArguments(ctx context.Context, cfg *config.Config, server, tool string, params []byte) (reason, said string, err error) {
	set, err := guardsOf(cfg, nil)
	if err != nil {
		return "", "", err
	}
	d, _ := set.Inspect(ctx, guard.Arguments, call.InspectRequest, guard.Subject{Target: call.Target{Server: server, Method: "tools/call", Name: tool}, Request: true, Raw: params})
	if d.Effect.Passes() {
		return "", "", nil
	}
	return string(d.Reason), d.Say, nil
}

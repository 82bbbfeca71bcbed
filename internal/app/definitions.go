package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/control"
	"github.com/munjigi/munjigi/internal/demo"
	"github.com/munjigi/munjigi/internal/pins"
)

// Operations about definitions.
const (
	OpToolsList   = "tools-list"
	OpToolsDiff   = "tools-diff"
	OpToolsAsk    = "tools-ask"    // takes a ToolsAsk, gives a ToolsAsked
	OpToolsDecide = "tools-decide" // takes a ToolsCode, gives a ToolsDone
	OpToolsExport = "tools-export"
)

// stageDefinitions is where definitions are decided on, on the record.
const stageDefinitions = "definitions"

// What is asked for with OpToolsAsk.
const (
	DoApprove  = "approve"
	DoReject   = "reject"
	DoWithdraw = "withdraw"
	DoImport   = "import"
)

// ToolsArg narrows a list: to a server, and to one name of it.
type ToolsArg struct {
	Server string `json:"server,omitempty"`
	Name   string `json:"name,omitempty"`
}

// ToolsAsk asks for something to be decided. The gateway shows a code on its
// own terminal.
type ToolsAsk struct {
	Do      string        `json:"do"`
	Choices []pins.Choice `json:"choices,omitempty"`
	File    *pins.File    `json:"file,omitempty"`
}

// ToolsAsked names the question; Code says that its code was shown.
type ToolsAsked struct {
	ID   string `json:"id"`
	Code bool   `json:"code"`
}

// ToolsCode is the answer of the person who saw the code.
type ToolsCode struct {
	ID   string `json:"id"`
	Code string `json:"code"`
}

// ToolsDone says how many definitions were decided on.
type ToolsDone struct {
	N int `json:"n"`
}

// definitionRules says of each server of a config how its definitions come to
// be approved.
func (a *App) definitionRules(cfg *config.Config) map[string]pins.Rule {
	rules := map[string]pins.Rule{}
	clean, resources := cfg.FirstSight() == config.FirstSightClean, cfg.NewResources()
	for _, s := range cfg.Servers {
		if !s.Enabled {
			continue
		}
		r := pins.Rule{Identity: "server\x00" + s.Name, Clean: clean, NewResources: resources, Unpinned: s.InsecureUnpinned, SameNames: s.InsecureSameNames}
		if a.o.Stdio {
			// Each command that is wrapped is a server of its own.
			r.Identity = "wrap\x00" + reachedBy(s)
		}
		rules[s.Name] = r
	}
	if cfg.Demo {
		rules[DemoServer] = pins.Rule{Identity: demoIdentity + demo.Fingerprint(), Clean: true, NewResources: true}
	}
	return rules
}

const demoIdentity = "demo\x00"

// openPins reads the pins of the store.
func (a *App) openPins(ctx context.Context, cfg *config.Config) error {
	kv, err := a.db.Bucket(pins.Bucket)
	if err != nil {
		return err
	}
	a.pins, err = pins.Open(ctx, pins.Options{Store: kv, Ring: a.ring, Log: a.o.Logger, Told: &definitionNews{a}})
	if err != nil {
		return err
	}
	if cfg.Demo {
		// What is built in changes with the program and needs nobody's word.
		err = a.pins.Forget(ctx, demoIdentity, demoIdentity+demo.Fingerprint())
	}
	var show func(string)
	if a.o.Terminal != nil {
		show = func(code string) { a.questions.shown(a.o.Terminal, code) }
	}
	a.questions = &questions{pairing: signin.NewPairing(local.Attached("terminal"), show), open: map[string]ToolsAsk{}}
	return err
}

// definitionNews puts what happens to definitions on the record and in the log.
type definitionNews struct{ a *App }

// Held implements pins.Told.
func (n *definitionNews) Held(h pins.Hold) {
	n.a.o.Logger.Warn("a definition is held: `munjigi tools diff` shows it", "server", h.Server, "kind", h.Kind, "name", h.Name, "why", string(h.Reason))
	detail := map[string]string{"kind": h.Kind, "digest": h.Digest}
	for i, f := range h.Findings {
		if i == 8 {
			break
		}
		detail[fmt.Sprintf("finding.%d", i+1)] = strings.TrimSpace(f.By + " " + f.Reason + " " + f.Path)
	}
	n.record(call.Hold.String(), string(h.Reason), h.Server, h.Name, detail)
}

// Sighted implements pins.Told.
func (n *definitionNews) Sighted(server, kind string, count int) {
	n.a.o.Logger.Info("definitions were pinned at first sight: `munjigi tools list` shows them", "server", server, "kind", kind, "pinned", count)
	n.record(call.Allow.String(), "definitions-pinned", server, "", map[string]string{"kind": kind, "pinned": strconv.Itoa(count)})
}

func (n *definitionNews) record(effect, reason, server, name string, detail map[string]string) {
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: stageDefinitions, Effect: effect, Reason: reason, Server: server, Target: name, Detail: detail}
	if err := n.a.record.With(log.Strict).Record(context.Background(), &e); err != nil {
		n.a.o.Logger.Error("the record cannot be written", "err", err)
	}
}

// questions are what waits for a code from the terminal.
type questions struct {
	pairing *signin.Pairing

	mu    sync.Mutex
	open  map[string]ToolsAsk
	about string // of the code that is being shown
}

const mostQuestions = 16

// shown prints a code for what is asked now.
func (q *questions) shown(w io.Writer, code string) {
	_, _ = fmt.Fprintf(w, "\n  %s\n  If that is you, type this code there: %s\n\n", config.Visible(q.about), code)
}

// ask remembers a question and shows its code.
func (q *questions) ask(a ToolsAsk) (string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.open) >= mostQuestions {
		clear(q.open)
	}
	id := rand.Text()
	q.about = a.about()
	if err := q.pairing.Show(id); err != nil {
		return "", errors.New("the gateway has no terminal to show a code on, or was asked too often: wait a moment")
	}
	q.open[id] = a
	return id, nil
}

// answered returns the question that a code belongs to, once.
func (q *questions) answered(c ToolsCode) (ToolsAsk, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a, ok := q.open[c.ID]
	if !ok {
		return ToolsAsk{}, errors.New("nothing was asked under this ID: ask again")
	}
	if _, err := q.pairing.Enter(c.ID, c.Code); err != nil {
		return ToolsAsk{}, errors.New("that is not the code that the gateway's terminal shows")
	}
	delete(q.open, c.ID)
	return a, nil
}

// about says in one sentence what is asked.
func (a ToolsAsk) about() string {
	names := []string{}
	n := len(a.Choices)
	for _, c := range a.Choices {
		if len(names) == 6 {
			names = append(names, "…")
			break
		}
		names = append(names, c.Server+"/"+c.Name)
	}
	if a.File != nil {
		n = len(a.File.Pins)
		names = []string{"from a file"}
	}
	return fmt.Sprintf("Somebody asks to %s %d definitions: %s", a.Do, n, strings.Join(names, ", "))
}

// decideTools does what a person agreed to.
func (a *App) decideTools(ctx context.Context, ask ToolsAsk) (ToolsDone, error) {
	const by = "operator"
	w := a.watch.Load()
	n, err := len(ask.Choices), error(nil)
	switch ask.Do {
	case DoApprove:
		err = w.Approve(ctx, by, ask.Choices)
	case DoReject:
		err = w.Reject(ctx, by, ask.Choices)
	case DoWithdraw:
		err = w.Withdraw(ctx, by, ask.Choices)
	case DoImport:
		if ask.File == nil {
			return ToolsDone{}, errors.New("there is no file to import")
		}
		n, err = w.Import(ctx, by, *ask.File)
	default:
		err = errors.New("this cannot be asked for")
	}
	if err != nil {
		return ToolsDone{}, err
	}
	for i, c := range ask.Choices {
		if i == 1000 {
			break
		}
		effect := call.Allow
		if ask.Do != DoApprove {
			effect = call.Hold
		}
		(&definitionNews{a}).record(effect.String(), "definition-"+ask.Do, c.Server, c.Name, map[string]string{"kind": c.Kind, "digest": c.Digest, "by": by})
	}
	if ask.Do == DoImport {
		(&definitionNews{a}).record(call.Allow.String(), "definition-import", "", "", map[string]string{"pinned": strconv.Itoa(n), "by": by})
	}
	return ToolsDone{n}, nil
}

// HeldDefinitions returns what is held of the servers of the config.
func (a *App) HeldDefinitions() []pins.Difference { return a.watch.Load().Differences("", "") }

// ApproveDefinitions approves what a person at this program's own terminal was
// shown.
func (a *App) ApproveDefinitions(ctx context.Context, choices []pins.Choice) error {
	_, err := a.decideTools(ctx, ToolsAsk{Do: DoApprove, Choices: choices})
	return err
}

// toolOperations are the operations about definitions.
func (a *App) toolOperations() map[string]control.Handler {
	return map[string]control.Handler{
		OpToolsList: func(_ context.Context, raw json.RawMessage) (any, error) {
			arg, err := control.Args[ToolsArg](raw)
			if err != nil {
				return nil, err
			}
			rows := []pins.Row{}
			for _, r := range a.watch.Load().List() {
				if arg.Server == "" || r.Server == arg.Server {
					rows = append(rows, r)
				}
			}
			return rows, nil
		},
		OpToolsDiff: func(_ context.Context, raw json.RawMessage) (any, error) {
			arg, err := control.Args[ToolsArg](raw)
			if err != nil {
				return nil, err
			}
			return a.watch.Load().Differences(arg.Server, arg.Name), nil
		},
		OpToolsAsk: func(_ context.Context, raw json.RawMessage) (any, error) {
			ask, err := control.Args[ToolsAsk](raw)
			if err != nil {
				return nil, err
			}
			id, err := a.questions.ask(ask)
			return ToolsAsked{ID: id, Code: true}, err
		},
		OpToolsDecide: func(ctx context.Context, raw json.RawMessage) (any, error) {
			code, err := control.Args[ToolsCode](raw)
			if err != nil {
				return nil, err
			}
			ask, err := a.questions.answered(code)
			if err != nil {
				(&definitionNews{a}).record(call.Deny.String(), "bad-code", "", "", nil)
				return nil, err
			}
			return a.decideTools(ctx, ask)
		},
		OpToolsExport: func(_ context.Context, raw json.RawMessage) (any, error) {
			arg, err := control.Args[ToolsArg](raw)
			if err != nil {
				return nil, err
			}
			return a.watch.Load().Export(arg.Server), nil
		},
	}
}

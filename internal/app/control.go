package app

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn/signin"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/control"
	"github.com/munjigi/munjigi/internal/guard/all"
)

// ControlPath returns where the control socket of a data folder is.
func ControlPath(data string) string { return filepath.Join(data, "control.sock") }

// Operations that commands ask a running gateway for.
const (
	OpSessionsList   = "sessions-list"
	OpSessionsEnd    = "sessions-end"
	OpTokensList     = "tokens-list"
	OpTokensNew      = "tokens-new"
	OpTokensRevoke   = "tokens-revoke"
	OpTokensTakeBack = "tokens-take-back" // of issuers; takes a Revocation
	OpServers        = "servers"
	OpApprove        = "servers-approve"
	OpReload         = "reload"
	OpCatalogue      = "catalogue" // of one server; a *cedar.Shelf
)

// NameArg is the argument of operations that concern one thing.
type NameArg struct {
	Name string `json:"name"`
}

// TokenAnswer is the answer to OpTokensNew.
type TokenAnswer struct {
	Token   string `json:"token"`
	Expires string `json:"expires"`
}

// EndedAnswer is the answer to OpSessionsEnd.
type EndedAnswer struct {
	Ended int `json:"ended"`
}

// ServerInfo is one row of `munjigi servers list`.
type ServerInfo struct {
	Name    string `json:"name"`
	Reached string `json:"reached"`
	Era     string `json:"era"`
	Enabled bool   `json:"enabled"`
	Merged  bool   `json:"merged"`
}

// ServeControl answers commands on the control socket until ctx ends.
func (a *App) ServeControl(ctx context.Context) error {
	all := map[string]control.Handler{
		OpSessionsList: a.listSessions,
		OpSessionsEnd:  named(func(ctx context.Context, name string) (any, error) { return a.EndSessions(ctx, name) }),
		OpTokensList:   func(ctx context.Context, _ json.RawMessage) (any, error) { return a.Tokens(ctx) },
		OpTokensNew: named(func(ctx context.Context, name string) (any, error) {
			t, until, err := a.ClientToken(ctx, name)
			return TokenAnswer{t, until.Format("2006-01-02")}, err
		}),
		OpTokensRevoke: named(func(ctx context.Context, name string) (any, error) { return nil, a.RevokeClient(ctx, name) }),
		OpTokensTakeBack: func(ctx context.Context, raw json.RawMessage) (any, error) {
			r, err := control.Args[Revocation](raw)
			if err != nil {
				return nil, err
			}
			n, err := a.Revoke(ctx, r)
			return EndedAnswer{n}, err
		},
		OpApprove:   named(func(ctx context.Context, name string) (any, error) { return nil, a.ApproveServer(ctx, name) }),
		OpCatalogue: named(func(ctx context.Context, name string) (any, error) { return a.Shelf(ctx, name) }),
		OpServers:   func(context.Context, json.RawMessage) (any, error) { return Servers(a.Config()), nil },
		OpReload:    func(ctx context.Context, _ json.RawMessage) (any, error) { return nil, a.Reload(ctx) },
	}
	maps.Copy(all, a.approvalHandlers())
	maps.Copy(all, a.toolOperations())
	return control.Serve(ctx, ControlPath(a.Config().Data), all)
}

// EndSessions ends the legacy sessions and those of browsers whose ID on the
// record begins with prefix: at least 8 digits.
func (a *App) EndSessions(ctx context.Context, prefix string) (EndedAnswer, error) {
	if len(prefix) < 8 {
		return EndedAnswer{}, errors.New("name at least 8 digits of the session's ID")
	}
	ended := EndedAnswer{a.sessions.End(prefix)}
	browsers, err := signin.NewSessions(a.browsers, nil).EndAll(ctx, func(s signin.Session) bool { return strings.HasPrefix(s.Name, prefix) })
	ended.Ended += browsers
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "administration", Effect: "allow",
		Reason: "sessions-ended", Session: prefix[:min(len(prefix), 16)], Detail: map[string]string{"ended": strconv.Itoa(ended.Ended)}}
	return ended, errors.Join(err, a.record.With(log.Strict).Record(ctx, &e))
}

func named(f func(ctx context.Context, name string) (any, error)) control.Handler {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var n NameArg
		if err := json.Unmarshal(raw, &n); err != nil || n.Name == "" {
			return nil, errors.New("the operation needs a name")
		}
		return f(ctx, n.Name)
	}
}

// Servers describes the servers of a config.
func Servers(cfg *config.Config) []ServerInfo {
	merged := map[string]bool{}
	for _, m := range cfg.MergedServers() {
		merged[m] = true
	}
	out := []ServerInfo{}
	if cfg.Demo {
		out = append(out, ServerInfo{DemoServer, "built in", "both", true, true})
	}
	for _, s := range cfg.Servers {
		how := s.URL.String()
		if s.Stdio() {
			how = s.Command[0].String()
		}
		out = append(out, ServerInfo{s.Name, how, string(s.Era), s.Enabled, merged[s.Name]})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// GuardInfo is one row of `munjigi guards`.
type GuardInfo struct {
	Name  string `json:"name"`
	Mode  string `json:"mode"`
	Stops string `json:"stops"`
}

// GuardsOf lists the guards of this version and how a config runs them.
func GuardsOf(cfg *config.Config) []GuardInfo {
	out := []GuardInfo{}
	for _, g := range all.Guards(all.Settings{}) {
		sp := g.Spec()
		mode := config.ModeEnforce
		for _, m := range cfg.Guards {
			if m.Name == sp.Name {
				mode = m.Mode
			}
		}
		out = append(out, GuardInfo{sp.Name, string(mode), sp.Stops})
	}
	return out
}

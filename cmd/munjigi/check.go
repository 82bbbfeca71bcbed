package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
)

// checkReport is what check prints as JSON.
type checkReport struct {
	File       string             `json:"file"`
	OK         bool               `json:"ok"`
	Digest     string             `json:"digest,omitempty"`
	Errors     []config.Problem   `json:"errors,omitempty"`
	Omitted    int                `json:"omitted,omitempty"`
	Servers    []checkServer      `json:"servers,omitempty"`
	Departures []config.Departure `json:"departures,omitempty"`
	Warnings   []config.Problem   `json:"warnings,omitempty"`
	// Unchecked says what of the policies could not be checked, and why.
	Unchecked []string `json:"unchecked,omitempty"`
}

type checkServer struct {
	Name    string   `json:"name"`
	Enabled bool     `json:"enabled"`
	Era     string   `json:"era"`
	Reached string   `json:"reached"`
	Weaker  []string `json:"weaker,omitempty"`
}

// cmdCheck shows every error of a config, or what it configures.
func cmdCheck(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "check", "munjigi check [-c FILE] [--json]", "Show every error of a config at once, with line, column and key; without errors, its servers and what is weaker than the safe defaults.")
	path := fs.String("c", "munjigi.yaml", "config file")
	asJSON := fs.Bool("json", false, "print JSON")
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() > 0 {
		return wrongUse(e, errors.New("name the config with -c"))
	}
	cfg, err := app.Build(e.getenv).Load(*path)
	if err != nil {
		return checkFailed(e, *path, err, *asJSON)
	}
	_, policies, err := app.Policies(cfg)
	if err != nil {
		return policyFailed(e, *path, err, *asJSON)
	}
	if _, _, err := app.Candidate(cfg); err != nil {
		return policyFailed(e, *path, err, *asJSON)
	}
	against, err := policiesAgainst(ctx, cfg, policies, "")
	if err != nil {
		return failed(e, err)
	}
	if len(against.Problems) > 0 {
		return checkFailed(e, *path, &config.Errors{List: against.Problems}, *asJSON)
	}
	report := checkReport{File: cfg.File, OK: true, Digest: hex.EncodeToString(cfg.Digest[:]), Departures: cfg.Departures(), Warnings: cfg.Warnings, Unchecked: against.Unchecked}
	for _, s := range cfg.Servers {
		report.Servers = append(report.Servers, serverRow(s, report.Departures))
	}
	if *asJSON {
		return printJSON(e, report)
	}
	showChecked(e, report)
	return exitDone
}

func checkFailed(e *env, path string, err error, asJSON bool) int {
	var list *config.Errors
	if !errors.As(err, &list) {
		return failed(e, err)
	}
	code := exitRefused
	if errors.Unwrap(list) != nil {
		code = exitFailed
	}
	if asJSON {
		if c := printJSON(e, checkReport{File: path, Errors: list.List, Omitted: list.Omitted}); c != exitDone {
			return c
		}
		return code
	}
	for _, p := range list.List {
		place := config.Visible(p.File)
		if p.Line > 0 {
			place = fmt.Sprintf("%s:%d:%d", place, p.Line, p.Column)
		}
		text := p.Message
		if p.Key != "" {
			text = p.Key + " " + text
		}
		fmt.Fprintf(e.stderr, "%s: %s\n    %s\n", place, text, p.Next)
	}
	if list.Omitted > 0 {
		fmt.Fprintf(e.stderr, "and %d more\n", list.Omitted)
	}
	fmt.Fprintf(e.stderr, "%s\n", plural(len(list.List)+list.Omitted, "error"))
	return code
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func serverRow(s config.Server, all []config.Departure) checkServer {
	row := checkServer{Name: s.Name, Enabled: s.Enabled, Era: string(s.Era), Reached: reached(s)}
	for _, d := range all {
		if key, ok := strings.CutPrefix(d.Key, "servers."+s.Name+"."); ok {
			row.Weaker = append(row.Weaker, key)
		}
	}
	return row
}

// reached says how a server is reached, without what may be secret in its
// arguments or its query.
func reached(s config.Server) string {
	if s.Stdio() {
		return "command " + s.Command[0].Text
	}
	u, err := url.Parse(s.URL.Text)
	if err != nil {
		return "url"
	}
	return u.Scheme + "://" + u.Host
}

func showChecked(e *env, r checkReport) {
	w := e.stdout
	fmt.Fprintf(w, "%s is in order: %s\n", config.Visible(r.File), plural(len(r.Servers), "server"))
	if len(r.Servers) > 0 {
		fmt.Fprintln(w)
		t := newTable("server", "on", "era", "reached by", "weaker")
		for _, s := range r.Servers {
			t.row(s.Name, yes(s.Enabled), s.Era, s.Reached, strings.Join(s.Weaker, ", "))
		}
		t.print(w)
	}
	if len(r.Departures) > 0 {
		fmt.Fprintln(w, "\nweaker than the safe defaults:")
		for _, d := range r.Departures {
			fmt.Fprintf(w, "  ! %s: %s  %s\n", d.Key, d.Value, d.Means)
		}
	}
	if len(r.Warnings) > 0 {
		fmt.Fprintln(w, "\nworth a look:")
		for _, p := range r.Warnings {
			fmt.Fprintf(w, "  %s:%d:%d: %s %s\n      %s\n", config.Visible(r.File), p.Line, p.Column, p.Key, p.Message, p.Next)
		}
	}
	showUnchecked(e, r.Unchecked)
}

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/munjigi/munjigi/internal/app"
)

// banner tells a newcomer where the gateway is, how to reach it from each
// client, and what is protected.
func banner(ctx context.Context, e *env, a *app.App, addr string) {
	cfg := a.Config()
	scheme := "http"
	if cfg.TLS.Enabled() {
		scheme = "https"
	}
	base := scheme + "://" + addr
	if cfg.PublicURL != "" {
		base = cfg.PublicURL
	}
	w := e.stdout
	path := "/mcp"
	if len(cfg.MergedServers()) == 0 && !cfg.Demo {
		for _, s := range cfg.Servers {
			if s.Enabled {
				path = "/mcp/" + s.Name
				break
			}
		}
	}
	fmt.Fprintf(w, "munjigi %s is listening\n\n", version)
	fmt.Fprintf(w, "  Endpoint   %s%s\n", base, path)
	if cfg.Demo {
		fmt.Fprintf(w, "  Server     demo (built in: tools, a resource and a prompt to try; no files, no network)\n")
	} else {
		for _, s := range cfg.Servers {
			state := ""
			if !s.Enabled {
				state = " (disabled)"
			}
			fmt.Fprintf(w, "  Server     %s/mcp/%s%s\n", base, s.Name, state)
		}
	}
	if at := a.Pages(); at != "" {
		fmt.Fprintf(w, "  Your pages %s\n", at)
	}
	fmt.Fprintf(w, "  Data       %s\n\n", cfg.Data)
	if !cfg.Identity.InsecureAnonymous && !cfg.Identity.Outside() {
		for _, c := range clients() {
			token, until, err := a.ClientToken(ctx, c.name)
			if err != nil {
				fmt.Fprintf(e.stderr, "no token for %s: %v\n", c.name, err)
				continue
			}
			fmt.Fprintf(w, "  %s (token until %s)\n    %s\n\n", c.title, until.Format("2006-01-02"), c.line(base+path, token))
		}
	}
	fmt.Fprintf(w, "  Any client that starts a command, without a token\n    munjigi connect\n\n")
	fmt.Fprintln(w, "  Protected")
	for _, p := range app.Protected(cfg) {
		fmt.Fprintf(w, "    + %s\n", p)
	}
	fmt.Fprintln(w, "  Not protected")
	for _, p := range app.Unprotected(cfg) {
		fmt.Fprintf(w, "    - %s\n", p)
	}
	if d := cfg.Departures(); len(d) > 0 {
		fmt.Fprintln(w, "  Weaker than the safe defaults")
		for _, x := range d {
			fmt.Fprintf(w, "    ! %s: %s  %s\n", x.Key, x.Value, x.Means)
		}
	}
	fmt.Fprintf(w, "\n  Every refusal carries an ID: munjigi why ID shows what happened. Stop with Ctrl-C.\n")
}

// client is one program that people paste a line into.
type client struct {
	name, title string
	line        func(url, token string) string
}

func clients() []client {
	json := func(format string) func(url, token string) string {
		return func(url, token string) string {
			return strings.NewReplacer("URL", url, "TOKEN", token).Replace(format)
		}
	}
	return []client{
		{"claude-code", "Claude Code", json(`claude mcp add --transport http munjigi URL --header "Authorization: Bearer TOKEN"`)},
		{"cursor", "Cursor, in .cursor/mcp.json", json(`{"mcpServers":{"munjigi":{"url":"URL","headers":{"Authorization":"Bearer TOKEN"}}}}`)},
		{"vscode", "VS Code", json(`code --add-mcp '{"name":"munjigi","type":"http","url":"URL","headers":{"Authorization":"Bearer TOKEN"}}'`)},
		{"inspector", "MCP Inspector", json(`npx @modelcontextprotocol/inspector --cli URL --transport http --header "Authorization: Bearer TOKEN" --method tools/list`)},
	}
}

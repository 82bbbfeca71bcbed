package importer

import (
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"github.com/munjigi/munjigi/internal/base/strictjson"
)

// input is one entry of VS Code's inputs: what the client asks the user for.
type input struct {
	description string
	known       bool
}

// detect finds the format out, by the file's name and then by what only one
// client writes. The formats differ in which variables they replace.
func detect(path string, root strictjson.Object) Format {
	base, folder := filepath.Base(path), filepath.Base(filepath.Dir(path))
	switch {
	case base == "claude_desktop_config.json":
		return ClaudeDesktop
	case base == ".mcp.json", base == ".claude.json", base == "managed-mcp.json":
		return ClaudeCode
	case folder == ".cursor":
		return Cursor
	case folder == ".vscode", strings.HasSuffix(base, ".code-workspace"):
		return VSCode
	}
	if _, ok := root.Get("servers"); ok {
		return VSCode
	}
	if _, ok := root.Get("mcp"); ok {
		return VSCode
	}
	if _, ok := root.Get("projects"); ok {
		return ClaudeCode
	}
	raw, _ := root.Get("mcpServers")
	text := string(raw)
	switch {
	case strings.Contains(text, "${env:"), strings.Contains(text, "${workspaceFolder"), strings.Contains(text, "${userHome}"), strings.Contains(text, `"envFile"`):
		return Cursor
	case strings.Contains(text, `"type"`), strings.Contains(text, `"headersHelper"`), strings.Contains(text, ":-"):
		return ClaudeCode
	}
	return ClaudeDesktop
}

// document finds the servers in the file.
func (r *reader) document(root strictjson.Object) error {
	holder, where := root, ""
	key := "mcpServers"
	if r.plan.Format == VSCode {
		key = "servers"
		for _, path := range [][]string{{"mcp"}, {"settings", "mcp"}} {
			if inner, ok := r.descend(root, path); ok {
				if _, found := root.Get(key); !found {
					holder, where = inner, strings.Join(path, ".")+"."
				}
			}
		}
	}
	raw, found := holder.Get(key)
	if !found && where == "" {
		for _, other := range []string{"mcpServers", "servers"} {
			if raw, found = root.Get(other); found {
				r.note("the servers stand under %s, which is not where %s reads them", other, r.plan.Format.Client())
				key = other
				break
			}
		}
	}
	if !found && bare(root) {
		r.note("the file is a list of servers without a key above them")
		return r.servers(root, "", r.workspace)
	}
	r.readInputs(holder)
	r.others(root, holder, key)
	projects, hasProjects := root.Get("projects")
	if !found && !hasProjects {
		return &SyntaxError{Message: fmt.Sprintf("has no servers: %s keeps them under %q", r.plan.Format.Client(), key)}
	}
	if found {
		list, err := strictjson.SplitObject(raw)
		if err != nil {
			return &SyntaxError{Message: where + key + " is not an object of servers by their names"}
		}
		if err := r.servers(list, where+key, r.workspace); err != nil {
			return err
		}
	}
	if hasProjects && r.plan.Format == ClaudeCode {
		r.projects(projects)
	}
	return nil
}

// descend follows keys through objects.
func (r *reader) descend(o strictjson.Object, path []string) (strictjson.Object, bool) {
	for _, key := range path {
		raw, ok := o.Get(key)
		if !ok || strictjson.TypeOf(raw) != strictjson.TypeObject {
			return nil, false
		}
		inner, err := strictjson.SplitObject(raw)
		if err != nil {
			return nil, false
		}
		o = inner
	}
	return o, true
}

// bare reports whether every member looks like a server.
func bare(root strictjson.Object) bool {
	for _, m := range root {
		if strictjson.TypeOf(m.Raw) != strictjson.TypeObject {
			return false
		}
		o, err := strictjson.SplitObject(m.Raw)
		if err != nil {
			return false
		}
		_, command := o.Get("command")
		_, url := o.Get("url")
		if !command && !url {
			return false
		}
	}
	return len(root) > 0
}

func (r *reader) servers(list strictjson.Object, where, workspace string) error {
	for _, m := range list {
		s := &Server{Original: m.Name, Where: where, Cwd: workspace}
		s.kept = string(m.Raw)
		r.plan.Servers = append(r.plan.Servers, s)
	}
	return nil
}

// projects reads the servers that Claude Code keeps for single projects.
func (r *reader) projects(raw []byte) {
	list, err := strictjson.SplitObject(raw)
	if err != nil {
		return
	}
	for _, p := range list {
		o, err := strictjson.SplitObject(p.Raw)
		if err != nil {
			continue
		}
		inner, ok := r.descend(o, []string{"mcpServers"})
		if !ok || len(inner) == 0 {
			continue
		}
		workspace := ""
		if filepath.IsAbs(p.Name) {
			workspace = p.Name
		}
		for _, m := range inner {
			r.plan.Servers = append(r.plan.Servers, &Server{Original: m.Name, Where: "projects." + p.Name + ".mcpServers", Cwd: workspace, kept: string(m.Raw)})
		}
	}
}

// readInputs reads VS Code's inputs. Their defaults may be secrets, and are
// not looked at.
func (r *reader) readInputs(holder strictjson.Object) {
	raw, ok := holder.Get("inputs")
	if !ok || r.plan.Format != VSCode {
		return
	}
	list, err := strictjson.SplitArray(raw)
	if err != nil {
		r.note("inputs is not a list and was left out")
		return
	}
	for _, item := range list {
		o, err := strictjson.SplitObject(item)
		if err != nil {
			continue
		}
		id, _ := textOf(o, "id")
		if id == "" {
			continue
		}
		description, _ := textOf(o, "description")
		r.inputs[id] = input{description: description, known: true}
	}
}

func textOf(o strictjson.Object, name string) (string, bool) {
	raw, ok := o.Get(name)
	if !ok || strictjson.TypeOf(raw) != strictjson.TypeString {
		return "", false
	}
	text, err := strictjson.String(raw)
	return text, err == nil
}

// others says what else the file holds, by name only: a client's settings are
// its own, and there may be anything in them.
func (r *reader) others(root, holder strictjson.Object, key string) {
	known := map[string]bool{key: true, "inputs": true, "$schema": true, "projects": true, "mcp": len(holder) > 0, "settings": true}
	var names []string
	for _, m := range root {
		if !known[m.Name] {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 {
		return
	}
	sort.Strings(names)
	const most = 8
	list := make([]string, 0, most)
	for _, n := range names[:min(len(names), most)] {
		list = append(list, show(n))
	}
	text := strings.Join(list, ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	r.note("other settings of the client were left out: %s", text)
}

func (r *reader) note(format string, args ...any) {
	r.plan.Notes = append(r.plan.Notes, fmt.Sprintf(format, args...))
}

package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/config"
)

// Render writes munjigi.yaml. The folder is the one that it will lie in.
func (p *Plan) Render(folder string) []byte {
	w := &writer{folder: folder}
	w.comment(0, "Made by munjigi import from %s of %s. Nothing in it has been started.", show(filepath.Base(p.Source)), p.Format.Client())
	w.comment(0, "Every server is off until enabled: true; a command needs insecure_unsandboxed: true as well,")
	w.comment(0, "because it then runs with all that you may do yourself. Look it over with: munjigi check -c FILE")
	if slices.ContainsFunc(p.Servers, (*Server).Stdio) {
		w.comment(0, "A command gets the variables under its env, a plain PATH and nothing else of your environment.")
	}
	for _, n := range p.Notes {
		w.comment(0, "note: %s", n)
	}
	if len(p.Values) > 0 {
		w.line("")
		w.comment(0, "Set these variables where munjigi serve is started (or write file:PATH in place of env:NAME):")
		for _, v := range p.Values {
			w.comment(0, "  %s  for %s of %s: %s", v.Variable, config.Visible(v.Where), v.Server, v.How)
		}
	}
	w.line("")
	written := 0
	for _, s := range p.Servers {
		if s.Broken == "" {
			written++
		}
	}
	if written == 0 {
		w.line("servers: {}")
	} else {
		w.line("servers:")
	}
	for _, s := range p.Servers {
		if s.Broken != "" {
			w.broken(s)
		} else {
			w.server(s)
		}
	}
	return []byte(w.b.String())
}

type writer struct {
	b      strings.Builder
	folder string
}

func (w *writer) line(text string) { w.b.WriteString(text + "\n") }

// comment writes one line of comment, whatever is in the text.
func (w *writer) comment(indent int, format string, args ...any) {
	w.line(strings.Repeat(" ", indent) + "# " + safe(fmt.Sprintf(format, args...)))
}

// safe makes a text one line without hidden characters. Text that passed
// Visible before comes out as it went in.
func safe(text string) string {
	if strings.ContainsFunc(text, config.Hidden) {
		return config.Visible(text)
	}
	return text
}

func (w *writer) key(indent int, key, value string) {
	w.line(strings.Repeat(" ", indent) + key + ": " + value)
}

func (w *writer) broken(s *Server) {
	w.line("")
	w.comment(2, "not imported: %s of %s, because %s.", show(s.Original), place(s), s.Broken)
	w.notes(s)
	w.comment(2, "It was: %s", s.kept)
}

func place(s *Server) string {
	if s.Where == "" {
		return "the file"
	}
	return show(s.Where)
}

func (w *writer) notes(s *Server) {
	for _, n := range s.Notes {
		w.comment(4, "%s", n)
	}
}

func (w *writer) server(s *Server) {
	w.line("")
	w.line("  " + s.Name + ":")
	if s.Original != s.Name || strings.HasPrefix(s.Where, "projects.") {
		w.comment(4, "named %s in %s", show(s.Original), place(s))
	}
	for _, d := range s.Dangers {
		w.comment(4, "careful: %s", d.Text)
	}
	w.notes(s)
	if s.Stdio() {
		w.line("    command:")
		for _, v := range s.Command {
			w.line("      - " + value(v))
		}
		if len(s.Env) > 0 {
			w.line("    env:")
			for _, e := range s.Env {
				w.key(6, yamlText(e.Name), value(e.Value))
			}
		}
		if s.Cwd != "" && s.Cwd != w.folder {
			w.key(4, "cwd", yamlText(s.Cwd))
		}
	} else {
		w.key(4, "url", value(s.URL))
		if len(s.Headers) > 0 {
			w.line("    credential:")
			w.key(6, "type", "static")
			w.line("      headers:")
			for _, h := range s.Headers {
				w.key(8, yamlText(h.Name), value(h.Value))
			}
		}
	}
	if s.Deadline > 0 {
		w.key(4, "deadline", s.Deadline.String())
	}
	switch {
	case s.Enable && s.Stdio():
		w.key(4, "enabled", "true")
		w.comment(4, "until it runs in a sandbox; this exact command was confirmed at the prompt")
		w.key(4, "insecure_unsandboxed", "true")
	case s.Enable:
		w.key(4, "enabled", "true")
	case s.Hold != "":
		w.comment(4, "off because %s", s.Hold)
		w.key(4, "enabled", "false")
	default:
		w.key(4, "enabled", "false")
	}
	if !s.Enable && s.Stdio() {
		w.comment(4, "insecure_unsandboxed: true   # needed to enable it: this build has no sandbox for commands")
	}
}

// value writes a value, or the mapping that names its secret.
func value(v config.Value) string {
	switch {
	case !v.IsSecret():
		return yamlText(v.Text)
	case v.Text == "":
		return "{ secret: " + yamlText(v.Secret.String()) + " }"
	}
	return "{ prefix: " + yamlText(v.Text) + ", secret: " + yamlText(v.Secret.String()) + " }"
}

// yamlText writes a text as YAML: plain where nothing could take it for
// anything else, and in double quotation marks otherwise, with every character
// that does not show written as an escape.
func yamlText(text string) string {
	if plainYAML(text) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"', r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case config.Hidden(r) && r <= 0xff:
			fmt.Fprintf(&b, `\x%02x`, r)
		case config.Hidden(r) && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case config.Hidden(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func plainYAML(text string) bool {
	switch strings.ToLower(text) {
	case "", "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return false
	}
	if c := text[0]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '/') {
		return false
	}
	for i := range len(text) {
		c := text[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-./", c) >= 0) &&
			!(c == ':' && i+1 < len(text) && text[i+1] != ' ') {
			return false
		}
	}
	return true
}

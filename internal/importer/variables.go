package importer

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/config"
)

// segment is a part of a text: itself, or a variable that the client would
// have replaced.
type segment struct {
	text string
	kind segmentKind
	// name is that of the variable, fallback what stands for it when it is
	// not set.
	name     string
	fallback string
	falls    bool
}

type segmentKind int

const (
	plainText segmentKind = iota
	environment
	asked
	unknown
)

// split parts a text at the variables of the format. What the client's own
// file system knows (${userHome}, ${workspaceFolder}) is replaced at once.
func (r *reader) split(text string) []segment {
	if r.plan.Format == ClaudeDesktop {
		return []segment{{text: text}}
	}
	var list []segment
	add := func(s segment) {
		if n := len(list); s.kind == plainText && n > 0 && list[n-1].kind == plainText {
			list[n-1].text += s.text
			return
		}
		list = append(list, s)
	}
	for text != "" {
		before, rest, ok := strings.Cut(text, "${")
		inside, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			add(segment{text: text})
			break
		}
		if before != "" {
			add(segment{text: before})
		}
		add(r.variable(inside))
		text = after
	}
	if list == nil {
		list = []segment{{}}
	}
	return list
}

func (r *reader) variable(inside string) segment {
	whole := segment{text: "${" + inside + "}"}
	if r.plan.Format == ClaudeCode {
		name, fallback, falls := strings.Cut(inside, ":-")
		if !variable(name) {
			return whole
		}
		whole.kind, whole.name, whole.fallback, whole.falls = environment, name, fallback, falls
		return whole
	}
	scheme, name, _ := strings.Cut(inside, ":")
	switch scheme {
	case "env":
		whole.kind, whole.name = environment, name
		if !variable(name) {
			whole.kind = unknown
		}
	case "input":
		if r.plan.Format == VSCode {
			whole.kind, whole.name = asked, name
		}
	case "userHome":
		return known(whole, r.in.Home)
	case "workspaceFolder", "workspaceRoot":
		return known(whole, r.workspace)
	case "workspaceFolderBasename":
		if r.workspace == "" {
			return known(whole, "")
		}
		return known(whole, filepath.Base(r.workspace))
	case "pathSeparator", "/":
		return segment{text: string(filepath.Separator)}
	case "cwd", "file", "fileBasename", "fileBasenameNoExtension", "fileExtname", "fileDirname", "relativeFile", "relativeFileDirname",
		"fileWorkspaceFolder", "lineNumber", "selectedText", "execPath", "defaultBuildTask", "config", "command", "extensionInstallFolder":
		if r.plan.Format == VSCode {
			whole.kind, whole.name = unknown, inside
		}
	}
	return whole
}

// known is a variable whose value follows from where the file lies.
func known(s segment, value string) segment {
	if value == "" {
		s.kind, s.name = unknown, s.text
		return s
	}
	return segment{text: value}
}

// variable reports whether a name is one that a reference may have.
func variable(name string) bool {
	_, err := secret.ParseRef("env:" + name)
	return err == nil
}

// value makes a text of the client's file a value of munjigi.yaml. The name
// is that of the variable, flag or header that it belongs to; where says
// where it stands; the lead, which is known to be no secret, stands before it.
func (r *reader) value(s *Server, where, name, lead, text string) config.Value {
	list := r.split(text)
	variables := 0
	var start strings.Builder
	for _, seg := range list {
		if seg.kind != plainText {
			variables++
		} else if variables == 0 {
			start.WriteString(seg.text)
		}
	}
	last := list[len(list)-1]
	switch {
	case variables == 0:
		return r.literal(s, where, name, lead, start.String())
	case variables == 1 && last.kind != plainText && !secretLooking("", start.String()):
		return config.Value{Text: lead + start.String(), Secret: r.refer(s, where, last)}
	}
	return config.Value{Text: lead, Secret: r.fresh(s, where, template(list)+", with each variable replaced")}
}

// template shows a text with its variables, and without secrets.
func template(list []segment) string {
	var b strings.Builder
	for _, seg := range list {
		switch {
		case seg.kind != plainText && !seg.falls:
			b.WriteString(seg.text)
		case seg.kind != plainText:
			b.WriteString("${" + seg.name + "}")
		case secretLooking("", seg.text):
			b.WriteString("…")
		default:
			b.WriteString(seg.text)
		}
	}
	return show(b.String())
}

// refer makes a variable of the client's a reference.
func (r *reader) refer(s *Server, where string, seg segment) secret.Ref {
	switch seg.kind {
	case environment:
		if strings.HasPrefix(strings.ToUpper(seg.name), ownPrefix) {
			return r.fresh(s, where, "what the client put for "+show(seg.text)+"; names that begin with "+ownPrefix+" are not passed on")
		}
		how := "the variable that the client's file names"
		if seg.falls {
			how += fmt.Sprintf("; the client took %s where it was not set", show(seg.fallback))
			if secretLooking(seg.name, seg.fallback) {
				how = "the variable that the client's file names; the client took the value that stands there where it was not set"
			}
		}
		r.plan.Values = append(r.plan.Values, Value{Variable: seg.name, Server: s.Name, Where: where, How: how, Own: true})
		return reference(seg.name)
	case asked:
		how := "what the client asked for as the input " + show(seg.name)
		if in := r.inputs[seg.name]; in.description != "" {
			how += ", " + show(in.description)
		} else if !in.known {
			how += ", which its file does not describe"
		}
		name, ok := r.byInput[seg.name]
		if !ok {
			name = r.newName("INPUT", seg.name)
			r.byInput[seg.name] = name
		}
		r.plan.Values = append(r.plan.Values, Value{Variable: name, Server: s.Name, Where: where, How: how})
		return reference(name)
	}
	return r.fresh(s, where, "what the client put for "+show(seg.text))
}

// fresh makes a reference of a name that nothing uses yet.
func (r *reader) fresh(s *Server, where, how string) secret.Ref {
	name := r.newName(s.Name, where)
	r.plan.Values = append(r.plan.Values, Value{Variable: name, Server: s.Name, Where: where, How: how})
	return reference(name)
}

func reference(name string) secret.Ref {
	ref, err := secret.ParseRef(secret.SchemeEnv + ":" + name)
	if err != nil {
		panic("importer: " + err.Error())
	}
	return ref
}

// ownPrefix begins each new name. A server of the client's file that names
// such a variable itself would ask for the secret of another server.
const ownPrefix = "MUNJIGI_"

// newName makes MUNJIGI_SERVER_WHERE, numbered where it is taken. It never is
// the name of a variable that the operator has already: a hostile file could
// otherwise name a variable after the operator's own.
func (r *reader) newName(parts ...string) string {
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(ownPrefix, "_"))
	for _, p := range parts {
		b.WriteByte('_')
		for _, c := range strings.ToUpper(strings.TrimPrefix(strings.TrimPrefix(p, "env "), "header ")) {
			if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
				b.WriteRune(c)
			} else if !strings.HasSuffix(b.String(), "_") {
				b.WriteByte('_')
			}
		}
	}
	base := strings.TrimRight(b.String()[:min(b.Len(), 100)], "_")
	name := base
	for n := 2; r.refs[name] || r.in.Taken != nil && r.in.Taken(name); n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	r.refs[name] = true
	return name
}

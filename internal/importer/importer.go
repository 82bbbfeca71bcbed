// Package importer turns an MCP client's configuration (Claude Desktop, Claude
// Code, Cursor, VS Code) into a munjigi.yaml.
//
// Threat: the file that is imported may be hostile. A repository can carry an
// .mcp.json whose commands run whatever they like, whose variables carry the
// operator's own secrets to a stranger's server, and whose text makes a
// terminal or a reviewer see something else. It may also be full of secrets
// that must not travel into a file that people commit.
//
// It guarantees: nothing is started, fetched or looked up, and no other file
// is read; every server is written enabled: false unless the caller says that
// a person confirmed exactly what Server.Line shows; what is shown is what is
// written, with nothing cut off and nothing hidden; a value that could be a
// secret becomes a reference to a variable of a new name, never to one that
// the operator already uses, unless the client's file itself referred to that
// one, which is then listed as a danger; what is not understood stays as a
// comment with a reason; the result loads with config.
//
// It does not guarantee that a command without dangers listed is harmless:
// the list says what can be seen in the command line, and nobody has looked
// at the program behind it. A secret that looks like ordinary words, in a
// place without a telling name, is not recognised.
package importer

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/config"
)

// MaxBytes is the size of the largest file that is read. Claude Code keeps
// much else in the file that also has its servers.
const MaxBytes = 64 << 20

// Format is a client's format of configuration.
type Format string

// The formats.
const (
	ClaudeDesktop Format = "claude-desktop"
	ClaudeCode    Format = "claude-code"
	Cursor        Format = "cursor"
	VSCode        Format = "vscode"
)

// Formats lists the formats.
func Formats() []Format { return []Format{ClaudeDesktop, ClaudeCode, Cursor, VSCode} }

// Client is the format's name for people.
func (f Format) Client() string {
	switch f {
	case ClaudeDesktop:
		return "Claude Desktop"
	case ClaudeCode:
		return "Claude Code"
	case Cursor:
		return "Cursor"
	case VSCode:
		return "VS Code"
	}
	return "an MCP client"
}

// Input is one client's file.
type Input struct {
	// Path is where it lies, absolute. Only its name is looked at.
	Path    string
	Content []byte
	// Format is empty to find it out.
	Format Format
	// Home is the folder of the user, for ${userHome}; may be empty.
	Home string
	// Taken reports whether a variable of the environment exists already, so
	// that new references get other names; nil for none.
	Taken func(name string) bool
}

// Plan is what would be written.
type Plan struct {
	Source string
	Format Format
	// Servers are in the order of the file.
	Servers []*Server
	// Values are what has to be put into the environment of the gateway.
	Values []Value
	// Notes are about the file as a whole.
	Notes []string
}

// Server is one server of the client's file.
type Server struct {
	// Name is the name in munjigi.yaml, Original the client's.
	Name     string
	Original string
	// Where is where in the client's file it stands.
	Where string
	// Broken says why the server can only be kept as a comment; empty when it
	// can be written.
	Broken string
	// Hold says why the server is not offered to be enabled, although it can
	// be written.
	Hold    string
	Command []config.Value
	Env     []config.EnvVar
	Cwd     string
	URL     config.Value
	Headers []config.CredentialHeader
	// Deadline is zero for the default.
	Deadline time.Duration
	Dangers  []Danger
	// Notes say what was left out, and why.
	Notes []string
	// Enable is set by the caller for a server that a person confirmed.
	Enable bool

	kept string
}

// Stdio reports whether the server is a command.
func (s *Server) Stdio() bool { return len(s.Command) > 0 }

// Value is one value that has to be put somewhere.
type Value struct {
	// Variable is the environment variable that munjigi.yaml refers to.
	Variable string `json:"variable"`
	// Server and Where say what the value is for.
	Server string `json:"server"`
	Where  string `json:"where"`
	// How says what to put there. It never holds the value.
	How string `json:"how"`
	// Own is true for a variable that the client's file itself refers to.
	Own bool `json:"own"`
}

// SyntaxError is a file that cannot be read as JSON, or holds no servers.
type SyntaxError struct {
	// Line and Column count from 1, in characters; zero for the whole file.
	Line, Column int
	Message      string
}

// Error gives the place and the message.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// reader holds what is known while a file is read.
type reader struct {
	in        Input
	plan      *Plan
	workspace string
	inputs    map[string]input
	refs      map[string]bool
	byInput   map[string]string
}

// Read understands a client's file. Its error is *SyntaxError.
func Read(in Input) (*Plan, error) {
	content, comments, err := parse(in.Content)
	if err != nil {
		return nil, err
	}
	root, err := strictjson.SplitObject(content)
	if err != nil {
		return nil, &SyntaxError{Message: "is not a JSON object: name the client's configuration file"}
	}
	r := &reader{in: in, refs: map[string]bool{}, byInput: map[string]string{}, inputs: map[string]input{}}
	format := in.Format
	if format == "" {
		format = detect(in.Path, root)
	}
	r.plan = &Plan{Source: in.Path, Format: format}
	r.workspace = workspaceOf(in.Path, format)
	if comments {
		r.plan.Notes = append(r.plan.Notes, "comments in the client's file were not copied")
	}
	if err := r.document(root); err != nil {
		return nil, err
	}
	r.name()
	for _, s := range r.plan.Servers {
		r.entry(s)
		if s.Broken != "" {
			r.plan.forget(s)
			continue
		}
		s.Dangers = dangers(s, in.Home)
	}
	return r.plan, nil
}

// parse returns the content as strict JSON, with comments and trailing commas
// replaced by spaces where it is JSON of an editor.
func parse(content []byte) (valid []byte, comments bool, err error) {
	limits := strictjson.Limits{Bytes: MaxBytes, Depth: 64, Members: 4_000_000}
	text := withoutMark(content)
	first := strictjson.Validate(text, limits)
	if first == nil {
		return text, false, nil
	}
	plain, changed := Strip(text)
	if changed {
		if first = strictjson.Validate(plain, limits); first == nil {
			return plain, true, nil
		}
	}
	e, ok := first.(*strictjson.Error)
	if !ok {
		return nil, false, &SyntaxError{Message: first.Error()}
	}
	line, column := placeOf(text, e.Offset)
	return nil, false, &SyntaxError{Line: line, Column: column, Message: e.Reason()}
}

// withoutMark replaces a byte order mark by spaces.
func withoutMark(content []byte) []byte {
	const mark = "\ufeff"
	if !strings.HasPrefix(string(content[:min(len(content), len(mark))]), mark) {
		return content
	}
	return append([]byte("   "), content[len(mark):]...)
}

func placeOf(text []byte, offset int) (line, column int) {
	before := string(text[:min(max(offset, 0), len(text))])
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

func (s *Server) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

func (s *Server) breakOff(format string, args ...any) {
	if s.Broken == "" {
		s.Broken = fmt.Sprintf(format, args...)
	}
}

// show makes a piece of the client's file fit for a message.
func show(text string) string {
	const most = 200
	if secretLooking("", text) {
		return "…"
	}
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return `"` + config.Visible(text) + `"`
}

// workspaceOf is the folder that a client's project file speaks of.
func workspaceOf(path string, format Format) string {
	dir, base := filepath.Dir(path), filepath.Base(path)
	switch format {
	case ClaudeCode:
		if base == ".mcp.json" {
			return dir
		}
	case Cursor:
		if filepath.Base(dir) == ".cursor" {
			return filepath.Dir(dir)
		}
	case VSCode:
		if filepath.Base(dir) == ".vscode" {
			return filepath.Dir(dir)
		}
	}
	return ""
}

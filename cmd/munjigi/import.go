package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/importer"
)

// mostAsked is how many servers are asked about without being named: past
// that, nobody reads any more what they confirm.
const mostAsked = 20

// importReport is what import prints as JSON.
type importReport struct {
	Source  string           `json:"source"`
	Format  importer.Format  `json:"format"`
	Written string           `json:"written"`
	Servers []importServer   `json:"servers"`
	Values  []importer.Value `json:"values"`
	Notes   []string         `json:"notes"`
	Left    []config.Problem `json:"left"`
}

type importServer struct {
	Name     string            `json:"name"`
	Original string            `json:"original"`
	Line     string            `json:"line,omitempty"`
	Env      []string          `json:"env,omitempty"`
	Headers  []string          `json:"headers,omitempty"`
	Cwd      string            `json:"cwd,omitempty"`
	Enabled  bool              `json:"enabled"`
	Broken   string            `json:"broken,omitempty"`
	Hold     string            `json:"hold,omitempty"`
	Dangers  []importer.Danger `json:"dangers,omitempty"`
	Notes    []string          `json:"notes,omitempty"`
}

// importing is one run of the command.
type importing struct {
	e      *env
	plan   *importer.Plan
	out    string
	force  bool
	asJSON bool
	ask    []string
}

// cmdImport turns a client's configuration into a munjigi.yaml.
func cmdImport(_ context.Context, e *env, args []string) int {
	fs := flags(e, "import", "munjigi import FILE [-o munjigi.yaml] [--yes-enable NAME] [--format NAME] [--force] [--json]",
		"Turn the MCP configuration of Claude Desktop, Claude Code, Cursor or VS Code into munjigi.yaml.\n"+
			"Nothing is started. Each server is written off, unless you type its name after reading its exact command at a terminal.")
	out := fs.String("o", "munjigi.yaml", "file to write")
	force := fs.Bool("force", false, "write over an existing file")
	asJSON := fs.Bool("json", false, "print JSON, and ask nothing")
	format := fs.String("format", "", "the client's format, if it is not plain from the file: claude-desktop, claude-code, cursor or vscode")
	var ask listFlag
	fs.Var(&ask, "yes-enable", "ask about enabling this server only; may be repeated; its name must still be typed at the prompt")
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() != 1 {
		return wrongUse(e, errors.New("name one file, such as .mcp.json or claude_desktop_config.json"))
	}
	if *format != "" && !slices.Contains(importer.Formats(), importer.Format(*format)) {
		return wrongUse(e, fmt.Errorf("--format %s: use claude-desktop, claude-code, cursor or vscode", shown(*format)))
	}
	path, err := filepath.Abs(*out)
	if err != nil {
		return failed(e, err)
	}
	if _, err := os.Lstat(path); err == nil && !*force {
		return refused(e, fmt.Errorf("%s: %w", path, importer.ErrExists))
	}
	i := importing{e: e, out: path, force: *force, asJSON: *asJSON, ask: ask}
	if len(ask) > 0 && !i.person() {
		return refused(e, errors.New("a server is enabled only by a person who reads its command at a terminal: run this there, or leave --yes-enable out"))
	}
	plan, code := readClient(e, fs.Arg(0), importer.Format(*format))
	if plan == nil {
		return code
	}
	i.plan = plan
	return i.run()
}

func readClient(e *env, name string, format importer.Format) (*importer.Plan, int) {
	source, err := filepath.Abs(name)
	if err != nil {
		return nil, failed(e, err)
	}
	content, err := readRegular(source)
	if err != nil {
		return nil, failed(e, err)
	}
	home := e.getenv("HOME")
	if home == "" {
		home = e.getenv("USERPROFILE")
	}
	taken := func(name string) bool { _, ok := e.lookupEnv(name); return ok }
	plan, err := importer.Read(importer.Input{Path: source, Content: content, Format: format, Home: home, Taken: taken})
	var syntax *importer.SyntaxError
	switch {
	case errors.As(err, &syntax) && syntax.Line > 0:
		return nil, refused(e, fmt.Errorf("%s:%d:%d: %s", source, syntax.Line, syntax.Column, syntax.Message))
	case err != nil:
		return nil, refused(e, fmt.Errorf("%s: %w", source, err))
	}
	return plan, exitDone
}

func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file: name the client's configuration file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, importer.MaxBytes+1))
	if err == nil && len(content) > importer.MaxBytes {
		err = fmt.Errorf("%s is larger than %d MiB: name the client's configuration file", path, importer.MaxBytes>>20)
	}
	return content, err
}

// person reports whether somebody reads what is printed and types answers.
func (i *importing) person() bool {
	return !i.asJSON && i.e.isTerminal(i.e.stdin) && i.e.isTerminal(i.e.stdout)
}

func (i *importing) run() int {
	e := i.e
	if err := i.named(); err != nil {
		return wrongUse(e, err)
	}
	if !i.asJSON {
		fmt.Fprintf(e.stdout, "%s, %s: %s. Nothing is started.\n", config.Visible(i.plan.Source), i.plan.Format.Client(), plural(len(i.plan.Servers), "server"))
	}
	i.decide()
	confirmed := i.enabled()
	content, left, err := i.plan.Settle(i.out, app.Build(e.getenv))
	if err != nil {
		return failed(e, err)
	}
	if err := importer.WriteFile(i.out, content, i.force); err != nil {
		if errors.Is(err, importer.ErrExists) {
			return refused(e, err)
		}
		return failed(e, err)
	}
	if i.asJSON {
		return printJSON(e, i.report(left))
	}
	for _, s := range confirmed {
		if !s.Enable {
			fmt.Fprintf(e.stdout, "\n%s was turned off again: %s\n", s.Name, oneLine(s.Hold+s.Broken))
		}
	}
	i.summary(left)
	return exitDone
}

// enabled returns the servers that are to be enabled.
func (i *importing) enabled() []*importer.Server {
	var list []*importer.Server
	for _, s := range i.plan.Servers {
		if s.Enable {
			list = append(list, s)
		}
	}
	return list
}

// named makes sure that --yes-enable names servers of the file.
func (i *importing) named() error {
	for _, name := range i.ask {
		if !slices.ContainsFunc(i.plan.Servers, func(s *importer.Server) bool { return s.Name == name || s.Original == name }) {
			return fmt.Errorf("--yes-enable %s: the file has no server of that name", shown(name))
		}
	}
	return nil
}

// decide shows each server, and asks about those that may be enabled.
func (i *importing) decide() {
	if i.asJSON {
		return
	}
	open := 0
	for _, s := range i.plan.Servers {
		if i.offered(s) {
			open++
		}
	}
	asking := i.person() && (len(i.ask) > 0 || open <= mostAsked)
	answers := bufio.NewReader(i.e.stdin)
	for _, s := range i.plan.Servers {
		i.present(s)
		if asking && i.offered(s) {
			fmt.Fprintf(i.e.stdout, "  Type %s to enable exactly this, or press Enter to leave it off: ", s.Name)
			answer, err := answers.ReadString('\n')
			s.Enable = strings.TrimRight(answer, "\r\n") == s.Name
			if !s.Enable {
				fmt.Fprintln(i.e.stdout, "  off")
			}
			if err != nil {
				asking = false
			}
		}
	}
	if i.person() && len(i.ask) == 0 && open > mostAsked {
		fmt.Fprintf(i.e.stdout, "\n%d servers are too many to ask about; all are written off. Name some with --yes-enable NAME.\n", open)
	}
}

// offered reports whether a server may be asked about.
func (i *importing) offered(s *importer.Server) bool {
	return s.Broken == "" && s.Hold == "" && (len(i.ask) == 0 || slices.Contains(i.ask, s.Name) || slices.Contains(i.ask, s.Original))
}

// present shows one server: whole, and with everything in it visible.
func (i *importing) present(s *importer.Server) {
	w := i.e.stdout
	fmt.Fprintf(w, "\n%s", s.Name)
	if s.Original != s.Name {
		fmt.Fprintf(w, "  (named %s)", s.Called())
	}
	fmt.Fprintln(w)
	if s.Broken != "" {
		fmt.Fprintf(w, "  kept as a comment: %s\n", oneLine(s.Broken))
		return
	}
	kind := "url"
	if s.Stdio() {
		kind = "command"
	}
	fmt.Fprintf(w, "  %-8s %s\n", kind, s.Line())
	for _, l := range s.EnvLines() {
		fmt.Fprintf(w, "  env      %s\n", l)
	}
	for _, l := range s.HeaderLines() {
		fmt.Fprintf(w, "  header   %s\n", l)
	}
	if s.Cwd != "" {
		fmt.Fprintf(w, "  in       %s\n", config.Visible(s.Cwd))
	}
	for _, d := range s.Dangers {
		fmt.Fprintf(w, "  !        %s\n", oneLine(d.Text))
	}
	for _, n := range s.Notes {
		fmt.Fprintf(w, "  note     %s\n", oneLine(n))
	}
	if s.Hold != "" {
		fmt.Fprintf(w, "  off      %s\n", oneLine(s.Hold))
	}
}

func (i *importing) summary(left []config.Problem) {
	w := i.e.stdout
	on, kept := 0, 0
	for _, s := range i.plan.Servers {
		switch {
		case s.Broken != "":
			kept++
		case s.Enable:
			on++
		}
	}
	fmt.Fprintf(w, "\nWrote %s (readable by you only): %s, %d enabled, %d kept as a comment.\n", config.Visible(i.out), plural(len(i.plan.Servers)-kept, "server"), on, kept)
	if len(i.plan.Values) > 0 {
		fmt.Fprintln(w, "\nNo secret was copied. Set these variables where munjigi serve is started:")
		fmt.Fprintln(w)
		t := newTable("variable", "server", "where", "what to put there")
		for _, v := range i.plan.Values {
			t.row(v.Variable, v.Server, v.Where, v.How)
		}
		t.print(w)
	}
	for _, p := range left {
		fmt.Fprintf(w, "\nBefore it can be served: %s %s; %s\n", p.Key, p.Message, p.Next)
	}
	fmt.Fprintf(w, "\nNext: munjigi check -c %s\n", config.Visible(i.out))
}

func (i *importing) report(left []config.Problem) importReport {
	r := importReport{Source: i.plan.Source, Format: i.plan.Format, Written: i.out, Values: i.plan.Values, Notes: i.plan.Notes, Left: left, Servers: []importServer{}}
	for _, s := range i.plan.Servers {
		row := importServer{Name: s.Name, Original: s.Called(), Enabled: s.Enable, Broken: s.Broken, Hold: s.Hold, Notes: s.Notes}
		if s.Broken == "" {
			row.Line, row.Env, row.Headers, row.Cwd, row.Dangers = s.Line(), s.EnvLines(), s.HeaderLines(), s.Cwd, s.Dangers
		}
		r.Servers = append(r.Servers, row)
	}
	return r
}

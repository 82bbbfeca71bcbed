package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/config"
)

// flags makes the flag set of a command. Its help goes to stdout when it was
// asked for, and to stderr after wrong use.
func flags(e *env, name, usage, about string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {
		out := fs.Output()
		fmt.Fprintf(out, "usage: %s\n\n%s\n\n", usage, about)
		fs.VisitAll(func(f *flag.Flag) { fmt.Fprintf(out, "%s\n", flagText(f)) })
	}
	return fs
}

// flagText describes one flag.
func flagText(f *flag.Flag) string {
	dashes := "--"
	if len(f.Name) == 1 {
		dashes = "-"
	}
	value, about := flag.UnquoteUsage(f)
	text := "  " + dashes + f.Name
	if value != "" {
		text += " " + strings.ToUpper(value)
	}
	text += "\n        " + about
	if f.DefValue != "" && f.DefValue != "false" {
		text += " (default " + f.DefValue + ")"
	}
	return text
}

// parse reads the flags of a command, which may stand before and after its
// other arguments. It reports that the command is done when help was asked
// for, or when the use is wrong.
func parse(e *env, fs *flag.FlagSet, args []string) (code int, done bool) {
	if !passesOn(fs.Name()) {
		args = flagsFirst(fs, args)
	}
	usage := fs.Usage
	fs.Usage = func() {}
	err := fs.Parse(args)
	switch {
	case err == nil:
		return exitDone, false
	case errors.Is(err, flag.ErrHelp):
		fs.SetOutput(e.stdout)
		usage()
		return exitDone, true
	}
	fmt.Fprintf(e.stderr, "munjigi %s: %s\n", fs.Name(), oneLine(err.Error()))
	fs.SetOutput(e.stderr)
	usage()
	return exitWrongUse, true
}

func passesOn(name string) bool {
	for _, c := range commands() {
		if c.name == name {
			return c.passesOn
		}
	}
	return false
}

// flagsFirst puts flags before other arguments. After -- nothing is a flag.
func flagsFirst(fs *flag.FlagSet, args []string) []string {
	var first, rest []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			rest = append(rest, a)
			continue
		}
		first = append(first, a)
		name, _, has := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(a, "-"), "-"), "=")
		f := fs.Lookup(name)
		if f == nil || has || isSwitch(f.Value) || i+1 == len(args) {
			continue
		}
		i++
		first = append(first, args[i])
	}
	return append(append(first, "--"), rest...)
}

func isSwitch(v flag.Value) bool {
	b, ok := v.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// wrongUse reports that the command line is wrong.
func wrongUse(e *env, err error) int {
	complain(e, err)
	return exitWrongUse
}

// refused reports that something was refused, or that something was found.
func refused(e *env, err error) int {
	complain(e, err)
	return exitRefused
}

// failed reports that something could not be done. Errors in a config were
// found rather than met.
func failed(e *env, err error) int {
	complain(e, err)
	var list *config.Errors
	if errors.As(err, &list) && errors.Unwrap(list) == nil {
		return exitRefused
	}
	return exitFailed
}

func complain(e *env, err error) {
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(e.stderr, "munjigi: %s\n", oneLine(line))
	}
}

// oneLine makes hidden characters visible. Text that passed Visible before
// has none, and comes out as it is.
func oneLine(text string) string {
	if strings.ContainsFunc(text, config.Hidden) {
		return config.Visible(text)
	}
	return text
}

// shown makes a piece of somebody's text fit for a message.
func shown(text string) string {
	const most = 200
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return config.Visible(text)
}

// printJSON prints a value as JSON. Characters that a terminal would obey or
// hide are escaped.
func printJSON(e *env, v any) int {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return failed(e, err)
	}
	var out strings.Builder
	for _, r := range b.String() {
		switch {
		case r == '\n' || !config.Hidden(r):
			out.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	if _, err := io.WriteString(e.stdout, out.String()); err != nil {
		return failed(e, err)
	}
	return exitDone
}

// table is text in columns.
type table struct{ rows [][]string }

func newTable(heads ...string) *table { return &table{rows: [][]string{heads}} }

// row adds a row. Its cells pass Visible.
func (t *table) row(cells ...string) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = config.Visible(c)
	}
	t.rows = append(t.rows, row)
}

// print writes the table, each column as wide as its widest cell but the last.
func (t *table) print(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for n, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			if n == 0 {
				c = strings.ToUpper(c)
			}
			line.WriteString(c)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+2))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}

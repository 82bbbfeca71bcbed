package config

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing to mend in a file. Text in it that came from the file
// has passed Visible.
type Problem struct {
	File string `json:"file"`
	// Line and Column count from 1, in lines and characters; both are zero
	// when the whole file is meant.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Key is the path of the key, such as servers.files.command[2].
	Key     string `json:"key"`
	Message string `json:"message"`
	// Next says what to do about it.
	Next string `json:"next"`
}

// String gives the problem on one line, with its place first.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(Visible(p.File))
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Message)
	if p.Next != "" {
		b.WriteString("; " + p.Next)
	}
	return b.String()
}

// maxProblems bounds how many problems of one file are kept.
const maxProblems = 1000

// Errors is every error of one file, in the order of their places.
type Errors struct {
	List []Problem
	// Omitted counts the errors past the first thousand.
	Omitted int

	cause error
}

// Error gives each problem on a line.
func (e *Errors) Error() string {
	lines := make([]string, 0, len(e.List)+1)
	for _, p := range e.List {
		lines = append(lines, p.String())
	}
	if e.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.Omitted))
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the error of the file system when the file could not be read
// at all, and nil when it was read and found wrong.
func (e *Errors) Unwrap() error { return e.cause }

func inOrder(list []Problem) {
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].Line != list[j].Line {
			return list[i].Line < list[j].Line
		}
		return list[i].Column < list[j].Column
	})
}

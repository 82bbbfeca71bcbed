package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"go.yaml.in/yaml/v3"
)

// expectation is one known loss.
type expectation struct {
	// Row is a row's name.
	Row string
	// Scenario is lost as a whole when Check is empty.
	Scenario string
	// Check is the ID of the one check that is lost.
	Check  string
	Reason string
}

func (e expectation) String() string {
	if e.Check == "" {
		return e.Scenario
	}
	return e.Scenario + "/" + e.Check
}

func readExpected(file string) ([]expectation, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list, err := parseExpected(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

func parseExpected(b []byte) ([]expectation, error) {
	var entries []struct {
		Rows      []string `yaml:"rows"`
		Scenarios []string `yaml:"scenarios"`
		Check     string   `yaml:"check"`
		Reason    string   `yaml:"reason"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	rows := table()
	var list []expectation
	seen := map[expectation]bool{}
	for i, e := range entries {
		if len(e.Rows) == 0 || len(e.Scenarios) == 0 || e.Reason == "" {
			return nil, fmt.Errorf("entry %d: rows, scenarios and reason are needed", i+1)
		}
		for _, name := range e.Rows {
			if !slices.ContainsFunc(rows, func(r row) bool { return r.Name == name }) {
				return nil, fmt.Errorf("entry %d: there is no row %q", i+1, name)
			}
			for _, s := range e.Scenarios {
				one := expectation{Row: name, Scenario: s, Check: e.Check}
				if seen[one] {
					return nil, fmt.Errorf("entry %d: %s stands twice for row %s", i+1, one, name)
				}
				seen[one] = true
				one.Reason = e.Reason
				list = append(list, one)
			}
		}
	}
	return list, nil
}

// loss is something that a run lacks and should have.
type loss struct {
	Scenario string `json:"scenario"`
	Check    string `json:"check,omitempty"` // empty: the scenario failed
	Count    int    `json:"count"`
	Why      string `json:"why,omitempty"`
	Expected string `json:"expected,omitempty"` // the reason, when it is known
}

// lost lists what got lacks: the scenarios that failed where the reference
// passed them, every check that passed less often, and nothing else. Without
// a reference every failed scenario is a loss.
func lost(ref, got results) []loss {
	var out []loss
	for _, g := range got {
		r, ok := ref.find(g.Scenario)
		if !g.ok() && (ref == nil || ok && r.ok()) {
			out = append(out, loss{Scenario: g.Scenario, Count: 1, Why: firstComplaint(g)})
		}
		if !ok {
			continue
		}
		have := g.passed()
		for _, id := range sortedKeys(r.passed()) {
			if n := r.passed()[id] - have[id]; n > 0 {
				out = append(out, loss{Scenario: g.Scenario, Check: id, Count: n, Why: g.complaint(id)})
			}
		}
	}
	return out
}

func firstComplaint(o outcome) string {
	if !o.Ran {
		return "the scenario left no results"
	}
	for _, c := range o.Checks {
		if c.Status == "FAILURE" {
			return c.ID + ": " + c.Error
		}
	}
	return ""
}

// verdict is what a row's run came to.
type verdict struct {
	Row       string   `json:"row"`
	Scenarios int      `json:"scenarios"`
	Passed    int      `json:"passed"`
	Want      int      `json:"want"`
	Checks    int      `json:"checks"`
	RefChecks int      `json:"reference_checks,omitempty"`
	Lost      []loss   `json:"lost,omitempty"`
	Problems  []string `json:"problems,omitempty"`
	Took      string   `json:"took,omitempty"`
}

func (v verdict) failed() bool { return len(v.Problems) > 0 }

// judge compares a run with its reference and with what is expected of it.
func judge(r row, ref, got results, expected []expectation) verdict {
	v := verdict{
		Row: r.Name, Scenarios: len(got), Passed: got.passedScenarios(), Want: r.Passed,
		Checks: got.passedChecks(), RefChecks: ref.passedChecks(), Lost: lost(ref, got),
	}
	used := make([]bool, len(expected))
	for i := range v.Lost {
		l := &v.Lost[i]
		for j, e := range expected {
			if e.Row == r.Name && e.Scenario == l.Scenario && (e.Check == "" || e.Check == l.Check) {
				used[j] = true
				l.Expected = e.Reason
			}
		}
		if l.Expected == "" {
			v.Problems = append(v.Problems, "lost: "+l.String())
		}
	}
	for _, o := range got {
		ro, ok := ref.find(o.Scenario)
		if ok && len(o.passed()) == 0 && len(ro.passed()) > 0 && !covered(expected, r.Name, o.Scenario) {
			v.Problems = append(v.Problems, "empty: "+o.Scenario+" passed no check and passes some directly")
		}
	}
	for j, e := range expected {
		if e.Row == r.Name && !used[j] {
			v.Problems = append(v.Problems, fmt.Sprintf("unexpected pass: %s (was expected to fail: %s)", e, e.Reason))
		}
	}
	switch {
	case v.Passed > r.Passed:
		v.Problems = append(v.Problems, fmt.Sprintf("unexpected pass: %d scenarios passed and the row says %d", v.Passed, r.Passed))
	case v.Passed < r.Passed:
		v.Problems = append(v.Problems, fmt.Sprintf("%d scenarios passed and must be %d", v.Passed, r.Passed))
	}
	return v
}

func covered(expected []expectation, row, scenario string) bool {
	return slices.ContainsFunc(expected, func(e expectation) bool {
		return e.Row == row && e.Scenario == scenario && e.Check == ""
	})
}

func (l loss) String() string {
	s := l.Scenario
	if l.Check != "" {
		s += "/" + l.Check
	}
	if l.Count > 1 {
		s += fmt.Sprintf(" ×%d", l.Count)
	}
	if l.Why != "" {
		s += ": " + l.Why
	}
	return s
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

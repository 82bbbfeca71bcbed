package main

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// made builds an outcome: "+id" passed, "-id" failed, "~id" is a warning.
func made(scenario string, checks ...string) outcome {
	o := outcome{Scenario: scenario, Ran: true}
	for _, c := range checks {
		status := map[byte]string{'+': "SUCCESS", '-': "FAILURE", '~': "WARNING"}[c[0]]
		o.Checks = append(o.Checks, check{ID: c[1:], Status: status})
	}
	return o
}

func TestJudge(t *testing.T) {
	t.Parallel()
	gone := outcome{Scenario: "a"}
	for _, c := range []struct {
		name     string
		ref, got results
		passed   int
		expected []expectation
		problems []string // the beginning of each
	}{
		{"the same", results{made("a", "+x", "+x")}, results{made("a", "+x", "+x")}, 1, nil, nil},
		{"a check passed once less", results{made("a", "+x", "+x")}, results{made("a", "+x")}, 1, nil, []string{"lost: a/x"}},
		{"a pass became a warning", results{made("a", "+x", "+y")}, results{made("a", "~x", "+y")}, 1, nil, []string{"lost: a/x"}},
		{
			"passes empty", results{made("a", "+x")}, results{made("a")}, 1, nil,
			[]string{"lost: a/x", "empty: a"},
		},
		{
			"no results", results{made("a", "+x")}, results{gone}, 0, nil,
			[]string{"lost: a: the scenario left no results", "lost: a/x", "empty: a"},
		},
		{
			"a known loss of a scenario", results{made("a", "+x")}, results{made("a", "-x")}, 0,
			[]expectation{{Row: "r", Scenario: "a", Reason: "why"}}, nil,
		},
		{
			"a known loss of one check only", results{made("a", "+x", "+y")}, results{made("a")}, 1,
			[]expectation{{Row: "r", Scenario: "a", Check: "x", Reason: "why"}},
			[]string{"lost: a/y", "empty: a"},
		},
		{
			"an expected loss that did not happen", results{made("a", "+x")}, results{made("a", "+x")}, 1,
			[]expectation{{Row: "r", Scenario: "a", Reason: "why"}}, []string{"unexpected pass: a"},
		},
		{
			"an expectation of another row", results{made("a", "+x")}, results{made("a", "-x")}, 0,
			[]expectation{{Row: "other", Scenario: "a", Reason: "why"}}, []string{"lost: a", "lost: a/x", "empty: a"},
		},
		{
			"more than directly", results{made("a", "-x"), made("b", "+x")}, results{made("a", "+x"), made("b", "+x")}, 1, nil,
			[]string{"unexpected pass: 2 scenarios"},
		},
		{"fails directly too", results{made("a", "-x")}, results{made("a", "-x")}, 0, nil, nil},
		{"direct, fails", nil, results{made("a", "-x")}, 0, nil, []string{"lost: a"}},
		{"direct, fewer than must", nil, results{made("a", "+x")}, 2, nil, []string{"1 scenarios passed and must be 2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := judge(row{Name: "r", Passed: c.passed}, c.ref, c.got, c.expected)
			ok := len(v.Problems) == len(c.problems)
			for i := range min(len(v.Problems), len(c.problems)) {
				ok = ok && strings.HasPrefix(v.Problems[i], c.problems[i])
			}
			if !ok {
				t.Errorf("problems\n%s\nwant\n%s", strings.Join(v.Problems, "\n"), strings.Join(c.problems, "\n"))
			}
		})
	}
}

func TestReadResults(t *testing.T) {
	t.Parallel()
	checks := func(cs ...check) *fstest.MapFile {
		b, err := json.Marshal(cs)
		if err != nil {
			t.Fatal(err)
		}
		return &fstest.MapFile{Data: b}
	}
	dir := fstest.MapFS{
		"server-tools-list-2026-11-22T08-02-02-459Z/checks.json":    checks(check{ID: "x", Status: "SUCCESS"}),
		"server-server-stateless-2026-11-22T08-02-02Z/checks.json":  checks(check{ID: "y", Status: "FAILURE", Error: "no"}),
		"server-tasks-status-2026-11-22T08-02-02-459Z/checks.json":  checks(),
		"server-ended-early-2026-11-22T08-02-02-459Z/something.txt": {},
		"output.txt": {Data: []byte("noise")},
	}
	got, err := readResults(dir, []string{"tools-list", "server-stateless", "tasks-status", "ended-early", "missing"})
	if err != nil {
		t.Fatal(err)
	}
	want := results{
		{Scenario: "tools-list", Ran: true, Checks: []check{{ID: "x", Status: "SUCCESS"}}},
		{Scenario: "server-stateless", Ran: true, Checks: []check{{ID: "y", Status: "FAILURE", Error: "no"}}},
		{Scenario: "tasks-status", Ran: true, Checks: []check{}},
		{Scenario: "ended-early"},
		{Scenario: "missing"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.passedScenarios() != 2 || got.passedChecks() != 1 {
		t.Errorf("%d scenarios, %d checks", got.passedScenarios(), got.passedChecks())
	}
	if _, err := readResults(fstest.MapFS{"output.txt": {}}, []string{"a"}); err == nil {
		t.Error("a run that left nothing was taken for a run")
	}
}

func TestParseExpected(t *testing.T) {
	t.Parallel()
	good, err := parseExpected([]byte("- rows: [legacy-http, legacy-stdio]\n  scenarios: [a, b]\n  check: c\n  reason: r\n"))
	if err != nil || len(good) != 4 {
		t.Errorf("%v, %v", good, err)
	}
	for name, bad := range map[string]string{
		"no reason":      "- rows: [legacy-http]\n  scenarios: [a]\n",
		"no scenario":    "- rows: [legacy-http]\n  reason: r\n",
		"no row":         "- scenarios: [a]\n  reason: r\n",
		"a row not ours": "- rows: [other]\n  scenarios: [a]\n  reason: r\n",
		"twice":          "- rows: [legacy-http]\n  scenarios: [a, a]\n  reason: r\n",
		"an unknown key": "- rows: [legacy-http]\n  scenarios: [a]\n  reason: r\n  skip: true\n",
	} {
		if _, err := parseExpected([]byte(bad)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestRowsHoldTogether(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, r := range table() {
		if names[r.Name] {
			t.Errorf("%s stands twice", r.Name)
		}
		names[r.Name] = true
		if (r.Reference == "") != (r.Era == "") {
			t.Errorf("%s: a gateway row has a reference and an era, a direct row neither", r.Name)
		}
		if r.Reference != "" && find(r.Reference).Reference != "" {
			t.Errorf("%s: the reference is not a direct row", r.Name)
		}
		if r.Reference != "" && find(r.Reference).Revision != r.Revision {
			t.Errorf("%s: the reference speaks another revision", r.Name)
		}
	}
	if _, err := readExpected("expected.yaml"); err != nil {
		t.Error(err)
	}
}

func TestParseScenarios(t *testing.T) {
	t.Parallel()
	got, err := parseScenarios([]byte("server: [a, b]\nclient: [c]\nnot_scored:\n  - {scenario: d, leg: server, reason: x}\n  - {scenario: e, leg: client}\n"))
	if diff := cmp.Diff([]string{"a", "b", "d"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := parseScenarios([]byte("client: [c]\n")); err == nil {
		t.Error("a suite without scenarios")
	}
}

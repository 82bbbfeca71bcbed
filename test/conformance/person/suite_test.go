package main

import (
	"errors"
	"slices"
	"testing"
	"testing/fstest"
)

const aList = `Client scenarios (test against a client):
  - initialize [2025-06-18,2025-11-25]
  - auth/a [2025-11-25,2026-07-28]
  - auth/old [2025-03-26]
  - auth/more [extension]
`

func TestParseList(t *testing.T) {
	t.Parallel()
	all, names := parseList(aList)
	want := []scenario{{"auth/a", "2025-11-25"}, {"auth/a", "2026-07-28"}, {"auth/more", ""}}
	if !slices.Equal(all, want) || !slices.Equal(names, []string{"auth/a", "auth/old", "auth/more"}) {
		t.Errorf("%v %v", all, names)
	}
}

// What the suite calls a warning, or leaves out, is a failure here.
func TestJudge(t *testing.T) {
	t.Parallel()
	ok, warned, failed, info := check{ID: "a", Status: "SUCCESS"}, check{ID: "b", Status: "WARNING"}, check{ID: "c", Status: "FAILURE"}, check{Status: "INFO"}
	for _, tt := range []struct {
		checks []check
		exit   error
		bad    bool
	}{
		{[]check{ok, info}, nil, false}, {[]check{ok, warned}, nil, true}, {[]check{ok, failed}, nil, true},
		{[]check{info}, nil, true}, {nil, nil, true}, {[]check{ok}, errors.New("exit status 1"), true},
	} {
		if _, problems := judge(tt.checks, tt.exit); (len(problems) > 0) != tt.bad {
			t.Errorf("%v %v: %v", tt.checks, tt.exit, problems)
		}
	}
}

// Neither more nor less than what is expected may fail.
func TestReport(t *testing.T) {
	t.Parallel()
	a := scenario{"auth/a", "2025-11-25"}
	good, bad := verdict{scenario: a, passed: 1}, verdict{scenario: a, problems: []string{"x"}}
	known := map[string]expectation{"auth/a": {"auth/a", true, "why"}}
	for name, tt := range map[string]struct {
		v        verdict
		expected map[string]expectation
		names    []string
		failed   int
	}{
		"good":                   {good, nil, []string{"auth/a"}, 0},
		"bad":                    {bad, nil, []string{"auth/a"}, 1},
		"known":                  {bad, known, []string{"auth/a"}, 0},
		"known and good":         {good, known, []string{"auth/a"}, 1},
		"for no revision":        {good, nil, []string{"auth/a", "auth/old"}, 1},
		"known for no revision":  {good, map[string]expectation{"auth/old": {"auth/old", false, "why"}}, []string{"auth/a", "auth/old"}, 0},
		"expected and not there": {good, map[string]expectation{"auth/z": {"auth/z", false, "why"}}, []string{"auth/a"}, 1},
	} {
		if _, failed := report([]verdict{tt.v}, tt.expected, []scenario{a}, tt.names); failed != tt.failed {
			t.Errorf("%s: %d failed, want %d", name, failed, tt.failed)
		}
	}
}

func TestReadChecks(t *testing.T) {
	t.Parallel()
	file := &fstest.MapFile{Data: []byte(`[{"id":"a","status":"SUCCESS","description":"d"}]`)}
	got, err := readChecks(fstest.MapFS{"auth/x-2026/checks.json": file})
	if err != nil || len(got) != 1 || got[0].ID != "a" || got[0].Status != "SUCCESS" {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []fstest.MapFS{{}, {"a/checks.json": file, "b/checks.json": file}, {"a/checks.json": {Data: []byte("x")}}} {
		if _, err := readChecks(bad); err == nil {
			t.Errorf("%v was read", bad)
		}
	}
}

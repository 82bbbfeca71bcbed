package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/munjigi/munjigi/test/real/kit"
)

// check is one check of a scenario as the suite writes it down.
type check struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Error  string `json:"errorMessage"`
}

// outcome is one scenario of one run.
type outcome struct {
	Scenario string
	// Ran is false for a scenario that ended without results.
	Ran    bool
	Checks []check
}

// ok is the suite's own verdict: results, and none that failed.
func (o outcome) ok() bool {
	for _, c := range o.Checks {
		if c.Status == "FAILURE" {
			return false
		}
	}
	return o.Ran
}

// passed counts the checks that passed, by ID.
func (o outcome) passed() map[string]int {
	n := map[string]int{}
	for _, c := range o.Checks {
		if c.Status == "SUCCESS" {
			n[c.ID]++
		}
	}
	return n
}

// complaint is what the suite said of a check that did not pass.
func (o outcome) complaint(id string) string {
	for _, c := range o.Checks {
		if c.ID == id && c.Status != "SUCCESS" && c.Error != "" {
			return c.Error
		}
	}
	return ""
}

// results are the outcomes of one run, in the suite's order.
type results []outcome

func (r results) find(scenario string) (outcome, bool) {
	for _, o := range r {
		if o.Scenario == scenario {
			return o, true
		}
	}
	return outcome{}, false
}

func (r results) passedScenarios() int {
	n := 0
	for _, o := range r {
		if o.ok() {
			n++
		}
	}
	return n
}

func (r results) passedChecks() int {
	n := 0
	for _, o := range r {
		for _, k := range o.passed() {
			n += k
		}
	}
	return n
}

// scenarios reads which scenarios a revision asks of a server, from the suite
// itself.
func scenarios(t *kit.Tools, revision string) ([]string, error) {
	b, err := os.ReadFile(t.Package("@modelcontextprotocol/conformance", "requirements", revision+".yaml"))
	if err != nil {
		return nil, err
	}
	return parseScenarios(b)
}

func parseScenarios(b []byte) ([]string, error) {
	var req struct {
		Server    []string `yaml:"server"`
		NotScored []struct {
			Scenario string `yaml:"scenario"`
			Leg      string `yaml:"leg"`
		} `yaml:"not_scored"`
	}
	if err := yaml.Unmarshal(b, &req); err != nil {
		return nil, err
	}
	all := req.Server
	for _, n := range req.NotScored {
		if n.Leg == "server" {
			all = append(all, n.Scenario)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the suite names no scenario for servers")
	}
	return all, nil
}

// suiteLimit bounds one run of the suite.
const suiteLimit = 10 * time.Minute

// runSuite runs every scenario of a revision against a URL. The suite's exit
// status is not looked at: its results are.
func runSuite(ctx context.Context, t *kit.Tools, url, revision, dir string) (results, error) {
	ctx, cancel := context.WithTimeout(ctx, suiteLimit)
	defer cancel()
	want, err := scenarios(t, revision)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, t.Node, t.Package("@modelcontextprotocol/conformance", "dist", "index.js"),
		"server", "--url", url, "--requirements", revision, "-o", dir)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err := os.WriteFile(filepath.Join(dir, "output.txt"), out, 0o600); err != nil {
		return nil, err
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("the suite did not run: %w\n%s", err, out)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("the suite did not end: %w", context.Cause(ctx))
	}
	return readResults(os.DirFS(dir), want)
}

// readResults reads the suite's folders: server-SCENARIO-TIME/checks.json.
func readResults(dir fs.FS, want []string) (results, error) {
	stamped := regexp.MustCompile(`^server-(.+)-\d{4}-\d{2}-\d{2}T[0-9-]+Z$`)
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	found := map[string][]check{}
	for _, e := range entries {
		m := stamped.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		b, err := fs.ReadFile(dir, e.Name()+"/checks.json")
		if err != nil {
			continue // the scenario ended before it had results
		}
		var checks []check
		if err := json.Unmarshal(b, &checks); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		found[m[1]] = append([]check{}, checks...)
	}
	if len(found) == 0 {
		return nil, errors.New("the suite left no results")
	}
	var out results
	for _, name := range want {
		checks, ran := found[name]
		out = append(out, outcome{Scenario: name, Ran: ran, Checks: checks})
	}
	return out, nil
}

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
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/munjigi/munjigi/test/real/kit"
)

// scenario is one of the suite's, at one revision; extensions have none.
type scenario struct {
	Name     string
	Revision string
}

func (s scenario) String() string {
	if s.Revision == "" {
		return s.Name
	}
	return s.Name + " " + s.Revision
}

// expectation is what is known to fail, or not to apply, and why.
type expectation struct {
	Scenario string `yaml:"scenario"`
	// Applies is false for what is not run at all.
	Applies bool   `yaml:"applies"`
	Reason  string `yaml:"reason"`
}

func readExpected(file string) (map[string]expectation, error) {
	f, err := os.Open(file) //nolint:gosec // a file of this repository
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var list []expectation
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	out := map[string]expectation{}
	for _, e := range list {
		if _, twice := out[e.Scenario]; twice || e.Scenario == "" || e.Reason == "" {
			return nil, fmt.Errorf("%s: %q: each scenario stands once, with a reason", file, e.Scenario)
		}
		out[e.Scenario] = e
	}
	return out, nil
}

// listed matches a line of the suite's list: - auth/x [2025-11-25,2026-07-28]
var listed = regexp.MustCompile(`(?m)^\s*- (auth/\S+) \[([^\]]*)\]`)

// parseList takes the auth scenarios for clients from the suite's own list.
func parseList(text string) (all []scenario, names []string) {
	_, text, _ = strings.Cut(text, "Client scenarios")
	for _, m := range listed.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
		for _, r := range strings.Split(m[2], ",") {
			switch r = strings.TrimSpace(r); r {
			case kit.LegacyVersion, kit.ModernVersion:
				all = append(all, scenario{m[1], r})
			case "extension":
				all = append(all, scenario{m[1], ""})
			}
		}
	}
	return all, names
}

// verdict is how one scenario went.
type verdict struct {
	scenario
	passed   int
	problems []string
}

type check struct {
	ID, Status string
	Error      string `json:"errorMessage"`
	Says       string `json:"description"`
}

// judge is stricter than the suite: a warning is a failure, and so is a
// scenario in which nothing was looked at.
func judge(checks []check, exit error) (passed int, problems []string) {
	for _, c := range checks {
		switch c.Status {
		case "SUCCESS":
			passed++
		case "FAILURE", "WARNING":
			problems = append(problems, c.Status+" "+c.ID+": "+c.Says+" "+c.Error)
		}
	}
	if passed == 0 {
		problems = append(problems, "nothing passed")
	}
	if exit != nil && len(problems) == 0 {
		problems = append(problems, "the suite is not content: "+exit.Error())
	}
	return passed, problems
}

type suite struct {
	tools *kit.Tools
	self  string
	dir   string
}

func (s *suite) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.tools.Node, append([]string{s.tools.Package("@modelcontextprotocol/conformance", "dist", "index.js")}, args...)...) //nolint:gosec // the installed suite
	cmd.Dir = s.dir
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// tries is how often a scenario may be run: the suite's own short deadlines can
// meet a busy machine. What is ours fails each time, and each time is told.
const tries = 2

func (s *suite) run(ctx context.Context, sc scenario) verdict {
	for n := 1; ; n++ {
		v, out := s.once(ctx, sc, n)
		if len(v.problems) == 0 || n == tries || ctx.Err() != nil {
			return v
		}
		_, _ = fmt.Fprintf(os.Stderr, "%s: tried once more; the first time: %v\n%s\n", sc, v.problems, out)
	}
}

func (s *suite) once(ctx context.Context, sc scenario, n int) (verdict, string) {
	ctx, cancel := context.WithTimeout(ctx, 2*limit)
	defer cancel()
	dir := filepath.Join(s.dir, strings.ReplaceAll(sc.String(), " ", "-"), fmt.Sprint(n))
	args := []string{"client", "--command", s.self, "--scenario", sc.Name, "--timeout", fmt.Sprint((limit + 5*time.Second).Milliseconds()), "-o", dir}
	if sc.Revision != "" {
		args = append(args, "--spec-version", sc.Revision)
	}
	out, exit := s.command(ctx, args...).CombinedOutput()
	checks, err := readChecks(os.DirFS(dir))
	v := verdict{scenario: sc}
	if v.passed, v.problems = judge(checks, exit); err != nil {
		v.problems = append(v.problems, err.Error())
	}
	return v, said(string(out))
}

// said are the lines of our own in the suite's output.
func said(out string) string {
	lines := slices.DeleteFunc(strings.Split(out, "\n"), func(l string) bool { return !strings.HasPrefix(l, "person:") })
	return strings.Join(lines, "\n")
}

// readChecks reads the one checks.json that a run left.
func readChecks(dir fs.FS) (checks []check, err error) {
	found := 0
	walk := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "checks.json" {
			return err
		}
		found++
		b, err := fs.ReadFile(dir, path)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &checks)
	})
	if walk == nil && found != 1 {
		walk = errors.New("the scenario left no results")
	}
	return checks, walk
}

// runAll runs every auth scenario that applies, and holds the outcome against
// what is expected: neither more nor less may fail.
func runAll(ctx context.Context, only *regexp.Regexp, counts string) (bool, error) {
	tools, err := kit.Install(ctx, kit.Want{NPM: true, Log: os.Stderr})
	if err != nil {
		return false, err
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "clients-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s := &suite{tools, self, dir}
	text, err := s.command(ctx, "list", "--client").Output()
	if err != nil {
		return false, fmt.Errorf("the suite lists no scenarios: %w", err)
	}
	expected, err := readExpected(filepath.Join(tools.Root, "test", "conformance", "person", "expected.yaml"))
	if err != nil {
		return false, err
	}
	all, names := parseList(string(text))
	if len(all) < 30 {
		return false, fmt.Errorf("the suite lists %d scenarios for clients: its list is not as it was", len(all))
	}
	var todo []scenario
	for _, sc := range all {
		if e, ok := expected[sc.Name]; (!ok || e.Applies) && only.MatchString(sc.String()) {
			todo = append(todo, sc)
		}
	}
	began := time.Now()
	verdicts := make([]verdict, len(todo))
	var wg sync.WaitGroup
	gate := make(chan struct{}, 2)
	for i, sc := range todo {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			verdicts[i] = s.run(ctx, sc)
		})
	}
	wg.Wait()
	passed, failed := report(verdicts, expected, all, names)
	fmt.Printf("clients: %d scenarios as wanted, %d not, %s\n", passed, failed, time.Since(began).Round(time.Second))
	return failed == 0, count(counts, passed, failed)
}

// report prints how it went, and counts.
func report(verdicts []verdict, expected map[string]expectation, all []scenario, names []string) (passed, failed int) {
	for _, v := range verdicts {
		e, known := expected[v.Name]
		switch bad := len(v.problems) > 0; {
		case bad && !known:
			failed++
			fmt.Printf("FAIL %s\n     %s\n", v, strings.Join(v.problems, "\n     "))
		case !bad && known:
			failed++
			fmt.Printf("FAIL %s passed, and expected.yaml says that it does not: %s\n", v, e.Reason)
		case bad:
			passed++
			fmt.Printf("known %s: %s\n", v, e.Reason)
		default:
			passed++
			fmt.Printf("ok   %s: %d checks\n", v, v.passed)
		}
	}
	for _, name := range names {
		if e, ok := expected[name]; ok && !e.Applies {
			fmt.Printf("not run: %s: %s\n", name, e.Reason)
		} else if !slices.ContainsFunc(all, func(s scenario) bool { return s.Name == name }) {
			failed++
			fmt.Printf("FAIL %s is for no revision that is run, and expected.yaml does not say why\n", name)
		}
	}
	for name := range expected {
		if !slices.Contains(names, name) {
			failed++
			fmt.Printf("FAIL expected.yaml names %s, which the suite has not\n", name)
		}
	}
	return passed, failed
}

func count(file string, passed, failed int) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // named on the command line
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, "clients", passed, failed)
	return errors.Join(err, f.Close())
}

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// update makes a test write what it got in the place of what it wants. Read
// every line of the difference.
func update() bool {
	return flag.Lookup("update") != nil && flag.Lookup("update").Value.String() == "true"
}

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the wanted parts of archives anew")
	os.Exit(m.Run())
}

func TestPolicyCommands(t *testing.T) {
	t.Parallel()
	file := filepath.Join("testdata", "policy.txtar")
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var commands *txtar.File
	for i, f := range a.Files {
		if f.Name == "commands" {
			commands = &a.Files[i]
			continue
		}
		save(t, dir, f.Name, string(f.Data))
	}
	var got strings.Builder
	ran := 0
	for line := range strings.Lines(string(commands.Data)) {
		args, is := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "$ policy ")
		if !is {
			continue
		}
		ran++
		w := newWorld(t, "", false)
		w.vars["XDG_STATE_HOME"] = filepath.Join(dir, "state")
		words := strings.Fields(args)
		for i, word := range words {
			if strings.HasSuffix(word, ".yaml") || strings.HasSuffix(word, ".json") {
				words[i] = filepath.Join(dir, word)
			}
		}
		code := w.run(t, append([]string{"policy", "-c", filepath.Join(dir, "munjigi.yaml")}, words...)...)
		text := strings.NewReplacer(dir+string(filepath.Separator), "").Replace(w.out.String() + w.err.String())
		fmt.Fprintf(&got, "$ policy %s\nexit %d\n%s", args, code, text)
	}
	if ran < 12 {
		t.Errorf("only %d commands were seen", ran)
	}
	if update() {
		commands.Data = []byte(got.String())
		if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(commands.Data), got.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

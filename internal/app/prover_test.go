package app

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/audit/proof"
	"github.com/munjigi/munjigi/internal/keys/file"
)

const proverChild = "MUNJIGI_TEST_PROVER"

type proverRig struct {
	t      *testing.T
	data   string
	record *log.Log
	prover *prover
}

func newProverRig(t *testing.T, data string, rotate int64) *proverRig {
	t.Helper()
	ring, err := file.Open(file.Options{Dir: filepath.Join(data, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	r := &proverRig{t: t, data: data}
	if r.record, err = log.Open(log.Options{Dir: filepath.Join(data, "audit"), RotateBytes: rotate}); err != nil {
		t.Fatal(err)
	}
	if r.prover, err = newProver(filepath.Join(data, "audit"), ring, r.record, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	close(r.prover.stopped) // the test steps it
	return r
}

func (r *proverRig) say(id string) {
	r.t.Helper()
	e := audit.Event{ID: id, Time: time.Now(), Kind: audit.KindEvent, Stage: "test", Effect: "allow", Reason: "ok"}
	if err := r.record.With(log.Strict).Record(r.t.Context(), &e); err != nil {
		r.t.Fatal(err)
	}
}

func (r *proverRig) step() {
	r.t.Helper()
	if r.prover.step(r.t.Context()); r.prover.failed != nil {
		r.t.Fatal(r.prover.failed)
	}
}

func (r *proverRig) close() {
	r.t.Helper()
	if err := r.record.Close(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.prover.close(); err != nil {
		r.t.Fatal(err)
	}
}

// verifyRecord judges the record of a data folder with the keys in it.
func verifyRecord(t *testing.T, data string, against ...proof.Checkpoint) *proof.Report {
	t.Helper()
	dir := filepath.Join(data, "audit")
	texts, err := ProofKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	known, err := proof.ParseKeys(texts...)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := proof.Verify(filepath.Join(dir, ProofFolder), known, func(yield func(string, []byte) bool) error {
		return log.Lines(dir, log.Place{}, func(at log.Place, line []byte) bool { return yield(at.String(), line) })
	}, against, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestProofFollowsTheRecord(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	var kept []proof.Checkpoint
	n := 0
	for range 4 { // each time opened again
		r := newProverRig(t, data, 2000) // rotates every dozen lines
		for range 5 {
			for range 17 {
				r.say(fmt.Sprint("e", n))
				n++
			}
			r.step()
			kept = append(kept, r.prover.tree.Last())
		}
		r.say(fmt.Sprint("e", n))
		n++
		r.close()
	}
	rep := verifyRecord(t, data, kept...)
	if len(rep.Findings) > 0 || rep.Covered != int64(n) || rep.Newer != 0 {
		t.Errorf("%d recorded: %+v", n, rep)
	}
}

// TestOneProcessProves runs two gateways on one data folder.
func TestOneProcessProves(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	a, b := newProverRig(t, data, 0), newProverRig(t, data, 0)
	for i := range 10 {
		a.say(fmt.Sprint("a", i))
		b.say(fmt.Sprint("b", i))
		a.step()
		b.step()
	}
	if b.prover.tree != nil {
		t.Error("two processes build one tree")
	}
	a.close()
	b.say("after")
	b.step()
	b.close()
	if rep := verifyRecord(t, data); len(rep.Findings) > 0 || rep.Covered != 21 {
		t.Errorf("%+v", rep)
	}
}

// TestProofStopsAtAnAlteredRecord changes the last line that is covered, while no gateway runs.
func TestProofStopsAtAnAlteredRecord(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	r := newProverRig(t, data, 0)
	r.say("one")
	r.say("two")
	r.close()
	path := filepath.Join(data, "audit", "audit.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), `"two"`, `"TWO"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r = newProverRig(t, data, 0)
	r.say("three")
	r.prover.step(t.Context())
	if r.prover.failed == nil {
		t.Fatal("it goes on behind a line that it never saw")
	}
	told := false
	if err := log.Read(filepath.Join(data, "audit"), log.OldestFirst, func(e audit.Event) bool {
		told = told || e.Reason == "proof-stopped"
		return true
	}); err != nil || !told {
		t.Errorf("told on the record: %v, %v", told, err)
	}
	rep := verifyRecord(t, data)
	if len(rep.Findings) != 1 || rep.Findings[0].What != proof.Changed || rep.Findings[0].Index != 1 {
		t.Errorf("%+v", rep.Findings)
	}
}

// TestProverIsKilled is run again as a process of its own that records and proves until it is killed.
func TestProverIsKilled(t *testing.T) {
	if data := os.Getenv(proverChild); data != "" {
		r := newProverRig(t, data, 20_000)
		for w := range 3 {
			go func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i)
					e := audit.Event{ID: id, Time: time.Now(), Kind: audit.KindEvent, Stage: "test", Effect: "allow", Reason: "ok"}
					if r.record.With(log.Strict).Record(context.Background(), &e) != nil {
						os.Exit(1)
					}
					fmt.Println("said", id)
				}
			}()
		}
		for {
			if r.prover.step(t.Context()); r.prover.failed != nil {
				fmt.Println("failed", r.prover.failed)
				os.Exit(1)
			}
		}
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	said := map[string]bool{}
	var kept []proof.Checkpoint
	const rounds = 200
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestProverIsKilled$")
		cmd.Env = append(os.Environ(), proverChild+"="+data)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for n := 0; in.Scan(); {
			if text, ok := strings.CutPrefix(in.Text(), "failed"); ok {
				t.Errorf("round %d: %s", round, text)
			}
			if id, ok := strings.CutPrefix(in.Text(), "said "); ok {
				said[id] = true
				if n++; n == 20+round*7%90 {
					if err := cmd.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		_ = cmd.Wait()
		r := newProverRig(t, data, 20_000)
		r.step()
		kept = append(kept, r.prover.tree.Last())
		r.close()
	}
	rep := verifyRecord(t, data, kept...)
	if len(rep.Findings) > 0 || rep.Newer != 0 || rep.Covered == 0 {
		t.Errorf("%+v", rep)
	}
	if err := log.Read(filepath.Join(data, "audit"), log.OldestFirst, func(e audit.Event) bool { delete(said, e.ID); return true }); err != nil {
		t.Error(err)
	}
	missing := 0
	for id := range said {
		// The last line of a killed process may have been printed by half; its beginning names an earlier event.
		if !strings.HasSuffix(id, "-") && strings.Count(id, "-") == 2 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d acknowledged events are not in the record", missing)
	}
}

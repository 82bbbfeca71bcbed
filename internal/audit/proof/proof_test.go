package proof_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/munjigi/munjigi/internal/audit/proof"
)

type rig struct {
	t     *testing.T
	dir   string
	seed  [32]byte
	tree  *proof.Tree
	lines []string
}

func newRig(t *testing.T, name string) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "proof"), seed: sha256.Sum256([]byte(name))}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	if r.tree, err = proof.Open(r.dir, r.seed); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) known() note.Verifiers {
	r.t.Helper()
	origin, err := proof.Origin(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	pub, _ := ed25519.NewKeyFromSeed(r.seed[:]).Public().(ed25519.PublicKey)
	text, err := proof.KeyText(origin, pub)
	if err != nil {
		r.t.Fatal(err)
	}
	vs, err := proof.ParseKeys(text)
	if err != nil {
		r.t.Fatal(err)
	}
	return vs
}

// grow adds lines until there are n and signs.
func (r *rig) grow(n int) proof.Checkpoint {
	r.t.Helper()
	for i := len(r.lines); i < n; i++ {
		line := fmt.Sprintf(`{"id":"line-%d"}`, i)
		r.lines = append(r.lines, line)
		if err := r.tree.Add([]byte(line)); err != nil {
			r.t.Fatal(err)
		}
	}
	c, err := r.tree.Sign(fmt.Sprintf("- %d", n), true)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// verify judges lines as if they were what the files hold.
func (r *rig) verify(lines []string, against ...proof.Checkpoint) *proof.Report {
	r.t.Helper()
	rep, err := proof.Verify(r.dir, r.known(), given(lines), against, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return rep
}

func given(lines []string) proof.Lines {
	return func(yield func(string, []byte) bool) error {
		for i, l := range lines {
			if !yield(fmt.Sprint("line ", i), []byte(l)) {
				return nil
			}
		}
		return nil
	}
}

// TestTreeIsRFC9162 compares every size with the library's own tree.
func TestTreeIsRFC9162(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a")
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, x := range at {
			out[i] = stored[x]
		}
		return out, nil
	})
	sizes := []int{1, 2, 3, 255, 256, 257, 511, 512, 600, 65535, 65536, 65537, 66000}
	for n := range sizes[len(sizes)-1] {
		line := fmt.Appendf(nil, `{"id":"line-%d"}`, n)
		more, err := tlog.StoredHashes(int64(n), line, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
		if !slices.Contains(sizes, n+1) {
			continue
		}
		c := r.grow(n + 1)
		want, err := tlog.TreeHash(int64(n+1), reader)
		if err != nil {
			t.Fatal(err)
		}
		if c.Root != want || c.Size != int64(n+1) {
			t.Errorf("size %d: another root", n+1)
		}
		r.open()
		if r.tree.Size() != int64(n+1) || r.tree.Last().At != fmt.Sprintf("- %d", n+1) {
			t.Errorf("opened again with %d lines at %q", r.tree.Size(), r.tree.Last().At)
		}
	}
	rep := r.verify(r.lines)
	if rep.Findings != nil || rep.Covered != 66000 || rep.Checkpoints != len(sizes) {
		t.Errorf("%+v", rep)
	}
}

func TestTampering(t *testing.T) {
	t.Parallel()
	r := newRig(t, "tamper")
	r.grow(300)
	r.grow(1000)
	extra := append(slices.Clone(r.lines), "newer 1", "newer 2")
	edit := func(f func(l []string) []string) []string { return f(slices.Clone(extra)) }
	for _, c := range []struct {
		name  string
		lines []string
		want  []proof.Finding
		newer int64
	}{
		{"untouched", extra, nil, 2},
		{"one changed", edit(func(l []string) []string { l[400] += " "; return l }), []proof.Finding{{What: proof.Changed, Index: 400, Place: "line 400"}}, 2},
		{"first changed", edit(func(l []string) []string { l[0] = "x"; return l }), []proof.Finding{{What: proof.Changed, Index: 0, Place: "line 0"}}, 2},
		{"last signed one changed", edit(func(l []string) []string { l[999] = "x"; return l }), []proof.Finding{{What: proof.Changed, Index: 999, Place: "line 999"}}, 2},
		{"three dropped", edit(func(l []string) []string { return slices.Delete(l, 10, 13) }), []proof.Finding{{What: proof.Missing, Index: 10, Count: 3, Place: "line 10"}}, 2},
		{"one inserted", edit(func(l []string) []string { return slices.Insert(l, 999, "forged") }), []proof.Finding{{What: proof.Inserted, Index: 999, Count: 1, Place: "line 999"}}, 2},
		{"one doubled", edit(func(l []string) []string { return slices.Insert(l, 6, l[5]) }), []proof.Finding{{What: proof.Inserted, Index: 6, Count: 1, Place: "line 6"}}, 2},
		{"two turned round", edit(func(l []string) []string { l[7], l[8] = l[8], l[7]; return l }), []proof.Finding{{What: proof.Inserted, Index: 7, Count: 1, Place: "line 7"}, {What: proof.Missing, Index: 8, Count: 1, Place: "line 9"}}, 2},
		{"cut", extra[:700], []proof.Finding{{What: proof.Missing, Index: 700, Count: 300, Place: "the end of the files"}}, 0},
		{"the first file is gone", extra[500:], []proof.Finding{{What: proof.Missing, Index: 0, Count: 500, Place: "line 0"}}, 2},
		{"all gone", nil, []proof.Finding{{What: proof.Missing, Index: 0, Count: 1000, Place: "the end of the files"}}, 0},
		{"two places", edit(func(l []string) []string { l[3] = "x"; return slices.Delete(l, 900, 901) }), []proof.Finding{{What: proof.Changed, Index: 3, Place: "line 3"}, {What: proof.Missing, Index: 900, Count: 1, Place: "line 900"}}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rep := r.verify(c.lines)
			if d := cmp.Diff(c.want, rep.Findings); d != "" || rep.Newer != c.newer {
				t.Errorf("newer %d, findings (-want +got):\n%s", rep.Newer, d)
			}
		})
	}
}

// TestManyChangesAreFound changes more lines in a row than Verify looks ahead.
func TestManyChangesAreFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, "many")
	r.grow(20_000)
	lines := slices.Clone(r.lines)
	for i := 2000; i < 12_000; i++ {
		lines[i] = "x" + lines[i]
	}
	rep := r.verify(lines)
	if rep.Covered != 10_000 || len(rep.Findings) == 0 {
		t.Errorf("%d lines are as signed, findings %v", rep.Covered, rep.Findings)
	}
}

// TestRollback restores an older copy of everything; a checkpoint that was kept elsewhere tells.
func TestRollback(t *testing.T) {
	t.Parallel()
	r := newRig(t, "roll")
	r.grow(100)
	old := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(old, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	kept := r.grow(400)
	r.dir, r.lines = old, r.lines[:100]
	if rep := r.verify(r.lines); rep.Findings != nil {
		t.Errorf("the old copy alone: %v", rep.Findings)
	}
	rep := r.verify(r.lines, kept)
	if len(rep.Findings) != 1 || rep.Findings[0].What != proof.Forked || !strings.Contains(rep.Findings[0].Place, "rolled back") {
		t.Errorf("%+v", rep.Findings)
	}
	// The owner of the key goes on from the old copy with other lines.
	r.open()
	r.lines = append(r.lines, "another past")
	if err := r.tree.Add([]byte("another past")); err != nil {
		t.Fatal(err)
	}
	r.grow(500)
	rep = r.verify(r.lines, kept)
	if len(rep.Findings) == 0 || rep.Findings[0].What != proof.Forked {
		t.Errorf("a fork: %+v", rep.Findings)
	}
}

func TestChangedTilesAreNotBuiltOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, "tiles")
	c := r.grow(300)
	var tiles []string
	if err := filepath.WalkDir(filepath.Join(r.dir, "tile"), func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			tiles = append(tiles, p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(tiles) != 3 {
		t.Fatalf("%v", tiles)
	}
	for _, p := range tiles {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string][]byte{"flipped": flipped(b, 40), "cut": b[:20], "empty": nil} {
			if err := os.WriteFile(p, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, openErr := proof.Open(r.dir, r.seed)
			rep, err := proof.Verify(r.dir, r.known(), given(r.lines), nil, nil)
			if err == nil && len(rep.Findings) == 0 {
				t.Errorf("%s %s: verified", p, name)
			}
			edge := !strings.HasSuffix(p, "000")
			if edge && !errors.Is(openErr, proof.ErrAltered) {
				t.Errorf("%s %s: opened: %v", p, name, openErr)
			}
		}
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		if _, err := proof.Prove(r.dir, c, int64(i), []byte(r.lines[i])); err != nil {
			t.Fatal(err)
		}
	}
}

func flipped(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at%len(b)] ^= 1
	return b
}

func TestProofOfOneRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, "one")
	c := r.grow(777)
	known := r.known()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		i := rnd.Int64N(777)
		p, err := proof.Prove(r.dir, c, i, []byte(r.lines[i]))
		if err != nil {
			t.Fatal(err)
		}
		text := p.Append(nil)
		back, err := proof.ParseProof(text, known)
		if err != nil || string(back.Line) != r.lines[i] || back.Index != i {
			t.Fatalf("%v\n%s", err, text)
		}
		for at := range text {
			if got, err := proof.ParseProof(flipped(text, at), known); err == nil && (string(got.Line) != r.lines[i] || got.Index != i) {
				t.Fatalf("byte %d flipped: proves line %d: %s", at, got.Index, got.Line)
			}
		}
	}
	if _, err := proof.Prove(r.dir, c, 5, []byte("forged")); err == nil {
		t.Error("a forged line is proved")
	}
	if _, err := proof.Prove(r.dir, c, 777, nil); err == nil {
		t.Error("a line behind the checkpoint is proved")
	}
	other := newRig(t, "another key")
	other.grow(1)
	p, err := proof.Prove(r.dir, c, 5, []byte(r.lines[5]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proof.ParseProof(p.Append(nil), other.known()); !errors.Is(err, proof.ErrNoSignature) {
		t.Errorf("under a stranger's key: %v", err)
	}
}

func TestForeignCheckpointIsNotBuiltOn(t *testing.T) {
	t.Parallel()
	a, b := newRig(t, "a"), newRig(t, "b")
	a.grow(10)
	b.grow(10)
	if _, err := proof.Open(a.dir, b.seed); !errors.Is(err, proof.ErrNoSignature) {
		t.Errorf("%v", err)
	}
	pub, _ := ed25519.NewKeyFromSeed(a.seed[:]).Public().(ed25519.PublicKey)
	tree, err := proof.Open(a.dir, b.seed, pub)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Add([]byte("after the key was changed")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Sign("- 11", false); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(a.dir, "origin")); err != nil {
		t.Fatal(err)
	}
	if _, err := proof.Open(a.dir, b.seed, pub); !errors.Is(err, proof.ErrAltered) {
		t.Errorf("without its name: %v", err)
	}
}

// FuzzParse holds that nothing that is read from a stranger's file ends the process or proves what was not signed.
func FuzzParse(f *testing.F) {
	f.Add([]byte("munjigi/x\n1\nAAAA\n\n— munjigi/x AAAA\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra eA==\nindex 0\n\nmunjigi/x\n1\n"))
	pub, _ := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	known, err := proof.Keys("munjigi/x", pub)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := proof.ParseCheckpoint(b, known); err == nil {
			t.Errorf("a checkpoint that nobody signed: %+v", c)
		}
		if p, err := proof.ParseProof(b, known); err == nil {
			t.Errorf("a proof that nobody made: %+v", p)
		}
		_, _ = proof.ParseKeys(string(b))
	})
}

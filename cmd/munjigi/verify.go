package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/munjigi/munjigi/internal/app"
	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/audit/proof"
	"github.com/munjigi/munjigi/internal/config"
)

// auditVerify proves the record, or one entry of it.
func auditVerify(ctx context.Context, e *env, args []string) int {
	fs := flags(e, "audit verify", "munjigi audit verify [ID] [--key KEY] [--against FILE] [--proof FILE]",
		"Prove that the record is whole and as it was signed. With ID: that the entries of one call are in it, and write\n"+
			"their proofs to --proof. With --proof and no ID: check such a file, anywhere, with nothing but the public key.")
	path := fs.String("c", "", "config file")
	data := fs.String("data", "", "data folder")
	key := fs.String("key", "", "the log's public `key`, or a file that holds it; without it the one in the data folder, which proves nothing against who can write there")
	against := fs.String("against", "", "a `file` with a checkpoint that was kept elsewhere")
	proofFile := fs.String("proof", "", "`file` of the proofs of one call")
	asJSON := fs.Bool("json", false, "print JSON")
	if code, done := parse(e, fs, args); done {
		return code
	}
	if fs.NArg() > 1 {
		return wrongUse(e, errors.New("name one ID, or none for the whole record"))
	}
	if fs.NArg() == 0 && *proofFile != "" {
		return checkProofs(e, *proofFile, *key, *asJSON)
	}
	dir, err := recordOf(e, *path, *data)
	if err != nil {
		return failed(e, err)
	}
	known, own, err := verifiersOf(dir, *key)
	if err != nil {
		return failed(e, err)
	}
	if fs.NArg() == 1 {
		return proveCall(e, dir, fs.Arg(0), *proofFile, known, *asJSON)
	}
	var kept []proof.Checkpoint
	if *against != "" {
		text, err := os.ReadFile(*against)
		if err != nil {
			return failed(e, err)
		}
		c, err := proof.ParseCheckpoint(text, known)
		if err != nil {
			return refused(e, fmt.Errorf("%s: %w", *against, err))
		}
		kept = append(kept, c)
	}
	lines := func(yield func(string, []byte) bool) error {
		return log.Lines(dir, log.Place{}, func(at log.Place, line []byte) bool {
			return ctx.Err() == nil && yield(whereIs(at), line)
		})
	}
	began, shows := time.Now(), e.isTerminal(e.stderr)
	rep, err := proof.Verify(filepath.Join(dir, app.ProofFolder), known, lines, kept, func(done, of int64) {
		if shows {
			fmt.Fprintf(e.stderr, "\r%d of %d entries ", done, of)
		}
	})
	if shows {
		fmt.Fprint(e.stderr, "\r\x1b[K")
	}
	if err = errors.Join(ctx.Err(), err); err != nil {
		return failed(e, err)
	}
	if *asJSON {
		code := printJSON(e, reportJSON(rep))
		if len(rep.Findings) > 0 {
			return exitRefused
		}
		return code
	}
	return showReport(e, rep, own, time.Since(began))
}

func whereIs(at log.Place) string {
	if at.After == "" {
		return fmt.Sprintf("byte %d of the oldest file", at.Offset)
	}
	return fmt.Sprintf("byte %d of the file after %s", at.Offset, at.After)
}

// verifiersOf reads the public keys. own says that they came from the folder that is judged.
func verifiersOf(dir, key string) (known note.Verifiers, own bool, err error) {
	texts := strings.Fields(key)
	if key == "" {
		if texts, err = app.ProofKeys(dir); err != nil {
			return nil, false, fmt.Errorf("there is no proof yet: a gateway begins it when it runs with this data folder (%w)", err)
		}
	} else if b, err := os.ReadFile(key); err == nil { //nolint:gosec // G304: the operator names the file
		texts = strings.Fields(string(b))
	}
	known, err = proof.ParseKeys(texts...)
	return known, key == "", err
}

func showReport(e *env, rep *proof.Report, own bool, took time.Duration) int {
	w := e.stdout
	c := rep.Checkpoint
	fmt.Fprintf(w, "log          %s\ncheckpoint   %d entries, root %s\n", config.Visible(c.Origin), c.Size, c.Root)
	fmt.Fprintf(w, "entries      %d read: %d as signed, %d newer than the checkpoint\n", rep.Lines, rep.Covered, rep.Newer)
	fmt.Fprintf(w, "checkpoints  %d earlier ones checked\ntime         %s\n", rep.Checkpoints, took.Round(time.Millisecond))
	if own {
		fmt.Fprintln(w, "\nThe public key came from the same folder. Pass --key, and --against a checkpoint that was kept elsewhere,\nto prove the record to somebody who does not trust this machine.")
	}
	if len(rep.Findings) == 0 {
		fmt.Fprintln(w, "\nThe record is whole.")
		return exitDone
	}
	fmt.Fprintln(w)
	t := newTable("found", "entry", "count", "where")
	for _, f := range rep.Findings {
		count := ""
		if f.Count > 0 {
			count = fmt.Sprint(f.Count)
		}
		t.row(f.What, fmt.Sprint(f.Index), count, f.Place)
	}
	t.print(w)
	if rep.More > 0 {
		fmt.Fprintf(w, "and %d more\n", rep.More)
	}
	return refused(e, errors.New("the record is not what was signed: keep the folder as it is, and compare it with a copy"))
}

func reportJSON(rep *proof.Report) map[string]any {
	return map[string]any{
		"origin": rep.Checkpoint.Origin, "size": rep.Checkpoint.Size, "root": rep.Checkpoint.Root.String(), "entries": rep.Lines,
		"covered": rep.Covered, "newer": rep.Newer, "checkpoints": rep.Checkpoints, "whole": len(rep.Findings) == 0,
		"findings": append([]proof.Finding{}, rep.Findings...), "more": rep.More,
	}
}

// proveCall proves all entries under one ID.
func proveCall(e *env, dir, id, file string, known note.Verifiers, asJSON bool) int {
	if !audit.ValidID(id) {
		return failed(e, log.ErrNotFound)
	}
	head := `{"id":"` + id + `",`
	tree := filepath.Join(dir, app.ProofFolder)
	c, err := proof.Newest(tree, known)
	if err != nil {
		return failed(e, err)
	}
	var out []byte
	var found []proof.Proof
	index := int64(-1)
	var failure error
	err = log.Lines(dir, log.Place{}, func(_ log.Place, line []byte) bool {
		index++
		if !strings.HasPrefix(string(line[:min(len(line), len(head))]), head) {
			return true
		}
		p, err := proof.Prove(tree, c, index, append([]byte(nil), line...))
		if err != nil {
			failure = err
			return false
		}
		found, out = append(found, p), append(p.Append(out), '\n')
		return len(found) < 2
	})
	if err := errors.Join(err, failure); err != nil {
		return refused(e, fmt.Errorf("%s cannot be proved: %w", id, err))
	}
	if len(found) == 0 {
		return failed(e, log.ErrNotFound)
	}
	if file != "" {
		if err := os.WriteFile(file, out, 0o600); err != nil {
			return failed(e, err)
		}
	}
	return showProofs(e, found, asJSON)
}

const proofBegin = "c2sp.org/tlog-proof@v1\n"

func checkProofs(e *env, file, key string, asJSON bool) int {
	if key == "" {
		return wrongUse(e, errors.New("pass the log's public key with --key: its owner prints it with munjigi audit key"))
	}
	b, err := os.ReadFile(file) //nolint:gosec // G304: the operator names the file
	if err != nil {
		return failed(e, err)
	}
	known, _, err := verifiersOf("", key)
	if err != nil {
		return failed(e, err)
	}
	var found []proof.Proof
	for i, part := range strings.Split("\n"+string(b), "\n"+proofBegin) {
		if i == 0 && strings.TrimSpace(part) == "" {
			continue
		}
		p, err := proof.ParseProof([]byte(proofBegin+strings.TrimRight(part, "\n")+"\n"), known)
		if err != nil {
			return refused(e, fmt.Errorf("%s: %w", file, err))
		}
		found = append(found, p)
	}
	return showProofs(e, found, asJSON)
}

func showProofs(e *env, found []proof.Proof, asJSON bool) int {
	if asJSON {
		rows := []map[string]any{}
		for _, p := range found {
			rows = append(rows, map[string]any{"index": p.Index, "size": p.Checkpoint.Size, "origin": p.Checkpoint.Origin, "entry": json.RawMessage(p.Line)})
		}
		return printJSON(e, rows)
	}
	for _, p := range found {
		sum := sha256.Sum256(p.Line)
		fmt.Fprintf(e.stdout, "entry %d of %d of %s is as it was signed (SHA-256 %s)\n", p.Index, p.Checkpoint.Size, config.Visible(p.Checkpoint.Origin), hex.EncodeToString(sum[:]))
		if ev, err := audit.Parse(p.Line); err == nil {
			printEvent(e, ev, false)
		}
	}
	return exitDone
}

// auditCheckpoint prints the newest checkpoint, to be kept elsewhere.
func auditCheckpoint(e *env, args []string) int {
	fs := flags(e, "audit checkpoint", "munjigi audit checkpoint > FILE", "The newest signed checkpoint. Keep it where nobody of this machine can change it, for verify --against.")
	path := fs.String("c", "", "config file")
	data := fs.String("data", "", "data folder")
	if code, done := parse(e, fs, args); done {
		return code
	}
	dir, err := recordOf(e, *path, *data)
	if err != nil {
		return failed(e, err)
	}
	known, _, err := verifiersOf(dir, "")
	if err != nil {
		return failed(e, err)
	}
	c, err := proof.Newest(filepath.Join(dir, app.ProofFolder), known)
	if err != nil {
		return failed(e, err)
	}
	if _, err := e.stdout.Write(c.Text); err != nil {
		return failed(e, err)
	}
	return exitDone
}

// auditKey prints the public keys of the log.
func auditKey(e *env, args []string) int {
	fs := flags(e, "audit key", "munjigi audit key", "The public keys that verify this log's checkpoints, the newest last. Give them to your auditors.")
	path := fs.String("c", "", "config file")
	data := fs.String("data", "", "data folder")
	if code, done := parse(e, fs, args); done {
		return code
	}
	dir, err := recordOf(e, *path, *data)
	if err != nil {
		return failed(e, err)
	}
	texts, err := app.ProofKeys(dir)
	if err != nil {
		return failed(e, fmt.Errorf("there is no proof yet: a gateway begins it when it runs with this data folder (%w)", err))
	}
	for _, t := range texts {
		fmt.Fprintln(e.stdout, t)
	}
	return exitDone
}

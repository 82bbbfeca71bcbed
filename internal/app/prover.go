package app

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/audit/proof"
	"github.com/munjigi/munjigi/internal/base/durable"
	"github.com/munjigi/munjigi/internal/keys"
)

const (
	// CheckpointPurpose is the purpose of the keys that sign the record's checkpoints.
	CheckpointPurpose keys.Purpose = "audit-checkpoint"
	// ProofFolder is the folder of the proof inside the folder of the record.
	ProofFolder = "proof"

	checkpointEvery = time.Second
	keptEvery       = time.Minute
	proofKeys       = "keys"
	proofLock       = "lock"
)

// prover lets the tree follow the record. Of the processes that share a folder one does it; the others try to take
// over, so that it goes on when that one ends.
type prover struct {
	dir    string // of the record
	ring   keys.Ring
	record audit.Recorder
	logger *slog.Logger

	stopped chan struct{}
	lock    *os.File
	tree    *proof.Tree // nil while another process has the lock
	at      log.Place   // of the last line in the tree
	kept    time.Time   // when a checkpoint was kept last
	failed  error       // why it stopped for good
}

func newProver(dir string, ring keys.Ring, record *log.Log, logger *slog.Logger) (*prover, error) {
	if err := os.MkdirAll(filepath.Join(dir, ProofFolder), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ProofFolder, proofLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &prover{dir: dir, ring: ring, record: record.With(log.Strict), logger: logger, lock: lock, stopped: make(chan struct{})}, nil
}

// run follows until ctx ends.
func (p *prover) run(ctx context.Context) {
	defer close(p.stopped)
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.step(ctx)
		}
	}
}

// close takes in what was recorded last. The record is closed by then.
func (p *prover) close() error {
	<-p.stopped
	if p.failed == nil {
		p.failed = p.follow()
	}
	// A process that was forked at this moment may still have the file open, so closing it would not end the lock.
	return errors.Join(p.failed, durable.Unlock(p.lock), p.lock.Close())
}

// step follows once. What is wrong with the proof is told once, on the record too, and calls go on: the record itself
// is whole, and an outsider sees that checkpoints stopped.
func (p *prover) step(ctx context.Context) {
	if p.failed != nil {
		return
	}
	if p.failed = p.follow(); p.failed == nil {
		return
	}
	p.logger.Error("the record goes on without proof", "err", p.failed, "next", "run munjigi audit verify")
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "record", Effect: "deny", Reason: "proof-stopped",
		Detail: map[string]string{"error": p.failed.Error()}}
	if err := p.record.Record(ctx, &e); err != nil {
		p.logger.Error("the record cannot be written", "err", err)
	}
}

func (p *prover) follow() error {
	if p.tree == nil {
		if ok, err := durable.TryLock(p.lock); err != nil || !ok {
			return err
		}
		if err := p.open(); err != nil {
			return err
		}
	}
	var failed error
	err := log.Lines(p.dir, p.at, func(at log.Place, line []byte) bool {
		if at == p.at && p.tree.Size() > 0 {
			// The line that was last is read again: the tree goes on behind it or not at all.
			if !p.tree.EndsWith(line) {
				failed = fmt.Errorf("the line at %s is not the one that the last checkpoint covers: %w", at, proof.ErrAltered)
			}
			return failed == nil
		}
		failed = p.tree.Add(line)
		p.at = at
		return failed == nil
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	keep := time.Since(p.kept) >= keptEvery
	if _, err = p.tree.Sign(p.at.String(), keep); err == nil && keep {
		p.kept = time.Now()
	}
	return err
}

func (p *prover) open() error {
	dir := filepath.Join(p.dir, ProofFolder)
	id, seed, err := p.ring.Subkey(CheckpointPurpose)
	if err != nil {
		return err
	}
	earlier, known, err := p.earlier(filepath.Join(dir, proofKeys))
	if err != nil {
		return err
	}
	tree, err := proof.Open(dir, seed, earlier...)
	if err != nil {
		return err
	}
	if last := tree.Last(); last.Size > 0 {
		if p.at, err = log.ParsePlace(last.At); err != nil {
			return fmt.Errorf("%w (%w)", proof.ErrAltered, err)
		}
	}
	if !known[id] {
		if err := p.publish(dir, id, seed); err != nil {
			return err
		}
	}
	p.tree = tree
	return nil
}

// earlier returns the keys that signed before. Only their IDs are taken from the file: the keys are derived again, so
// that whoever can write the file cannot add one.
func (p *prover) earlier(path string) (keys []ed25519.PublicKey, known map[string]bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, map[string]bool{}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	known = map[string]bool{}
	for in := bufio.NewScanner(bytes.NewReader(b)); in.Scan(); {
		id, _, _ := strings.Cut(in.Text(), " ")
		seed, err := p.ring.SubkeyByID(CheckpointPurpose, id)
		if err != nil {
			continue // removed from the ring: what it signed is no longer built on
		}
		if pub, ok := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey); ok {
			keys, known[id] = append(keys, pub), true
		}
	}
	return keys, known, nil
}

// publish adds the public key to the file of keys, for those who verify.
func (p *prover) publish(dir, id string, seed [32]byte) error {
	origin, err := proof.Origin(dir)
	if err != nil {
		return err
	}
	pub, ok := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	if !ok {
		return errors.New("no public key")
	}
	text, err := proof.KeyText(origin, pub)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, proofKeys)
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.Replace(path, append(before, id+" "+text+"\n"...))
}

// ProofKeys returns the public keys that the folder of a record names, the newest last, as text for --key.
func ProofKeys(auditDir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(auditDir, ProofFolder, proofKeys))
	if err != nil {
		return nil, err
	}
	var out []string
	for in := bufio.NewScanner(bytes.NewReader(b)); in.Scan(); {
		if _, text, ok := strings.Cut(in.Text(), " "); ok {
			out = append(out, text)
		}
	}
	return out, nil
}

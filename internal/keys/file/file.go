// Package file keeps the root keys in one file of the data folder, or takes them from a systemd credential.
//
// The threat: a key that another user reads or replaces, two processes that start together and make two keys, a crash
// in the middle of a rotation, and a wrapping key that lies beside what it wraps, so that one copied folder gives both.
//
// Guaranteed: <data>/keys/root.key has mode 0600 and appears whole or not at all, whoever else starts at the same
// moment; a file that group or others can read or write is refused, and so is one that was damaged, since the ID of
// each key is derived from it. Rotate adds a key and keeps the earlier ones. When the credentials folder that systemd
// made for this service holds munjigi-root-key, only that one is used, and nothing in the data folder opens anything.
//
// Not guaranteed: without a credential, whoever reads the data folder as this user or as root has the key. On Windows
// the folder's access list protects the file.
//
// To use a credential, put root.key's text, or one line of base64 with 32 random bytes, into it:
//
//	systemd-creds encrypt --name=munjigi-root-key root.key /etc/credstore.encrypted/munjigi-root-key
//
// and LoadCredentialEncrypted=munjigi-root-key into the unit.
//
// The file is text: a first line that names the format, then one line per key with its ID, the time it was made and the
// key in base64. The last key seals, all of them open. Lines that begin with # are skipped.
package file

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/durable"
	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/keys"
)

// CredentialName is the name of the systemd credential that takes the place of the file.
const CredentialName = "munjigi-root-key"

const (
	fileName = "root.key"
	nextName = "root.key.next"
	header   = "munjigi root keys v1"
	mostKeys = 500
	maxBytes = 64 << 10

	// systemd shows a credential's access list as the group's right to read.
	credentialRefuse fs.FileMode = 0o027
)

// ErrCredential is returned by Rotate when the keys come from a systemd credential.
var ErrCredential = errors.New("the root key is a systemd credential: add a line to it, encrypt it again and restart")

// Options say where the keys are.
type Options struct {
	Dir         string // <data>/keys; made with mode 0700 when it does not exist
	Credentials string // what $CREDENTIALS_DIRECTORY says; empty when there is none
}

// Open returns the ring of the keys as they are now. Without any it makes the first one. The ring does not change: after
// a rotation, open another.
func Open(o Options) (*keys.Derived, error) {
	entries, err := load(o)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(o.Dir); err == nil {
			entries, err = load(o)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("root key: %w", err)
	}
	return ring(entries)
}

func ring(entries []entry) (*keys.Derived, error) {
	last := len(entries) - 1
	var earlier []keys.Root
	for _, e := range entries[:last] {
		earlier = append(earlier, e.root)
	}
	return keys.NewDerived(entries[last].root, earlier...)
}

// Rotate adds a new key, which seals from the next Open on, and returns its ID. Two rotations cannot run at once; one
// that was cut off leaves the file as it was.
func Rotate(o Options) (id string, err error) {
	if _, ok, err := credential(o); ok || err != nil {
		return "", errors.Join(ErrCredential, err)
	}
	next := filepath.Join(o.Dir, nextName)
	f, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("root key: another rotation is under way, or one was cut off: when no other command runs, remove %s", next)
	}
	if err != nil {
		return "", fmt.Errorf("root key: %w: start the gateway once, which makes the first key", err)
	}
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, f.Close(), os.Remove(next))
		}
	}()
	entries, err := load(Options{Dir: o.Dir})
	if err != nil {
		return "", fmt.Errorf("root key: %w", err)
	}
	if len(entries) >= mostKeys {
		return "", fmt.Errorf("root key: %d keys are kept and no more fit: seal everything again and remove the oldest lines", len(entries))
	}
	root := keys.GenerateRoot()
	if _, err := f.Write(encode(append(entries, entry{root, time.Now()}))); err != nil {
		return "", err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", err
	}
	done = true
	if err := os.Rename(next, filepath.Join(o.Dir, fileName)); err != nil {
		return "", errors.Join(err, os.Remove(next))
	}
	return root.ID(), durable.SyncDir(o.Dir)
}

type entry struct {
	root keys.Root
	made time.Time
}

func load(o Options) ([]entry, error) {
	if b, ok, err := credential(o); ok || err != nil {
		if err != nil {
			return nil, err
		}
		return parse(b, CredentialName)
	}
	if o.Dir == "" {
		return nil, errors.New("no folder is named: name <data>/keys")
	}
	info, err := os.Stat(o.Dir)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("others may write %s: run chmod 700 on it and look for what they changed", o.Dir)
	}
	path := filepath.Join(o.Dir, fileName)
	b, err := secret.ReadFile(path, maxBytes, secret.OthersUse)
	if err != nil {
		return nil, err
	}
	return parse(b, path)
}

// credential returns the systemd credential. That it is named but cannot be read is an error, never a reason to use
// the file instead.
func credential(o Options) (_ []byte, ok bool, err error) {
	if o.Credentials == "" {
		return nil, false, nil
	}
	path := filepath.Join(o.Credentials, CredentialName)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	b, err := secret.ReadFile(path, maxBytes, credentialRefuse)
	return b, err == nil, err
}

// create makes the first key. The file is linked into its place, which fails when another process was first; then
// that one's key is used.
func create(dir string) error {
	if dir == "" {
		return errors.New("no folder is named: name <data>/keys")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp := filepath.Join(dir, fileName+".new-"+rand.Text())
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(encode([]entry{{keys.GenerateRoot(), time.Now()}}))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(temp, filepath.Join(dir, fileName))
		if errors.Is(err, fs.ErrExist) {
			err = nil
		} else if err != nil {
			err = fmt.Errorf("%w: put the data folder on a file system that has hard links", err)
		}
	}
	return errors.Join(err, os.Remove(temp), durable.SyncDir(dir))
}

func encode(entries []entry) []byte {
	b := []byte(header + "\n# Whoever has this file can open everything that Munjigi sealed. The last key is the active one.\n")
	for _, e := range entries {
		key := e.root.Reveal()
		b = fmt.Appendf(b, "%s %s %s\n", e.root.ID(), e.made.UTC().Format(time.RFC3339), base64.StdEncoding.EncodeToString(key[:]))
	}
	return b
}

// parse reads what encode wrote, or one line of base64. Its errors name a line by its number and show nothing of it.
func parse(b []byte, from string) ([]entry, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) == 1 {
		root, err := parseKey(strings.TrimSpace(lines[0]))
		if err != nil {
			return nil, fmt.Errorf("%s is neither a file of root keys nor one key in base64: restore it from a copy", from)
		}
		return []entry{{root: root}}, nil
	}
	if lines[0] != header || !bytes.HasSuffix(b, []byte{'\n'}) {
		return nil, fmt.Errorf("%s is cut off or no file of root keys of this version: restore it from a copy", from)
	}
	var entries []entry
	for i, line := range lines[1:] {
		if strings.HasPrefix(line, "#") {
			continue
		}
		bad := fmt.Errorf("line %d of %s is damaged: restore it from a copy", i+2, from)
		fields := strings.Split(line, " ")
		if len(fields) != 3 {
			return nil, bad
		}
		made, err := time.Parse(time.RFC3339, fields[1])
		if err != nil {
			return nil, bad
		}
		root, err := parseKey(fields[2])
		if err != nil || root.ID() != fields[0] {
			return nil, bad
		}
		entries = append(entries, entry{root, made})
	}
	if len(entries) == 0 || len(entries) > mostKeys {
		return nil, fmt.Errorf("%s holds %d keys: restore it from a copy", from, len(entries))
	}
	return entries, nil
}

func parseKey(s string) (keys.Root, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 32 {
		return keys.Root{}, errors.New("not 32 bytes in base64")
	}
	return keys.NewRoot([32]byte(b))
}

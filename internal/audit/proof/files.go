package proof

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// tilePath is the tile's name as tlog-tiles has it, without the height that
// the library puts first.
func tilePath(t tlog.Tile) string {
	return filepath.FromSlash(strings.Replace(t.Path(), fmt.Sprintf("tile/%d/", t.H), "tile/", 1))
}

// readTile reads a tile, which a later and wider one of the same place may hold by now.
func readTile(dir string, t tlog.Tile) ([]Hash, error) {
	b, err := readHashes(filepath.Join(dir, tilePath(t)), t.W)
	if !errors.Is(err, os.ErrNotExist) || t.W == width {
		return b, err
	}
	full := t
	full.W = width
	if b, err = readHashes(filepath.Join(dir, tilePath(full)), t.W); !errors.Is(err, os.ErrNotExist) {
		return b, err
	}
	entries, err := os.ReadDir(filepath.Dir(filepath.Join(dir, tilePath(t))))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		wider := t
		if _, err := fmt.Sscanf(e.Name(), "%d", &wider.W); err == nil && wider.W > t.W && wider.W < width {
			return readHashes(filepath.Join(dir, tilePath(wider)), t.W)
		}
	}
	return nil, fmt.Errorf("%s: %w", tilePath(t), os.ErrNotExist)
}

// readHashes reads the first w hashes of a tile.
func readHashes(path string, w int) (hashes []Hash, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := make([]byte, w*tlog.HashSize)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("%s is too short: %w", path, err)
	}
	hashes = make([]Hash, w)
	for i := range hashes {
		hashes[i] = Hash(b[i*tlog.HashSize:])
	}
	return hashes, nil
}

func appendSynced(path string, b []byte) (err error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("proof: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(b); err != nil {
		return fmt.Errorf("proof: %w", err)
	}
	return f.Sync()
}

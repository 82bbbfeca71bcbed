package file

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/munjigi/munjigi/internal/keys"
)

func open(t *testing.T, o Options) *keys.Derived {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func seal(t *testing.T, d *keys.Derived) []byte {
	t.Helper()
	b, err := d.Seal("test", []byte("text"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) (got []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	return got
}

func TestFirstKeyStays(t *testing.T) {
	t.Parallel()
	o := Options{Dir: filepath.Join(t.TempDir(), "data", "keys")}
	first := open(t, o)
	sealed := seal(t, first)
	second := open(t, o)
	if plain, err := second.Open("test", sealed, nil); err != nil || string(plain) != "text" || first.ActiveID() != second.ActiveID() {
		t.Errorf("%q %v", plain, err)
	}
	if got := names(t, o.Dir); len(got) != 1 || got[0] != fileName {
		t.Errorf("left behind: %v", got)
	}
	if other := open(t, Options{Dir: t.TempDir()}); other.ActiveID() == first.ActiveID() {
		t.Error("two data folders got one key")
	}
	if runtime.GOOS == "windows" {
		return
	}
	for path, want := range map[string]os.FileMode{o.Dir: 0o700, filepath.Join(o.Dir, fileName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
}

func TestManyStartAtOnce(t *testing.T) {
	t.Parallel()
	o := Options{Dir: filepath.Join(t.TempDir(), "keys")}
	ids := make([]string, 40)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			<-start
			d, err := Open(o)
			if err != nil {
				t.Error(err)
			}
			ids[i] = d.ActiveID()
		})
	}
	close(start)
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("they hold different keys: %v", ids)
		}
	}
	if got := names(t, o.Dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

func TestRotateKeepsWhatWasSealed(t *testing.T) {
	t.Parallel()
	o := Options{Dir: t.TempDir()}
	if _, err := Rotate(o); err == nil || !strings.Contains(err.Error(), "start the gateway") && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("rotated a key that is not there: %v", err)
	}
	before := open(t, o)
	sealed := seal(t, before)
	for range 3 {
		id, err := Rotate(o)
		if err != nil {
			t.Fatal(err)
		}
		after := open(t, o)
		if after.ActiveID() != id || id == before.ActiveID() {
			t.Errorf("%s seals, not %s", after.ActiveID(), id)
		}
		if plain, err := after.Open("test", sealed, nil); err != nil || string(plain) != "text" {
			t.Errorf("%q %v", plain, err)
		}
		if _, err := before.Open("test", seal(t, after), nil); err != keys.ErrSealed {
			t.Errorf("the earlier ring opens what the newer one sealed: %v", err)
		}
	}
	if got := names(t, o.Dir); len(got) != 1 {
		t.Errorf("left behind: %v", got)
	}
}

func TestRotationsAtOnceLoseNoKey(t *testing.T) {
	t.Parallel()
	o := Options{Dir: t.TempDir()}
	open(t, o)
	var mu sync.Mutex
	var wg sync.WaitGroup
	var made []string
	for range 10 {
		wg.Go(func() {
			for range 5 {
				id, err := Rotate(o)
				if err != nil && !strings.Contains(err.Error(), "another rotation") {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					made = append(made, id)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	d := open(t, o)
	for _, id := range made {
		if _, err := d.SubkeyByID("test", id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	if len(made) == 0 {
		t.Error("no rotation came through")
	}
}

func TestRotationThatWasCutOff(t *testing.T) {
	t.Parallel()
	o := Options{Dir: t.TempDir()}
	before := open(t, o)
	write(t, filepath.Join(o.Dir, nextName), "half a ke", 0o600)
	if _, err := Rotate(o); err == nil || !strings.Contains(err.Error(), nextName) {
		t.Errorf("%v", err)
	}
	if after := open(t, o); after.ActiveID() != before.ActiveID() {
		t.Error("the key changed")
	}
}

func TestOthersMayNotTouchTheKey(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits")
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o660, 0o666, 0o644, 0o610, 0o601} {
		o := Options{Dir: t.TempDir()}
		open(t, o)
		if err := os.Chmod(filepath.Join(o.Dir, fileName), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("mode %o: %v", mode, err)
		}
		if _, err := Rotate(o); err == nil {
			t.Errorf("mode %o: rotated", mode)
		}
		if got := names(t, o.Dir); len(got) != 1 {
			t.Errorf("left behind: %v", got)
		}
	}
	o := Options{Dir: t.TempDir()}
	if err := os.Chmod(o.Dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder that others may write: %v", err)
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	t.Parallel()
	origin := Options{Dir: t.TempDir()}
	open(t, origin)
	if _, err := Rotate(origin); err != nil {
		t.Fatal(err)
	}
	good := read(t, origin.Dir)
	lines := strings.SplitAfter(good, "\n")
	key := strings.Fields(lines[3])[2]
	for name, text := range map[string]string{
		"empty":              "",
		"zeros":              strings.Repeat("\x00", 200),
		"cut off":            good[:len(good)-10],
		"no last line break": strings.TrimSuffix(good, "\n"),
		"no keys":            lines[0] + lines[1],
		"another version":    strings.Replace(good, "v1", "v2", 1),
		"altered key":        strings.Replace(good, key, "AAAA"+key[4:], 1),
		"key of another ID":  strings.Replace(good, strings.Fields(lines[3])[0], "0123456789abcdef", 1),
		"key twice":          good + lines[3],
		"short key":          strings.Replace(good, key, base64.StdEncoding.EncodeToString([]byte("short")), 1),
		"extra field":        strings.TrimSuffix(good, "\n") + " x\n",
		"blank line":         good + "\n",
		"too large":          good + strings.Repeat("#\n", maxBytes),
		"key of zeros":       base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"raw bytes":          strings.Repeat("k", 32),
		"json":               `{"key":"` + key + `"}`,
	} {
		o := Options{Dir: t.TempDir()}
		write(t, filepath.Join(o.Dir, fileName), text, 0o600)
		_, err := Open(o)
		if err == nil {
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), key[:8]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
		if read(t, o.Dir) != text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, fileName), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {Dir: folder}} {
		if _, err := Open(o); err == nil {
			t.Errorf("opened %+v", o)
		}
	}
}

func TestCredentialTakesThePlaceOfTheFile(t *testing.T) {
	t.Parallel()
	data, other := Options{Dir: t.TempDir()}, Options{Dir: t.TempDir()}
	inData := seal(t, open(t, data))
	want := open(t, other).ActiveID()
	text := read(t, other.Dir)
	bare := strings.Fields(text[strings.LastIndex(strings.TrimSpace(text), "\n"):])[2]
	for name, cred := range map[string]string{"the file's text": text, "one key in base64": bare, "with a line break": bare + "\n"} {
		o := Options{Dir: data.Dir, Credentials: t.TempDir()}
		if open(t, o).ActiveID() == want {
			t.Errorf("%s: used before it was there", name)
		}
		write(t, filepath.Join(o.Credentials, CredentialName), cred, 0o440)
		d := open(t, o)
		if d.ActiveID() != want {
			t.Errorf("%s: key %s seals, not the credential's", name, d.ActiveID())
		}
		if _, err := d.Open("test", inData, nil); err != keys.ErrSealed {
			t.Errorf("%s: a key that lies in the data folder still opens: %v", name, err)
		}
		if _, err := Rotate(o); !errors.Is(err, ErrCredential) {
			t.Errorf("%s: rotated: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(path string){
		"damaged":         func(path string) { write(t, path, "nonsense", 0o400) },
		"empty":           func(path string) { write(t, path, "", 0o400) },
		"a folder":        func(path string) { _ = os.Mkdir(path, 0o700) },
		"a dangling link": func(path string) { _ = os.Symlink(path+"-none", path) },
		"others may read": func(path string) { write(t, path, bare, 0o444) },
	} {
		if runtime.GOOS == "windows" && name == "others may read" {
			continue
		}
		o := Options{Dir: data.Dir, Credentials: t.TempDir()}
		spoil(filepath.Join(o.Credentials, CredentialName))
		if _, err := Open(o); err == nil {
			t.Errorf("%s: fell back to the file", name)
		}
		if _, err := Rotate(o); err == nil {
			t.Errorf("%s: rotated", name)
		}
	}
	fresh := Options{Dir: filepath.Join(t.TempDir(), "keys"), Credentials: t.TempDir()}
	write(t, filepath.Join(fresh.Credentials, CredentialName), bare, 0o400)
	open(t, fresh)
	if _, err := os.Stat(fresh.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("a key was put beside the credential")
	}
}

// A file that parses is written back with the same keys, and no error shows what was in the file.
func FuzzParse(f *testing.F) {
	dir := f.TempDir()
	if _, err := Open(Options{Dir: dir}); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))))
	f.Add(header + "\n#\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parse([]byte(text), "here")
		if err != nil {
			for line := range strings.Lines(text) {
				if line = strings.TrimSpace(line); len(line) > 20 && line != header && strings.Contains(err.Error(), line) {
					t.Errorf("the error shows %q", line)
				}
			}
			return
		}
		again, err := parse(encode(entries), "here")
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%d keys became %d: %v", len(entries), len(again), err)
		}
		for i := range entries {
			if entries[i].root.ID() != again[i].root.ID() || entries[i].root.Reveal() != again[i].root.Reveal() {
				t.Errorf("key %d changed", i)
			}
		}
	})
}

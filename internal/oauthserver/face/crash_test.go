package face_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/keys"
	"github.com/munjigi/munjigi/internal/keys/file"
	"github.com/munjigi/munjigi/internal/oauthserver"
	"github.com/munjigi/munjigi/internal/oauthserver/face"
	"github.com/munjigi/munjigi/internal/store"
	"github.com/munjigi/munjigi/internal/store/sqlite"
)

// killer is a store whose process dies at the given write, before it or right
// after it.
type killer struct {
	store.KV
	left  *int
	after bool
}

func (k killer) die(write func() (bool, error)) (bool, error) {
	*k.left--
	if *k.left == 0 && !k.after {
		kill()
	}
	ok, err := write()
	if *k.left == 0 && k.after {
		kill()
	}
	return ok, err
}

func kill() {
	p, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	_ = p.Kill()
	select {}
}

func (k killer) PutIfAbsent(ctx context.Context, key string, value []byte, expiry time.Time) (bool, error) {
	return k.die(func() (bool, error) { return k.KV.PutIfAbsent(ctx, key, value, expiry) })
}

func (k killer) CompareAndSwap(ctx context.Context, key string, old store.Version, value []byte, expiry time.Time) (bool, error) {
	return k.die(func() (bool, error) { return k.KV.CompareAndSwap(ctx, key, old, value, expiry) })
}

func (k killer) Delete(ctx context.Context, key string) (bool, error) {
	return k.die(func() (bool, error) { return k.KV.Delete(ctx, key) })
}

type killers struct {
	store.Store
	left  *int
	after bool
}

func (k killers) Bucket(name string) (store.KV, error) {
	kv, err := k.Store.Bucket(name)
	return killer{kv, k.left, k.after}, err
}

const crashEnv = "FACE_CRASH"

// reopen is the face of a data folder, as after a start.
func reopen(dir string, wrap func(store.Store) store.Store) (*face.Face, *parts, error) {
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "s.db")})
	if err != nil {
		return nil, nil, err
	}
	ring, err := file.Open(file.Options{Dir: filepath.Join(dir, "keys")})
	if err != nil {
		return nil, nil, err
	}
	p := &parts{clients: map[string]oauthserver.Client{"editor": {ID: "editor", Kind: oauthserver.Configured, RedirectURIs: []string{redirect},
		Auth: oauthserver.AuthNone, Digest: "1"}}, revoked: map[string]bool{}, store: db, ring: keys.Ring(ring)}
	var s store.Store = db
	if wrap != nil {
		s = wrap(db)
	}
	once, err := db.Bucket("once")
	if err != nil {
		return nil, nil, err
	}
	f, err := face.New(face.Options{Issuer: issuer, Resources: map[string]face.Resource{resource: {Scopes: []string{"files:list", "files:call"}, Least: []string{"files:list"}}},
		Clients: p, Consents: p, Store: s, Keys: ring, Record: p, HTTP: nowhere(), AccessToken: 5 * time.Minute, SignedInFor: 12 * time.Hour, KeyRotation: 720 * time.Hour,
		Once: func(ctx context.Context, key string, until time.Time) (bool, error) {
			return once.PutIfAbsent(ctx, key, []byte{1}, until)
		},
		Ended: func(call.Identity) bool { return false }, Revoke: func(_ context.Context, proof string) error { p.set(func() { p.revoked[proof] = true }); return nil }})
	return f, p, err
}

// TestCrashChild is the process that dies: a login and a refresh, telling on
// its standard output what a client was given.
func TestCrashChild(t *testing.T) {
	how := os.Getenv(crashEnv)
	if how == "" {
		return // it is run by TestCrash, as a process of its own
	}
	dir, rest, _ := strings.Cut(how, "|")
	at, when, _ := strings.Cut(rest, "|")
	left, err := strconv.Atoi(at)
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := reopen(dir, func(s store.Store) store.Store { return killers{s, &left, when == "after"} })
	if err != nil {
		t.Fatal(err)
	}
	c := code(t, f, query())
	fmt.Printf("\ngiven code %s\n", c)
	out, _ := send(t, f, codeForm(c))
	fmt.Printf("\ngiven refresh %s\n", out.Refresh)
	out, _ = send(t, f, refreshForm(out.Refresh))
	fmt.Printf("\ngiven refresh %s\n", out.Refresh)
	fmt.Printf("\ngiven end\n")
}

// TestCrash kills a real process at each of its writes, before and after, and
// looks at what the client holds: it is good whole, once, or not at all.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before", "after"} {
		for n := 1; ; n++ {
			if n > 40 {
				t.Fatal("a login of forty writes")
			}
			if crash(t, n, when) {
				if n < 6 {
					t.Errorf("%d writes: the test does not see them", n)
				}
				break
			}
		}
	}
}

// crash reports that the process came to its end.
func crash(t *testing.T, n int, when string) bool {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$", "-test.count=1") //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d|%s", crashEnv, dir, n, when))
	b, err := cmd.Output()
	var given []url.Values
	ended := false
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		switch w := strings.Fields(lines.Text()); {
		case len(w) == 2 && w[0] == "given" && w[1] == "end":
			ended = true
		case len(w) == 3 && w[0] == "given" && w[1] == "code":
			given = append(given, codeForm(w[2]))
		case len(w) == 3 && w[0] == "given":
			given = append(given, refreshForm(w[2]))
		}
	}
	if ended != (err == nil) {
		t.Fatalf("%v: %s", err, b)
	}
	f, p, err := reopen(dir, nil)
	if err != nil {
		t.Fatalf("write %d, %s: the gateway does not start again: %v", n, when, err)
	}
	defer p.store.Close() //nolint:errcheck // only read
	// What was given last is good once, or is not: then a new login is needed.
	good := 0
	var out tokens
	if len(given) > 0 {
		last := given[len(given)-1]
		if out, _ = send(t, f, last); out.Refresh != "" {
			good++
		} else if out.Access != "" || out.Error != "invalid_grant" {
			t.Errorf("write %d, %s: half an answer: %+v", n, when, out)
		}
		for range 2 {
			for _, g := range given {
				if out, _ := send(t, f, g); out.Access != "" {
					good++
				}
			}
		}
	}
	if good > 1 {
		t.Errorf("write %d, %s: what was given served %d times", n, when, good)
	}
	// And the next login works.
	login(t, f)
	return ended
}

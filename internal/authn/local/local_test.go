package local_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/call"
)

func auth(revoked ...string) *local.Local {
	return &local.Local{Key: [32]byte{1}, Operator: [32]byte{2}, Revoked: func(p string) bool {
		for _, r := range revoked {
			if r == p {
				return true
			}
		}
		return false
	}}
}

func ask(l *local.Local, header ...string) (call.Principal, error) {
	h := http.Header{}
	for _, v := range header {
		h.Add("Authorization", v)
	}
	return l.Authenticate(context.Background(), authn.Request{Header: h, Loopback: true})
}

func mint(t *testing.T, l *local.Local, serial uint64, in time.Duration) string {
	t.Helper()
	s, err := l.Mint(local.Token{Client: "cursor", Serial: serial, Expires: time.Now().Add(in)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestClientTokens(t *testing.T) {
	t.Parallel()
	l := auth("cursor.2")
	good := mint(t, l, 1, time.Hour)
	p, err := ask(l, "Bearer "+good)
	if err != nil || p.Identity().Client != "cursor" || p.Identity().Kind != call.Operator || !l.Current(p) {
		t.Fatalf("%+v %v", p.Identity(), err)
	}
	other := &local.Local{Key: [32]byte{9}, Revoked: func(string) bool { return false }}
	for name, header := range map[string][]string{
		"none":          nil,
		"two":           {"Bearer " + good, "Bearer " + good},
		"other scheme":  {"Basic " + good},
		"no scheme":     {good},
		"other key":     {"Bearer " + mint(t, other, 1, time.Hour)},
		"expired":       {"Bearer " + mint(t, l, 1, -time.Second)},
		"revoked":       {"Bearer " + mint(t, l, 2, time.Hour)},
		"changed name":  {"Bearer " + strings.Replace(good, "cursor", "vscode", 1)},
		"longer life":   {"Bearer " + strings.Replace(good, ".1.", ".1.9", 1)},
		"no signature":  {"Bearer " + good[:strings.LastIndex(good, ".")+1]},
		"cut":           {"Bearer " + good[:len(good)-2]},
		"operator":      {"Bearer mjo_wrong"},
		"trailing text": {"Bearer " + good + " x"},
		"padding":       {"Bearer " + good + "="},
	} {
		p, err := ask(l, header...)
		var no *authn.Refusal
		if p.Valid() || !errors.As(err, &no) || no.Challenge == "" {
			t.Errorf("%s: %v %v", name, p, err)
		}
	}
}

func TestZeroRefusesEverybody(t *testing.T) {
	t.Parallel()
	zero := &local.Local{}
	for _, h := range []string{"Bearer mjo_", "Bearer mjc_a.1.99999999999.", "Bearer mjc_a.1.99999999999.AAAA"} {
		if p, err := ask(zero, h); p.Valid() || err == nil {
			t.Errorf("%s is let in", h)
		}
	}
	if _, err := zero.Mint(local.Token{Client: "a"}); err == nil {
		t.Error("a token without a key")
	}
}

func TestAnonymousOnlyOnLoopbackAndNeverAsAFallback(t *testing.T) {
	t.Parallel()
	l := &local.Local{Anonymous: true}
	if p, err := ask(l); err != nil || p.Identity().Kind != call.Anonymous {
		t.Errorf("%v %v", p, err)
	}
	if p, _ := l.Authenticate(t.Context(), authn.Request{Header: http.Header{}}); p.Valid() {
		t.Error("a stranger from elsewhere is let in")
	}
	if p, _ := ask(l, "Bearer wrong"); p.Valid() {
		t.Error("a wrong token falls back to anonymous")
	}
}

func TestOperatorToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tok, sum, err := local.OperatorToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, sum2, err := local.OperatorToken(dir)
	if err != nil || again != tok || sum != sum2 || len(tok) < 40 {
		t.Fatalf("%v", err)
	}
	l := &local.Local{Operator: sum}
	if p, err := ask(l, "Bearer "+tok); err != nil || p.Identity().Client != "operator" {
		t.Errorf("%v %v", p, err)
	}
	path := filepath.Join(dir, "operator.token")
	if runtime.GOOS != "windows" {
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", st.Mode(), err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := local.OperatorToken(dir); err == nil {
			t.Error("a token that others can read is taken")
		}
	}
}

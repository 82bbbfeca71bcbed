package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"
)

const hidden = "s3cr3t-Tok\"en"

func leaks(out string) bool {
	for _, form := range []string{
		hidden, "s3cr3t", fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden), fmt.Sprintf("% x", hidden),
		fmt.Sprintf("%v", []byte(hidden)), fmt.Sprintf("%d", []byte(hidden))[1:20], fmt.Sprintf("%+q", hidden),
		base64.StdEncoding.EncodeToString([]byte(hidden)), hex.EncodeToString([]byte(hidden)), fmt.Sprintf("%#v", []byte(hidden)),
	} {
		if strings.Contains(out, form) {
			return true
		}
	}
	return false
}

type holder struct {
	Public Value
	inside Value
	Ptr    *Value
	Deep   struct{ list []Value }
	Any    any
	Map    map[string]Value
}

func newHolder() holder {
	v := New(hidden)
	h := holder{Public: v, inside: v, Ptr: &v, Any: v, Map: map[string]Value{"k": v}}
	h.Deep.list = []Value{v}
	return h
}

func TestNoVerbLeaks(t *testing.T) {
	t.Parallel()
	h := newHolder()
	for _, flags := range []string{"", "+", "#", " ", "0", "-", "+#", "20", ".3", "20.3", "#+020.5"} {
		for c := rune(' '); c <= '~'; c++ {
			if strings.ContainsRune(" +-#0123456789.*[]%", c) {
				continue
			}
			verb := "%" + flags + string(c)
			for _, x := range []any{h.Public, &h.Public, h, &h, []Value{h.Public}, map[string]Value{"k": h.Public}, [1]any{h.inside}, struct{ v Value }{h.inside}, errors.Join(fmt.Errorf("%v", h.Public))} {
				if out := fmt.Sprintf(verb, x); leaks(out) {
					t.Errorf("%s of %T shows %s", verb, x, out)
				}
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if out := fmt.Sprintf(verb, h.Public); out != Placeholder {
			t.Errorf("%s shows %q", verb, out)
		}
	}
	if out := fmt.Sprint(h.Public, Value{}) + h.Public.String() + h.Public.GoString() + fmt.Sprintln(h); leaks(out) {
		t.Error(out)
	}
}

func TestNoEncodingLeaks(t *testing.T) {
	t.Parallel()
	h := newHolder()
	for name, encode := range map[string]func(any) ([]byte, error){
		"json": json.Marshal,
		"xml":  func(v any) ([]byte, error) { return xml.Marshal(v) },
		"yaml": yaml.Marshal,
		"gob": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.Bytes(), err
		},
		"slog text": func(v any) ([]byte, error) {
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
			return b.Bytes(), nil
		},
		"slog json": func(v any) ([]byte, error) {
			var b bytes.Buffer
			slog.New(slog.NewJSONHandler(&b, nil)).Info("m", slog.Group("g", slog.Any("v", v)))
			return b.Bytes(), nil
		},
		"template": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := template.Must(template.New("").Parse(`{{.}} {{printf "%s %v %q" . . .}} {{js .}} {{html .}}`)).Execute(&b, v)
			return b.Bytes(), err
		},
		"panic": func(v any) (b []byte, _ error) {
			defer func() { b = fmt.Append(nil, recover()) }()
			panic(v)
		},
	} {
		for _, x := range []any{h.Public, &h.Public, struct{ V Value }{h.Public}, map[string]Value{"k": h.Public}, h} {
			out, err := encode(x)
			if leaks(string(out)) {
				t.Errorf("%s of %T shows %s", name, x, out)
			}
			if err != nil && leaks(err.Error()) {
				t.Errorf("%s of %T: the error shows %v", name, x, err)
			}
		}
	}
	for name, got := range map[string]func() (any, error){
		"json": func() (any, error) { b, err := json.Marshal(h.Public); return string(b), err },
		"yaml": func() (any, error) { b, err := yaml.Marshal(map[string]any{"k": h.Public}); return string(b), err },
	} {
		if out, err := got(); err != nil || !strings.Contains(fmt.Sprint(out), Placeholder) {
			t.Errorf("%s: %v %v", name, out, err)
		}
	}
}

func TestValue(t *testing.T) {
	t.Parallel()
	v := New(hidden)
	if v.Reveal() != hidden || v.IsZero() || !v.Equal(New(hidden)) || v.Equal(New("x")) {
		t.Error("a value does not hold what was put into it")
	}
	var zero Value
	if zero.Reveal() != "" || !zero.IsZero() || zero.Equal(zero) || zero.Equal(New("")) || New("").Equal(zero) || zero.Equal(v) {
		t.Error("a value that holds nothing equals something")
	}
	var back Value
	for name, err := range map[string]error{
		"json": json.Unmarshal([]byte(`"`+hidden[:6]+`"`), &back), "yaml": yaml.Unmarshal([]byte(hidden[:6]), &back),
	} {
		if err == nil || leaks(err.Error()) || !back.IsZero() {
			t.Errorf("%s: a secret can be written in the clear where a Value is decoded: %v", name, err)
		}
	}
}

func TestParseRef(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"env:A", "env:_x9", "file:a", "file:/a b/c:d", `file:C:\x`, "sealed:github-token", "sealed:0_a"} {
		r, err := ParseRef(s)
		if err != nil || r.String() != s {
			t.Errorf("%q: %v %v", s, r, err)
		}
		var back Ref
		if b, err := json.Marshal(r); err != nil || json.Unmarshal(b, &back) != nil || back != r {
			t.Errorf("%q does not survive JSON", s)
		}
	}
	for _, s := range []string{
		"", ":", "env:", "file:", "sealed:", "ENV:A", "env:A B", "env:9A", "env:A=b", "env:PATH\x00", "env", " env:A", "vault:x",
		"file:a\x00b", "sealed:../root.key", "sealed:a/b", `sealed:a\b`, "sealed:.", "sealed:-a", "sealed:A", "sealed:" + strings.Repeat("a", 65), "sealed:a.b",
		"ghp_" + hidden, hidden + ":x", "env:" + hidden, "sealed:" + hidden,
	} {
		r, err := ParseRef(s)
		if err == nil || r != (Ref{}) {
			t.Errorf("%q passed", s)
		} else if err.Error() != errOf("x") || leaks(err.Error()) {
			t.Errorf("the error shows what may be the secret: %v", err)
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestResolve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	elsewhere := t.TempDir()
	write(t, filepath.Join(dir, "plain"), hidden, 0o600)
	write(t, filepath.Join(dir, "line"), hidden+"\n", 0o644)
	write(t, filepath.Join(dir, "crlf"), hidden+"\r\n", 0o600)
	write(t, filepath.Join(dir, "two"), hidden+"\n\n", 0o600)
	write(t, filepath.Join(dir, "empty"), "", 0o600)
	write(t, filepath.Join(dir, "blank"), "\n", 0o600)
	write(t, filepath.Join(dir, "most"), strings.Repeat("x", MostBytes), 0o600)
	write(t, filepath.Join(dir, "more"), strings.Repeat("x", MostBytes+1), 0o600)
	write(t, filepath.Join(dir, "group"), hidden, 0o620)
	write(t, filepath.Join(dir, "others"), hidden, 0o602)
	write(t, filepath.Join(dir, "tok"), "sealed!", 0o600)
	write(t, filepath.Join(dir, "torn"), "broken", 0o600)
	write(t, filepath.Join(dir, "void"), "void", 0o600)
	abs := write(t, filepath.Join(elsewhere, "abs"), hidden, 0o600)
	all := Schemes{
		SchemeEnv: Env(func(name string) (string, bool) {
			v, ok := map[string]string{"TOKEN": hidden, "EMPTY": ""}[name]
			return v, ok
		}),
		SchemeFile: Files{Dir: dir},
		SchemeSealed: Sealed{Dir: dir, Open: func(name string, b []byte) ([]byte, error) {
			switch string(b) {
			case "sealed!":
				return []byte(name + "=" + hidden), nil
			case "void":
				return nil, nil
			}
			return nil, errors.New("altered")
		}},
	}
	for _, c := range []struct{ ref, want, says string }{
		{"env:TOKEN", hidden, ""},
		{"env:EMPTY", "", "EMPTY is not set"},
		{"env:NONE", "", "NONE is not set"},
		{"file:plain", hidden, ""},
		{"file:line", hidden, ""},
		{"file:crlf", hidden, ""},
		{"file:two", hidden + "\n", ""},
		{"file:" + abs, hidden, ""},
		{"file:empty", "", "is empty"},
		{"file:blank", "", "is empty"},
		{"file:most", strings.Repeat("x", MostBytes), ""},
		{"file:more", "", "more than"},
		{"file:missing", "", "make the file"},
		{"file:.", "", "not a regular file"},
		{"file:group", "", "others may write"},
		{"file:others", "", "others may write"},
		{"sealed:tok", "tok=" + hidden, ""},
		{"sealed:torn", "", "seal it again"},
		{"sealed:void", "", "is empty"},
		{"sealed:missing", "", "make the file"},
		{"sealed:group", "", "others may write"},
	} {
		if runtime.GOOS == "windows" && strings.HasPrefix(c.says, "others") {
			continue
		}
		r, err := ParseRef(c.ref)
		if err != nil {
			t.Fatal(err)
		}
		v, err := all.Resolve(t.Context(), r)
		if v.Reveal() != c.want || (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.ref, err)
		}
		if err != nil && leaks(err.Error()) {
			t.Errorf("%s: the error shows %v", c.ref, err)
		}
	}
}

func TestZeroValuesRefuse(t *testing.T) {
	t.Parallel()
	refs := []Ref{{}, {SchemeEnv, "A"}, {SchemeFile, "a"}, {SchemeSealed, "a"}, {SchemeSealed, "../a"}, {"vault", "a"}}
	for name, r := range map[string]Resolver{
		"no schemes": Schemes{}, "nil schemes": Schemes(nil), "no look-up": Env(nil), "no folder": Files{}, "no opener": Sealed{},
		"careless resolver": Schemes{SchemeEnv: nothing{}, SchemeFile: nothing{}, SchemeSealed: nothing{}, "": nothing{}, "vault": nothing{}},
	} {
		for _, ref := range refs {
			if v, err := r.Resolve(t.Context(), ref); err == nil || !v.IsZero() {
				t.Errorf("%s resolved %v", name, ref)
			}
		}
	}
}

type nothing struct{}

func (nothing) Resolve(context.Context, Ref) (Value, error) { return Value{}, nil }

func TestReadFile(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits, named pipes in folders, or owners by number")
	}
	dir := t.TempDir()
	if _, err := ReadFile(write(t, filepath.Join(dir, "r"), "x", 0o640), 10, OthersUse); err == nil || !strings.Contains(err.Error(), "others may read") {
		t.Errorf("a key that the group may read: %v", err)
	}
	if _, err := ReadFile(write(t, filepath.Join(dir, "w"), "x", 0o660), 10, OthersUse); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("a key that the group may write: %v", err)
	}
	if b, err := ReadFile(write(t, filepath.Join(dir, "ok"), "x", 0o400), 1, OthersUse); err != nil || string(b) != "x" {
		t.Errorf("%q %v", b, err)
	}
	for name, ok := range map[string]bool{"r": false, "w": false, "ok": true, "none": false, ".": false} {
		if err := CheckFile(filepath.Join(dir, name), OthersUse); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	pipe := filepath.Join(dir, "pipe")
	if out, err := exec.Command("mkfifo", "-m", "600", pipe).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := ReadFile(pipe, 10, OthersUse); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a pipe: %v", err)
	}
	if os.Geteuid() == 0 {
		foreign := write(t, filepath.Join(dir, "foreign"), "x", 0o600)
		if err := os.Chown(foreign, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(foreign, 10, OthersUse); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("another user's file: %v", err)
		}
	}
}

// A reference that parses is written back unchanged, and one that does not is never shown.
func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"env:A", "file:/x", "sealed:a-b", "ghp_token", "env:a b", ":", "sealed:../x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRef(s)
		if err == nil {
			if r.String() != s || r.Scheme() == SchemeSealed && filepath.Base(r.Name()) != r.Name() {
				t.Errorf("%q became %v", s, r)
			}
			return
		}
		if other := errOf("x"); err.Error() != other {
			t.Errorf("the error depends on %q: %v", s, err)
		}
	})
}

func errOf(s string) string {
	_, err := ParseRef(s)
	return err.Error()
}

package cedar

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// places returns file:line:column of each problem, by the file's name.
func places(t *testing.T, err error) []string {
	t.Helper()
	var all *Errors
	if !errors.As(err, &all) {
		t.Fatalf("%v is no *Errors", err)
	}
	var out []string
	for _, p := range all.List {
		out = append(out, fmt.Sprintf("%s:%d:%d", filepath.Base(p.File), p.Line, p.Column))
		if p.Message == "" {
			t.Errorf("%+v says nothing", p)
		}
	}
	return out
}

func TestLoadReportsEveryErrorWithItsPlace(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"a.cedar": "permit(principal, action, resource);\n" +
			"permit(principal action, resource);\n\n" +
			"  // é; a comment; with semicolons\n" +
			"forbid(principal, action, resource) when { \"a;\\\";\" == };  permit(;\n",
		"b/c.cedar": "permit(principal, action, resource)\n",
		"d.cedar":   "permit(principal, action, resource) when { \"x };\n",
		"ok.cedar":  everything,
	})
	_, err := Load([]string{dir, filepath.Join(dir, "none.cedar")})
	want := []string{"none.cedar:0:0", "a.cedar:2:24", "a.cedar:5:56", "a.cedar:5:67", "c.cedar:2:1", "d.cedar:1:44"}
	if diff := cmp.Diff(want, places(t, err)); diff != "" {
		t.Errorf("(-want +got)\n%s\n%v", diff, err)
	}
}

func TestAPolicyThatCanNeverMatchIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`forbid(principal, action == Action::"call", resource);`,
		`forbid(principal, action == Munjigi::Action::"invoke", resource);`,
		`forbid(principal, action in [], resource);`,
		`forbid(principal, action, resource == Munjigi::Tol::"files/delete");`,
		`forbid(principal, action, resource == Munjigi::Tool::"delete");`,
		`forbid(principal, action, resource == Munjigi::Tool::"Files/delete");`,
		`forbid(principal, action, resource == Munjigi::Server::"files/delete");`,
		`forbid(principal, action, resource is Munjigi::Group);`,
		`forbid(principal, action, resource is Tool);`,
		`forbid(principal, action, resource is Munjigi::Tool in Munjigi::Prompt::"files/x");`,
		`forbid(principal, action, resource in Munjigi::Group::"a|b");`,
		`forbid(principal == Munjigi::Group::"a|b", action, resource);`,
		`forbid(principal == Munjigi::User::"alice", action, resource);`,
		`forbid(principal in Munjigi::Group::"admins", action, resource);`,
		`forbid(principal is Munjigi::Tool, action, resource);`,
		`forbid(principal, action, resource) when { principal in Munjigi::Groups::"a|b" };`,
		`forbid(principal, action, resource) when { [Munjigi::Tool::"x"].contains(resource) };`,
		`forbid(principal, action, resource) unless { resource is Munjigi::Toll };`,
		`forbid(principal, action, resource) when { resource is Tool in Munjigi::Server::"x" };`,
	} {
		_, err := Load([]string{folder(t, map[string]string{"p.cedar": "\n " + text})})
		if err == nil {
			t.Errorf("%s is taken", text)
			continue
		}
		if got := places(t, err); len(got) != 1 || got[0] != "p.cedar:2:2" {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestIDsAreUnique(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"in one file":  {"a.cedar": `@id("x") ` + everything + `@id("x") ` + everything},
		"in two files": {"a.cedar": `@id("x") ` + everything, "b.cedar": `@id("x") ` + everything},
		"no name":      {"a.cedar": `@id("") ` + everything},
		"a line break": {"a.cedar": `@id("x\ny") ` + everything},
		"no value":     {"a.cedar": `@id ` + everything},
	} {
		if _, err := Load([]string{folder(t, files)}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestHugePoliciesAreRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"brackets":  `permit(principal, action, resource) when { ` + strings.Repeat("(", 200_000) + ` };`,
		"negations": `permit(principal, action, resource) when { ` + strings.Repeat("!", 200_000) + `true };`,
		"ors":       `permit(principal, action, resource) when { true` + strings.Repeat(`||true`, 20_000) + ` };`,
		"ifs":       `permit(principal, action, resource) when { ` + strings.Repeat(`if true then true else `, 20_000) + `true };`,
		"a file":    strings.Repeat("// x\n", maxFile/5+1),
	} {
		if _, err := Load([]string{folder(t, map[string]string{"p.cedar": text})}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	deep := everything + `forbid(principal, action, resource) when { ` + strings.Repeat("!", maxStatement-101) + `true };`
	d, q := decider(t, deep), tool(person("alice"), "files", "x", "")
	if allowed := allows(t, d, q); allowed != d.Lists(t.Context(), q) {
		t.Errorf("the deepest policy: allowed is %v", allowed)
	}
}

func TestFoldersAreReadInOrder(t *testing.T) {
	t.Parallel()
	files := map[string]string{"b.cedar": everything, "a/z.cedar": everything + everything, "README.md": "no policy", ".hidden/x.cedar": "nonsense", ".x.cedar": "nonsense"}
	one, two := folder(t, files), folder(t, files)
	p, err := Load([]string{one, filepath.Join(one, "b.cedar")})
	if err != nil {
		t.Fatal(err)
	}
	if p.Len() != 3 {
		t.Errorf("%d policies", p.Len())
	}
	if !strings.HasSuffix(filepath.ToSlash(string(p.entries[0].name)), "a/z.cedar:1:1") {
		t.Errorf("first is %s", p.entries[0].name)
	}
	q, err := Load([]string{two})
	if err != nil {
		t.Fatal(err)
	}
	if p.Digest() != q.Digest() {
		t.Error("the digest depends on where the folder is")
	}
	for name, change := range map[string]map[string]string{
		"another text":  {"b.cedar": everything + " ", "a/z.cedar": everything + everything},
		"another name":  {"c.cedar": everything, "a/z.cedar": everything + everything},
		"another place": {"b.cedar": everything + everything, "a/z.cedar": everything},
		"nothing":       {},
	} {
		r, err := Load([]string{folder(t, change)})
		if err != nil {
			t.Fatal(err)
		}
		if r.Digest() == p.Digest() || len(r.Digest()) != 64 {
			t.Errorf("%s: the digest is %s", name, r.Digest())
		}
	}
	var none *Policies
	if none.Len() != 0 || none.Digest() != (&Policies{}).Digest() {
		t.Error("no policies are not like none")
	}
}

func TestFilesThatOthersCanChangeAreRefused(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no mode bits: there the folder's access list decides")
	}
	for name, change := range map[string]func(dir string) error{
		"a file the group may write":     func(dir string) error { return os.Chmod(filepath.Join(dir, "p.cedar"), 0o620) },
		"a file that all may write":      func(dir string) error { return os.Chmod(filepath.Join(dir, "p.cedar"), 0o602) },
		"a folder the group may write":   func(dir string) error { return os.Chmod(dir, 0o770) },
		"a subfolder all may write":      func(dir string) error { return os.Chmod(filepath.Join(dir, "sub"), 0o703) },
		"a folder named like a policy":   func(dir string) error { return os.MkdirAll(filepath.Join(dir, "d.cedar", "e.cedar"), 0o722) },
		"a link to a folder":             func(dir string) error { return os.Symlink(t.TempDir(), filepath.Join(dir, "link")) },
		"a link to nothing":              func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "link.cedar")) },
		"a file that cannot be a policy": func(dir string) error { return os.Symlink(os.DevNull, filepath.Join(dir, "null.cedar")) },
	} {
		dir := folder(t, map[string]string{"p.cedar": everything, "sub/q.cedar": everything})
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if name == "a folder named like a policy" {
			if err := os.Chmod(filepath.Join(dir, "d.cedar"), 0o722); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load([]string{dir}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	dir := folder(t, map[string]string{"p.txt": everything})
	if _, err := Load([]string{filepath.Join(dir, "p.txt")}); err == nil {
		t.Error("a file of another name is taken")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(everything)
	f.Add(`@id("x") forbid(principal, action, resource) when { "a;\"" == "b" }; // c;` + "\n" + `permit(`)
	f.Add(`permit(principal, action in [Munjigi::Action::"call"], resource is Munjigi::Tool in Munjigi::Server::"a") unless { context has "x" };`)
	f.Fuzz(func(t *testing.T, text string) {
		l := &loader{seen: map[string]bool{}, ids: map[string]string{}}
		l.parse(file{path: "p.cedar", text: []byte(text)})
		lines := strings.Count(text, "\n") + 1
		for _, p := range l.problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Errorf("%+v", p)
			}
		}
		if len(l.problems) > 0 {
			return
		}
		d, err := New(&Policies{entries: l.entries}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		q := tool(person("alice", in("g")), "a", "x", `{"n":1}`)
		if allows(t, d, q) && !d.Lists(t.Context(), q) {
			t.Errorf("callable and not listed under %q", text)
		}
	})
}

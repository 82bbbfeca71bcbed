package schema

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The JSON Schema project's own test suite; it is not part of this repository.
const suite = "../../../../shared/data/json-schema-test-suite.tar.gz"

// exceptions are tests of the suite that our bounds decide otherwise, each with
// its reason.
func exceptions() map[string]string {
	const linear = "what cannot be matched in linear time is no regular expression here"
	out := map[string]string{}
	for _, draft := range []string{"draft7", "draft2020-12"} {
		at := draft + "/optional/format/ecmascript-regex.json: "
		out[at+"ECMA 262 named groups and backreferences are valid: an ECMA 262 named backreference \\k<name>"] = linear
		out[at+"ECMA 262 lookbehind is valid, including variable width: a variable-width lookbehind (ES2018)"] = linear
	}
	return out
}

// remotes serves the suite's remote documents, which only this test has.
type remotes map[string]any

func (r remotes) Load(url string) (any, error) {
	if doc, ok := r[strings.TrimPrefix(url, "http://localhost:1234/")]; ok {
		return doc, nil
	}
	return nil, errors.New("not in the suite")
}

func TestSuite(t *testing.T) {
	t.Parallel()
	files := readSuite(t)
	far := remotes{}
	for name, b := range files {
		if rest, ok := strings.CutPrefix(name, "remotes/"); ok {
			v, err := value(b)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			far[rest] = v
		}
	}
	except := exceptions()
	ran, formats := 0, 0
	for name, b := range files {
		dir := path.Dir(name)
		var draft *jsonschema.Draft
		switch {
		case strings.HasPrefix(dir, "tests/draft2020-12"):
			draft = jsonschema.Draft2020
		case strings.HasPrefix(dir, "tests/draft7"):
			draft = jsonschema.Draft7
		default:
			continue
		}
		required := strings.Count(dir, "/") == 1
		format := strings.HasSuffix(dir, "optional/format")
		if !required && !format {
			continue
		}
		var groups []struct {
			Description string
			Schema      json.RawMessage
			Tests       []struct {
				Description string
				Data        json.RawMessage
				Valid       bool
			}
		}
		if err := json.Unmarshal(b, &groups); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, g := range groups {
			p, err := compileForSuite(g.Schema, draft, far, format)
			for _, c := range g.Tests {
				id := strings.TrimPrefix(name, "tests/") + ": " + g.Description + ": " + c.Description
				if format {
					formats++
				} else {
					ran++
				}
				got := err
				if err == nil {
					v, verr := value(c.Data)
					if verr != nil {
						t.Errorf("%s: %v", id, verr)
						continue
					}
					got = p.check(v)
				}
				why, excepted := except[id]
				if (got == nil) != c.Valid && !excepted {
					t.Errorf("%s: valid %t, got %v", id, c.Valid, got)
				} else if (got == nil) == c.Valid && excepted {
					t.Errorf("%s passes: take the exception out (%s)", id, why)
				}
			}
		}
	}
	t.Logf("%d required tests and %d of formats", ran, formats)
	if ran < 2000 || formats < 500 {
		t.Errorf("only %d required tests and %d of formats were found", ran, formats)
	}
}

// compileForSuite is compile with the suite's own documents, without closing
// and with formats off where the suite wants that.
func compileForSuite(raw []byte, draft *jsonschema.Draft, far remotes, assert bool) (*program, error) {
	doc, err := value(raw)
	if err != nil {
		return nil, err
	}
	k := jsonschema.NewCompiler()
	k.DefaultDraft(draft)
	k.UseLoader(far)
	k.UseRegexpEngine(pattern)
	if assert {
		k.AssertFormat()
		for _, f := range formats() {
			k.RegisterFormat(f)
		}
	}
	if err := k.AddResource(address, doc); err != nil {
		return nil, err
	}
	s, err := k.Compile(address)
	if err != nil {
		return nil, err
	}
	return instrument(s, false)
}

func readSuite(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open(suite)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the JSON Schema test suite is not beside this clone: shared/data/json-schema-test-suite.tar.gz")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(h.Name, ".json") {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := h.Name
		for _, root := range []string{"tests/", "remotes/"} {
			if i := strings.Index(name, root); i >= 0 {
				name = name[i:]
				break
			}
		}
		files[name] = b
	}
}

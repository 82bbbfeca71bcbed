package main

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/munjigi/munjigi/internal/base/normalize"
)

// row is one line of a set.
type row struct{ Text, Kind, Source, Quality string }

func readRows(file string) ([]row, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var out []row
	s := bufio.NewScanner(z)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		var r row
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, r)
	}
	return out, s.Err()
}

// group is honest text of one origin.
type group struct {
	Name   string `json:"name"`
	How    string `json:"how"`
	Files  int    `json:"files"`
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
	chunks []string
}

// place says where honest text of a kind is found on any machine.
type place struct {
	name, how string
	roots     []string
	ends      []string
	most      int // bytes
}

func places(goroot, node, spec string) []place {
	return []place{
		{"documentation", "package documentation: /usr/share/doc", []string{"/usr/share/doc"}, []string{"", ".txt", ".md", ".html", ".gz", ".rst"}, 9 << 20},
		{"manual", "manual pages: /usr/share/man/man1 to man8", []string{"/usr/share/man/man1", "/usr/share/man/man5", "/usr/share/man/man7", "/usr/share/man/man8", "/usr/share/man/man3"}, []string{".gz"}, 5 << 20},
		{"go", "the Go release: $GOROOT, .go and .md and .html", []string{goroot}, []string{".go", ".md", ".html", ".txt"}, 7 << 20},
		{"modules", "READMEs and changelogs of Go modules: $GOMODCACHE", []string{filepath.Join(os.Getenv("HOME"), "go/pkg/mod")}, []string{".md"}, 6 << 20},
		{"node", "READMEs of npm packages", []string{node}, []string{".md"}, 4 << 20},
		{"specification", "the MCP specification's pages", []string{spec}, []string{".mdx", ".md"}, 4 << 20},
		{"python", "the Python library's sources: /usr/lib/python3*", []string{"/usr/lib/python3.11", "/usr/lib/python3"}, []string{".py", ".txt"}, 4 << 20},
		{"perl", "Perl's pages and modules: /usr/share/perl", []string{"/usr/share/perl"}, []string{".pod", ".pm"}, 3 << 20},
		{"project", "this repository's pages: docs, README.md of the guards", []string{"docs", "internal", "test"}, []string{".md"}, 2 << 20},
		{"translations", "translated documentation and pages: /usr/share/man/{de,fr,es,ko,ja,…}", manLanguages(), []string{".gz"}, 3 << 20},
	}
}

func manLanguages() []string {
	var out []string
	for _, l := range []string{"de", "fr", "es", "it", "pt", "pt_BR", "ru", "ja", "ko", "zh_CN", "zh_TW", "nl", "pl", "tr", "sv"} {
		out = append(out, "/usr/share/man/"+l)
	}
	return out
}

// gather reads honest text of a place: files in a seeded order until it is
// enough, cut into chunks.
func gather(p place, seed uint64) (group, error) {
	var files []string
	for _, root := range p.roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			ext := filepath.Ext(path)
			for _, e := range p.ends {
				if ext == e {
					files = append(files, path)
				}
			}
			return nil
		})
		if err != nil {
			return group{}, err
		}
	}
	sort.Strings(files)
	r := rand.New(rand.NewPCG(seed, 7)) // #nosec G404 -- the same each time
	r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	g := group{Name: p.name, How: p.how}
	sum := sha256.New()
	for _, f := range files {
		if g.Bytes >= p.most {
			break
		}
		t, err := readText(f)
		if err != nil || t == "" {
			continue
		}
		g.Files++
		g.Bytes += len(t)
		sum.Write([]byte(t))
		t = normalize.Text(t).Text
		for len(t) > 0 {
			n := min(len(t), 300+r.IntN(2500))
			for n < len(t) && !utf8.RuneStart(t[n]) {
				n++
			}
			g.chunks = append(g.chunks, t[:n])
			t = t[n:]
		}
	}
	g.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return g, nil
}

// readText reads a file, at most 60 KB from a place inside it.
func readText(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return "", err
		}
		in = z
	}
	b, err := io.ReadAll(io.LimitReader(in, 60<<10))
	if err != nil || !utf8.Valid(b[:min(len(b), 1<<10)/4*4]) || strings.IndexByte(string(b), 0) >= 0 {
		return "", err
	}
	return strings.ToValidUTF8(string(b), "?"), nil
}

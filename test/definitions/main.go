// Command definitions prints how well the guard poisoning finds poisoned
// definitions, and how often it holds honest ones, per family and class and
// never pooled.
//
//	go run ./test/definitions [-data DIR]
//
// Without -data it plays the families of the guard's own testdata, those that
// its rules were written by (tuned) and those that they were not (kept), put into
// the honest sentences beside them. With -data it also reads the sets
// tools_malicious, tools_benign and tool_updates_benign (JSON lines, gzip) that
// docs/poisoning-card.md describes.
package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/poisoning"
)

func main() {
	data := flag.String("data", "", "folder of the data sets")
	flag.Parse()
	if err := run(*data); err != nil {
		fmt.Fprintln(os.Stderr, "definitions:", err)
		os.Exit(3)
	}
}

const corpus = "internal/guard/poisoning/testdata"

func run(data string) error {
	check := poisoning.New().Checks().Definition
	held := func(tool, previous any) (bool, error) {
		raw, err := json.Marshal(tool)
		if err != nil {
			return false, err
		}
		s := guard.Subject{Raw: raw}
		if previous != nil {
			p, err := json.Marshal(previous)
			if err != nil {
				return false, err
			}
			s.Previous = &guard.Declared{Digest: sha256.Sum256(p), Raw: p}
		}
		v, err := check(context.Background(), s)
		return v.Effect == call.Hold, err
	}
	families, order, err := readFamilies()
	if err != nil {
		return err
	}
	honest, err := readLines("honest.txt")
	if err != nil {
		return err
	}
	fmt.Println("poisoned sentences inside of honest definitions, found:")
	for _, f := range order {
		c := count{}
		for i, text := range families[f] {
			for k := range 8 {
				h := honest[(i*7+k*5)%len(honest)]
				tool := described(h)
				switch k % 4 {
				case 0:
					tool = described(h + " " + text)
				case 1:
					tool = described(text + " " + h)
				case 2:
					tool["inputSchema"] = map[string]any{"type": "object", "properties": map[string]any{"note": map[string]any{"type": "string", "description": text}}}
				case 3:
					tool["title"] = text
				}
				yes, err := held(tool, nil)
				if err != nil {
					return err
				}
				c.add(yes)
			}
		}
		c.print(f)
	}
	fmt.Println("honest sentences that sound alike, held:")
	c := count{}
	for _, h := range honest {
		yes, err := held(described(h), nil)
		if err != nil {
			return err
		}
		c.add(yes)
	}
	c.print("honest.txt")
	if err := hidden(honest, held); err != nil {
		return err
	}
	if data == "" {
		return nil
	}
	return sets(data, held)
}

type count struct{ yes, all int }

func (c *count) add(yes bool) {
	c.all++
	if yes {
		c.yes++
	}
}

func (c *count) print(name string) {
	fmt.Printf("  %-34s %5d of %5d  %6.2f %%\n", name, c.yes, c.all, 100*float64(c.yes)/float64(max(c.all, 1)))
}

func described(text string) map[string]any {
	return map[string]any{"name": "tool", "description": text, "inputSchema": map[string]any{"type": "object"}}
}

// hidden puts each kind of character that does not show into honest text, and
// counts honest text that needs some.
func hidden(honest []string, held func(any, any) (bool, error)) error {
	fmt.Println("characters that do not show, found:")
	for _, k := range []struct{ name, text string }{
		{"tags", "\U000E0061\U000E0062\U000E0063"}, {"zero width", "\u200b"}, {"joiner", "\u200d"}, {"word joiner", "\u2060"}, {"soft hyphen", "\u00ad"}, {"byte order mark", "\ufeff"},
		{"override", "\u202e"}, {"isolate", "\u2066"}, {"mark of direction", "\u200e"}, {"variation selectors", "\ufe01\ufe07"}, {"filler", "\u3164"}, {"escape", "\x1b[8m"}, {"backspace", "\b"},
		{"comment", "<!-- the model has to see this -->"}, {"invisible style", `<i style="display:none">x</i>`},
	} {
		c := count{}
		for _, h := range honest {
			r := []rune(h)
			at := len(r) / 2
			for at < len(r)-1 && (r[at] < 'a' || r[at] > 'z' || r[at-1] < 'a' || r[at-1] > 'z') {
				at++
			}
			yes, err := held(described(string(r[:at])+k.text+string(r[at:])), nil)
			if err != nil {
				return err
			}
			c.add(yes)
		}
		c.print(k.name)
	}
	fmt.Println("honest text beyond ASCII, held:")
	texts, err := readLines("nonascii.txt")
	if err != nil {
		return err
	}
	c := count{}
	for _, h := range texts {
		yes, err := held(described(h), nil)
		if err != nil {
			return err
		}
		if yes {
			fmt.Printf("    %+q\n", h)
		}
		c.add(yes)
	}
	c.print("nonascii.txt")
	return nil
}

// row is one row of the data sets.
type row struct{ Text, Kind, Before, After, Tool, Source string }

func sets(dir string, held func(any, any) (bool, error)) error {
	poisoned, err := rows(dir, "tools_malicious")
	if err != nil {
		return err
	}
	fmt.Println("tools_malicious, found by template:")
	kinds := map[string]*count{}
	for _, r := range poisoned {
		yes, err := held(toolOf(r.Text), nil)
		if err != nil {
			return err
		}
		if kinds[r.Kind] == nil {
			kinds[r.Kind] = &count{}
		}
		kinds[r.Kind].add(yes)
	}
	names := make([]string, 0, len(kinds))
	for k := range kinds {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		kinds[k].print(k)
	}
	good, err := rows(dir, "tools_benign")
	if err != nil {
		return err
	}
	fmt.Println("honest, held as poison:")
	c, bySource := count{}, map[string]bool{}
	for _, r := range good {
		yes, err := held(toolOf(r.Text), nil)
		if err != nil {
			return err
		}
		if yes {
			bySource[r.Source] = true
		}
		c.add(yes)
	}
	c.print("tools_benign")
	fmt.Printf("  (of %d servers)\n", len(bySource))
	updates, err := rows(dir, "tool_updates_benign")
	if err != nil {
		return err
	}
	c = count{}
	for _, r := range updates {
		yes, err := held(map[string]any{"name": r.Tool, "description": r.After}, map[string]any{"name": r.Tool, "description": r.Before})
		if err != nil {
			return err
		}
		c.add(yes)
	}
	c.print("tool_updates_benign, what was added")
	return nil
}

func rows(dir, name string) ([]row, error) {
	f, err := os.Open(filepath.Join(dir, name+".jsonl.gz")) // #nosec G304 -- named on the command line
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var out []row
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var r row
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, sc.Err()
}

// toolOf makes a tool of a row's text: its name, its description, and a line for
// each parameter.
func toolOf(text string) map[string]any {
	name, rest, _ := strings.Cut(text, ": ")
	props := map[string]any{}
	line := regexp.MustCompile(`(?m)^  ([^\s(]+) \(([a-z|]+)\): ?`)
	desc := rest
	if at := line.FindAllStringSubmatchIndex(rest, -1); at != nil {
		desc = strings.TrimSpace(rest[:at[0][0]])
		for i, m := range at {
			end := len(rest)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			props[rest[m[2]:m[3]]] = map[string]any{"type": rest[m[4]:m[5]], "description": strings.TrimSpace(rest[m[1]:end])}
		}
	}
	return map[string]any{"name": name, "description": desc, "inputSchema": map[string]any{"type": "object", "properties": props}}
}

func readFamilies() (map[string][]string, []string, error) {
	b, err := os.ReadFile(filepath.Join(corpus, "families.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, errors.New("run it from the repository's root")
	}
	if err != nil {
		return nil, nil, err
	}
	out, order, name := map[string][]string{}, []string{}, ""
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSpace(l)
		if f, ok := strings.CutPrefix(l, "== "); ok {
			name = f
			order = append(order, f)
		} else if l != "" && l[0] != '#' {
			out[name] = append(out[name], l)
		}
	}
	return out, order, nil
}

func readLines(name string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(corpus, name)) // #nosec G304 -- a constant
	if err != nil {
		return nil, err
	}
	var out []string
	for l := range strings.Lines(string(b)) {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
			out = append(out, l)
		}
	}
	return out, nil
}

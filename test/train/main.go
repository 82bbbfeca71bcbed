// Command train makes the models of the injection guard and says how well
// they do on what they did not see.
//
// Threat: a model whose making nobody can repeat, or whose figures were taken
// on what it learned.
//
// The attacks are rows of public sets and texts of a grammar of our own
// (grammar/), put into honest text; the honest texts are rows, the grammar's
// twins of every trigger, and files that any machine has. Everything random
// is seeded. What was read is listed with its digests in manifest.json beside
// the weights. Figures are of runs that left out the source they are about.
//
//	go run ./test/train -data DIR -out internal/guard/injection/weights
//	go run ./test/train -data DIR -report
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const seed = 20261122

type options struct {
	data, node, spec, out string
	report                bool
	only                  string
	rate, keep            float64
	n, epochs             int
}

func main() {
	var o options
	flag.StringVar(&o.data, "data", "../shared/data", "folder of injection_malicious.jsonl.gz and injection_benign.jsonl.gz")
	flag.StringVar(&o.node, "node", "", "a node_modules folder, for READMEs")
	flag.StringVar(&o.spec, "spec", "", "a folder of the MCP specification")
	flag.StringVar(&o.out, "out", "", "write the weights and the manifest to this folder")
	flag.BoolVar(&o.report, "report", false, "leave each source out in turn, and report")
	flag.IntVar(&o.n, "n", 60000, "texts of the grammar for each model and label")
	flag.IntVar(&o.epochs, "epochs", 7, "how often each text is learned from")
	flag.StringVar(&o.only, "only", "", "report on one source of attacks and one of honest text, as in ASB/go, and show what went wrong")
	flag.Float64Var(&o.rate, "rate", 0.08, "how fast to learn")
	flag.Float64Var(&o.keep, "keep", 0.7, "share of features that do not drop out")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(3)
	}
}

// corpus is everything that was read.
type corpus struct {
	g      grammar
	groups []group
	bad    []row
	good   []row
	sums   map[string]string
}

func load(o options) (*corpus, error) {
	c := &corpus{sums: map[string]string{}}
	var err error
	if c.g, err = readGrammar(); err != nil {
		return nil, err
	}
	for name, to := range map[string]*[]row{"injection_malicious.jsonl.gz": &c.bad, "injection_benign.jsonl.gz": &c.good} {
		file := filepath.Join(o.data, name)
		if *to, err = readRows(file); err != nil {
			return nil, err
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		c.sums[name] = hex.EncodeToString(sum[:])
	}
	for _, p := range places(goroot(), o.node, o.spec) {
		g, err := gather(p, seed)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "%-14s %5d files %9d bytes %6d chunks\n", g.Name, g.Files, g.Bytes, len(g.chunks))
		c.groups = append(c.groups, g)
	}
	return c, nil
}

// filler gives pieces of honest text of about n bytes from all groups but one.
func (c *corpus) filler(r *rand.Rand, without string) func(int) string {
	var from []group
	for _, g := range c.groups {
		if g.Name != without && len(g.chunks) > 0 {
			from = append(from, g)
		}
	}
	return func(n int) string {
		g := from[r.IntN(len(from))]
		t := g.chunks[r.IntN(len(g.chunks))]
		i := 0
		if len(t) > n {
			i = r.IntN(len(t) - n)
			if k := strings.IndexByte(t[i:], ' '); k >= 0 && i+k+1+n <= len(t) {
				i += k + 1
			}
		}
		return strings.ToValidUTF8(t[i:min(len(t), i+n)], "")
	}
}

// results is what the model of results learns from, without some sources.
func (c *corpus) results(n int, without string) (bad, good []example) {
	r := rand.New(rand.NewPCG(seed, 3)) // #nosec G404 -- the same each time
	fill := c.filler(r, without)
	bad, good = makeResults(r, c.g, fill, n)
	for _, x := range c.bad {
		kind := badSource(x)
		switch {
		case kind == "":
			continue
		case strings.HasPrefix(x.Kind, "indirect"):
			bad = append(bad, example{x.Text, 0, len(x.Text), kind, "result"})
		default:
			if len(x.Text) > 1500 {
				continue
			}
			for range 3 {
				t, a, b := carry(r, c.g, fill, x.Text)
				bad = append(bad, example{t, a, b, kind, "result"})
			}
		}
	}
	for _, x := range c.good {
		if x.Source == "deepset/prompt-injections" {
			continue
		}
		good = append(good, example{x.Text, 0, 0, goodSource(x), "result"})
	}
	for _, g := range c.groups {
		for _, t := range g.chunks {
			good = append(good, example{t, 0, 0, g.Name, "result"})
		}
	}
	return leave(bad, without), leave(good, without)
}

// prompts is what the model of prompts learns from.
func (c *corpus) prompts(n int, without string) (bad, good []example) {
	r := rand.New(rand.NewPCG(seed, 5)) // #nosec G404 -- the same each time
	bad, good = makePrompts(r, c.g, c.filler(r, without), n)
	for _, x := range c.bad {
		if kind := badSource(x); kind != "" && !strings.HasPrefix(x.Kind, "indirect") {
			bad = append(bad, example{x.Text, 0, len(x.Text), kind, "prompt"})
		}
	}
	for _, x := range c.good {
		good = append(good, example{x.Text, 0, 0, goodSource(x), "prompt"})
	}
	for _, g := range c.groups {
		for i, t := range g.chunks {
			if i%3 == 0 {
				good = append(good, example{t, 0, 0, g.Name, "prompt"})
			}
		}
	}
	return leave(bad, without), leave(good, without)
}

func leave(of []example, without string) []example {
	if without == "" {
		return of
	}
	var out []example
	for _, x := range of {
		if !strings.Contains(without, "|"+x.Source+"|") {
			out = append(out, x)
		}
	}
	return out
}

// badSource names the set of a row, "" for rows whose label nobody checked or
// that no text alone shows to be an attack.
func badSource(x row) string {
	switch {
	case strings.HasPrefix(x.Source, "WithSecure"):
		return "spikee"
	case x.Kind == "indirect_asb_naive" || x.Kind == "indirect_asb_escape":
		return ""
	case x.Source == "ASB":
		return "ASB"
	case strings.HasPrefix(x.Source, "Lakera/gandalf"):
		return "gandalf"
	case strings.HasPrefix(x.Source, "deepset"):
		return "deepset"
	case strings.HasPrefix(x.Source, "garak sysprompt"), strings.HasPrefix(x.Source, "Giskard"), x.Source == "garak dan":
		return "garak"
	}
	return ""
}

func goodSource(x row) string {
	s, _, _ := strings.Cut(x.Source, " (")
	return s
}

func run(o options) error {
	c, err := load(o)
	if err != nil {
		return err
	}
	if o.only != "" {
		return c.one(o)
	}
	if o.report {
		return c.report(o)
	}
	made := map[string]string{}
	for _, channel := range []string{"result", "prompt"} {
		bad, good := c.results(o.n, "")
		if channel == "prompt" {
			bad, good = c.prompts(o.n, "")
		}
		fmt.Fprintf(os.Stderr, "%s: %d attacks, %d honest\n", channel, len(bad), len(good))
		m, b, err := fit(bad, good, o, seed).model()
		if err != nil {
			return err
		}
		c.say(channel+", seen in training", m, bad, good)
		sum := sha256.Sum256(b)
		made[channel+".bin"] = hex.EncodeToString(sum[:])
		if o.out != "" {
			if err := os.WriteFile(filepath.Join(o.out, channel+".bin"), b, 0o600); err != nil {
				return err
			}
		}
	}
	if o.out == "" {
		return nil
	}
	manifest, err := json.MarshalIndent(map[string]any{"seed": seed, "epochs": o.epochs, "grammar_texts": o.n, "rows": c.sums, "honest": c.groups, "weights": made}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.out, "manifest.json"), append(manifest, '\n'), 0o600)
}

// goroot is the folder of the Go release that is in use.
func goroot() string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "/usr/local/go"
	}
	return strings.TrimSpace(string(out))
}

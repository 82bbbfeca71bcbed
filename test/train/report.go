package main

import (
	"fmt"
	"math"
	"os"
	"sort"
	"strings"

	"github.com/munjigi/munjigi/internal/base/ngram"
	"github.com/munjigi/munjigi/internal/base/normalize"
)

// scores are the best windows' log odds by source.
func scores(m *ngram.Model, of []example) map[string][]float64 {
	r := ngram.NewReader()
	out := map[string][]float64{}
	for _, x := range of {
		out[x.Source] = append(out[x.Source], m.Best(r, normalize.Text(x.Text).Text).Score)
	}
	for _, s := range out {
		sort.Float64s(s)
	}
	return out
}

// above is the share of scores that are at least z.
func above(s []float64, z float64) float64 {
	return float64(len(s)-sort.SearchFloat64s(s, z)) / float64(max(1, len(s)))
}

// quantile is the score that a share of the scores exceeds.
func quantile(s []float64, share float64) float64 {
	if len(s) == 0 {
		return math.Inf(1)
	}
	return s[max(0, len(s)-1-int(share*float64(len(s))))]
}

func (c *corpus) say(title string, m *ngram.Model, bad, good []example) {
	fmt.Fprintln(os.Stderr, "==", title)
	b, g := scores(m, bad), scores(m, good)
	for _, k := range keys(b) {
		fmt.Fprintf(os.Stderr, "  attack %-18s n %6d  p5 %6.1f p50 %6.1f  >0 %.3f >2 %.3f >4 %.3f\n", k, len(b[k]), quantile(b[k], .95), quantile(b[k], .5), above(b[k], 0), above(b[k], 2), above(b[k], 4))
	}
	for _, k := range keys(g) {
		fmt.Fprintf(os.Stderr, "  honest %-18.18s n %6d  p99 %6.1f p99.5 %6.1f  >0 %.4f >2 %.4f >4 %.4f\n", k, len(g[k]), quantile(g[k], .01), quantile(g[k], .005), above(g[k], 0), above(g[k], 2), above(g[k], 4))
	}
}

func keys(m map[string][]float64) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// report leaves one source of attacks and one of honest text out at a time.
func (c *corpus) report(o options) error {
	for _, channel := range []string{"result", "prompt"} {
		all := c.results
		if channel == "prompt" {
			all = c.prompts
		}
		bad, good := all(o.n, "")
		names := map[string]bool{}
		for _, x := range bad {
			names[x.Source] = true
		}
		var attacks, honest []string
		for k := range names {
			attacks = append(attacks, k)
		}
		seen := map[string]bool{}
		for _, x := range good {
			if !seen[x.Source] {
				seen[x.Source] = true
				honest = append(honest, x.Source)
			}
		}
		sort.Strings(attacks)
		sort.Strings(honest)
		var real, own []string
		for _, h := range honest {
			if strings.HasPrefix(h, "own ") {
				own = append(own, h)
			} else if h != "WithSecureLabs/spikee" { // 29 texts say nothing of one in a hundred
				real = append(real, h)
			}
		}
		fmt.Printf("%s: each source of attacks left out of training together with a source of honest text; recall at 1 %% false alarms of that one\n", channel)
		for i, a := range attacks {
			h := real[i%len(real)]
			m, err := without(bad, good, a, h, o)
			if err != nil {
				return err
			}
			sb, sg := scores(m, only(bad, a))[a], scores(m, only(good, h))[h]
			z := quantile(sg, .01)
			fmt.Printf("  %-14s n %5d recall %.3f (from 0 %.3f, from 2 %.3f) | %-28.28s n %5d 1%% from %5.1f (from 0 %.4f, from 2 %.4f)\n", a, len(sb), above(sb, z), above(sb, 0), above(sb, 2),
				h, len(sg), z, above(sg, 0), above(sg, 2))
		}
		fmt.Printf("%s: each family of honest twins left out of training; false alarms\n", channel)
		for _, h := range own {
			m, err := without(bad, good, "", h, o)
			if err != nil {
				return err
			}
			sg := scores(m, only(good, h))[h]
			fmt.Printf("  %-14s n %5d from 0 %.4f, from 0.5 %.4f, from 2 %.4f\n", h, len(sg), above(sg, 0), above(sg, 0.5), above(sg, 2))
		}
	}
	return nil
}

func without(bad, good []example, a, h string, o options) (*ngram.Model, error) {
	out := "|" + a + "|" + h + "|"
	m, _, err := fit(leave(bad, out), leave(good, out), o, seed).model()
	return m, err
}

func only(of []example, source string) []example {
	var out []example
	for _, x := range of {
		if strings.EqualFold(x.Source, source) {
			out = append(out, x)
		}
	}
	return out
}

// one leaves out one source of attacks and one of honest text, and shows the
// worst of both.
func (c *corpus) one(o options) error {
	a, h, _ := strings.Cut(o.only, "/")
	all, channel := c.results, "result"
	if strings.HasPrefix(a, "prompt ") {
		a, all, channel = strings.TrimPrefix(a, "prompt "), c.prompts, "prompt"
	}
	bad, good := all(o.n, "")
	out := "|" + a + "|" + h + "|"
	m, _, err := fit(leave(bad, out), leave(good, out), o, seed).model()
	if err != nil {
		return err
	}
	c.say(channel, m, bad, good)
	r := ngram.NewReader()
	show := func(title string, of []example, worst func(x, y float64) bool) {
		type scored struct {
			z float64
			x example
			w ngram.Window
		}
		var s []scored
		for _, x := range of {
			w := m.Best(r, x.Text)
			s = append(s, scored{w.Score, x, w})
		}
		sort.SliceStable(s, func(i, j int) bool { return worst(s[i].z, s[j].z) })
		fmt.Println("==", title)
		for _, y := range s[:min(len(s), 40)] {
			fmt.Printf("%6.1f %s: %q\n", y.z, y.x.Source, y.x.Text[y.w.From:y.w.To])
			if y.x.To > 0 {
				fmt.Printf("       %q\n", y.x.Text[y.x.From:min(y.x.To, y.x.From+240)])
			}
		}
	}
	show("missed of what was left out", only(bad, a), func(x, y float64) bool { return x < y })
	show("highest of what was left out", only(good, h), func(x, y float64) bool { return x > y })
	return nil
}

package secrets

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"

	"github.com/munjigi/munjigi/internal/base/literal"
)

// written is the part of the rule set's file that texts without a path and a
// commit can be judged by.
type written struct {
	Allowlist writtenAllow
	Rules     []writtenRule
}

type writtenRule struct {
	ID          string
	Regex       string
	SecretGroup int `toml:"secretGroup"`
	Entropy     float64
	Keywords    []string
	Allowlists  []writtenAllow
}

type writtenAllow struct {
	Condition   string
	Paths       []string
	Commits     []string
	RegexTarget string `toml:"regexTarget"`
	Regexes     []string
	StopWords   []string `toml:"stopwords"`
}

// rule is one kind of secret.
type rule struct {
	id       string
	source   string
	pattern  func() *regexp.Regexp
	group    int     // of the secret; 0 is the first that matched anything
	entropy  float64 // of the secret, at least
	keywords []string
	allow    []allow
	where    func() where
	// weak rules know no format, only a name that stands before.
	weak bool
}

// allow is what is no secret although a rule matches.
type allow struct {
	all     bool // every criterion has to fit, not one
	never   bool // it asks for a path or commit, of which there is none
	target  string
	regexes []func() *regexp.Regexp
	stop    *literal.Set
}

// where says where a match stands, seen from its keyword.
type where struct {
	shape  shape
	heads  [][]set // what stands from the keyword on; nil when nothing is known
	back   int     // how far before its keyword a match may begin
	ahead  int     // how far after it a match may end
	spaced bool    // a match may have white space in it
	weight int     // what a byte costs that the expression is run on
}

// shape is how the place of a match follows from that of its keyword.
type shape uint8

const (
	// near: the keyword is somewhere in the match.
	near shape = iota
	// assigned: a name with the keyword in it, an operator, and the secret.
	assigned
	// headed: the match begins with the keyword.
	headed
	// far: the keyword is anywhere in the text.
	far
)

// omitted are rules that need the path of a file, or that find what is no
// secret by itself.
var omitted = map[string]bool{"pkcs12-file": true, "hashicorp-tf-password": true}

// once compiles an expression when it is first needed.
func once(source string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(source) })
}

// load reads the rule set, and adds ours.
func load() ([]rule, []allow, error) {
	var w written
	if err := toml.Unmarshal([]byte(config.DefaultConfig), &w); err != nil {
		return nil, nil, fmt.Errorf("the rule set of gitleaks cannot be read: %w", err)
	}
	if len(w.Rules) < 100 {
		return nil, nil, errors.New("the rule set of gitleaks has too few rules: its format has changed")
	}
	var rules []rule
	for _, r := range append(w.Rules, own()...) {
		if r.Regex == "" || omitted[r.ID] {
			continue
		}
		if len(r.Keywords) == 0 {
			return nil, nil, fmt.Errorf("the rule %s of gitleaks has no keyword: it would be run on every byte", r.ID)
		}
		made := rule{id: r.ID, source: r.Regex, pattern: once(r.Regex), group: r.SecretGroup, entropy: r.Entropy,
			keywords: r.Keywords, allow: allows(r.Allowlists), weak: strings.HasPrefix(r.ID, "generic")}
		made.where = sync.OnceValue(func() where { return place(made.id, made.source, made.keywords) })
		rules = append(rules, made)
	}
	return rules, allows([]writtenAllow{w.Allowlist}), nil
}

func allows(all []writtenAllow) []allow {
	var out []allow
	for _, w := range all {
		a := allow{all: strings.EqualFold(w.Condition, "and") || w.Condition == "&&", target: w.RegexTarget}
		a.never = a.all && len(w.Paths)+len(w.Commits) > 0
		for _, x := range w.Regexes {
			a.regexes = append(a.regexes, once(x))
		}
		if len(w.StopWords) > 0 {
			a.stop = literal.New(w.StopWords)
		}
		if !a.never && len(a.regexes)+len(w.StopWords) > 0 {
			out = append(out, a)
		}
	}
	return out
}

// fits reports that a says of this match that it is none.
func (a allow) fits(secret, match, line []byte) bool {
	on := secret
	switch a.target {
	case "match":
		on = match
	case "line":
		on = line
	}
	byRegex := false
	for _, x := range a.regexes {
		if x().Match(on) {
			byRegex = true
			break
		}
	}
	byWord := a.stop != nil && a.stop.Has(secret)
	if a.all {
		return (byRegex || len(a.regexes) == 0) && (byWord || a.stop == nil)
	}
	return byRegex || byWord
}

// lineOf is the line of a match, as far as it may matter.
func lineOf(text []byte, from, to int) []byte {
	const most = 256
	start := max(0, from-most)
	start += bytes.LastIndexByte(text[start:from], '\n') + 1
	text = text[:min(to+most, len(text))]
	if end := bytes.IndexByte(text[to:], '\n'); end >= 0 {
		return text[start : to+end]
	}
	return text[start:]
}

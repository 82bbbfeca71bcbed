package config

import (
	"go.yaml.in/yaml/v3"
)

// The actions of a FindRule.
const (
	DoBlock    = "block"
	DoMask     = "mask"
	DoHash     = "hash"
	DoAnnotate = "annotate"
)

// The directions of a FindRule.
const (
	DirectionArguments = "arguments"
	DirectionResults   = "results"
)

// FindRule says what is done with what a guard finds in texts. Empty lists fit
// everything.
type FindRule struct {
	// Types are what was found, such as email or github-pat.
	Types []string
	// Direction is arguments (to a server), results (whatever a server says), or
	// empty for both.
	Direction string
	// Servers and Tools are names; of Tools as the server knows them.
	Servers, Tools []string
	// Do is one of the actions; empty in InsecureAllow.
	Do string
}

// finders are the guards that have rules, and what theirs may do. A secret that
// only is noted has left already.
func finders() map[string][]string {
	return map[string][]string{
		"secrets":  {DoBlock, DoMask, DoHash},
		"personal": {DoBlock, DoMask, DoHash, DoAnnotate},
	}
}

func readFindRules(s *source, n *yaml.Node, key string, g *Guard) {
	do := finders()[g.Name]
	if do == nil {
		s.fail(n, key, "belongs to the guards secrets and personal", "take it out")
		return
	}
	s.items(n, key, func(at string, item *yaml.Node) {
		var r FindRule
		readMapping(s, item, at, append(selectFields(), field[FindRule]{"do", func(s *source, n *yaml.Node, key string, r *FindRule) {
			if v, ok := s.oneOf(n, key, do...); ok {
				r.Do = v
			}
		}}), &r)
		if r.Do == "" && item.Kind == yaml.MappingNode && !s.failed(at+".do") {
			s.fail(item, at, "does not say what to do", "write do: "+do[0]+", or another action")
		}
		g.Rules = append(g.Rules, r)
	})
}

func readFindAllowed(s *source, n *yaml.Node, key string, g *Guard) {
	if g.Name != "secrets" {
		s.fail(n, key, "belongs to the guard secrets", "take it out; personal data passes by itself where no rule stops it")
		return
	}
	s.items(n, key, func(at string, item *yaml.Node) {
		var r FindRule
		readMapping(s, item, at, selectFields(), &r)
		if len(r.Servers) == 0 && item.Kind == yaml.MappingNode && !s.failed(at+".servers") {
			s.fail(item, at, "names no server", "write servers: [ … ]: what secrets may pass is said for each server")
		}
		g.InsecureAllow = append(g.InsecureAllow, r)
	})
}

func selectFields() []field[FindRule] {
	return []field[FindRule]{
		{"types", func(s *source, n *yaml.Node, key string, r *FindRule) { s.words(n, key, &r.Types) }},
		{"direction", func(s *source, n *yaml.Node, key string, r *FindRule) {
			if v, ok := s.oneOf(n, key, DirectionArguments, DirectionResults); ok {
				r.Direction = v
			}
		}},
		{"servers", func(s *source, n *yaml.Node, key string, r *FindRule) { s.words(n, key, &r.Servers) }},
		{"tools", func(s *source, n *yaml.Node, key string, r *FindRule) { s.words(n, key, &r.Tools) }},
	}
}

package importer

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/munjigi/munjigi/internal/config"
)

// Settle makes sure that what would be written at path loads: a server that
// the config refuses is turned off, and one that it refuses even so is kept as
// a comment only. It returns the content and what the config would still
// refuse that has nothing to do with a server, such as a folder for data
// within a working tree.
func (p *Plan) Settle(path string, build config.Build) (content []byte, left []config.Problem, err error) {
	folder := filepath.Dir(path)
	for {
		content = p.Render(folder)
		_, err := build.Parse(path, content)
		if err == nil {
			return content, nil, nil
		}
		var list *config.Errors
		if !errors.As(err, &list) {
			return nil, nil, err
		}
		left = nil
		changed := false
		turned := map[*Server]bool{}
		for _, problem := range list.List {
			s := p.serverAt(problem.Key)
			switch {
			case s == nil:
				left = append(left, problem)
			case turned[s]:
			case s.Enable:
				s.Enable = false
				s.Hold = fmt.Sprintf("%s %s", problem.Key, problem.Message)
				changed, turned[s] = true, true
			case s.Broken == "":
				s.breakOff("%s %s; %s", problem.Key, problem.Message, problem.Next)
				p.forget(s)
				changed = true
			}
		}
		if changed {
			continue
		}
		for _, problem := range left {
			if problem.Key != "data" {
				return nil, nil, fmt.Errorf("the result does not load: %s", problem)
			}
		}
		return content, left, nil
	}
}

// serverAt finds the server that a key of the result belongs to.
func (p *Plan) serverAt(key string) *Server {
	rest, ok := strings.CutPrefix(key, "servers.")
	if !ok {
		return nil
	}
	name := rest
	if i := strings.IndexAny(rest, ".["); i >= 0 {
		name = rest[:i]
	}
	at := slices.IndexFunc(p.Servers, func(s *Server) bool { return s.Name == name })
	if at < 0 {
		return nil
	}
	return p.Servers[at]
}

// forget drops the values of a server that is not written.
func (p *Plan) forget(s *Server) {
	p.Values = slices.DeleteFunc(p.Values, func(v Value) bool { return v.Server == s.Name })
}

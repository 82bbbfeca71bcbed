package config

import "go.yaml.in/yaml/v3"

// paths reads a list of files and folders.
func (s *source) paths(n *yaml.Node, key string, into *[]string) {
	s.items(n, key, func(at string, item *yaml.Node) {
		if p := s.pathAt(item, at); p != "" {
			*into = append(*into, p)
		}
	})
}

package config

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Arguments is what the file says to the guard of that name.
type Arguments struct {
	// Roots are folders that a server may work in, by its name.
	Roots map[string][]string
	// Tools says what arguments are: by server/tool, by one of ArgumentKinds, the
	// paths of the arguments, as in options.file.
	Tools map[string]map[string][]string
	// InsecureUnchecked are arguments, written server/tool#path, and tools, written
	// server/tool, that are not looked at.
	InsecureUnchecked []string
	// InsecureSQLWrites are tools, written server/tool, whose SQL may write.
	InsecureSQLWrites []string
	// InsecurePrivateHosts are host or host:port that URLs may name although they
	// are private.
	InsecurePrivateHosts []string
}

// ArgumentKinds are what an argument can be declared to be.
func ArgumentKinds() []string {
	return []string{"command", "header", "path", "sql", "template", "url", "word"}
}

const argumentsGuard = "arguments"

func argumentsFields() []field[Guard] {
	own := func(name string, read func(s *source, n *yaml.Node, key string, a *Arguments)) field[Guard] {
		return field[Guard]{name, func(s *source, n *yaml.Node, key string, g *Guard) {
			if g.Name != argumentsGuard {
				s.fail(n, key, "belongs to the guard "+argumentsGuard, "take it out")
				return
			}
			read(s, n, key, &g.Arguments)
		}}
	}
	return []field[Guard]{
		own("roots", func(s *source, n *yaml.Node, key string, a *Arguments) {
			a.Roots = map[string][]string{}
			s.members(n, key, func(server string, _, v *yaml.Node) {
				var dirs []string
				s.checked(v, join(key, server), checkRoot, &dirs)
				a.Roots[server] = dirs
			})
		}),
		own("tools", func(s *source, n *yaml.Node, key string, a *Arguments) {
			a.Tools = map[string]map[string][]string{}
			s.members(n, key, func(tool string, k, v *yaml.Node) {
				at := join(key, tool)
				if c := checkTool(tool); c != (complaint{}) {
					s.complain(k, at, c)
					return
				}
				a.Tools[tool] = map[string][]string{}
				s.members(v, at, func(kind string, k, v *yaml.Node) {
					if !slices.Contains(ArgumentKinds(), kind) {
						s.fail(k, join(at, kind), "is nothing that an argument can be", unknownNext(kind, ArgumentKinds()))
						return
					}
					var names []string
					s.words(v, join(at, kind), &names)
					a.Tools[tool][kind] = names
				})
			})
		}),
		own("insecure_unchecked", func(s *source, n *yaml.Node, key string, a *Arguments) {
			s.checked(n, key, checkArgument, &a.InsecureUnchecked)
		}),
		own("insecure_sql_writes", func(s *source, n *yaml.Node, key string, a *Arguments) {
			s.checked(n, key, checkTool, &a.InsecureSQLWrites)
		}),
		own("insecure_private_hosts", func(s *source, n *yaml.Node, key string, a *Arguments) {
			s.checked(n, key, checkHostPort, &a.InsecurePrivateHosts)
		}),
	}
}

// checkRoot takes an absolute path of this system, or of the one that a server
// somewhere else runs on.
func checkRoot(dir string) complaint {
	drive := len(dir) > 2 && dir[1] == ':' && (dir[2] == '\\' || dir[2] == '/')
	if !path.IsAbs(dir) && !filepath.IsAbs(dir) && !drive {
		return complaint{"is not an absolute path", "write the folder as the server sees it, from the root on"}
	}
	if strings.Contains("/"+strings.ReplaceAll(dir, `\`, "/")+"/", "/../") {
		return complaint{"has a step up (..)", "write where it leads to"}
	}
	return complaint{}
}

// checkArgument judges the name of a tool, or of one argument of it.
func checkArgument(t string) complaint {
	tool, arg, some := strings.Cut(t, "#")
	if some && arg == "" {
		return complaint{"names no argument", "write server/tool#argument, as in notes/add#text, or server/tool for all of them"}
	}
	return checkTool(tool)
}

func (g Guard) argumentsDepartures() []Departure {
	var list []Departure
	add := func(key string, values []string, means string) {
		for i, v := range values {
			list = append(list, Departure{index("guards."+g.Name+"."+key, i), Visible(v), means})
		}
	}
	add("insecure_unchecked", g.Arguments.InsecureUnchecked, "arguments of this tool are not looked at for injection")
	add("insecure_sql_writes", g.Arguments.InsecureSQLWrites, "the SQL of this tool may write")
	add("insecure_private_hosts", g.Arguments.InsecurePrivateHosts, "URLs in arguments may name this host although it is private")
	return list
}

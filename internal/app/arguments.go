package app

import (
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/guard/arguments"
)

// argumentsOf makes of the file what the guard takes.
func argumentsOf(c config.Arguments) arguments.Settings {
	s := arguments.Settings{Roots: c.Roots, Tools: map[string]map[string]arguments.Kind{}, Unchecked: c.InsecureUnchecked,
		SQLWrites: c.InsecureSQLWrites, PrivateHosts: c.InsecurePrivateHosts}
	kinds := map[string]arguments.Kind{"command": arguments.Command, "header": arguments.Header, "path": arguments.Path, "sql": arguments.SQL,
		"template": arguments.Template, "url": arguments.URL, "word": arguments.Word}
	for tool, declared := range c.Tools {
		s.Tools[tool] = map[string]arguments.Kind{}
		for kind, names := range declared {
			for _, n := range names {
				s.Tools[tool][n] |= kinds[kind]
			}
		}
	}
	return s
}

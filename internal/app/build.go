package app

import (
	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/guard/all"
)

// Build says what this build of the gateway knows, for the reader of configs.
func Build(getenv func(string) string) config.Build {
	b := config.Build{Getenv: getenv, Identity: true, AuthorizationServer: true, Policy: true}
	for _, g := range all.Guards(all.Settings{}) {
		b.Guards = append(b.Guards, g.Spec().Name)
	}
	return b
}

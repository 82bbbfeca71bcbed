// Package all is the one ordered list of guards. Order is code: config turns a
// guard on and tunes it, and never reorders.
//
// The list is what a gateway asks; a guard that is not in it does not exist.
package all

import (
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/arguments"
	"github.com/munjigi/munjigi/internal/guard/injection"
	"github.com/munjigi/munjigi/internal/guard/personal"
	"github.com/munjigi/munjigi/internal/guard/poisoning"
	"github.com/munjigi/munjigi/internal/guard/schema"
	"github.com/munjigi/munjigi/internal/guard/secrets"
)

// Settings tune the guards beyond their modes.
type Settings struct {
	// OpenTools, written server/tool, accept properties that their schema does
	// not declare.
	OpenTools []string
	// Arguments tunes the guard of that name.
	Arguments arguments.Settings
	// Secrets tunes the guard of that name.
	Secrets secrets.Settings
	// Personal tunes the guard of that name.
	Personal personal.Settings
}

// Guards returns the guards in their order.
func Guards(s Settings) []guard.Guard {
	return []guard.Guard{schema.New(s.OpenTools), arguments.New(s.Arguments), poisoning.New(), secrets.New(s.Secrets), personal.New(s.Personal), injection.New()}
}

package gateway_test

import (
	"context"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
)

// unpinned is a gateway without pins: the guards alone decide.
type unpinned struct{}

func (unpinned) Look(string, catalog.Kind, string, [32]byte) (catalog.Standing, *catalog.Definition) {
	return catalog.Graded, nil
}
func (unpinned) Sight(_ context.Context, s catalog.Sighting) call.Reason { return s.Stopped }
func (unpinned) Complete(context.Context, string, catalog.Kind)          {}
func (unpinned) Generation(string) uint64                                { return 0 }
func (unpinned) Barred(string, catalog.Kind, string) bool                { return false }

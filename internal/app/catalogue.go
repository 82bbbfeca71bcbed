package app

import (
	"context"
	"strconv"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/audit/log"
	"github.com/munjigi/munjigi/internal/authn/local"
	"github.com/munjigi/munjigi/internal/authz/cedar"
)

// Shelf asks a server what it has, for whoever writes policies, and puts that on
// the record. A server that wants each person's own permission says nothing to
// the operator; its lists are missing then.
func (a *App) Shelf(ctx context.Context, server string) (*cedar.Shelf, error) {
	operator := local.Attached("control")
	stock, err := a.current.Load().Stock(ctx, operator, server)
	if err != nil {
		return nil, err
	}
	e := audit.Event{ID: audit.NewID(), Time: time.Now(), Kind: audit.KindEvent, Stage: "administration", Effect: "allow", Reason: "catalogue-read",
		Server: server, Principal: operator.String(), Detail: map[string]string{"tools": strconv.Itoa(len(stock.Lists["tools"])), "missing": strconv.Itoa(len(stock.Missing))}}
	if err := a.record.With(log.Strict).Record(ctx, &e); err != nil {
		return nil, err
	}
	return &cedar.Shelf{Tools: stock.Lists["tools"], Prompts: stock.Lists["prompts"], Resources: stock.Lists["resources"],
		Templates: stock.Lists["resourceTemplates"], Missing: stock.Missing}, nil
}

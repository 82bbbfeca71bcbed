package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Stock is what one server says it has, by the name of the list: tools,
// prompts, resources, resourceTemplates. Missing says of a list why it could
// not be had.
type Stock struct {
	Lists   map[string][]json.RawMessage
	Missing map[string]string
}

// stockTime bounds how long one server may take to say what it has.
const stockTime = 20 * time.Second

// Stock asks a server for all its lists on behalf of whoever runs the gateway.
// No policy is asked: it is what policies are written from. Nothing of it goes
// to a client.
func (g *Gateway) Stock(ctx context.Context, p call.Principal, server string) (Stock, error) {
	s := g.o.Servers[server]
	if s == nil {
		return Stock{}, errors.New("there is no such server")
	}
	ctx, cancel := context.WithTimeout(ctx, stockTime)
	defer cancel()
	out := Stock{Lists: map[string][]json.RawMessage{}, Missing: map[string]string{}}
	for _, method := range []string{mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList} {
		route, _ := mcp.RouteOf(mcp.Modern, method)
		list, err := g.stockOf(ctx, p, server, method, route.List)
		if err != nil {
			out.Missing[route.List] = err.Error()
			continue
		}
		out.Lists[route.List] = list
	}
	return out, nil
}

func (g *Gateway) stockOf(ctx context.Context, p call.Principal, server, method, list string) ([]json.RawMessage, error) {
	var all []json.RawMessage
	cursor := []byte(nil)
	for range maxPages {
		params := strictjson.Object{}
		if cursor != nil {
			params = params.With("cursor", cursor)
		}
		a, err := g.ownCall(ctx, p, call.Target{Server: server, Method: method}, params)
		switch {
		case err != nil:
			return nil, err
		case a.Error != nil && a.Error.Code == mcp.CodeMethodNotFound:
			return nil, nil
		case a.Error != nil:
			return nil, errors.New("the server answered with an error: " + a.Error.Message)
		}
		o, err := strictjson.SplitObject(a.Result)
		if err != nil {
			return nil, upstream.ErrViolation
		}
		raw, _ := o.Get(list)
		if strictjson.TypeOf(raw) != strictjson.TypeArray {
			return nil, errors.Join(upstream.ErrViolation, errors.New("a list without its array"))
		}
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			return nil, upstream.ErrViolation
		}
		for _, e := range elems {
			all = append(all, append(json.RawMessage(nil), e...))
		}
		next, more := o.Get("nextCursor")
		switch {
		case !more || strictjson.TypeOf(next) != strictjson.TypeString || string(next) == string(cursor):
			return all, nil
		case len(all) > maxDefinitions:
			return nil, upstream.ErrTooLarge
		}
		cursor = append([]byte(nil), next...)
	}
	return nil, upstream.ErrTooLarge
}

// ownCall sends what no client asked for.
func (g *Gateway) ownCall(ctx context.Context, p call.Principal, t call.Target, params strictjson.Object) (upstream.Answer, error) {
	c := call.New(time.Now())
	c.Principal, c.Target = p, t
	for _, st := range []call.Stage{call.Accept, call.Authenticate, call.Admit, call.Decode, call.Resolve, call.Validate, call.Authorize, call.InspectRequest} {
		c.Pass(st)
	}
	cl, err := c.Clear(params.Append(nil), g.o.Generations)
	if err != nil {
		return upstream.Answer{}, err
	}
	from := upstream.Caller{Principal: p, Era: mcp.Modern, Version: mcp.LatestModern, ClientInfo: g.selfInfo(), Aside: true}
	return g.o.Servers[t.Server].Call(ctx, cl, from, deaf{})
}

package gateway

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// definition is what a call is judged by.
type definition struct {
	kind    catalog.Kind
	digest  [32]byte
	headers []mcp.ParamHeader
	raw     []byte
}

// declared is what guards see of a definition; nil where there is none.
func (d *definition) declared() *guard.Declared {
	if d == nil {
		return nil
	}
	return &guard.Declared{Digest: d.digest, Raw: d.raw}
}

const (
	maxPages       = 1000
	maxDefinitions = 50_000
)

// define finds the definition of the tool or prompt that is called. A name
// that the server does not list is refused in the same words as one that the
// caller may not see.
func (g *Gateway) define(ctx context.Context, c *call.Call, in *inbound) *refusal {
	kind := catalog.Kind(mcp.MethodToolsList)
	if in.msg.Method == mcp.MethodPromptsGet {
		kind = mcp.MethodPromptsList
	}
	key := catalog.Key{Server: c.Target.Server, Caller: c.Principal.CacheKey(), Policy: g.o.Generations().Policy, Kind: kind}
	view, fresh := g.o.Catalog.Get(key, time.Now())
	d, ok := view.Lookup(c.Target.Name)
	if !ok {
		// Not known, or known as missing: ask the server, which may have
		// changed its list without telling.
		if fresh && !g.mayRefetch(key) {
			return g.undefined(c, in)
		}
		var err error
		if view, err = g.fetch(ctx, c, in, key); err != nil {
			if in.need = grantOf(err); in.need != nil {
				return nil // whoever may not call gets no link: that is judged first
			}
			return serverRefusal(ctx, c, err)
		}
		if d, ok = view.Lookup(c.Target.Name); !ok {
			return g.undefined(c, in)
		}
	}
	if !g.o.Authz.Lists(ctx, queryOf(c, in)) {
		// Before anything is judged by a definition that the caller must not know.
		return g.unlisted(ctx, c, call.Validate, queryOf(c, in))
	}
	if d.Broken != "" {
		return deny(c, call.Validate, call.ReasonUnknownTarget, "held: "+d.Broken)
	}
	if _, why := g.offer(ctx, c.Principal, call.Validate, c.Target.Server, kind, c.Target.Name, &guard.Declared{Digest: d.Digest, Raw: d.Raw}); why != "" {
		// What is not listed is not there.
		return deny(c, call.Validate, call.ReasonUnknownTarget, "held: "+string(why))
	}
	in.need, in.connected = nil, false
	in.def = &definition{kind: kind, digest: d.Digest, headers: d.Headers, raw: d.Raw}
	in.caller.TaskSupport = d.TaskSupport
	return nil
}

// undefined refuses what the server does not list, but for the tool that stood
// in the list until a permission was given.
func (g *Gateway) undefined(c *call.Call, in *inbound) *refusal {
	in.connected = c.Target.Name == connectTool && in.msg.Method == mcp.MethodToolsCall &&
		g.o.Sessions.grants.lately(c.Principal.ClientKey(), c.Target.Server)
	if in.connected {
		return nil
	}
	return deny(c, call.Validate, call.ReasonUnknownTarget, "not in the list")
}

// mayRefetch bounds how often an unknown name makes us list a server again.
func (g *Gateway) mayRefetch(k catalog.Key) bool {
	ok, _ := g.refetch.Allow(k.Server + "\x00" + k.Caller + "\x00" + string(k.Kind))
	return ok
}

// fetch walks the whole list of a server on behalf of a caller and remembers
// it.
func (g *Gateway) fetch(ctx context.Context, c *call.Call, in *inbound, key catalog.Key) (*catalog.View, error) {
	got, err, _ := g.fetching.Do(key.Server+"\x00"+key.Caller+"\x00"+string(key.Kind), func() (any, error) {
		var all [][]byte
		var ttl time.Duration
		cursor := []byte(nil)
		route, _ := mcp.RouteOf(in.era, string(key.Kind))
		for page := 0; ; page++ {
			if page == maxPages || len(all) > maxDefinitions {
				return nil, upstream.ErrTooLarge
			}
			params := strictjson.Object{}
			if cursor != nil {
				params = params.With("cursor", cursor)
			}
			a, err := g.side(ctx, c, in, call.Target{Server: key.Server, Method: string(key.Kind)}, params)
			if err != nil {
				return nil, err
			}
			if a.Error != nil {
				if a.Error.Code == mcp.CodeMethodNotFound {
					return g.o.Catalog.Put(key, nil, time.Now(), 0), nil
				}
				return nil, a.Error
			}
			o, err := strictjson.SplitObject(a.Result)
			if err != nil {
				return nil, err
			}
			raw, _ := o.Get(route.List)
			if strictjson.TypeOf(raw) != strictjson.TypeArray {
				return nil, errors.Join(upstream.ErrViolation, errors.New("a list without its array"))
			}
			elems, err := strictjson.SplitArray(raw)
			if err != nil {
				return nil, err
			}
			for _, e := range elems {
				all = append(all, append([]byte(nil), e...))
			}
			ttl = ttlOf(o)
			next, more := o.Get("nextCursor")
			if !more || strictjson.TypeOf(next) != strictjson.TypeString || string(next) == string(cursor) {
				g.offerAll(ctx, c.Principal, key.Server, key.Kind, all)
				return g.o.Catalog.Put(key, all, time.Now(), ttl), nil
			}
			cursor = append([]byte(nil), next...)
		}
	})
	v, _ := got.(*catalog.View)
	return v, err
}

// side makes a request of our own on behalf of a call, such as a list whose
// definitions the call is judged by. It needs its own permission.
//
// A server may still say that it lacks a permission which was given a moment
// ago, where the request joined another that began before: it is asked again,
// once.
func (g *Gateway) side(ctx context.Context, c *call.Call, in *inbound, t call.Target, params strictjson.Object) (upstream.Answer, error) {
	a, err := g.sideOnce(ctx, c, in, t, params)
	if grantOf(err) != nil && g.o.Sessions.grants.lately(c.Principal.ClientKey(), t.Server) {
		return g.sideOnce(ctx, c, in, t, params)
	}
	return a, err
}

func (g *Gateway) sideOnce(ctx context.Context, c *call.Call, in *inbound, t call.Target, params strictjson.Object) (upstream.Answer, error) {
	f := c.Fork(t)
	f.Pass(call.Resolve)
	f.Pass(call.Validate)
	d := g.o.Authz.Decide(ctx, authz.Query{Principal: c.Principal, Target: t, Asked: c.Asked})
	d.Stage = call.Authorize
	if in.server == "" && !g.allowed(c, in, t) {
		d = call.Decision{Stage: call.Authorize, Reason: call.ReasonInsufficientScope}
	}
	f.Decide(d)
	f.Pass(call.InspectRequest)
	cl, err := f.Clear(params.Append(nil), g.o.Generations)
	if err != nil {
		return upstream.Answer{}, err
	}
	from := g.toward(ctx, c, in.caller, t.Server)
	from.ProgressToken, from.Headers, from.Resume, from.LogLevel, from.Aside = nil, nil, nil, "", true
	return g.o.Servers[t.Server].Call(ctx, cl, from, deaf{})
}

// deaf is the client of a request of our own: it hears and answers nothing.
type deaf struct{}

func (deaf) Notify(string, []byte) error { return nil }

func (deaf) Ask(context.Context, string, []byte) ([]byte, *mcp.Error, error) {
	return nil, &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "nobody is asked while a list is made"}, nil
}

// ttlOf reads ttlMs; a hint that is missing or absurd is zero.
func ttlOf(o strictjson.Object) time.Duration {
	raw, ok := o.Get("ttlMs")
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(min(n, int64(catalog.MaxTTL/time.Millisecond)))*time.Millisecond, catalog.MaxTTL)
}

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/catalog"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// list serves one page of a list. What the caller may not see is not there,
// by the same decision that judges a call; a definition that may not be
// offered is held and the rest is served.
func (g *Gateway) list(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	if in.server == "" {
		return g.listMerged(ctx, c, in, out)
	}
	paged := in.cursor != nil
	raw := paramsOf(in)
	if paged {
		raw = in.params.With("cursor", strictjson.AppendString(nil, string(in.cursor))).Append(nil)
	}
	cl, err := c.Clear(raw, g.o.Generations)
	if err != nil {
		return serverRefusal(ctx, c, err)
	}
	a, err := g.send(ctx, c, in, out, cl)
	if grantOf(err) != nil && g.o.Sessions.grants.lately(c.Principal.ClientKey(), in.server) {
		params, perr := strictjson.SplitObject(raw)
		if perr != nil {
			return serverRefusal(ctx, c, perr)
		}
		a, err = g.side(ctx, c, in, call.Target{Server: in.server, Method: in.msg.Method}, params)
	}
	if need := grantOf(err); need != nil {
		return g.listLacking(ctx, c, in, out, need)
	}
	if err != nil {
		return serverRefusal(ctx, c, err)
	}
	c.Pass(call.Send)
	if a.Error != nil && a.Refused != "" {
		return refusedThere(c, a)
	}
	if a.Error != nil {
		return g.deliverError(ctx, c, in, out, a.Error)
	}
	page, err := g.page(ctx, c, in, c.Target.Server, a, !paged)
	if err != nil {
		return serverRefusal(ctx, c, err)
	}
	if next, ok := page.Get("nextCursor"); ok && strictjson.TypeOf(next) == strictjson.TypeString {
		s, err := strictjson.String(next)
		var sealed []byte
		if err == nil {
			sealed, err = g.sealCursor(c, in, []byte(s))
		}
		if err != nil {
			return serverRefusal(ctx, c, upstream.ErrViolation)
		}
		page = page.With("nextCursor", sealed)
	}
	page = g.shape(in, page, a)
	return g.answer(ctx, c, in, out, page.Append(nil))
}

// page filters one page of one server. The bytes stay as they came when
// nothing had to change.
func (g *Gateway) page(ctx context.Context, c *call.Call, in *inbound, server string, a upstream.Answer, first bool) (strictjson.Object, error) {
	o, err := strictjson.SplitObject(a.Result)
	if err != nil {
		return nil, upstream.ErrViolation
	}
	raw, _ := o.Get(in.route.List)
	if strictjson.TypeOf(raw) != strictjson.TypeArray {
		return nil, errors.Join(upstream.ErrViolation, errors.New("a list without its array"))
	}
	elems, err := strictjson.SplitArray(raw)
	if err != nil {
		return nil, upstream.ErrViolation
	}
	kept := make([][]byte, 0, len(elems))
	changed := false
	twice := repeated(in.route.List, elems)
	for _, e := range elems {
		if len(twice) > 0 && twice[nameOf(e)] {
			g.held(in, server, nameOf(e), "the server lists this name twice")
			changed = true
			continue
		}
		k, ok := g.item(ctx, c, in, server, e)
		if !ok {
			changed = true
			continue
		}
		changed = changed || len(k) != len(e) || len(k) > 0 && &k[0] != &e[0]
		kept = append(kept, k)
	}
	if _, more := o.Get("nextCursor"); !more && in.route.List != "tasks" {
		g.o.Definitions.Complete(ctx, server, catalog.Kind(in.msg.Method))
		if first {
			g.remember(c, in, server, elems, ttlOf(o))
		}
	}
	if changed {
		o = o.With(in.route.List, appendArray(nil, kept))
	}
	return o, nil
}

// repeated returns the names that stand more than once in a list of tools or
// prompts: a call of one of them could mean either, so neither is offered.
func repeated(list string, elems [][]byte) map[string]bool {
	if list != "tools" && list != "prompts" {
		return nil
	}
	var twice map[string]bool
	seen := make(map[string]struct{}, len(elems))
	for _, e := range elems {
		name := nameOf(e)
		if _, again := seen[name]; again && name != "" {
			if twice == nil {
				twice = map[string]bool{}
			}
			twice[name] = true
		}
		seen[name] = struct{}{}
	}
	return twice
}

func nameOf(definition []byte) string {
	if strictjson.TypeOf(definition) != strictjson.TypeObject {
		return ""
	}
	o, err := strictjson.SplitObject(definition)
	if err != nil {
		return ""
	}
	name, _ := mcp.Text(o, "name", maxName)
	return name
}

// remember keeps a list that came whole in one page for judging calls by.
func (g *Gateway) remember(c *call.Call, in *inbound, server string, elems [][]byte, ttl time.Duration) {
	if in.msg.Method != mcp.MethodToolsList && in.msg.Method != mcp.MethodPromptsList {
		return
	}
	g.o.Catalog.Put(catalog.Key{Server: server, Caller: c.Principal.CacheKey(), Policy: g.o.Generations().Policy, Kind: catalog.Kind(in.msg.Method)}, elems, time.Now(), ttl)
}

// item decides about one entry of a list and gives it its merged name.
func (g *Gateway) item(ctx context.Context, c *call.Call, in *inbound, server string, raw []byte) ([]byte, bool) {
	o, err := strictjson.SplitObject(raw)
	if err != nil || strictjson.TypeOf(raw) != strictjson.TypeObject {
		g.held(in, server, "", "the entry is not an object")
		return nil, false
	}
	member, method := "name", mcp.MethodToolsCall
	switch in.route.List {
	case "prompts":
		method = mcp.MethodPromptsGet
	case "resources":
		member, method = "uri", mcp.MethodResourcesRead
	case "resourceTemplates":
		member, method = "uriTemplate", mcp.MethodResourcesRead
	case "tasks":
		return g.renameTaskIDIn(c, in, server, o).Append(nil), true
	}
	name, ok := mcp.Text(o, member, maxName)
	if !ok || name == "" {
		g.held(in, server, "", "the entry has no usable "+member)
		return nil, false
	}
	mayList := g.o.Authz.Lists(ctx, authz.Query{Principal: c.Principal, Target: call.Target{Server: server, Method: method, Name: name}})
	kind := catalog.Kind(in.msg.Method)
	declared := &guard.Declared{Raw: raw}
	if in.route.List == "tools" {
		d, ok := catalog.Read(mcp.MethodToolsList, raw)
		if !ok || d.Broken != "" {
			why := "unreadable"
			if ok {
				why = d.Broken
			}
			g.held(in, server, name, why)
			return nil, false
		}
		declared.Digest = d.Digest
	} else if declared.Digest, ok = catalog.Digest(kind, raw); !ok {
		g.held(in, server, name, "unreadable")
		return nil, false
	}
	// What this caller may not see is judged all the same: it was seen for the
	// first time together with the rest.
	seen, why := g.offer(ctx, c.Principal, call.InspectResult, server, kind, name, declared)
	if why != "" {
		g.held(in, server, name, string(why))
		return nil, false
	}
	if !mayList {
		return nil, false
	}
	if in.server == "" {
		if o, err = strictjson.SplitObject(seen); err != nil {
			return nil, false
		}
		return renameMember(o, member, server).Append(nil), true
	}
	return seen, true
}

func (g *Gateway) renameTaskIDIn(c *call.Call, in *inbound, server string, o strictjson.Object) strictjson.Object {
	f := c.Fork(call.Target{Server: server, Method: in.msg.Method})
	return g.renameTaskID(f, in, o)
}

// held tells the operator of a definition that is not offered.
func (g *Gateway) held(in *inbound, server, name, why string) {
	if ok, _ := g.refetch.Allow("held\x00" + server + "\x00" + name); !ok {
		return
	}
	g.o.Logger.Warn("a definition is held", "server", server, "list", in.route.List, "name", name, "why", why)
}

func appendArray(dst []byte, elems [][]byte) []byte {
	dst = append(dst, '[')
	for i, e := range elems {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, e...)
	}
	return append(dst, ']')
}

const fanOut = 16 // servers asked at once

// listMerged asks every server of /mcp for its page and serves them together.
// A server that does not answer leaves its entries out and is told to the
// operator; it does not take the others down.
func (g *Gateway) listMerged(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	at, paged := in.places, in.cursor != nil
	var names []string
	for _, n := range g.o.Order {
		if _, more := at[n]; g.merged[n] && (!paged || more) {
			names = append(names, n)
		}
	}
	pages := make([]strictjson.Object, len(names))
	errs := g.each(c, names, func(i int, server string) error {
		params := in.params.Without("cursor")
		if paged {
			params = params.With("cursor", strictjson.AppendString(nil, at[server]))
		}
		a, err := g.side(ctx, c, in, call.Target{Server: server, Method: in.msg.Method}, params)
		switch {
		case err != nil:
			return err
		case a.Error != nil && a.Error.Code == mcp.CodeMethodNotFound:
			return nil
		case a.Error != nil:
			return a.Error
		}
		pages[i], err = g.page(ctx, c, in, server, a, !paged)
		return err
	})
	var all [][]byte
	next := map[string]string{}
	failed := 0
	var ttl int64 = -1
	for i, p := range pages {
		if need := grantOf(errs[i]); need != nil && in.route.List != "tasks" {
			g.o.Sessions.grants.add(c.Principal.ClientKey(), need, "")
			if in.route.List == "tools" {
				all = append(all, connectDefinition(names[i], join("name", names[i], connectTool)))
			}
			ttl = 0
			continue
		}
		if errs[i] != nil {
			failed++
			g.o.Logger.Warn("a server is left out of a list", "server", names[i], "list", in.route.List, "err", errs[i])
			continue
		}
		if p == nil {
			continue
		}
		raw, _ := p.Get(in.route.List)
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			continue
		}
		all = append(all, elems...)
		if s, ok := mcp.Text(p, "nextCursor", maxState); ok {
			next[names[i]] = s
		}
		if t := ttlOf(p).Milliseconds(); ttl < 0 || t < ttl {
			ttl = t
		}
	}
	if failed > 0 && failed == len(names) {
		return serverRefusal(ctx, c, errs[0])
	}
	c.Pass(call.Send)
	r := strictjson.Object{{Name: in.route.List, Raw: appendArray(nil, all)}}
	if len(next) > 0 {
		plain, err := json.Marshal(next)
		var sealed []byte
		if err == nil {
			sealed, err = g.sealCursor(c, in, plain)
		}
		if err != nil {
			return serverRefusal(ctx, c, err)
		}
		r = append(r, strictjson.Member{Name: "nextCursor", Raw: sealed})
	}
	if in.era == mcp.Modern {
		r = append(strictjson.Object{{Name: "resultType", Raw: []byte(`"complete"`)}}, r...)
		if failed > 0 {
			ttl = 0
		}
		r = append(r, strictjson.Member{Name: "ttlMs", Raw: appendInt(nil, max(ttl, 0))}, strictjson.Member{Name: "cacheScope", Raw: []byte(`"private"`)})
		r = mcp.WithMeta(r, strictjson.Object{{Name: mcp.MetaServerInfo, Raw: g.selfInfo()}})
	}
	return g.answer(ctx, c, in, out, r.Append(nil))
}

// each runs f for every name, a bounded number at a time, and returns the
// error of each.
func (g *Gateway) each(c *call.Call, names []string, f func(i int, server string) error) []error {
	var wg sync.WaitGroup
	errs := make([]error, len(names))
	slots := make(chan struct{}, fanOut)
	for i, n := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = g.contained(c, func() error { return f(i, n) })
		})
	}
	wg.Wait()
	return errs
}

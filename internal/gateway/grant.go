package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/audit"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// A server may need the permission of the person behind a call before the
// gateway can act for them there. What is asked of the client is to show a link
// to that person: it leads to the gateway's own page, which finds out by itself
// who opened it. What the client says about it decides nothing. Only a request
// that was judged like any other gets a link.

// connectTool is the one tool of a server that lacks a permission.
const connectTool = "connect"

const (
	purposeGrant = "grant-state"
	grantKey     = "grant" // of the question in inputRequests
	// grantRounds is how often one call asks; grantWait how long each retry waits
	// for the person.
	grantRounds = 8
	grantWait   = time.Minute
)

// granting is what the requestState of a call remembers that waits for a
// permission.
type granting struct {
	ID      string `json:"i"`
	Round   int    `json:"r"`
	Nonce   string `json:"n"`
	Expires int64  `json:"e"`
}

// grantOf finds the permission that an upstream's error asks for.
func grantOf(err error) *credential.GrantNeeded {
	var need *credential.GrantNeeded
	if errors.As(err, &need) {
		return need
	}
	return nil
}

// grantRefusal is what every client gets that cannot be asked in a better way.
func grantRefusal(c *call.Call, need *credential.GrantNeeded) *refusal {
	d := call.Decision{Effect: call.Challenge, Stage: call.Credential, Reason: call.ReasonGrantNeeded,
		Detail: need.Server + ", link " + audit.ShortDigest(need.ID)}
	c.Decide(d)
	r := refuseDecision(d).withData("url", strictjson.AppendString(nil, need.URL))
	r.need = need
	return r.say("the server " + need.Server + " needs the permission of the person who uses it. They have to open " + need.URL +
		" in a browser and sign in there; then call again")
}

// ask puts a link to a client that can show one; false where it cannot.
func (g *Gateway) askGrant(c *call.Call, in *inbound, out outbox, r *refusal) bool {
	if in.msg.Kind != mcp.Request {
		return false
	}
	session, can := "", in.caller.Capabilities.URL
	if in.era == mcp.Legacy {
		if in.session == nil || in.session.version < mcp.V20251125 {
			can = false
		} else if can {
			session = in.session.key
		}
	}
	if !g.o.Sessions.grants.add(c.Principal.ClientKey(), r.need, session) {
		*r = *deny(c, call.Credential, call.ReasonTooMany, "links that wait for their person").
			say("too many permissions are being asked for: open one of the links, or wait ten minutes")
		r.status, r.words = http.StatusOK, true
		return false
	}
	switch {
	case !can:
		return false
	case in.era == mcp.Legacy:
		o := append(elicitation(r.need), strictjson.Member{Name: "elicitationId", Raw: strictjson.AppendString(nil, r.need.ID)})
		data := strictjson.Object{{Name: "id", Raw: strictjson.AppendString(nil, string(c.ID))},
			{Name: "elicitations", Raw: appendArray(nil, [][]byte{o.Append(nil)})}}
		e := &mcp.Error{Code: mcp.CodeURLElicitation, Message: "this needs the permission of the person who uses it", Data: data.Append(nil)}
		out.finish(http.StatusOK, r, c.Refusal(mcp.AppendError(nil, in.msg.ID, e, false)))
		return true
	case !in.route.Inputs || in.resume != nil && in.asked.Nonce != "":
		// The call that waits at the server cannot be carried through another
		// round; it is not started a second time either.
		return false
	}
	round := 1
	if in.granting != nil {
		round = in.granting.Round + 1
	}
	if round > grantRounds {
		return false
	}
	state, err := g.sealGrant(c, in, round, r.need.ID)
	if err != nil {
		return false
	}
	q := strictjson.Object{{Name: "method", Raw: []byte(`"` + mcp.MethodElicit + `"`)}, {Name: "params", Raw: elicitation(r.need).Append(nil)}}
	g.inputRequiredByUs(c, in, out, r, grantKey, q, state)
	return true
}

// inputRequiredByUs answers with a question of the gateway's own.
func (g *Gateway) inputRequiredByUs(c *call.Call, in *inbound, out outbox, r *refusal, key string, question strictjson.Object, state string) {
	result := strictjson.Object{{Name: "resultType", Raw: []byte(`"input_required"`)},
		{Name: "inputRequests", Raw: strictjson.Object{{Name: key, Raw: question.Append(nil)}}.Append(nil)},
		{Name: "requestState", Raw: strictjson.AppendString(nil, state)},
		{Name: "_meta", Raw: strictjson.Object{{Name: MetaID, Raw: strictjson.AppendString(nil, string(c.ID))}}.Append(nil)}}
	out.finish(http.StatusOK, r, c.Refusal(mcp.AppendResult(nil, in.msg.ID, result.Append(nil))))
}

// elicitation is what a client shows. It says which server asks, and where the
// link leads.
func elicitation(need *credential.GrantNeeded) strictjson.Object {
	host := "the gateway"
	if u, err := url.Parse(need.URL); err == nil && u.Host != "" {
		host = u.Host
	}
	message := "[" + need.Server + "] The server " + need.Server + " needs your permission. The link opens a page of the gateway at " + host +
		", which asks you to sign in and shows what you would allow."
	return strictjson.Object{{Name: "mode", Raw: []byte(`"url"`)}, {Name: "message", Raw: strictjson.AppendString(nil, message)},
		{Name: "url", Raw: strictjson.AppendString(nil, need.URL)}}
}

// grantBinding ties the state to one call of one client. The definition is not
// in it: it could not be had.
func grantBinding(c *call.Call, in *inbound) []byte {
	args, _ := in.params.Get("arguments")
	canon, err := strictjson.Canonical(args)
	if err != nil {
		canon = args
	}
	sum := sha256.Sum256(canon)
	return binding(c.Principal.ClientKey(), in.path, c.Target.Server, c.Target.Method, c.Target.Name, string(sum[:]))
}

func (g *Gateway) sealGrant(c *call.Call, in *inbound, round int, id string) (string, error) {
	plain, err := json.Marshal(granting{ID: id, Round: round, Nonce: string(call.NewID()), Expires: time.Now().Add(grantLife).Unix()})
	if err != nil {
		return "", err
	}
	return g.o.Sealer.Seal(purposeGrant, plain, grantBinding(c, in))
}

// granted takes the answer of a client that was asked for a permission, and
// gives its person time. The answer itself proves nothing: the server is asked
// again, whatever it says.
func (g *Gateway) granted(ctx context.Context, c *call.Call, in *inbound) *refusal {
	if in.era != mcp.Modern || !in.route.Inputs || in.granting != nil {
		return nil
	}
	text, ok := mcp.Text(in.params, "requestState", 2*maxState)
	if !ok {
		return nil
	}
	plain, err := g.o.Sealer.Open(purposeGrant, text, grantBinding(c, in))
	if err != nil {
		return nil // the state of something else, or of nothing
	}
	var s granting
	if json.Unmarshal(plain, &s) != nil || time.Now().Unix() > s.Expires {
		return deny(c, call.Validate, call.ReasonBadState, "has expired")
	}
	in.granting = &s
	action, ref := g.linkAnswer(c, in, grantKey)
	switch {
	case ref != nil:
		return ref
	case action == "":
		return nil // it is asked again
	case action != "accept":
		r := deny(c, call.Validate, call.ReasonDeclined, "the link was not opened").say("the permission that the server " + c.Target.Server + " needs was declined; nothing was sent to it")
		r.words = true
		return r
	}
	if need := g.o.Sessions.grants.find(s.ID, c.Principal.ClientKey(), c.Target.Server); need != nil {
		ctx, cancel := context.WithTimeout(ctx, min(grantWait, g.o.Limits.CallTime))
		defer cancel()
		stop := context.AfterFunc(g.stopping, cancel)
		defer stop()
		_ = waitFor(ctx, need)
	}
	return nil
}

// linkAnswer takes the answer to a question of the gateway's own, and its state,
// out of the params of a retry. action is empty where there is no answer.
func (g *Gateway) linkAnswer(c *call.Call, in *inbound, key string) (action string, ref *refusal) {
	raw, _ := in.params.Get("inputResponses")
	responses, err := mcp.ObjectOf(raw)
	if err != nil || raw != nil && strictjson.TypeOf(raw) != strictjson.TypeObject {
		return "", deny(c, call.Validate, call.ReasonInvalidParams, "inputResponses").say("params.inputResponses must be an object")
	}
	answer, answered := responses.Get(key)
	in.params = in.params.Without("requestState", "inputResponses")
	if rest := responses.Without(key); len(rest) > 0 {
		in.params = in.params.With("inputResponses", rest.Append(nil))
	}
	in.msg.Params = in.params.Append(nil)
	if !answered {
		return "", nil
	}
	q := question{Method: mcp.MethodElicit, Mode: "url"}
	if why := q.fits(answer); why != "" {
		return "", deny(c, call.Validate, call.ReasonInvalidParams, why).say("params.inputResponses." + key + ": " + why)
	}
	o, err := strictjson.SplitObject(answer)
	if err != nil {
		return "decline", nil
	}
	if action, _ = mcp.Text(o, "action", 16); action == "" {
		action = "decline"
	}
	return action, nil
}

// lacking is the list of a server that has no permission yet: one tool that
// gives the link, and nothing else.
func lacking(list, server string) []byte {
	if list != "tools" {
		return []byte("[]")
	}
	return appendArray(nil, [][]byte{connectDefinition(server, connectTool)})
}

func connectDefinition(server, name string) []byte {
	return strictjson.Object{
		{Name: "name", Raw: strictjson.AppendString(nil, name)},
		{Name: "title", Raw: strictjson.AppendString(nil, "Connect "+server)},
		{Name: "description", Raw: strictjson.AppendString(nil, "The server "+server+" shows its tools once the person who uses it has given their permission. "+
			"This tool gives a link for that person to open in a browser. Nobody else can give the permission.")},
		{Name: "inputSchema", Raw: []byte(`{"type":"object","additionalProperties":false}`)},
	}.Append(nil)
}

// listLacking answers a list of a server that lacks a permission.
func (g *Gateway) listLacking(ctx context.Context, c *call.Call, in *inbound, out outbox, need *credential.GrantNeeded) *refusal {
	if in.route.List == "tasks" {
		return grantRefusal(c, need)
	}
	g.o.Sessions.grants.add(c.Principal.ClientKey(), need, "")
	c.Decide(call.Decision{Effect: call.Annotate, Stage: call.Credential, Reason: call.ReasonGrantNeeded, Detail: need.Server})
	c.Pass(call.Send)
	page := strictjson.Object{{Name: in.route.List, Raw: lacking(in.route.List, c.Target.Server)}}
	return g.answer(ctx, c, in, out, g.shape(in, page, upstream.Answer{Kind: mcp.ResultComplete, Era: mcp.Modern}).Append(nil))
}

// describeLacking is what a server is before it can be asked.
func describeLacking(server string) upstream.Description {
	return upstream.Description{Era: mcp.Modern, Version: mcp.LatestModern, Capabilities: []byte(`{"tools":{"listChanged":true}}`),
		ServerInfo: strictjson.Object{{Name: "name", Raw: strictjson.AppendString(nil, server)}, {Name: "version", Raw: []byte(`"0"`)}}.Append(nil),
		Instructions: strictjson.AppendString(nil, "The server "+server+" needs the permission of the person who uses it: its tool "+
			connectTool+" gives the link.")}
}

// connected answers a client that still knows the connect tool after the
// permission was given.
func (g *Gateway) connected(ctx context.Context, c *call.Call, in *inbound, out outbox) *refusal {
	c.Pass(call.Send)
	text := "The permission for the server " + c.Target.Server + " is there. List its tools again."
	r := strictjson.Object{{Name: "content", Raw: append(strictjson.AppendString([]byte(`[{"type":"text","text":`), text), "}]"...)}}
	return g.answer(ctx, c, in, out, g.shape(in, r, upstream.Answer{Kind: mcp.ResultComplete, Era: mcp.Modern}).Append(nil))
}

// listenPart listens to one server. Where a permission is missing it waits for
// it and listens again.
func (g *Gateway) listenPart(ctx context.Context, c *call.Call, in *inbound, p part, sub *subscription) error {
	for {
		given, stop := g.o.Sessions.grants.wait(c.Principal.ClientKey(), p.server)
		err := g.contained(c, func() error { return g.listenTo(ctx, c, in, p, sub) })
		need := grantOf(err)
		if need == nil || ctx.Err() != nil {
			stop()
			return err
		}
		g.o.Sessions.grants.add(c.Principal.ClientKey(), need, "")
		sub.lacks(c, p)
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-given:
		}
	}
}

// ears is what a stream hears of permissions that are given. They are opened
// before the client knows that the stream is there, so that nothing falls
// between.
type ears struct {
	owner string
	watch *grantWatch
	ids   <-chan string // that the session was asked for; nil without a session
	close func()
	given map[string]<-chan struct{} // by server
}

func (g *Gateway) openEars(c *call.Call, in *inbound) *ears {
	e := &ears{owner: c.Principal.ClientKey(), watch: g.o.Sessions.grants, close: func() {}, given: map[string]<-chan struct{}{}}
	if in.session != nil {
		e.ids, e.close = e.watch.hear(in.session.key)
	}
	for _, server := range g.served(in) {
		given, stop := e.watch.wait(e.owner, server)
		e.given[server] = given
		before := e.close
		e.close = func() { stop(); before() }
	}
	return e
}

// tell passes on what is heard until ctx ends: that a server's lists changed,
// and which elicitations are complete ("Completion Notifications for URL Mode
// Elicitation").
func (e *ears) tell(ctx context.Context, c *call.Call, sub *subscription) {
	var wg sync.WaitGroup
	for server, given := range e.given {
		wg.Go(func() {
			for stop := func() {}; ; {
				select {
				case <-ctx.Done():
					stop()
					return
				case <-given:
				}
				given, stop = e.watch.wait(e.owner, server) // it may be withdrawn and given again
				e.changed(c, sub)
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return
		case id := <-e.ids:
			_ = sub.say(c, mcp.NotifyElicitationComplete, strictjson.Object{{Name: "elicitationId", Raw: strictjson.AppendString(nil, id)}})
		}
	}
}

// changed tells that the lists changed which the client listens to.
func (e *ears) changed(c *call.Call, sub *subscription) {
	for _, l := range listChanges() {
		if raw, ok := sub.asked.Get(l.member); ok && string(raw) == "true" {
			_ = sub.say(c, l.method, nil)
		}
	}
}

// listChange is the change of a list: its member in a filter, and how it is
// told.
type listChange struct{ member, method string }

func listChanges() []listChange {
	return []listChange{{"toolsListChanged", mcp.NotifyToolsChanged}, {"promptsListChanged", mcp.NotifyPromptsChanged},
		{"resourcesListChanged", mcp.NotifyResourcesChanged}}
}

// asked returns a member of a part's filter.
func (p part) asked(member string) ([]byte, bool) {
	raw, _ := p.params.Get("notifications")
	o, err := mcp.ObjectOf(raw)
	if err != nil {
		return nil, false
	}
	return o.Get(member)
}

// lacks acknowledges for a server that lacks a permission what the gateway can
// tell by itself.
func (s *subscription) lacks(c *call.Call, p part) {
	o := strictjson.Object{}
	for _, l := range listChanges() {
		if raw, ok := p.asked(l.member); ok {
			o = append(o, strictjson.Member{Name: l.member, Raw: raw})
		}
	}
	s.ack(&subscriber{sub: s, c: c, server: p.server}, strictjson.Object{{Name: "notifications", Raw: o.Append(nil)}}.Append(nil))
}

// say sends a notification of the gateway's own on a stream.
func (s *subscription) say(c *call.Call, method string, params strictjson.Object) error {
	if s.in.era == mcp.Modern {
		params = mcp.WithMeta(params, strictjson.Object{{Name: mcp.MetaSubscriptionID, Raw: []byte(s.in.msg.ID.Raw())}})
	}
	var body []byte
	if len(params) > 0 {
		body = params.Append(nil)
	}
	return s.emit(func() error { return s.out.send(c.Refusal(mcp.AppendNotification(nil, method, body))) })
}

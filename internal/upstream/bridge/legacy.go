package bridge

import (
	"context"
	"errors"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// initialize performs the handshake of a legacy server in the name of a
// caller (2025-11-25, "Initialization").
func (c *conn) initialize(ctx context.Context, from upstream.Caller) error {
	version := handshakeVersion(from)
	if version < c.s.cfg.Floor {
		return upstream.ErrVersion
	}
	caps := withoutTaskList(from.Capabilities.Raw)
	if from.Era != mcp.Legacy || caps == nil {
		caps = legacyCapabilities(from)
	}
	info := from.ClientInfo
	if info == nil {
		info = []byte(`{"name":"munjigi","version":"0"}`)
	}
	params := strictjson.Object{
		{Name: "protocolVersion", Raw: strictjson.AppendString(nil, string(version))},
		{Name: "capabilities", Raw: caps},
		{Name: "clientInfo", Raw: info},
	}.Append(nil)
	msg, err := c.t.Exchange(ctx, upstream.Outgoing{Method: mcp.MethodInitialize, Params: params, Subject: from.Subject()}, c.unbound)
	if err != nil {
		return eraError(err)
	}
	if msg.Kind == mcp.ErrorReply {
		e, err := mcp.ParseError(msg.Error)
		if err != nil {
			return &otherEra{cause: err}
		}
		return &otherEra{cause: e}
	}
	d, err := describeLegacy(msg.Result)
	if err != nil {
		return err
	}
	if mcp.EraOf(d.Version) != mcp.Legacy || !mcp.Known(d.Version, c.s.cfg.Floor) {
		return upstream.ErrVersion
	}
	if !c.s.era.sawLegacy() {
		return upstream.ErrHeld
	}
	c.desc, c.features = d, readFeatures(d.Capabilities)
	c.mu.Lock()
	c.version = d.Version
	c.mu.Unlock()
	return c.send(ctx, upstream.Outgoing{Method: mcp.NotifyInitialized, Subject: from.Subject()})
}

var errNoInitialize = violationError("the answer to initialize is no InitializeResult")

func describeLegacy(result []byte) (upstream.Description, error) {
	d := upstream.Description{Era: mcp.Legacy, Raw: result}
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return d, err
	}
	version, ok := mcp.Text(o, "protocolVersion", 32)
	if !ok {
		return d, errNoInitialize
	}
	d.Version = mcp.Version(version)
	caps, ok := o.Get("capabilities")
	if !ok || strictjson.TypeOf(caps) != strictjson.TypeObject {
		return d, errNoInitialize
	}
	d.Capabilities = caps
	if info, ok := o.Get("serverInfo"); ok && strictjson.TypeOf(info) == strictjson.TypeObject {
		d.ServerInfo = info
	}
	d.Instructions = stringMember(o, "instructions")
	return d, nil
}

// callLegacy carries a legacy client's request to a legacy server.
func (c *conn) callLegacy(ctx context.Context, r request) (upstream.Answer, error) {
	switch r.method {
	case mcp.MethodPing:
		return complete(mcp.EmptyObject()), nil
	case mcp.MethodSetLevel:
		return c.callSetLevel(ctx, r)
	case mcp.MethodResourcesSubscribe, mcp.MethodResourcesUnsubscribe:
		return c.callSubscribe(ctx, r)
	}
	c.applyLevel(ctx, r.from)
	return c.direct(ctx, r)
}

// direct sends one request to a legacy server and returns its answer as it is.
func (c *conn) direct(ctx context.Context, r request) (upstream.Answer, error) {
	f := c.depart(ctx, r)
	msg, err := f.exchange(ctx, upstream.Outgoing{Method: r.method, Params: legacyParams(r.params, r.from, f.token), Version: c.version})
	f.settle()
	if err != nil {
		return upstream.Answer{}, err
	}
	if r.method == mcp.MethodToolsCall && msg.Kind == mcp.Result {
		if task, id, ok := taskOf(msg.Result); ok {
			c.remember(f, task, id)
		}
	}
	return answerOf(msg)
}

func complete(result []byte) upstream.Answer {
	return upstream.Answer{Result: result, Kind: mcp.ResultComplete}
}

// answerOf reads a response whose result needs no other look.
func answerOf(msg mcp.Message) (upstream.Answer, error) {
	if msg.Kind != mcp.ErrorReply {
		return complete(msg.Result), nil
	}
	e, err := mcp.ParseError(msg.Error)
	if err != nil {
		return upstream.Answer{}, violationError("its error is no error object")
	}
	return upstream.Answer{Error: e, Kind: mcp.ResultComplete}, nil
}

// callSetLevel passes logging/setLevel and remembers what holds now.
func (c *conn) callSetLevel(ctx context.Context, r request) (upstream.Answer, error) {
	select {
	case c.level <- struct{}{}:
	case <-ctx.Done():
		return upstream.Answer{}, ctx.Err()
	}
	defer func() { <-c.level }()
	a, err := c.direct(ctx, r)
	if err == nil && a.Error == nil {
		if o, perr := mcp.ObjectOf(r.params); perr == nil {
			if level, ok := mcp.Text(o, "level", 32); ok {
				c.mu.Lock()
				c.logLevel = level
				c.mu.Unlock()
			}
		}
	}
	return a, err
}

// applyLevel makes the server's session as talkative as the most curious of
// its live calls asks for. The level belongs to the session in legacy
// revisions and to the request in modern ones.
func (c *conn) applyLevel(ctx context.Context, from upstream.Caller) {
	if from.LogLevel == "" || !c.features.logging {
		return
	}
	select {
	case c.level <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-c.level }()
	level := from.LogLevel
	c.mu.Lock()
	for f := range c.flights {
		if f.from.LogLevel != "" && mcp.LogRank(f.from.LogLevel) < mcp.LogRank(level) {
			level = f.from.LogLevel
		}
	}
	same := level == c.logLevel
	c.mu.Unlock()
	if same {
		return
	}
	params := strictjson.Object{{Name: "level", Raw: strictjson.AppendString(nil, level)}}.Append(nil)
	msg, err := c.t.Exchange(ctx, upstream.Outgoing{Method: mcp.MethodSetLevel, Params: params, Version: c.version, Subject: from.Subject()}, c.unbound)
	if err != nil || msg.Kind != mcp.Result {
		c.s.cfg.Logger.Debug("the server did not take a log level")
		return
	}
	c.mu.Lock()
	c.logLevel = level
	c.mu.Unlock()
}

// The errors that callers see. Their words are ours.

type wordedError struct {
	kinds []error // what it is, the first one in its words
	words string
}

func (e *wordedError) Error() string   { return e.kinds[0].Error() + ": " + e.words }
func (e *wordedError) Unwrap() []error { return e.kinds }

func worded(words string, kinds ...error) error { return &wordedError{kinds, words} }

func violationError(words string) error { return worded(words, upstream.ErrViolation) }
func notExpressible(words string) error { return worded(words, upstream.ErrNotExpressible) }

// lostInFlight is the error of a call whose connection went away, and of why
// it did. Nothing is sent again: whether the server executed it is not known.
func lostInFlight(cause error) error {
	kinds := []error{upstream.ErrCutOff}
	for _, k := range []error{upstream.ErrDown, upstream.ErrSessionGone, upstream.ErrViolation, upstream.ErrTooLarge} {
		if errors.Is(cause, k) {
			kinds = append(kinds, k)
		}
	}
	return worded("the connection was lost during the call; it was not sent again, and whether it took effect is not known", kinds...)
}

package bridge

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

type tri uint8

const (
	unknown tri = iota
	yes
	no
)

// memory is what is known of the eras that a server speaks. It belongs to the
// server, not to a caller (2026-07-28, "Backward Compatibility with
// Initialization-Based Versions").
type memory struct {
	setting EraSetting

	mu             sync.Mutex
	modern, legacy tri
	version        mcp.Version // the modern revision in use
	caps           features    // of the last DiscoverResult
	seenModern     bool
	held           bool
	doubted        time.Time
	// keep is told the first time that the server is seen modern.
	keep func()
}

// doubtEvery bounds how often a strange error makes the server be asked anew.
const doubtEvery = time.Minute

// doubt notes an error by which a server that is legacy by now may refuse
// modern requests, so that it is asked anew before the next call.
func (m *memory) doubt(code int) {
	switch {
	case m.setting != EraAuto:
		return
	case code == mcp.CodeInvalidRequest, code == mcp.CodeMethodNotFound, code <= -32000 && code > mcp.CodeHeaderMismatch:
	default:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.doubted) >= doubtEvery {
		m.doubted, m.modern = now, unknown
	}
}

// decide returns the era in which a caller is spoken to, or false when the
// server has to be asked first.
func (m *memory) decide(client mcp.Era) (mcp.Era, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.setting == EraModern:
		return mcp.Modern, true
	case m.setting == EraLegacy:
		return mcp.Legacy, true
	case m.held:
		return 0, false
	case client == mcp.Legacy && m.legacy == yes:
		return mcp.Legacy, true
	case client == mcp.Legacy && m.legacy == no && m.modern == yes:
		return mcp.Modern, true
	case client == mcp.Modern && m.modern == yes:
		return mcp.Modern, true
	case client == mcp.Modern && m.modern == no && m.legacy == yes:
		return mcp.Legacy, true
	}
	return 0, false
}

// forget drops what is remembered of an era that failed; that the server was
// seen modern is kept.
func (m *memory) forget(e mcp.Era) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e == mcp.Modern {
		m.modern = unknown
	} else {
		m.legacy = unknown
	}
}

func (m *memory) sawModern(v mcp.Version, f features) {
	m.mu.Lock()
	first := !m.seenModern
	m.modern, m.seenModern, m.held = yes, true, false
	m.version, m.caps = v, f
	m.mu.Unlock()
	if first && m.keep != nil {
		m.keep()
	}
}

// approve forgets that the server was ever modern: the operator knows why it
// is not any more.
func (m *memory) approve() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.modern, m.legacy, m.seenModern, m.held = unknown, unknown, false, false
}

func (m *memory) refused(e mcp.Era) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e == mcp.Modern {
		m.modern = no
	} else {
		m.legacy = no
	}
}

// sawLegacy records an answered handshake. It reports false when that is a
// downgrade: the server was modern, and is modern no more or was not legacy
// before. Such a server is held.
func (m *memory) sawLegacy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.setting == EraAuto && m.seenModern && (m.modern == no || m.legacy == no) {
		m.held = true
		return false
	}
	m.legacy = yes
	return true
}

func (m *memory) isHeld() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held
}

// modernVersion returns the revision that modern requests declare.
func (m *memory) modernVersion() mcp.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.version == "" {
		return mcp.LatestModern
	}
	return m.version
}

// features are the server's capabilities that decide what is sent to it.
type features struct {
	known                        bool
	logging, subscribe           bool
	tools, prompts, resources    bool // listChanged of each
	tasks, tasksCancel, tasksAsk bool // tasksAsk: tools/call may be a task
}

func readFeatures(raw []byte) features {
	f := features{known: true}
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		return f
	}
	for _, m := range o {
		if strictjson.TypeOf(m.Raw) != strictjson.TypeObject {
			continue
		}
		sub, err := strictjson.SplitObject(m.Raw)
		if err != nil {
			continue
		}
		on := func(name string) bool { v, _ := sub.Get(name); return string(v) == "true" }
		switch m.Name {
		case "logging":
			f.logging = true
		case "tools":
			f.tools = on("listChanged")
		case "prompts":
			f.prompts = on("listChanged")
		case "resources":
			f.resources, f.subscribe = on("listChanged"), on("subscribe")
		case "tasks":
			f.tasks = true
			_, f.tasksCancel = sub.Get("cancel")
			if r, ok := sub.Get("requests"); ok {
				if ro, err := strictjson.SplitObject(r); err == nil {
					if t, ok := ro.Get("tools"); ok {
						if to, err := strictjson.SplitObject(t); err == nil {
							_, f.tasksAsk = to.Get("call")
						}
					}
				}
			}
		case "extensions":
			if _, ok := sub.Get(mcp.ExtensionTasks); ok {
				f.tasks, f.tasksAsk, f.tasksCancel = true, true, true
			}
		}
	}
	return f
}

// otherEra says that a server answered a probe, and not in the era of the
// probe.
type otherEra struct {
	cause error
	// silent reports that the answer was silence.
	silent bool
}

func (e *otherEra) Error() string { return "the server does not speak this era: " + e.cause.Error() }
func (e *otherEra) Unwrap() error { return e.cause }

// wrongEra reports whether an HTTP status is how a server of the other era
// may refuse a request. Statuses about credentials, load and failures say
// nothing about eras.
func wrongEra(status int) bool {
	switch status {
	case 401, 402, 403, 407, 408, 421, 425, 426, 428, 429, 431, 451:
		return false
	}
	return status >= 400 && status < 500
}

// probe opens a connection for a caller and learns which era the server
// speaks. A legacy client is tried with initialize first, a modern one with
// server/discover, so that a server of both eras is spoken to in the client's.
func (s *Server) probe(ctx context.Context, from upstream.Caller) (*conn, error) {
	if s.era.isHeld() {
		c, err := s.attempt(ctx, mcp.Modern, from, nil)
		if other := (*otherEra)(nil); errors.As(err, &other) {
			return nil, upstream.ErrHeld
		}
		return c, err
	}
	first, second := mcp.Modern, mcp.Legacy
	if from.Era == mcp.Legacy {
		first, second = mcp.Legacy, mcp.Modern
	}
	var refusal *otherEra
	c, err := s.attempt(ctx, first, from, nil)
	if err == nil || !errors.As(err, &refusal) {
		return c, err
	}
	s.era.refused(first)
	silent := refusal.silent
	c, err = s.attempt(ctx, second, from, c)
	if err == nil || !errors.As(err, &refusal) {
		return c, err
	}
	c.discard()
	if silent && first == mcp.Modern {
		// It may have been slow to start: ask once more and wait longer.
		s.era.forget(mcp.Modern)
		c, err2 := s.attempt(ctx, mcp.Modern, from, nil)
		if err2 == nil {
			s.era.refused(mcp.Legacy)
			return c, nil
		}
		c.discard()
	}
	s.era.forget(first)
	return nil, refusal.cause
}

// attempt opens a connection in one era. With otherEra it also returns the
// connection, whose process may be used for the next attempt; with any other
// error there is none.
func (s *Server) attempt(ctx context.Context, e mcp.Era, from upstream.Caller, used *conn) (*conn, error) {
	reused := used != nil && s.cfg.Kind == Stdio && used.alive()
	if !reused {
		used.discard()
		var err error
		if used, err = s.dial(ctx, e, from); err != nil {
			return nil, err
		}
	}
	used.setEra(e)
	err := used.handshake(ctx, from, !reused && e == mcp.Modern)
	if err == nil {
		return used, nil
	}
	if reused {
		// The first question may have spoiled the process for the second.
		used.discard()
		return s.attempt(ctx, e, from, nil)
	}
	var refusal *otherEra
	if errors.As(err, &refusal) {
		return used, err
	}
	used.discard()
	return nil, err
}

// handshake brings a fresh connection to where requests can be sent.
func (c *conn) handshake(ctx context.Context, from upstream.Caller, quick bool) error {
	limit := c.s.cfg.HandshakeTimeout
	if quick && c.s.cfg.Kind == Stdio && c.s.era.setting == EraAuto && !c.s.era.knowsModern() {
		limit = min(limit, c.s.cfg.ProbeTimeout)
	}
	hctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	if c.era == mcp.Modern {
		var d upstream.Description
		if d, err = c.discover(hctx, from); err == nil {
			c.hello = &greeting{from: from, at: time.Now(), desc: d}
		}
	} else {
		err = c.initialize(hctx, from)
	}
	if err != nil && hctx.Err() != nil && ctx.Err() == nil {
		if c.s.cfg.Kind == Stdio {
			return &otherEra{cause: errSilent, silent: true}
		}
		return errSilent
	}
	return err
}

var errSilent = errors.New("the server did not answer the first message in time")

// discover asks a modern server who it is and settles on a revision.
func (c *conn) discover(ctx context.Context, from upstream.Caller) (upstream.Description, error) {
	version := c.s.era.modernVersion()
	for again := false; ; again = true {
		params := modernParams(nil, from, version, modernMeta{caps: callerCapabilities(from, false)})
		msg, err := c.t.Exchange(ctx, upstream.Outgoing{Method: mcp.MethodDiscover, Params: params, Version: version, Subject: from.Subject()}, dropAll)
		if err != nil {
			return upstream.Description{}, eraError(err)
		}
		if msg.Kind == mcp.ErrorReply {
			e, perr := mcp.ParseError(msg.Error)
			if perr != nil {
				return upstream.Description{}, &otherEra{cause: perr}
			}
			if e.Code == mcp.CodeUnsupportedVersion {
				if v, ok := c.s.pickModern(supportedOf(e.Data, "supported")); ok && v != version && !again {
					version = v
					continue
				}
				return upstream.Description{}, &otherEra{cause: upstream.ErrVersion}
			}
			if mcp.IsModernError(e.Code) {
				return upstream.Description{}, e
			}
			return upstream.Description{}, &otherEra{cause: e}
		}
		d, err := describeModern(msg.Result)
		if err != nil {
			return d, &otherEra{cause: err}
		}
		v, ok := c.s.pickModern(supportedOf(msg.Result, "supportedVersions"))
		if !ok {
			return d, &otherEra{cause: upstream.ErrVersion}
		}
		d.Version = v
		caps := readFeatures(d.Capabilities)
		c.s.era.sawModern(v, caps)
		c.mu.Lock()
		c.caps = caps
		c.mu.Unlock()
		return d, nil
	}
}

func dropAll(mcp.Message) {}

// eraError marks transport errors that are a server's way to refuse an era.
func eraError(err error) error {
	var st *upstream.StatusError
	if errors.As(err, &st) && wrongEra(st.Status) || errors.Is(err, upstream.ErrSessionGone) {
		return &otherEra{cause: err}
	}
	return err
}

func supportedOf(obj []byte, member string) []mcp.Version {
	o, err := mcp.ObjectOf(obj)
	if err != nil {
		return nil
	}
	raw, _ := o.Get(member)
	if strictjson.TypeOf(raw) != strictjson.TypeArray {
		return nil
	}
	elems, err := strictjson.SplitArray(raw)
	if err != nil || len(elems) > 64 {
		return nil
	}
	var out []mcp.Version
	for _, e := range elems {
		if v, err := strictjson.String(e); err == nil {
			out = append(out, mcp.Version(v))
		}
	}
	return out
}

// pickModern returns the newest modern revision that both sides keep.
func (s *Server) pickModern(offered []mcp.Version) (mcp.Version, bool) {
	for _, v := range mcp.Supported(s.cfg.Floor) {
		if mcp.EraOf(v) == mcp.Modern && slices.Contains(offered, v) {
			return v, true
		}
	}
	return "", false
}

func describeModern(result []byte) (upstream.Description, error) {
	d := upstream.Description{Era: mcp.Modern, Raw: result}
	o, err := mcp.ObjectOf(result)
	if err != nil {
		return d, err
	}
	if raw, ok := o.Get("capabilities"); ok && strictjson.TypeOf(raw) == strictjson.TypeObject {
		d.Capabilities = raw
	} else {
		return d, errNoDiscovery
	}
	if raw, ok := o.Get("_meta"); ok && strictjson.TypeOf(raw) == strictjson.TypeObject {
		if meta, err := strictjson.SplitObject(raw); err == nil {
			if info, ok := meta.Get(mcp.MetaServerInfo); ok && strictjson.TypeOf(info) == strictjson.TypeObject {
				d.ServerInfo = info
			}
		}
	}
	d.Instructions = stringMember(o, "instructions")
	return d, nil
}

var errNoDiscovery = errors.New("the answer to server/discover is no DiscoverResult")

func stringMember(o strictjson.Object, name string) []byte {
	if raw, ok := o.Get(name); ok && strictjson.TypeOf(raw) == strictjson.TypeString {
		return raw
	}
	return nil
}

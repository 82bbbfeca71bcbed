// Package demo is the server that `munjigi serve` shows when no config names
// one: a few tools, a resource, a template and a prompt, so that a newcomer
// has something to call, something that asks back and something that is
// refused.
//
// Threat: an example that opens a hole. A demonstration runs on machines of
// people who only wanted to look, so everything here is pure computation in
// this process: no file, no network, no process, no clock but the one that
// slow_count waits for, nothing kept between calls, every argument read
// strictly and bounded in size.
//
// It guarantees that it answers each client in the client's own era, that it
// does nothing without a clearance, and that whatever it is sent it answers
// within bounds that Limits names. It guards nothing: refusing its tool
// RefusedTool is the gateway's part, and the tool itself says so to whoever
// reaches it.
package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// Name is the configured name under which the server is mounted.
const Name = "demo"

// RefusedTool is listed and meant to be refused by the gateway's policy.
const RefusedTool = "delete_everything"

// PoisonedTool is meant to be held: its description tells the model to read a
// key and to keep that from the person, as those of known attacks do.
const PoisonedTool = "translate_text"

// Limits of what the tools take.
const (
	MaxText  = 64 << 10 // characters that count_words reads
	MaxName  = 80       // characters of the name that ask_name takes
	MaxCount = 20       // steps of slow_count
	MaxPause = 1000     // milliseconds between its steps
)

// Options are what the server says of the gateway around it.
type Options struct {
	// Version is the gateway's own.
	Version string
	// Protected and Open are plain sentences: what is protected by this
	// gateway as it runs, and what is not.
	Protected, Open []string
}

// Server implements upstream.Server. It keeps nothing between calls, so one
// serves every caller.
type Server struct{ o Options }

var _ upstream.Server = (*Server)(nil)

// New returns the demo server.
func New(o Options) *Server {
	o.Protected, o.Open = slices.Clone(o.Protected), slices.Clone(o.Open)
	return &Server{o: o}
}

const (
	capabilities = `{"tools":{},"resources":{},"prompts":{},"completions":{},"logging":{}}`
	instructions = "A demonstration behind the Munjigi gateway. Call explain_gateway to learn what stands between you and the " +
		"servers, and count_words for a first result. ask_name asks the person back. " + RefusedTool + " is refused on purpose."
)

// Fingerprint is the digest of every definition of this build's demo.
func Fingerprint() string {
	sum := sha256.Sum256([]byte(toolDefinitions + resourceDefinitions + templateDefinitions + promptDefinitions + instructions))
	return hex.EncodeToString(sum[:8])
}

// Describe implements upstream.Server. It answers in the era of the caller
// and in the caller's revision where it is one of ours.
func (s *Server) Describe(_ context.Context, from upstream.Caller) (upstream.Description, error) {
	info := s.info()
	d := upstream.Description{
		Era: from.Era, Version: from.Version, Capabilities: []byte(capabilities), ServerInfo: info, Instructions: quote(instructions),
	}
	switch from.Era {
	case mcp.Modern:
		if !mcp.Known(d.Version, mcp.LatestModern) {
			d.Version = mcp.LatestModern
		}
		d.Raw = strictjson.Object{}.
			With("resultType", quote(mcp.ResultComplete)).
			With("supportedVersions", append(append([]byte{'['}, quote(string(d.Version))...), ']')).
			With("capabilities", d.Capabilities).
			With("instructions", d.Instructions).
			With("_meta", strictjson.Object{}.With(mcp.MetaServerInfo, info).Append(nil)).Append(nil)
	case mcp.Legacy:
		if mcp.EraOf(d.Version) != mcp.Legacy || !mcp.Known(d.Version, mcp.V20250326) {
			d.Version = mcp.LatestLegacy
		}
		d.Raw = strictjson.Object{}.
			With("protocolVersion", quote(string(d.Version))).
			With("capabilities", d.Capabilities).
			With("serverInfo", info).
			With("instructions", d.Instructions).Append(nil)
	default:
		return upstream.Description{}, errEra
	}
	return d, nil
}

// info is the server's own name and version, for the protocol.
func (s *Server) info() []byte {
	return strictjson.Object{}.
		With("name", quote("munjigi-demo")).
		With("title", quote("Munjigi demo")).
		With("version", quote(s.o.Version)).Append(nil)
}

var errEra = errors.New("demo: the caller has no era: set Caller.Era")

// Call implements upstream.Server.
func (s *Server) Call(ctx context.Context, cl *call.Clearance, from upstream.Caller, c upstream.Client) (upstream.Answer, error) {
	cleared, err := spend(cl, from)
	if err != nil {
		return upstream.Answer{}, err
	}
	if from.Era != mcp.Legacy && from.Era != mcp.Modern {
		return upstream.Answer{}, errEra
	}
	params, err := mcp.ObjectOf(cleared.Params)
	if err != nil {
		return refused(from, invalid("params must be an object")), nil
	}
	a, err := s.answer(ctx, cleared.Target.Method, params, from, c)
	var rpc *mcp.Error
	switch {
	case errors.As(err, &rpc):
		return refused(from, rpc), nil
	case err != nil:
		return upstream.Answer{}, err
	}
	a.Era = from.Era
	if a.Kind == "" {
		a.Kind = mcp.ResultComplete
	}
	return a, nil
}

// spend uses a clearance up and checks that it is for this server and caller.
func spend(cl *call.Clearance, from upstream.Caller) (call.Cleared, error) {
	cleared, err := cl.Spend()
	if err == nil && (cleared.Target.Server != Name || cleared.Principal.ClientKey() != from.Principal.ClientKey()) {
		return call.Cleared{}, call.ErrNotCleared
	}
	return cleared, err
}

// answer serves one method. A *mcp.Error goes to the client as it is.
func (s *Server) answer(ctx context.Context, method string, params strictjson.Object, from upstream.Caller, c upstream.Client) (upstream.Answer, error) {
	switch method {
	case mcp.MethodToolsList:
		return list(params, "tools", toolDefinitions)
	case mcp.MethodResourcesList:
		return list(params, "resources", resourceDefinitions)
	case mcp.MethodResourcesTemplatesList:
		return list(params, "resourceTemplates", templateDefinitions)
	case mcp.MethodPromptsList:
		return list(params, "prompts", promptDefinitions)
	case mcp.MethodToolsCall:
		return s.callTool(ctx, params, from, c)
	case mcp.MethodResourcesRead:
		return s.readResource(params, from)
	case mcp.MethodPromptsGet:
		return getPrompt(params)
	case mcp.MethodComplete:
		return complete(params)
	case mcp.MethodPing, mcp.MethodSetLevel:
		return upstream.Answer{Result: mcp.EmptyObject()}, nil
	}
	return upstream.Answer{}, &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "Method not found"}
}

// Notify implements upstream.Server: no notification changes anything here.
func (s *Server) Notify(_ context.Context, cl *call.Clearance, from upstream.Caller) error {
	_, err := spend(cl, from)
	return err
}

// Listen implements upstream.Server: nothing here ever changes, so it honours
// no part of the filter, says so to a modern client, and waits until the
// client has had enough.
func (s *Server) Listen(ctx context.Context, cl *call.Clearance, from upstream.Caller, c upstream.Client) error {
	if _, err := spend(cl, from); err != nil {
		return err
	}
	if from.Era == mcp.Modern && c != nil {
		if err := c.Notify(mcp.NotifySubscriptionAck, []byte(`{"notifications":{}}`)); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// End implements upstream.Server: nothing is held for a session.
func (s *Server) End(string) {}

// list answers one page with everything there is.
func list(params strictjson.Object, member, definitions string) (upstream.Answer, error) {
	if raw, ok := params.Get("cursor"); ok && strictjson.TypeOf(raw) != strictjson.TypeNull {
		return upstream.Answer{}, invalid("this cursor is not one of ours: list again without it")
	}
	return upstream.Answer{Result: strictjson.Object{}.With(member, []byte(definitions)).Append(nil)}, nil
}

// refused is an error in the words of the caller's era.
func refused(from upstream.Caller, e *mcp.Error) upstream.Answer {
	return upstream.Answer{Error: e, Era: from.Era, Kind: mcp.ResultComplete}
}

func invalid(text string) *mcp.Error { return &mcp.Error{Code: mcp.CodeInvalidParams, Message: text} }

func quote(s string) []byte { return strictjson.AppendString(nil, s) }

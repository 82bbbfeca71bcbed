// Package upstream is the contract between the pipeline and whatever reaches
// an MCP server: over HTTP or stdio, modern or legacy, bridged or not.
//
// Threat: a path to a server that no stage judged. Server.Call takes a
// call.Clearance and nothing else says what may be sent.
//
// It guarantees no behaviour of a server: all that comes back is untrusted
// and passes inspection before a client sees it.
package upstream

import (
	"context"
	"errors"

	"github.com/munjigi/munjigi/internal/base/secret"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Server is one configured MCP server as the pipeline sees it. It always
// answers in the era of the client: a modern client gets results or
// input_required, a legacy client is asked through Client.Ask.
type Server interface {
	// Describe returns what the server says of itself to this client,
	// connecting if need be.
	Describe(ctx context.Context, from Caller) (Description, error)
	// Call sends one cleared request and returns its answer. The context's
	// end cancels the call upstream.
	Call(ctx context.Context, cl *call.Clearance, from Caller, c Client) (Answer, error)
	// Notify sends one cleared notification of a legacy client, where the
	// server's era has a place for it.
	Notify(ctx context.Context, cl *call.Clearance, from Caller) error
	// Listen gives a client what the server sends outside of calls until the
	// context ends: change notifications, task states. The filter is the
	// cleared message's params (subscriptions/listen, with the
	// specification's members). A nil error means the server closed the
	// stream gracefully.
	Listen(ctx context.Context, cl *call.Clearance, from Caller, c Client) error
	// End lets go of everything held for one downstream session.
	End(session string)
}

// Caller is what the pipeline knows of the client that a call comes from.
type Caller struct {
	Principal call.Principal
	// Token is the access token that the client presented with this request. It
	// is for the credential's source and never travels on.
	Token secret.Value
	// Session is the key of the downstream legacy session; empty for modern
	// clients. Upstream state is never shared across it.
	Session      string
	Era          mcp.Era
	Version      mcp.Version
	Capabilities mcp.Capabilities
	ClientInfo   []byte
	LogLevel     string
	// ProgressToken is raw JSON, nil when progress was not asked for.
	ProgressToken []byte
	TraceParent   string
	// Headers are Mcp-Param headers that travel on: those built again from
	// the body by the definition, and unrecognized ones with checked values.
	Headers []Header
	// TaskSupport is execution.taskSupport of the called tool as the catalogue
	// knows it, empty when there is none. It decides whether a modern client's
	// call of a legacy server's tool becomes a task.
	TaskSupport string
	// Resume continues a call that answered input_required before.
	Resume *Resume
	// Aside marks a request of the gateway's own on behalf of a call, such as a
	// list that the call is judged by: nothing that a server asks belongs to it.
	Aside bool
}

// Subject is on whose behalf the server is reached.
func (c *Caller) Subject() call.Subject { return call.Subject{Principal: c.Principal, Token: c.Token} }

// Header is one name and its encoded value.
type Header struct{ Name, Value string }

// Resume carries what a modern client brings back.
type Resume struct {
	// State is what Answer.State said; empty when the server gave none.
	State string
	// Responses is the raw inputResponses object, filtered to what was asked.
	Responses []byte
}

// Description is what a server says of itself, by raw members so that a field
// nobody knows yet survives.
type Description struct {
	// Era is the era in which the server is spoken to for this caller.
	Era mcp.Era
	// Version is the revision in use toward the server.
	Version mcp.Version
	// Raw is the InitializeResult (legacy) or DiscoverResult (modern).
	Raw []byte
	// ServerInfo (may be nil) and Instructions (raw string, may be nil) are its
	// parts. Capabilities is its part too, with tasks said in the words of the
	// caller's era.
	Capabilities []byte
	ServerInfo   []byte
	Instructions []byte
}

// Answer is the outcome of a call. Exactly one of Result and Error is set.
type Answer struct {
	// Result is the raw result object, in the shape of the server's era
	// unless Kind says otherwise.
	Result []byte
	Error  *mcp.Error
	// Kind is mcp.ResultComplete, mcp.ResultInputRequired or mcp.ResultTask.
	// For input_required, Requests is the raw inputRequests object and State
	// the opaque text to be sealed; Result then holds the server's other
	// members, if it sent any.
	Kind     string
	Requests []byte
	State    string
	// Suspended reports that State names a call that waits in this process
	// and may be continued once.
	Suspended bool
	// Era is the era of the server that answered.
	Era mcp.Era
	// Refused is why Error comes from the gateway itself and not from the
	// server; empty for all that a server said.
	Refused call.Reason
	// ServerInfo is what a legacy server said of itself at its handshake (may
	// be nil); a modern server says it in each result.
	ServerInfo []byte
}

// Client is the caller's side of one call or stream. Each message passes
// inspection before it is written. The pipeline implements it.
type Client interface {
	// Notify hands on a notification: progress with the client's own token,
	// log messages, changes, task states.
	Notify(method string, params []byte) error
	// Ask puts a server's request to a legacy client and waits for the
	// answer: a raw result or the client's error. Modern clients are never
	// asked; Call answers input_required instead.
	Ask(ctx context.Context, method string, params []byte) (result []byte, refused *mcp.Error, err error)
}

// Transport moves JSON-RPC messages to one server over one connection: a
// process, or an HTTP endpoint with or without a session. It correlates
// responses with requests and bounds what it reads; it knows no method.
type Transport interface {
	// Exchange sends a request under an ID of its own and returns the
	// response message (mcp.Result or mcp.ErrorReply). Messages that surely
	// belong to this request (HTTP: its own response stream) go to h, in
	// order, from one goroutine, before Exchange returns. When ctx ends it
	// returns ctx.Err() at once; a late response is dropped.
	Exchange(ctx context.Context, m Outgoing, h Handler) (mcp.Message, error)
	// Send posts a notification or a response.
	Send(ctx context.Context, m Outgoing) error
	// Listen receives what belongs to no request until ctx ends or the
	// server closes: the GET stream of a legacy session. A transport whose
	// unbound messages arrive anyway (stdio) blocks until ctx ends or the
	// connection is lost.
	Listen(ctx context.Context) error
	// Close ends the connection: DELETE of a legacy session, end of input,
	// then signals for a process.
	Close() error
}

// Outgoing is one message to be sent.
type Outgoing struct {
	// Method and Params make a request or a notification.
	Method string
	Params []byte
	// Members are the params of a request taken apart, in the place of Params:
	// they are joined where the message is written, so that large arguments are
	// copied once.
	Members strictjson.Object
	// Answer, Result and Error make a response to the server's request.
	Answer mcp.ID
	Result []byte
	Error  *mcp.Error

	// Version goes into MCP-Protocol-Version (HTTP); empty sends none.
	Version mcp.Version
	// Name goes into Mcp-Name, Headers follow (HTTP, modern only).
	Name    string
	Headers []Header
	// Subject is on whose behalf the message is sent; zero where no request of a
	// caller is behind it, which then is DialOptions.Subject.
	Subject call.Subject
	// RequestID, if not nil, is told the ID that Exchange chose before the
	// request is written, so that it can be named in notifications/cancelled.
	RequestID func(mcp.ID)
}

// Append appends the message to dst as JSON. A request carries id; with the
// zero ID the message is a notification or a response, else an error.
func (m *Outgoing) Append(dst []byte, id mcp.ID) ([]byte, error) {
	switch {
	case !id.IsZero() && m.Members != nil:
		dst = mcp.AppendRequestHead(dst, id, m.Method)
		return append(m.Members.Append(dst), '}'), nil
	case !id.IsZero():
		return mcp.AppendRequest(dst, id, m.Method, m.Params), nil
	case mcp.IsNotification(m.Method):
		return mcp.AppendNotification(dst, m.Method, m.Params), nil
	case m.Method == "" && !m.Answer.IsZero() && m.Error != nil:
		return mcp.AppendError(dst, m.Answer, m.Error, false), nil
	case m.Method == "" && !m.Answer.IsZero() && m.Result != nil:
		return mcp.AppendResult(dst, m.Answer, m.Result), nil
	}
	return dst, errors.New("only a notification or a response can be sent without awaiting an answer")
}

// Handler takes one message of a server. It must not block for long.
type Handler func(mcp.Message)

// Dialer opens connections to one configured server.
type Dialer interface {
	// Dial opens a connection. For stdio it starts a process.
	Dial(ctx context.Context, o DialOptions) (Transport, error)
}

// DialOptions are what the owner of a connection wants to be told.
type DialOptions struct {
	// Era decides headers (modern: Mcp-Method and Mcp-Name; legacy:
	// Mcp-Session-Id and resumption).
	Era mcp.Era
	// Unbound takes messages that no exchange surely owns.
	Unbound Handler
	// Down is called once when the connection is lost, with the cause.
	Down func(error)
	// Subject says on whose behalf the connection is kept: its own streams, its
	// end, and whatever names nobody else. Nil is nobody.
	Subject func() call.Subject
}

// Errors of connections. They are matched with errors.Is.
var (
	// ErrSessionGone: the server no longer knows the legacy session (404).
	ErrSessionGone = errors.New("the server ended the session")
	// ErrDown: the process exited or the endpoint cannot be reached.
	ErrDown = errors.New("the server is not available")
	// ErrCutOff: the connection broke between a request and its answer. The
	// session may live on; whether the request took effect is not known.
	ErrCutOff = errors.New("the server's answer was cut off")
	// ErrBackoff: the server crashed lately and is not started again yet.
	ErrBackoff = errors.New("the server crashed and is waiting to be started again")
	// ErrViolation: the server sent what the protocol does not allow.
	ErrViolation = errors.New("the server broke the protocol")
	// ErrTooLarge: a message of the server exceeds the limit.
	ErrTooLarge = errors.New("the server sent more than the limit allows")
	// ErrLost: a suspended call is not there any more.
	ErrLost = errors.New("the suspended call was lost")
	// ErrBusy: a bound on processes, sessions or suspended calls is reached.
	ErrBusy = errors.New("too much is going on at this server")
	// ErrHeld: a server that was modern now says that it is legacy.
	ErrHeld = errors.New("the server was modern and now says that it is not: `munjigi servers approve NAME` accepts that")
	// ErrVersion: the server speaks no revision at or above the floor.
	ErrVersion = errors.New("the server speaks no protocol version that is allowed here")
	// ErrCredential: what the server wants of the gateway could not be had, or
	// the server refused it. Nothing was executed. The chain says which, in the
	// words of package credential.
	ErrCredential = errors.New("no credential for the server")
	// ErrNotExpressible: the pair of eras has no way to say this.
	ErrNotExpressible = errors.New("the server's protocol version cannot express this")
)

// StatusError is an HTTP answer that carried no JSON-RPC message.
type StatusError struct {
	Status          int
	WWWAuthenticate []string
}

// Error names the status.
func (e *StatusError) Error() string { return "the server answered HTTP " + itoa(e.Status) }

func itoa(n int) string {
	if n < 0 || n > 999 {
		return "?"
	}
	return string([]byte{byte('0' + n/100), byte('0' + n/10%10), byte('0' + n%10)})
}

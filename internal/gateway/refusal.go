package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/credential"
	"github.com/munjigi/munjigi/internal/mcp"
	"github.com/munjigi/munjigi/internal/upstream"
)

// MetaID is the _meta member that names the record of a refused tool call.
const MetaID = "dev.munjigi/id"

// refusal is the one shape of a no. Everything a caller learns of it is here;
// detail stays on the record.
type refusal struct {
	decision  call.Decision
	status    int // HTTP
	code      int // JSON-RPC
	text      string
	data      strictjson.Object
	challenge string
	retry     int // seconds; 0 sends no Retry-After
	// words makes the refusal of a tools/call a result that a model reads.
	words bool
	// need is the permission that the person has to give first.
	need *credential.GrantNeeded
	// held is where the call stands that a person has to approve first.
	held *authz.Standing
}

// deny writes a verdict on the call and returns its refusal with the status,
// code and words that the reason always has.
func deny(c *call.Call, st call.Stage, why call.Reason, detail string) *refusal {
	d := call.Decision{Effect: call.Deny, Stage: st, Reason: why, Detail: detail}
	c.Decide(d)
	return refuseDecision(d)
}

// refuseDecision makes the refusal of a verdict that stands on the call.
func refuseDecision(d call.Decision) *refusal {
	r := &refusal{decision: d, status: http.StatusOK, code: mcp.CodeInvalidRequest}
	switch d.Reason {
	case call.ReasonBadHost:
		r.status, r.text = http.StatusForbidden, "this Host is not served here: use the address that the gateway prints at start, or add it to allowed_hosts"
	case call.ReasonBadOrigin:
		r.status, r.text = http.StatusForbidden, "this Origin may not call: add it to allowed_origins if the page is yours"
	case call.ReasonBadMethod:
		r.status, r.text = http.StatusMethodNotAllowed, "send MCP messages by POST"
	case call.ReasonUnknownPath:
		r.status, r.text = http.StatusNotFound, "there is nothing here: MCP endpoints are /mcp and /mcp/{server}"
	case call.ReasonBadContentType:
		r.status, r.text = http.StatusUnsupportedMediaType, "send one JSON-RPC message as Content-Type: application/json, not compressed"
	case call.ReasonBadAccept:
		r.status, r.text = http.StatusNotAcceptable, "Accept must allow application/json and text/event-stream"
	case call.ReasonUnauthenticated, call.ReasonTokenExpired, call.ReasonBadProof, call.ReasonReplayedProof, call.ReasonProofNonce,
		call.ReasonUnbound, call.ReasonBadCertificate:
		r.status, r.text = http.StatusUnauthorized, "send a valid token as Authorization: Bearer"
	case call.ReasonNoProvider:
		r.status, r.retry, r.text = http.StatusServiceUnavailable, 5, "the identity provider cannot be reached, so no token can be checked: try again in a moment"
	case call.ReasonTokenInQuery:
		r.status, r.text = http.StatusBadRequest, "a token in the URL is refused: send it as Authorization: Bearer"
	case call.ReasonTooMany:
		r.status, r.retry, r.text = http.StatusTooManyRequests, 1, "too many calls at once: wait and try again"
	case call.ReasonDraining:
		r.status, r.retry, r.text = http.StatusServiceUnavailable, 2, "the gateway is stopping: try again in a moment"
	case call.ReasonTooLarge:
		r.status, r.text = http.StatusRequestEntityTooLarge, "the message is larger than the limit"
	case call.ReasonCutOff:
		r.status, r.code, r.text = http.StatusBadRequest, mcp.CodeParse, "the body ended before the message did, or came too slowly: send it again"
	case call.ReasonMalformed, call.ReasonBatch, call.ReasonReusedID, call.ReasonUnaskedAnswer:
		r.status, r.text = http.StatusBadRequest, "the message is not acceptable"
	case call.ReasonUnsupportedVersion:
		r.status, r.code, r.text = http.StatusBadRequest, mcp.CodeUnsupportedVersion, "Unsupported protocol version"
	case call.ReasonHeaderMismatch:
		r.status, r.code, r.text = http.StatusBadRequest, mcp.CodeHeaderMismatch, "Header mismatch"
	case call.ReasonUnknownMethod:
		r.status, r.code, r.text = http.StatusNotFound, mcp.CodeMethodNotFound, "Method not found"
	case call.ReasonUnknownServer:
		r.status, r.text = http.StatusNotFound, "there is no MCP endpoint at this path"
	case call.ReasonUnknownTarget:
		r.code, r.text = mcp.CodeInvalidParams, "there is nothing of this name: list what is there"
	case call.ReasonInvalidParams:
		r.code, r.text = mcp.CodeInvalidParams, "invalid params"
	case call.ReasonBadState, call.ReasonReplayedState:
		r.code, r.text = mcp.CodeInvalidParams, "requestState is not valid for this request: start the call again without it"
	case call.ReasonCallLost:
		r.code, r.text = mcp.CodeInvalidParams, "the call that waited for this answer is gone, nothing was executed again: start it anew"
	case call.ReasonNoSession, call.ReasonForeignSession, call.ReasonSteppedUp:
		r.status, r.text = http.StatusNotFound, "there is no such session: send initialize again"
	case call.ReasonMissingCapability:
		r.status, r.code, r.text = http.StatusBadRequest, mcp.CodeMissingCapability, "Missing required client capability"
	case call.ReasonServerDown, call.ReasonServerViolation, call.ReasonServerError:
		r.code, r.text = mcp.CodeInternal, "the server behind the gateway did not answer as it should"
	case call.ReasonNoCredential:
		r.code, r.words, r.text = mcp.CodeInternal, true, "the credential for the server cannot be had at the moment: try again later"
	case call.ReasonCredentialRefused:
		r.code, r.words, r.text = mcp.CodeInternal, true, "the credential for the server was refused: sign in again, or ask the operator, who finds out why by the ID"
	case call.ReasonGrantNeeded:
		r.code, r.words, r.text = mcp.CodeInternal, true, "the server needs your permission first"
	case call.ReasonServerHeld:
		r.code, r.text = mcp.CodeInternal, "the server used to speak a modern protocol version and now says that it does not; it is held until the operator approves that"
	case call.ReasonDeadline:
		r.code, r.text = mcp.CodeInternal, "the call took longer than its limit and was cancelled"
	case call.ReasonDeclined:
		r.text = "what the call needs was declined"
	case call.ReasonCancelled:
		r.code, r.text = mcp.CodeInternal, "the call was cancelled"
	case call.ReasonStale:
		r.code, r.text, r.words = mcp.CodeInternal, "the rules changed while the call was judged: try again", true
	case call.ReasonNotExpressible:
		r.code, r.text, r.words = mcp.CodeInvalidRequest, "the server's protocol version has no way to say this", true
	case call.ReasonInsufficientScope:
		r.status, r.text = http.StatusForbidden, "the token lacks a scope that this needs: ask for the one that WWW-Authenticate names"
	case call.ReasonStepUp:
		r.status, r.text = http.StatusUnauthorized, "this needs a newer or stronger sign-in: the person has to sign in again, then repeat the call"
	case call.ReasonApproval:
		r.code, r.text, r.words = mcp.CodeInvalidRequest, "this needs the approval of a person", true
	case call.ReasonManyHeld:
		r.code, r.text, r.words = mcp.CodeInvalidRequest, "too many calls wait for the approval of a person", true
	case call.ReasonUnreadable:
		r.code, r.text, r.words = mcp.CodeInvalidRequest, "this needs the approval of a person, and its arguments are too large for one to judge: make them smaller", true
	case call.ReasonRefusedByPerson:
		r.code, r.text, r.words = mcp.CodeInvalidRequest, "a person was asked to approve this call and refused it: do not repeat it", true
	case call.ReasonApprovalSpent:
		r.code, r.text, r.words = mcp.CodeInvalidRequest, "the approval of this call was used by another one or has ended: nothing was sent. Repeat the call to ask for a new one", true
	case call.ReasonNotPermitted:
		r.code, r.text, r.words = mcp.CodeInvalidRequest, "this call is not permitted", true
	case call.ReasonRecordFailed:
		r.status, r.code, r.text = http.StatusServiceUnavailable, mcp.CodeInternal, "the record cannot be written, so nothing is served"
	case call.ReasonPanic, call.ReasonInternal, call.ReasonNotCleared:
		r.status, r.code, r.text = http.StatusInternalServerError, mcp.CodeInternal, "the gateway failed on this message; nothing was passed on"
	default:
		r.code, r.text, r.words = mcp.CodeInvalidRequest, "a check refused this", true
	}
	if d.Say != "" {
		r.text = d.Say
	}
	return r
}

// say replaces the words that the caller reads.
func (r *refusal) say(text string) *refusal { r.text = text; return r }

// withData adds one member to error.data.
func (r *refusal) withData(name string, raw []byte) *refusal {
	r.data = append(r.data, strictjson.Member{Name: name, Raw: raw})
	return r
}

// refuse writes a refusal in the shape of its place.
func (g *Gateway) refuse(c *call.Call, in *inbound, out outbox, r *refusal) {
	kind := in.msg.Kind
	if r.need != nil && g.askGrant(c, in, out, r) || r.held != nil && g.askApproval(c, in, out, r) {
		return
	}
	if kind == mcp.Request && r.words && in.msg.Method == mcp.MethodToolsCall {
		out.finish(http.StatusOK, r, c.Refusal(mcp.AppendResult(nil, in.msg.ID, g.refusedTool(c, in, r))))
		return
	}
	e := &mcp.Error{Code: r.code, Message: r.text}
	id := append(append([]byte{'"'}, c.ID...), '"')
	e.Data = append(strictjson.Object{{Name: "id", Raw: id}}, r.data...).Append(nil)
	status := r.status
	if in.era == mcp.Legacy && r.code == mcp.CodeMethodNotFound {
		// 404 would tell a legacy client that its session ended.
		status = http.StatusOK
	}
	if in.era == mcp.Modern && r.decision.Stage == call.Decode && status == http.StatusOK {
		status = http.StatusBadRequest
	}
	if kind == mcp.Notification || kind == mcp.Result || kind == mcp.ErrorReply {
		if status == http.StatusOK {
			status = http.StatusBadRequest
		}
		out.finish(status, r, c.Refusal(mcp.AppendError(nil, mcp.ID{}, e, true)))
		return
	}
	out.finish(status, r, c.Refusal(mcp.AppendError(nil, in.msg.ID, e, in.era == mcp.Modern)))
}

// refusedTool is the result that a model reads and can act on.
func (g *Gateway) refusedTool(c *call.Call, in *inbound, r *refusal) []byte {
	b := append([]byte(nil), `{"content":[{"type":"text","text":`...)
	verb := "Refused"
	if r.held != nil {
		verb = "Held"
	}
	b = strictjson.AppendString(b, verb+" by the gateway: "+r.text+". The record's ID is "+string(c.ID)+".")
	b = append(b, `}],"isError":true,"_meta":{"`+MetaID+`":"`...)
	b = append(b, c.ID...)
	b = append(b, `"}`...)
	if in.era == mcp.Modern {
		b = append(b, `,"resultType":"complete"`...)
	}
	return append(b, '}')
}

// refusedThere is the refusal of what the gateway itself would not do on the
// way to the server. What a client said when it declined is not repeated but
// for its words.
func refusedThere(c *call.Call, a upstream.Answer) *refusal {
	r := deny(c, call.Send, a.Refused, a.Error.Message)
	r.code, r.text, r.words, r.retry = a.Error.Code, a.Error.Message, false, 0
	if r.status == http.StatusTooManyRequests {
		r.status = http.StatusOK
	}
	if data, err := mcp.ObjectOf(a.Error.Data); err == nil {
		r.data = data.Without("id")
	}
	return r
}

// serverRefusal turns an error of an upstream into a refusal. Internal text
// stays on the record.
func serverRefusal(ctx context.Context, c *call.Call, err error) *refusal {
	detail := err.Error()
	var rpc *mcp.Error
	var status *upstream.StatusError
	switch {
	case errors.Is(err, errPanic):
		return deny(c, call.Send, call.ReasonPanic, detail)
	case grantOf(err) != nil:
		return grantRefusal(c, grantOf(err))
	case errors.Is(err, call.ErrStale):
		return deny(c, call.Send, call.ReasonStale, detail)
	case errors.Is(err, call.ErrNotCleared), errors.Is(err, call.ErrSpent), errors.Is(err, call.ErrChanged):
		return deny(c, call.Send, call.ReasonNotCleared, detail)
	case errors.Is(err, errSilent), errors.Is(ctx.Err(), context.DeadlineExceeded):
		return deny(c, call.Send, call.ReasonDeadline, detail)
	case ctx.Err() != nil:
		return deny(c, call.Send, call.ReasonCancelled, detail)
	case errors.Is(err, upstream.ErrLost):
		return deny(c, call.Send, call.ReasonCallLost, detail)
	case errors.Is(err, upstream.ErrBusy):
		r := deny(c, call.Send, call.ReasonTooMany, detail)
		r.status, r.words = http.StatusOK, true
		return r.say("too much is going on at this server: wait and try again")
	case errors.Is(err, upstream.ErrBackoff):
		return deny(c, call.Send, call.ReasonServerDown, detail).say("the server crashed and is being started again: try again in a moment")
	case errors.Is(err, upstream.ErrHeld):
		d := call.Decision{Effect: call.Hold, Stage: call.Send, Reason: call.ReasonServerHeld, Detail: detail}
		c.Decide(d)
		return refuseDecision(d)
	case errors.Is(err, upstream.ErrNotExpressible):
		return deny(c, call.Send, call.ReasonNotExpressible, detail).say("not possible with this server: " + detail)
	case errors.Is(err, upstream.ErrTooLarge), errors.Is(err, upstream.ErrViolation):
		return deny(c, call.Send, call.ReasonServerViolation, detail).say("the server behind the gateway broke the protocol; its answer was not passed on")
	case errors.Is(err, upstream.ErrVersion):
		return deny(c, call.Send, call.ReasonServerDown, detail).say("the server speaks no protocol version that is allowed here")
	case errors.Is(err, upstream.ErrCutOff):
		return deny(c, call.Send, call.ReasonServerDown, detail).
			say("the connection to the server was lost during the call; it was not sent again, and whether it took effect is not known")
	case errors.Is(err, upstream.ErrCredential):
		return credentialRefusal(c, err)
	case errors.As(err, &rpc):
		return deny(c, call.Send, call.ReasonServerError, detail).say("the server behind the gateway refused the connection")
	case errors.As(err, &status):
		return deny(c, call.Send, call.ReasonServerDown, detail).say("the server behind the gateway answered HTTP " + strconv.Itoa(status.Status))
	}
	return deny(c, call.Send, call.ReasonServerDown, detail).say("the server behind the gateway is not available")
}

// credentialRefusal turns an error of the credential step into a refusal. A 401
// of the server is none of ours: its challenge ends here, and the caller's own
// token is not in doubt.
func credentialRefusal(c *call.Call, err error) *refusal {
	switch detail := err.Error(); {
	case errors.Is(err, credential.ErrUnavailable):
		return deny(c, call.Credential, call.ReasonNoCredential, detail)
	default:
		return deny(c, call.Credential, call.ReasonCredentialRefused, detail)
	}
}

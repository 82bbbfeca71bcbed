package call

import (
	"slices"
	"time"

	"github.com/munjigi/munjigi/internal/minimize"
)

// Effect is what a stage says. The zero effect is Deny.
type Effect uint8

// Effects in the order of their severity.
const (
	Deny Effect = iota
	Challenge
	Hold
	Redact
	Annotate
	Allow
)

// String returns the effect's name on the record.
func (e Effect) String() string {
	switch e {
	case Challenge:
		return "challenge"
	case Hold:
		return "hold"
	case Redact:
		return "redact"
	case Annotate:
		return "annotate"
	case Allow:
		return "allow"
	}
	return "deny"
}

// Passes reports that the call goes on after this effect.
func (e Effect) Passes() bool { return e == Allow || e == Annotate || e == Redact }

// Stage is a place in the pipeline. The zero stage is none.
type Stage uint8

// The stages in their order.
const (
	Accept Stage = iota + 1
	Authenticate
	Admit
	Decode
	Resolve
	Validate
	Authorize
	InspectRequest
	Clear
	Credential
	Send
	Minimize
	InspectResult
	Releasing
	Reply
)

// String returns the stage's name on the record.
func (s Stage) String() string {
	names := [...]string{"", "accept", "authenticate", "admit", "decode", "resolve", "validate",
		"authorize", "inspect-request", "clear", "credential", "send", "minimize", "inspect-result", "release", "reply"}
	if int(s) < len(names) {
		return names[s]
	}
	return ""
}

// Reason is a stable kebab-case code. The closed set below is what the
// gateway itself says; guards and policy bring their own.
type Reason string

// Reasons of the gateway.
const (
	ReasonOK                 Reason = "ok"
	ReasonBadHost            Reason = "bad-host"
	ReasonBadOrigin          Reason = "bad-origin"
	ReasonBadContentType     Reason = "bad-content-type"
	ReasonBadAccept          Reason = "bad-accept"
	ReasonBadMethod          Reason = "bad-http-method"
	ReasonUnknownPath        Reason = "unknown-path"
	ReasonUnauthenticated    Reason = "unauthenticated"
	ReasonTokenExpired       Reason = "token-expired"
	ReasonBadProof           Reason = "bad-proof"
	ReasonReplayedProof      Reason = "replayed-proof"
	ReasonProofNonce         Reason = "proof-nonce"
	ReasonUnbound            Reason = "unbound-token"
	ReasonBadCertificate     Reason = "bad-certificate"
	ReasonNoProvider         Reason = "identity-unavailable"
	ReasonTokenInQuery       Reason = "token-in-query"
	ReasonTooMany            Reason = "too-many-requests"
	ReasonTooLarge           Reason = "too-large"
	ReasonCutOff             Reason = "body-cut-off"
	ReasonMalformed          Reason = "malformed"
	ReasonBatch              Reason = "batch"
	ReasonUnsupportedVersion Reason = "unsupported-version"
	ReasonHeaderMismatch     Reason = "header-mismatch"
	ReasonUnknownMethod      Reason = "unknown-method"
	ReasonUnknownServer      Reason = "unknown-server"
	ReasonUnknownTarget      Reason = "unknown-target"
	ReasonInvalidParams      Reason = "invalid-params"
	ReasonNoSession          Reason = "no-session"
	ReasonForeignSession     Reason = "foreign-session"
	ReasonSteppedUp          Reason = "session-stepped-up"
	ReasonReusedID           Reason = "reused-request-id"
	ReasonUnaskedAnswer      Reason = "unasked-answer"
	ReasonBadState           Reason = "bad-request-state"
	ReasonReplayedState      Reason = "replayed-request-state"
	ReasonCallLost           Reason = "call-lost"
	ReasonMissingCapability  Reason = "missing-capability"
	ReasonInsufficientScope  Reason = "insufficient-scope"
	ReasonStepUp             Reason = "step-up-needed"
	ReasonApproval           Reason = "approval-needed"
	ReasonApproved           Reason = "approved"
	ReasonRefusedByPerson    Reason = "approval-refused"
	ReasonApprovalSpent      Reason = "approval-spent"
	ReasonManyHeld           Reason = "too-many-approvals"
	ReasonUnreadable         Reason = "approval-unreadable"
	ReasonNotPermitted       Reason = "not-permitted"
	ReasonNoCredential       Reason = "credential-unavailable"
	ReasonCredentialRefused  Reason = "credential-refused"
	ReasonGrantNeeded        Reason = "grant-needed"
	ReasonServerDown         Reason = "server-unavailable"
	ReasonServerError        Reason = "server-error"
	ReasonServerViolation    Reason = "server-violation"
	ReasonServerHeld         Reason = "server-held"
	ReasonDeadline           Reason = "deadline"
	ReasonCancelled          Reason = "cancelled"
	ReasonDeclined           Reason = "declined"
	ReasonDefinitionNew      Reason = "definition-unapproved"
	ReasonDefinitionChanged  Reason = "definition-changed"
	ReasonDefinitionRejected Reason = "definition-rejected"
	ReasonDefinitionLarge    Reason = "definition-too-large"
	ReasonSameName           Reason = "same-name"
	ReasonLookAlikeName      Reason = "look-alike-name"
	ReasonNamesOthers        Reason = "names-other-servers-tool"
	ReasonStale              Reason = "generation-changed"
	ReasonNotCleared         Reason = "not-cleared"
	ReasonPanic              Reason = "panic"
	ReasonRecordFailed       Reason = "record-failed"
	ReasonDraining           Reason = "draining"
	ReasonNotExpressible     Reason = "not-expressible"
	ReasonMinimized          Reason = "result-minimized"
	ReasonWithheld           Reason = "result-withheld"
	ReasonInternal           Reason = "internal"
)

// Finding is what a guard saw. Span is a range in code points of the judged
// text, end exclusive; Path is a JSON pointer into the message.
type Finding struct {
	Guard  string
	Reason Reason
	Path   string
	Span   [2]int
}

// Decision is one stage's verdict. The zero decision denies.
type Decision struct {
	Effect   Effect
	Stage    Stage
	Reason   Reason
	Detail   string // for the record and `munjigi why`, never for the caller
	Findings []Finding
	// Score is the highest of the guards' scores, from 0 to 1.
	Score float64
	// Say tells the caller how to do better; empty leaves the words to the
	// reason.
	Say string
	// Obligations are what of the answer may come back when the call is allowed;
	// nil for all of it.
	Obligations *minimize.Rules
	// Needs is what would let the call pass, where it is challenged or held.
	Needs *Requirement
}

// Requirement is what a call lacks that could have it: a newer or stronger
// proof (Challenge), or the word of a person (Hold).
type Requirement struct {
	// ACR are values of which the sign-in must have one, the best first; AMR
	// methods that it must all have used; MaxAge is how old it may be, 0 for any
	// age (RFC 9470 section 3).
	ACR, AMR []string
	MaxAge   time.Duration
	// Scopes must be in the token too.
	Scopes []string
	// Approvers name who may approve, each on its own; empty is the operator.
	Approvers []string
	// Checks name what holds the call, each as check/reason.
	Checks []string
}

// And returns the requirement with one more check that holds the call; a check
// that is there stands once.
func (r *Requirement) And(check string) *Requirement {
	n := Requirement{}
	if r != nil {
		n = *r
	}
	if !slices.Contains(n.Checks, check) {
		n.Checks = append(slices.Clip(n.Checks), check)
	}
	return &n
}

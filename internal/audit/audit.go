// Package audit says what one entry of the record is, and how it is written as a line of JSON.
//
// The threat: a call that leaves no trace, and a trace that the caller wrote. Names, targets and reasons reach the
// record from clients and servers, so they are bounded, kept valid JSON whatever bytes they were, and characters
// that a terminal would obey instead of show (controls, direction marks, invisible ones) are written as \u escapes.
//
// Guaranteed: the same members in the same order in every line, at most MaxLine bytes, no line break inside, no
// allocation on the way. An event that lacks an ID, a time or a known kind is refused by Check, never recorded half.
//
// Not guaranteed here: that a line survives a crash (package audit/log), that nobody removed one afterwards, and
// that a target holds nothing private. Callers put names, shapes and digests into an event, not values.
package audit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// The kinds of an event. A call has one intent, recorded before anything is forwarded, and one outcome under the
// same ID. Everything that is not a call is an event.
const (
	KindIntent  = "intent"
	KindOutcome = "outcome"
	KindEvent   = "event"
)

// Bounds on what an event may carry.
const (
	// MaxDetail is the number of entries that Check accepts in Event.Detail.
	MaxDetail = 32
	// MaxTrail is the number of steps written of Event.Trail; what is left out is counted in a last step.
	MaxTrail = 64
	// MaxFindings is the number of findings written of the whole trail.
	MaxFindings = 32
	// MaxActors is the number of actors written of Event.Actors.
	MaxActors = 8
	// MaxLine is the greatest length of an encoded event in bytes.
	MaxLine = 512 << 10
)

// Event is one entry of the record. The first ten members are always written, the others when they are not empty.
type Event struct {
	ID        string    // as ValidID says; the intent and the outcome of a call share it
	Time      time.Time // written in UTC with microseconds
	Kind      string    // KindIntent, KindOutcome or KindEvent
	Stage     string    // the stage that decided
	Effect    string    // allow, deny, hold, …
	Reason    string    // a stable kebab-case code
	Principal string
	Server    string
	Method    string
	Target    string // the tool, prompt or resource

	Era      string
	Client   string
	Actors   []string // who acts for the principal, the one who acts now first; at most MaxActors are written
	Session  string   // ShortDigest of the session's ID, never the ID
	Trail    []Step
	Duration time.Duration     // written in whole microseconds as duration_us
	Detail   map[string]string // names of 1 to 64 of [a-z0-9_.-]
}

// Step is what one stage decided about a call.
type Step struct {
	Stage  string `json:"stage"`
	Effect string `json:"effect"`
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
	// Findings say what the stage decided by. Of a whole trail MaxFindings are
	// written.
	Findings []Finding `json:"findings,omitempty"`
}

// Finding is one thing that a check or a policy saw.
type Finding struct {
	Guard  string `json:"guard"`
	Reason string `json:"reason"`
	Path   string `json:"path,omitempty"` // the policy, or a JSON pointer
}

// Recorder takes events into the record. An error means that the event may not be there: the gateway then refuses
// the call. Record keeps nothing of e after it returned, so the caller may use it again.
type Recorder interface {
	Record(ctx context.Context, e *Event) error
}

// NewID returns an ID of 26 letters and digits that carries at least 128 random bits.
func NewID() string { return rand.Text() }

// ValidID reports whether id may name an event: 1 to 128 of [A-Za-z0-9_-].
func ValidID(id string) bool { return nameOf(id, 128, isIDByte) }

// ShortDigest names s in the record without saying it: the first 16 hexadecimal digits of its SHA-256. It hides
// only what cannot be guessed, such as a session's ID.
func ShortDigest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// Check says why e cannot be an entry of the record, or returns nil.
func (e *Event) Check() error {
	if e == nil {
		return errors.New("audit: no event: pass one")
	}
	if !ValidID(e.ID) {
		return errors.New("audit: the event's ID is empty, too long or has other characters than [A-Za-z0-9_-]: use NewID")
	}
	if e.Time.IsZero() {
		return errors.New("audit: the event has no time: set it")
	}
	if y := e.Time.UTC().Year(); y < 0 || y > 9999 {
		return fmt.Errorf("audit: year %d cannot be written as RFC 3339: check the clock", y)
	}
	switch e.Kind {
	case KindIntent, KindOutcome, KindEvent:
	default:
		return errors.New("audit: the event's kind is none of intent, outcome, event: set it")
	}
	if len(e.Detail) > MaxDetail {
		return fmt.Errorf("audit: %d details, at most %d fit: record fewer", len(e.Detail), MaxDetail)
	}
	for name := range e.Detail {
		if !nameOf(name, 64, isDetailByte) {
			return errors.New("audit: a detail's name must be 1 to 64 of [a-z0-9_.-]: rename it")
		}
	}
	return nil
}

func nameOf(s string, most int, ok func(byte) bool) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func isIDByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func isDetailByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

package authz

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
)

// ApprovalPage is where a person decides: ApprovalPage + "?id=" + Standing.ID,
// below the address of the gateway's pages.
const ApprovalPage = "/approvals/open"

// Operator is the list of approvers that is always there: whoever signs in by a
// code of the gateway's terminal.
const Operator = "operator"

// Held is a call that waits for the word of a person.
type Held struct {
	// Call is its ID on the record.
	Call      call.ID
	Principal call.Principal
	Target    call.Target
	// Arguments is the raw arguments object; nil where there is none.
	Arguments []byte
	// Definition is the digest of the target's definition, zero where it has none;
	// Rules names the policies that are in force.
	Definition [32]byte
	Rules      string
	Needs      call.Requirement
}

// Match is a digest of all that an approval is bound to: who calls by which
// client and with which actors, the target, the decoded arguments, the
// definition, the rules, and what holds the call. Another call has another.
func (h Held) Match() ([32]byte, error) {
	args := h.Arguments
	if args == nil {
		args = []byte("{}")
	}
	canon, err := strictjson.Canonical(args)
	if err != nil {
		return [32]byte{}, err
	}
	id := h.Principal.Identity()
	d := sha256.New()
	part := func(s string) {
		d.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		d.Write([]byte(s))
	}
	list := func(l []string) {
		d.Write(binary.BigEndian.AppendUint64(nil, uint64(len(l))))
		for _, s := range l {
			part(s)
		}
	}
	part("munjigi approval 1")
	part(h.Principal.ClientKey())
	list(id.Actors)
	part(h.Target.Server)
	part(h.Target.Method)
	part(h.Target.Name)
	part(string(canon))
	part(string(h.Definition[:]))
	part(h.Rules)
	list(h.Needs.Approvers)
	list(h.Needs.Checks)
	return [32]byte(d.Sum(nil)), nil
}

// ApprovalState is where a request for approval stands. The zero state is no
// state.
type ApprovalState uint8

// The states. Used and Expired are ends that nothing leads out of.
const (
	Waiting ApprovalState = iota + 1
	Approved
	Denied
	Used
	Expired
)

// String returns the state's name.
func (s ApprovalState) String() string {
	names := [...]string{"", "waiting", "approved", "denied", "used", "expired"}
	if int(s) < len(names) {
		return names[s]
	}
	return ""
}

// Standing is where a held call stands.
type Standing struct {
	State ApprovalState
	// ID names the request to people: 128 random bits.
	ID string
	// URL is the page where it is decided; empty where there is none.
	URL string
	// Until is when the state ends.
	Until time.Time
}

// Errors of approvals.
var (
	// ErrNoApproval: there is no such request for this person. Somebody else's
	// looks the same.
	ErrNoApproval = errors.New("there is no such request for approval, or it has ended")
	// ErrOwnCall: nobody approves a call of their own where others can.
	ErrOwnCall = errors.New("this is a call of your own: somebody else has to approve it")
	// ErrSignInAgain: the sign-in is too old or too weak for this.
	ErrSignInAgain = errors.New("approving needs a newer or stronger sign-in")
	// ErrManyWaiting: too many calls of this principal wait for people already.
	ErrManyWaiting = errors.New("too many calls wait for approval, or waited within the last hour")
	// ErrUnreadable: nobody could judge arguments of that size.
	ErrUnreadable = errors.New("the arguments are too large for a person to judge")
)

// Approver is who decides.
type Approver struct {
	Principal call.Principal
	// Terminal says that it is the operator at the gateway's own terminal. They
	// may decide everything.
	Terminal bool
}

// Approval is one request, as an approver sees it. Names and arguments are
// texts of others.
type Approval struct {
	ID              string        `json:"id"`
	State           ApprovalState `json:"-"`
	Subject, Issuer string
	Client          string
	// Actors act for the subject, each as issuer|subject.
	Actors               []string
	Server, Method, Name string
	// Arguments is one canonical JSON object.
	Arguments []byte
	// Definition is the digest of what the server declared, in hexadecimal.
	Definition string
	Approvers  []string
	Checks     []string
	Asked      time.Time
	Until      time.Time
	// Fresh reports that who looks may decide without signing in again.
	Fresh bool
}

// Approvals is what the pages and the terminal see. An implementation records
// each decision before it takes effect.
type Approvals interface {
	// Pending returns a request that waits, to whoever may decide it.
	Pending(ctx context.Context, id string, who Approver) (Approval, error)
	// Waiting lists the requests that wait and that who may decide, the oldest
	// first.
	Waiting(ctx context.Context, who Approver) ([]Approval, error)
	// Decide says yes or no, once.
	Decide(ctx context.Context, id string, who Approver, yes bool) error
	// Strength is what a sign-in needs for a decision.
	Strength() call.Requirement
}

// ArgumentLines writes a JSON value for people, a member on a line. Strings are
// written with what they hold, so that no escape hides a letter; whoever shows
// the lines makes visible what would not show. Text that is no JSON is one line
// as it is.
func ArgumentLines(raw []byte) []string {
	if strictjson.Validate(raw, strictjson.Default()) != nil {
		return []string{string(raw)}
	}
	return argumentLines(nil, "", "", raw, "")
}

func argumentLines(out []string, indent, name string, raw []byte, after string) []string {
	const step = "  "
	nested := func(open, shut string, parts int, each func(i int, after string)) []string {
		if parts == 0 {
			return append(out, indent+name+open+shut+after)
		}
		out = append(out, indent+name+open)
		for i := range parts {
			more := ","
			if i == parts-1 {
				more = ""
			}
			each(i, more)
		}
		return append(out, indent+shut+after)
	}
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeObject:
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			return append(out, indent+name+string(raw)+after)
		}
		return nested("{", "}", len(o), func(i int, more string) {
			out = argumentLines(out, indent+step, plainString(o[i].Name)+": ", o[i].Raw, more)
		})
	case strictjson.TypeArray:
		list, err := strictjson.SplitArray(raw)
		if err != nil {
			return append(out, indent+name+string(raw)+after)
		}
		return nested("[", "]", len(list), func(i int, more string) {
			out = argumentLines(out, indent+step, "", list[i], more)
		})
	case strictjson.TypeString:
		if s, err := strictjson.String(raw); err == nil {
			return append(out, indent+name+plainString(s)+after)
		}
	}
	return append(out, indent+name+string(raw)+after)
}

// plainString quotes a text without escaping anything but what would end the
// quotation or the line.
func plainString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

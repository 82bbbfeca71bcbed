package gateway

import (
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/minimize"
)

// TestAnApprovalKeepsWhatIsHeldBack: what a permit holds back of a result is held
// back when the call first waited for a person, and nothing that comes later takes
// it away.
func TestAnApprovalKeepsWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	p, err := minimize.ParsePath("ssn")
	if err != nil {
		t.Fatal(err)
	}
	rules := minimize.New([]minimize.Rule{{Path: p, Action: minimize.Drop}}, nil, false)
	c := call.New(time.Now())
	c.Decide(approvedBy(call.Decision{Effect: call.Hold, Stage: call.Authorize, Obligations: rules}, "x"))
	c.Pass(call.InspectRequest)
	c.Owe(nil)
	if c.Owed() == nil || c.Owed().String() != rules.String() {
		t.Errorf("the call owes %v", c.Owed())
	}
	if f := c.Fork(call.Target{Server: "other"}); f.Owed() != nil {
		t.Errorf("a request of our own owes %v", f.Owed())
	}
}

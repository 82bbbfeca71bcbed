package cedar

import (
	"fmt"
	"slices"
	"strings"
	"time"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/call"
)

// Annotations of policies. All but the first three stand on permits only, and
// what they ask for is asked of the caller whose call the permit matches.
const (
	annotationID       = "id"
	annotationNote     = "note"
	annotationAdvice   = "advice"
	annotationACR      = "step_up_acr"     // one of these, the best first
	annotationAMR      = "step_up_amr"     // all of these
	annotationMaxAge   = "step_up_max_age" // of the sign-in, as in 5m
	annotationScope    = "step_up_scope"   // all of these
	annotationApproval = "approval"        // by one of these lists of approvers
)

// Bounds of what annotations say.
const (
	leastMaxAge = 10 * time.Second
	mostMaxAge  = 24 * time.Hour
	maxWords    = 16
	clockAhead  = time.Minute // what a provider's clock may be ahead of ours
)

// annotations are all that a policy may have: a misspelt one would ask for
// nothing, silently.
func annotations() []string {
	return append([]string{annotationID, annotationNote, annotationAdvice, annotationACR, annotationAMR, annotationMaxAge, annotationScope, annotationApproval},
		resultAnnotations()...)
}

// needs is what a permit asks for beyond matching.
type needs struct {
	acr, amr  []string
	maxAge    time.Duration
	scopes    []string
	approvers []string
}

// readNeeds reads the annotations of a policy; nil where they ask for nothing.
func readNeeds(e *entry, bad func(message, next string)) *needs {
	n := &needs{}
	asks := false
	for name, value := range e.policy.Annotations() {
		if !slices.Contains(annotations(), string(name)) {
			bad(fmt.Sprintf("@%s is not an annotation that means anything here", name), "use one of @"+strings.Join(annotations(), ", @")+"; for words of your own there is @note")
			continue
		}
		var into *[]string
		switch string(name) {
		case annotationACR:
			into = &n.acr
		case annotationAMR:
			into = &n.amr
		case annotationScope:
			into = &n.scopes
		case annotationApproval:
			into = &n.approvers
		case annotationMaxAge:
		default:
			continue
		}
		asks = true
		if e.forbids() {
			bad(fmt.Sprintf("@%s stands on a forbid, which nothing lets pass", name), "put it on the permit that should ask for more")
		}
		if into == nil {
			d, err := time.ParseDuration(string(value))
			if err != nil || d < leastMaxAge || d > mostMaxAge || d%time.Second != 0 {
				bad(fmt.Sprintf("@%s(%q) is not an age", name, string(value)), "write whole seconds, minutes or hours between 10s and 24h, as in 5m")
			}
			n.maxAge = d
			continue
		}
		words := strings.Fields(string(value))
		switch {
		case len(words) == 0:
			bad(fmt.Sprintf("@%s names nothing", name), fmt.Sprintf("write what is asked for, as in @%s(\"name\")", name))
		case len(words) > maxWords || slices.ContainsFunc(words, func(w string) bool { return !plainWord(w) }):
			bad(fmt.Sprintf("@%s(%q) is not a list of names", name, string(value)), "write at most 16 names of printable ASCII without quotes and backslashes, with a space between them")
		}
		*into = words
	}
	if !asks {
		return nil
	}
	if len(n.amr) > 0 && len(n.acr) == 0 && n.maxAge == 0 {
		bad("@"+annotationAMR+" stands alone, and a client cannot ask its provider for methods (RFC 9470)", "add @"+annotationACR+" or @"+annotationMaxAge+", for which it can ask")
	}
	return n
}

// plainWord is what a challenge can hold in quotes (RFC 6749, NQCHAR).
func plainWord(w string) bool {
	return len(w) <= 256 && !strings.ContainsFunc(w, func(r rune) bool { return r <= 0x20 || r > 0x7e || r == '"' || r == '\\' })
}

// needsOfCalls holds a permit that asks for more to actions that can wait for
// it: nobody could connect if connecting had to be approved.
func (e *entry) needsOfCalls(bad func(message, next string)) {
	if e.needs == nil {
		return
	}
	can := []string{actionCall, actionGet, actionRead, actionComplete, actionSubscribe}
	if len(e.needs.approvers) > 0 {
		can = can[:3]
	}
	ok := len(e.action.entities) > 0
	for _, u := range e.action.entities {
		ok = ok && slices.Contains(can, string(u.ID))
	}
	if !ok {
		bad("asks for more of actions that cannot wait for it", "scope the permit to some of the actions "+strings.Join(can, ", ")+", as in action == Munjigi::Action::\"call\"")
	}
}

// wanted notes what a permit that matched asks for. A task was asked for
// already, by the call that made it.
func (o *outcome) wanted(found []*entry, name cedar.PolicyID, of types.EntityType) {
	i := slices.IndexFunc(found, func(e *entry) bool { return e.name == name })
	if i < 0 {
		return // it stays unmet
	}
	if n := found[i].needs; n != nil && of != typeTask {
		o.wants = append(o.wants, n)
		return
	}
	o.free = true
}

// What a caller lacks, in the order in which it is asked for and of its weight:
// a wider token is had by itself, a sign-in takes its person, an approval
// another person.
const (
	lacksNothing = iota
	lacksScope
	lacksStrength
	lacksApproval
)

// lacks is the first of what a caller has to get. weight is that of the
// heaviest.
func (n *needs) lacks(id call.Identity, now time.Time) (first, weight int) {
	if len(n.missing(id)) > 0 {
		first, weight = lacksScope, lacksScope
	}
	if !n.strong(id, now) {
		first, weight = lacksStrength, lacksStrength // the challenge names the scopes too
	}
	if len(n.approvers) > 0 {
		if weight = lacksApproval; first == lacksNothing {
			first = lacksApproval
		}
	}
	return first, weight
}

// missing are the scopes that the token does not have.
func (n *needs) missing(id call.Identity) []string {
	return slices.DeleteFunc(slices.Clone(n.scopes), func(s string) bool { return slices.Contains(id.Scopes, s) })
}

// strong reports that the sign-in is what the permit asks for. What a token
// does not say is not so.
func (n *needs) strong(id call.Identity, now time.Time) bool {
	if len(n.acr) > 0 && !slices.Contains(n.acr, id.ACR) {
		return false
	}
	if slices.ContainsFunc(n.amr, func(m string) bool { return !slices.Contains(id.AMR, m) }) {
		return false
	}
	if n.maxAge == 0 {
		return true
	}
	age := now.Sub(time.Unix(id.AuthTime, 0))
	return id.AuthTime > 0 && age <= n.maxAge && age >= -clockAhead
}

// least is what the permits that matched still ask for: nothing if one of them
// asks for nothing more, else the next step of the one that asks for least.
// Lists of approvers come together, because each of them is enough. No permit
// at all denies.
func least(wants []*needs, id call.Identity, now time.Time) (call.Effect, call.Reason, *call.Requirement) {
	var best *needs
	next, weight := 0, lacksApproval+1
	var approvers []string
	for _, n := range wants {
		first, w := n.lacks(id, now)
		if first == lacksApproval {
			approvers = append(approvers, n.approvers...)
		}
		if w < weight || w == weight && first > next {
			best, next, weight = n, first, w // of equal ones that which is nearest to its end
		}
	}
	switch {
	case best == nil:
		return call.Deny, call.ReasonNotPermitted, nil
	case next == lacksNothing:
		return call.Allow, call.ReasonOK, nil
	case next == lacksScope:
		return call.Challenge, call.ReasonInsufficientScope, &call.Requirement{Scopes: best.missing(id)}
	case next == lacksStrength:
		return call.Challenge, call.ReasonStepUp, &call.Requirement{ACR: best.acr, AMR: best.amr, MaxAge: best.maxAge, Scopes: best.missing(id)}
	}
	slices.Sort(approvers)
	return call.Hold, call.ReasonApproval, &call.Requirement{Approvers: slices.Compact(approvers), Checks: []string{Guard + "/" + string(call.ReasonApproval)}}
}

// Approvers returns the lists of approvers that policies name, each with the
// first place.
func (p *Policies) Approvers() map[string]Line {
	out := map[string]Line{}
	if p == nil {
		return out
	}
	for _, e := range p.entries {
		if e.needs == nil {
			continue
		}
		for _, name := range e.needs.approvers {
			if _, seen := out[name]; !seen {
				out[name] = Line{File: place(e), Line: e.policy.Position().Line, Name: string(e.policy.Annotations()[annotationID])}
			}
		}
	}
	return out
}

// What an Explanation says is needed.
const (
	needScope    = "scope"
	needStepUp   = "step-up"
	needApproval = "approval"
)

func needWord(d call.Decision) string {
	switch {
	case d.Needs == nil:
	case d.Reason == call.ReasonInsufficientScope:
		return needScope
	case d.Reason == call.ReasonStepUp:
		return needStepUp
	case d.Reason == call.ReasonApproval:
		return needApproval
	}
	return ""
}

// inWords says what is needed as a sentence without its end.
func inWords(d call.Decision) string {
	n := d.Needs
	if needWord(d) == needApproval {
		return "a person has to approve each call: anybody of " + strings.Join(n.Approvers, ", ")
	}
	var parts []string
	if len(n.ACR) > 0 {
		parts = append(parts, "the sign-in has to be of the strength (acr) "+strings.Join(n.ACR, " or "))
	}
	if len(n.AMR) > 0 {
		parts = append(parts, "it has to have used (amr) "+strings.Join(n.AMR, " and "))
	}
	if n.MaxAge > 0 {
		parts = append(parts, "it may be "+n.MaxAge.String()+" old at most (auth_time)")
	}
	if len(n.Scopes) > 0 {
		parts = append(parts, "the token has to have the scope "+strings.Join(n.Scopes, " and "))
	}
	return strings.Join(parts, ", and ")
}

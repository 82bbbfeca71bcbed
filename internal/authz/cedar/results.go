package cedar

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/minimize"
)

// Annotations of permits that say what of a result may come back.
const (
	annotationDrop     = "result_drop"
	annotationMask     = "result_mask"
	annotationHash     = "result_hash"
	annotationLast4    = "result_last4"
	annotationTruncate = "result_truncate" // with a length, as in note:80
	annotationOnly     = "result_only"
	annotationFreeform = "result_freeform" // "pass"
)

const maxTruncate = 1 << 20

func resultAnnotations() []string {
	return []string{annotationDrop, annotationMask, annotationHash, annotationLast4, annotationTruncate, annotationOnly, annotationFreeform}
}

// readResults reads what a permit says of results; nil where it says nothing.
func readResults(e *entry, bad func(message, next string)) *minimize.Rules {
	actions := map[string]minimize.Action{annotationDrop: minimize.Drop, annotationMask: minimize.Mask, annotationHash: minimize.Hash,
		annotationLast4: minimize.Last4, annotationTruncate: minimize.Truncate}
	var rules []minimize.Rule
	var only [][]minimize.Path
	freeform, first := false, ""
	paths := 0
	for _, name := range resultAnnotations() {
		value, has := e.policy.Annotations()[types.AnnotationKey(name)]
		if !has {
			continue
		}
		if first == "" {
			first = name
		}
		if name == annotationFreeform {
			if freeform = value == "pass"; !freeform {
				bad(fmt.Sprintf("@%s(%q) says nothing", name, string(value)), "write @"+name+"(\"pass\") to let text without fields through, or take it out")
			}
			continue
		}
		var list []minimize.Path
		for _, item := range strings.Split(string(value), ",") {
			rule, err := readRule(strings.TrimSpace(item), actions[name])
			if err != nil {
				bad(fmt.Sprintf("@%s: %v", name, err), "write paths with commas between them, as in @"+name+exampleOf(name))
				continue
			}
			paths++
			if name == annotationOnly {
				list = append(list, rule.Path)
			} else {
				rules = append(rules, rule)
			}
		}
		if list != nil {
			only = append(only, list)
		}
	}
	switch {
	case first == "":
		return nil
	case e.forbids():
		bad(fmt.Sprintf("@%s stands on a forbid, which lets nothing come back", first), "put it on the permit whose results it is about")
	case !e.hasResults():
		bad(fmt.Sprintf("@%s stands on a permit of actions that have no result to take from", first), "scope the permit to call, get or read")
	case paths > minimize.MaxPaths:
		bad(fmt.Sprintf("the permit names more than %d fields", minimize.MaxPaths), "name what may come back, with @"+annotationOnly)
	case paths == 0 && freeform:
		bad("@"+annotationFreeform+" stands alone, and without it everything comes back", "take it out, or say which fields are meant")
	}
	return minimize.New(rules, only, freeform)
}

func exampleOf(name string) string {
	if name == annotationTruncate {
		return `("note:80, comment.text:200")`
	}
	return `("customer.ssn, items.price")`
}

func readRule(item string, a minimize.Action) (minimize.Rule, error) {
	r := minimize.Rule{Action: a}
	if a == minimize.Truncate {
		i := strings.LastIndexByte(item, ':')
		n, err := strconv.Atoi(item[i+1:])
		if i < 0 || err != nil || n < 1 || n > maxTruncate {
			return r, fmt.Errorf("%q does not end in how many characters are left", item)
		}
		item, r.Length = item[:i], n
	}
	var err error
	r.Path, err = minimize.ParsePath(item)
	return r, err
}

// hasResults reports that the policy is about an action whose results have
// fields.
func (e *entry) hasResults() bool {
	return len(e.action.entities) == 0 || slices.ContainsFunc(e.action.entities, func(u types.EntityUID) bool {
		return rule{action: string(u.ID)}.hasResults()
	})
}

func (r rule) hasResults() bool {
	return r.action == actionCall || r.action == actionGet || r.action == actionRead
}

// resultsOf is what a permit that decided says of results.
func resultsOf(found []*entry, decided types.PolicyID) *minimize.Rules {
	if i := slices.IndexFunc(found, func(e *entry) bool { return e.name == decided }); i >= 0 {
		return found[i].results
	}
	return nil
}

// resultsOfTasks joins what any permit says of the results of a server's tools
// that could have allowed this caller to call one. A task is asked for without
// the name of the tool that works on it.
func (d *Decider) resultsOfTasks(c caller, server string) *minimize.Rules {
	var all *minimize.Rules
	call := types.Entity{UID: actionUID(actionCall)}
	for _, e := range d.results {
		if e.principal.matches(c.entity) && e.action.matches(call) && e.resource.couldBeOf(server) {
			all = minimize.Join(all, e.results)
		}
	}
	return all
}

// couldBeOf reports that something of a server could be in the scope.
func (h head) couldBeOf(server string) bool {
	return len(h.entities) == 0 || slices.ContainsFunc(h.entities, func(u types.EntityUID) bool { return serverOf(u) == server })
}

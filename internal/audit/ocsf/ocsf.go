// Package ocsf says an entry of the record in the words of the Open Cybersecurity Schema Framework, so that a SIEM
// which never heard of MCP can search it beside everything else.
//
// The threat: a record that nobody looks at, because each product has a format of its own.
//
// Guaranteed: every entry becomes one event of one class of OCSF 1.x, with all that the class requires; nothing of
// the entry is lost, since what OCSF has no word for stands whole under unmapped.munjigi; nothing is added that the
// entry does not say. Which class an entry becomes is the table in Classes.
//
// Not guaranteed: that texts are anybody else's than the caller's or the server's, who wrote them.
package ocsf

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/munjigi/munjigi/internal/audit"
)

// Version is the version of the schema that events are written to.
const Version = "1.8.0"

// Class is a class of OCSF with the activity that is meant.
type Class struct {
	UID      int    // class_uid
	Category int    // category_uid
	Name     string // class_name
	Activity int    // activity_id
}

const (
	categoryFindings    = 2
	categoryIAM         = 3
	categoryApplication = 6

	activityUnknown = 0
	activityCreate  = 1
	activityRead    = 2
	activityUpdate  = 3
	activityDelete  = 4
	activityOther   = 99
)

// Row says which entries become which class. The first row that fits holds.
type Row struct {
	Kind, Stage, Method string // what the entry says; empty fits all, a method that ends in / by its beginning
	Refused             bool   // only entries of that kind whose effect lets nothing pass
	Class               Class
}

// Classes is the table of classes, for the docs as well.
func Classes() []Row {
	api := func(activity int) Class { return Class{6003, categoryApplication, "API Activity", activity} }
	entity := func(activity int) Class { return Class{3004, categoryIAM, "Entity Management", activity} }
	return []Row{
		{Stage: "authenticate", Refused: true, Class: Class{3002, categoryIAM, "Authentication", 1}},
		{Kind: audit.KindOutcome, Stage: "inspect-request", Refused: true, Class: Class{2004, categoryFindings, "Detection Finding", 1}},
		{Kind: audit.KindOutcome, Stage: "inspect-result", Refused: true, Class: Class{2004, categoryFindings, "Detection Finding", 1}},
		{Kind: audit.KindEvent, Stage: "send", Class: Class{2004, categoryFindings, "Detection Finding", 1}},
		{Kind: audit.KindEvent, Stage: "logout", Class: Class{3002, categoryIAM, "Authentication", 2}},
		{Kind: audit.KindEvent, Stage: "sign-in", Class: Class{3002, categoryIAM, "Authentication", 1}},
		{Kind: audit.KindEvent, Stage: "consent", Class: Class{3003, categoryIAM, "Authorize Session", 1}},
		{Kind: audit.KindEvent, Stage: "credential", Class: Class{3003, categoryIAM, "Authorize Session", 1}},
		{Kind: audit.KindEvent, Class: entity(activityUpdate)},
		{Method: "initialize", Class: api(activityCreate)},
		{Method: "tools/list", Class: api(activityRead)},
		{Method: "prompts/", Class: api(activityRead)},
		{Method: "resources/", Class: api(activityRead)},
		{Method: "completion/", Class: api(activityRead)},
		{Method: "server/discover", Class: api(activityRead)},
		{Method: "tasks/get", Class: api(activityRead)},
		{Method: "tasks/result", Class: api(activityRead)},
		{Method: "tasks/cancel", Class: api(activityDelete)},
		{Class: api(activityOther)},
	}
}

// ClassOf returns the class of an entry.
func ClassOf(e *audit.Event) Class {
	for _, r := range Classes() {
		if r.fits(e) {
			return r.Class
		}
	}
	return Class{6003, categoryApplication, "API Activity", activityUnknown}
}

func (r Row) fits(e *audit.Event) bool {
	method := r.Method == "" || r.Method == e.Method || strings.HasSuffix(r.Method, "/") && strings.HasPrefix(e.Method, r.Method)
	return method && (r.Kind == "" || r.Kind == e.Kind) && (r.Stage == "" || r.Stage == e.Stage) && (!r.Refused || !passes(e.Effect))
}

func passes(effect string) bool {
	return effect == "allow" || effect == "annotate" || effect == "redact"
}

// Append writes e as one OCSF event, a JSON object without a line break.
func Append(dst []byte, e *audit.Event, product string) ([]byte, error) {
	c := ClassOf(e)
	ev := event{
		Activity: c.Activity, ActivityName: e.Method, Category: c.Category, Class: c.UID, ClassName: c.Name, Type: c.UID*100 + c.Activity,
		Time: e.Time.UnixMilli(), Severity: severity(e, c), StatusCode: e.Reason, Message: message(e),
		Metadata: metadata{
			Version: Version, UID: e.ID + "-" + e.Kind, CorrelationUID: e.ID, LogName: "munjigi", OriginalTime: e.Time.UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
			Product: named{Name: "Munjigi", Vendor: "Munjigi", Version: product}, Profiles: []string{"security_control"},
		},
		Unmapped: map[string]any{"munjigi": e},
	}
	if c.Activity != activityOther || e.Method == "" {
		ev.ActivityName = ""
	}
	ev.Action, ev.Disposition, ev.Status = verdict(e)
	who := &user{Name: orUnknown(subject(e.Principal)), UID: e.Principal}
	switch c.UID {
	case 6003:
		ev.Actor = &actor{User: who, App: e.Client}
		ev.API = &api{Operation: orUnknown(e.Method), Service: &named{Name: orUnknown(e.Server)}, Request: &request{UID: e.ID}}
		if e.Kind == audit.KindOutcome {
			ev.API.Response = &response{Message: e.Effect}
			if !passes(e.Effect) {
				ev.API.Response.Error = e.Reason
			}
		}
		ev.Source = &endpoint{Name: orUnknown(e.Client)}
		if e.Target != "" {
			ev.Resources = []resource{{Name: e.Target, Type: kindOf(e.Method), Namespace: e.Server}}
		}
	case 2004:
		// A finding's status is about the finding: it is new.
		ev.Status = 1
		ev.Finding = &finding{UID: e.ID, Title: e.Reason + ": " + orUnknown(e.Server+" "+e.Target), Analytic: &analytic{Name: e.Stage, Type: 1}}
		ev.Evidences = []evidence{{Actor: &actor{User: who, App: e.Client}}}
		if e.Target != "" {
			ev.Resources = []resource{{Name: e.Target, Type: kindOf(e.Method), Namespace: e.Server}}
		}
	case 3002:
		ev.User, ev.Service = who, &named{Name: "Munjigi"}
	case 3003:
		ev.User, ev.Privileges = who, []string{e.Reason}
		if e.Server != "" {
			ev.Privileges = []string{e.Server + ": " + e.Reason}
		}
	case 3004:
		ev.Actor = &actor{User: who, App: e.Client}
		ev.Entity = &entity{Name: orUnknown(e.Target + e.Server), Type: orUnknown(e.Stage)}
		ev.Comment = e.Reason
	}
	b, err := json.Marshal(ev)
	if err != nil {
		return dst, fmt.Errorf("ocsf: %w", err)
	}
	return append(dst, b...), nil
}

// verdict is action_id and disposition_id of the profile security_control, and status_id.
func verdict(e *audit.Event) (action, disposition, status int) {
	const (
		allowed, denied                                           = 1, 2
		dAllowed, dBlocked, dQuarantined, dCorrected, dDet, dChal = 1, 2, 3, 11, 15, 23
	)
	switch e.Effect {
	case "allow":
		action, disposition, status = allowed, dAllowed, 1
	case "annotate":
		action, disposition, status = allowed, dDet, 1
	case "redact":
		action, disposition, status = allowed, dCorrected, 1
	case "hold":
		action, disposition, status = denied, dQuarantined, 2
	case "challenge":
		action, disposition, status = denied, dChal, 2
	default:
		action, disposition, status = denied, dBlocked, 2
	}
	if e.Kind == audit.KindIntent {
		status = 0 // it is not over
	}
	return action, disposition, status
}

// severity is severity_id: informational for what passes, low for what is refused, medium for what a guard or a server
// gave reason for.
func severity(e *audit.Event, c Class) int {
	switch {
	case c.UID == 2004:
		return 3
	case passes(e.Effect):
		return 1
	}
	return 2
}

func message(e *audit.Event) string {
	what := strings.Join(strings.Fields(strings.Join([]string{e.Method, e.Server, e.Target}, " ")), " ")
	return strings.TrimSpace(fmt.Sprintf("%s %s at %s: %s %s", e.Kind, e.Effect, e.Stage, e.Reason, what))
}

func kindOf(method string) string {
	switch {
	case strings.HasPrefix(method, "prompts/"):
		return "prompt"
	case strings.HasPrefix(method, "resources/"):
		return "resource"
	case strings.HasPrefix(method, "tasks/"):
		return "task"
	}
	return "tool"
}

// subject is who a principal is without who says so.
func subject(principal string) string {
	if i := strings.LastIndexByte(principal, '@'); i > 0 {
		return principal[:i]
	}
	return principal
}

func orUnknown(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return "unknown"
	}
	return s
}

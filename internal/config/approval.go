package config

import (
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// Approval says how calls wait for the word of a person, and for whose.
type Approval struct {
	// Approvers are lists of people by name, in the order of names.
	Approvers []Approvers
	// Default are the lists for what guards hold; empty is the operator.
	Default []string
	// Wait is how long a request waits and a no holds; UseWithin how long a yes
	// does.
	Wait, UseWithin time.Duration
	// Waiting and PerHour bound the requests of one principal at one server.
	Waiting, PerHour int
	// MaxAge is how old the sign-in of whoever approves may be; it has one of ACR
	// and all of AMR.
	MaxAge   time.Duration
	ACR, AMR []string
	// InsecureWithoutCode lets whoever reaches the control socket approve.
	InsecureWithoutCode bool
}

// Approvers is one list: people of an issuer by subject, group or role.
type Approvers struct {
	Name, Issuer            string
	Subjects, Groups, Roles []string
}

// Times and bounds of approvals where nothing else is said.
const (
	DefaultApprovalWait      = 10 * time.Minute
	DefaultApprovalUseWithin = 5 * time.Minute
	DefaultApprovalWaiting   = 5
	DefaultApprovalPerHour   = 20
	DefaultApprovalMaxAge    = 5 * time.Minute
)

func defaultApproval() Approval {
	return Approval{Wait: DefaultApprovalWait, UseWithin: DefaultApprovalUseWithin, Waiting: DefaultApprovalWaiting, PerHour: DefaultApprovalPerHour,
		MaxAge: DefaultApprovalMaxAge}
}

// operatorApproves is the list that is always there.
const operatorApproves = "operator"

func approvalFields() []field[Approval] {
	span := func(name string, most time.Duration, in func(*Approval) *time.Duration) field[Approval] {
		return field[Approval]{name, func(s *source, n *yaml.Node, key string, a *Approval) {
			if d, ok := s.duration(n, key, 30*time.Second, most); ok {
				*in(a) = d
			}
		}}
	}
	number := func(name string, most int64, in func(*Approval) *int) field[Approval] {
		return field[Approval]{name, func(s *source, n *yaml.Node, key string, a *Approval) {
			if v, ok := s.count(n, key, 1, most); ok {
				*in(a) = int(v)
			}
		}}
	}
	list := func(name string, in func(*Approval) *[]string) field[Approval] {
		return field[Approval]{name, func(s *source, n *yaml.Node, key string, a *Approval) { s.checked(n, key, checkAnyScope, in(a)) }}
	}
	return []field[Approval]{
		{"approvers", readApprovers},
		list("default", func(a *Approval) *[]string { return &a.Default }),
		span("wait", time.Hour, func(a *Approval) *time.Duration { return &a.Wait }),
		span("use_within", time.Hour, func(a *Approval) *time.Duration { return &a.UseWithin }),
		number("waiting", 100, func(a *Approval) *int { return &a.Waiting }),
		number("per_hour", 1000, func(a *Approval) *int { return &a.PerHour }),
		span("max_age", time.Hour, func(a *Approval) *time.Duration { return &a.MaxAge }),
		list("acr", func(a *Approval) *[]string { return &a.ACR }),
		list("amr", func(a *Approval) *[]string { return &a.AMR }),
		{"insecure_without_code", func(s *source, n *yaml.Node, key string, a *Approval) { s.flag(n, key, &a.InsecureWithoutCode) }},
	}
}

func approversFields() []field[Approvers] {
	words := func(name string, in func(*Approvers) *[]string) field[Approvers] {
		return field[Approvers]{name, func(s *source, n *yaml.Node, key string, a *Approvers) { s.words(n, key, in(a)) }}
	}
	return []field[Approvers]{
		{"issuer", func(s *source, n *yaml.Node, key string, a *Approvers) {
			if t, ok := s.text(n, key); ok {
				a.Issuer = t
			}
		}},
		words("subjects", func(a *Approvers) *[]string { return &a.Subjects }),
		words("groups", func(a *Approvers) *[]string { return &a.Groups }),
		words("roles", func(a *Approvers) *[]string { return &a.Roles }),
	}
}

func readApprovers(s *source, n *yaml.Node, key string, a *Approval) {
	s.members(n, key, func(name string, k, v *yaml.Node) {
		at := join(key, name)
		s.at[at] = position{k.Line, k.Column}
		switch {
		case name == operatorApproves:
			s.fail(k, at, "is a name that means the operator already", "give the list another name")
		case checkAnyScope(name) != (complaint{}) || name == "":
			s.fail(k, at, "is not a name for a list", "use plain ASCII without spaces and quotes, as policies name it in @approval")
		}
		one := Approvers{Name: name}
		readMapping(s, v, at, approversFields(), &one)
		if len(one.Subjects)+len(one.Groups)+len(one.Roles) == 0 && v.Kind == yaml.MappingNode && !s.failed(at) {
			s.fail(k, at, "is a list of nobody", "name subjects, groups or roles")
		}
		a.Approvers = append(a.Approvers, one)
	})
	slices.SortFunc(a.Approvers, func(x, y Approvers) int {
		if x.Name < y.Name {
			return -1
		}
		return 1
	})
}

// judgeApproval holds what needs more than one key.
func (s *source) judgeApproval(r *reading) {
	a := &r.Approval
	known := []string{operatorApproves}
	for i := range a.Approvers {
		l := &a.Approvers[i]
		known = append(known, l.Name)
		at := join("approval.approvers", l.Name)
		if l.Issuer == "" && len(r.Identity.Issuers) == 1 {
			l.Issuer = r.Identity.Issuers[0].URL
		}
		i := slices.IndexFunc(r.Identity.Issuers, func(i Issuer) bool { return i.URL == l.Issuer })
		switch {
		case s.failed(at):
		case i < 0:
			s.failKey(at, "names no issuer of identity.issuers", "write issuer: with one of them, letter by letter")
		case !r.Identity.Issuers[i].SignIn.Enabled():
			s.failKey(at, "is of people who cannot sign in to the gateway's pages", "add signin: to this issuer under identity.issuers")
		}
	}
	for i, name := range a.Default {
		if !slices.Contains(known, name) {
			s.failKey(index("approval.default", i), "names approvers that are not there", "name one of those under approval.approvers, or "+operatorApproves)
		}
	}
}

// ApproverNames are the lists that policies may name.
func (a Approval) ApproverNames() []string {
	out := []string{operatorApproves}
	for _, l := range a.Approvers {
		out = append(out, l.Name)
	}
	return out
}

func (a Approval) departures() []Departure {
	var list []Departure
	add := func(key, value string, usual any) {
		list = append(list, Departure{"approval." + key, value, fmt.Sprintf("is looser than the default of %v", usual)})
	}
	if a.Wait > DefaultApprovalWait {
		add("wait", a.Wait.String(), DefaultApprovalWait)
	}
	if a.UseWithin > DefaultApprovalUseWithin {
		add("use_within", a.UseWithin.String(), DefaultApprovalUseWithin)
	}
	if a.Waiting > DefaultApprovalWaiting {
		add("waiting", formatCount(int64(a.Waiting)), DefaultApprovalWaiting)
	}
	if a.PerHour > DefaultApprovalPerHour {
		add("per_hour", formatCount(int64(a.PerHour)), DefaultApprovalPerHour)
	}
	if a.MaxAge > DefaultApprovalMaxAge {
		add("max_age", a.MaxAge.String(), DefaultApprovalMaxAge)
	}
	if a.InsecureWithoutCode {
		list = append(list, Departure{"approval.insecure_without_code", "true", "every program of the gateway's own user can approve calls"})
	}
	return list
}

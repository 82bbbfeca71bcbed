package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Departure is one way in which a configuration is weaker than the safe
// defaults. It is shown at start, in the record and on the console.
type Departure struct {
	// Key is the path of the key, Value what it says.
	Key   string `json:"key"`
	Value string `json:"value"`
	// Means is what that gives up, in one sentence.
	Means string `json:"means"`
}

// Departures lists all that is weaker than the safe defaults, in the order of
// the keys of the file's documentation and then of names.
func (c *Config) Departures() []Departure {
	var list []Departure
	add := func(key, value, means string) { list = append(list, Departure{key, value, means}) }
	if older(c.ProtocolFloor, DefaultFloor) {
		add("protocol_floor", c.ProtocolFloor, "older protocol revisions, with weaker rules, are spoken")
	}
	for i, v := range c.AllowedOrigins {
		add(index("allowed_origins", i), Visible(v), "pages of this origin may call the gateway from a browser")
	}
	for i, v := range c.AllowedHosts {
		add(index("allowed_hosts", i), Visible(v), "requests under this host name are accepted")
	}
	for n, i := range c.Identity.Issuers {
		list = append(list, i.departures(index("identity.issuers", n))...)
	}
	for _, d := range c.Identity.SPIFFE {
		if d.ScopesIgnored {
			add("identity.spiffe[].scopes", "ignored", "workloads of "+d.Name+" need no scope of this gateway; policy alone decides")
		}
	}
	if c.Identity.InsecureAnonymous {
		add("identity.insecure_anonymous", "true", "every program on this machine may call without a token")
	}
	if c.Identity.DPoP.NonceOff {
		add("identity.dpop.nonce", "off", "proofs of possession may have been made in advance, as far as their window goes")
	}
	if w := c.Identity.DPoP.Window; w > DefaultDPoPWindow {
		add("identity.dpop.window", w.String(), "is looser than the default of "+DefaultDPoPWindow.String())
	}
	list = append(list, c.AuthorizationServer.departures()...)
	for i, v := range c.Egress.Allow {
		add(index("egress.allow", i), Visible(v), "the gateway itself may fetch from this host although it is private")
	}
	if c.Egress.CA != "" {
		add("egress.ca", Visible(c.Egress.CA), "issuers may prove themselves by certificates of this authority")
	}
	for _, s := range c.Servers {
		list = append(list, s.departures(c.Audit)...)
	}
	list = append(list, c.Approval.departures()...)
	for _, g := range c.Guards {
		for i, t := range g.InsecureUnknownProperties {
			add(index("guards."+g.Name+".insecure_unknown_properties", i), Visible(t), "properties that the tool's schema does not declare pass")
		}
		list = append(list, g.argumentsDepartures()...)
		for i, r := range g.InsecureAllow {
			add(index("guards."+g.Name+".insecure_allow", i), Visible(strings.Join(r.Servers, ", ")), "secrets pass to and from these servers")
		}
		switch g.Mode {
		case ModeOff:
			add(join("guards", g.Name)+".mode", string(g.Mode), "the guard does not look")
		case ModeMonitor:
			add(join("guards", g.Name)+".mode", string(g.Mode), "the guard looks and stops nothing")
		case ModeEnforce:
		default:
			add(join("guards", g.Name)+".mode", string(g.Mode), "the mode is unknown")
		}
	}
	list = append(list, c.definitionDepartures()...)
	if c.Audit.Durability != DurabilityStrict {
		add("audit.durability", string(c.Audit.Durability), "entries of the record may be lost in a crash")
	}
	for _, row := range limits() {
		if v := row.get(&c.Limits); v > row.usual {
			add("limits."+row.name, row.format(v), "is looser than the default of "+row.format(row.usual))
		}
	}
	return list
}

func (s Server) departures(all Audit) []Departure {
	var list []Departure
	at := join("servers", s.Name)
	if s.InsecureUnsandboxed && s.Stdio() {
		list = append(list, Departure{at + ".insecure_unsandboxed", "true", "the command runs with all rights of the user that runs the gateway"})
	}
	if s.Shared {
		list = append(list, Departure{at + ".shared", "true", "all callers share one process or session, and whatever state the server keeps"})
	}
	list = append(list, s.definitionDepartures(at)...)
	if s.Durability != DurabilityStrict && s.Durability != all.Durability {
		list = append(list, Departure{at + ".audit.durability", string(s.Durability), "entries of the record may be lost in a crash"})
	}
	list = append(list, s.Credential.departures(at+".credential")...)
	usual := NewServer(s.Name)
	if s.Deadline > usual.Deadline {
		list = append(list, Departure{at + ".deadline", s.Deadline.String(), fmt.Sprintf("is looser than the default of %v", usual.Deadline)})
	}
	if s.MaxProcesses > usual.MaxProcesses {
		list = append(list, Departure{at + ".max_processes", strconv.Itoa(s.MaxProcesses), fmt.Sprintf("is looser than the default of %d", usual.MaxProcesses)})
	}
	return list
}

// older compares revisions, which are dates. One that is unknown is older
// than all.
func older(revision, than string) bool { return revision < than }

func formatCount(v int64) string { return strconv.FormatInt(v, 10) }

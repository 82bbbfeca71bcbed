package cedar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/munjigi/munjigi/internal/authz"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Table is a list of wanted decisions, as an operator keeps it beside the
// policies.
type Table struct {
	People map[string]Person `yaml:"people"`
	Cases  []Case            `yaml:"cases"`
}

// Person is a caller of a table: what a token would say. An issuer has to be
// there; kind is user (also when empty), workload, operator or anonymous.
type Person struct {
	Kind          string   `yaml:"kind"`
	Issuer        string   `yaml:"issuer"`
	Subject       string   `yaml:"subject"`
	Client        string   `yaml:"client"`
	Tenant        string   `yaml:"tenant"`
	Groups        []string `yaml:"groups"`
	GroupsUnknown bool     `yaml:"groups_unknown"`
	Roles         []string `yaml:"roles"`
	Scopes        []string `yaml:"scopes"`
	Actors        []string `yaml:"actors"`
	ACR           string   `yaml:"acr"`
	AMR           []string `yaml:"amr"`
	AuthTime      int64    `yaml:"auth_time"`
	Claims        mapping  `yaml:"claims"`
}

// Case is one wanted decision. Want is allow, deny, or the need of an
// Explanation; Listed, where it is given, is whether a list shows the target.
type Case struct {
	Who       string  `yaml:"who"`
	Method    string  `yaml:"method"`
	Server    string  `yaml:"server"`
	Name      string  `yaml:"name"`
	Arguments mapping `yaml:"arguments"`
	// Era, Address and Time (RFC 3339) are how and when it is asked; the time is
	// now where it is not said.
	Era     string    `yaml:"era"`
	Address string    `yaml:"address"`
	Time    time.Time `yaml:"time"`
	Want    string    `yaml:"want"`
	Listed  *bool     `yaml:"listed"`
	line    int
}

// UnmarshalYAML notes the line. Unknown keys are errors.
func (c *Case) UnmarshalYAML(n *yaml.Node) error {
	type plain Case
	if err := known(n, "who", "method", "server", "name", "arguments", "era", "address", "time", "want", "listed"); err != nil {
		return err
	}
	if err := n.Decode((*plain)(c)); err != nil {
		return err
	}
	c.line = n.Line
	return nil
}

// known refuses other keys than these: what a decoder is told of unknown keys
// ends where somebody decodes for himself.
func known(n *yaml.Node, keys ...string) error {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		found := false
		for _, k := range keys {
			found = found || n.Content[i].Value == k
		}
		if !found {
			return fmt.Errorf("line %d: there is no key %q here", n.Content[i].Line, n.Content[i].Value)
		}
	}
	return nil
}

// mapping is a YAML mapping as the JSON that a client would send.
type mapping []byte

// UnmarshalYAML keeps numbers as they are written.
func (o *mapping) UnmarshalYAML(n *yaml.Node) error {
	b, err := jsonOf(nil, n, 0)
	if err != nil {
		return err
	}
	if err := strictjson.Validate(b, strictjson.Default()); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	if strictjson.TypeOf(b) != strictjson.TypeObject {
		return fmt.Errorf("line %d: this has to be a mapping", n.Line)
	}
	*o = b
	return nil
}

func jsonOf(dst []byte, n *yaml.Node, depth int) ([]byte, error) {
	if depth > 32 {
		return nil, fmt.Errorf("line %d: too deep", n.Line)
	}
	var err error
	switch n.Kind {
	case yaml.MappingNode:
		dst = append(dst, '{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(strictjson.AppendString(dst, n.Content[i].Value), ':')
			if dst, err = jsonOf(dst, n.Content[i+1], depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, e := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = jsonOf(dst, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return append(dst, "null"...), nil
		case "!!bool":
			b, err := strconv.ParseBool(n.Value)
			return strconv.AppendBool(dst, b), err
		case "!!int", "!!float":
			return append(dst, n.Value...), nil
		}
		return strictjson.AppendString(dst, n.Value), nil
	}
	return nil, fmt.Errorf("line %d: write values, no aliases", n.Line)
}

// ReadTable reads a table. The error names the line.
func ReadTable(b []byte) (*Table, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	t := &Table{}
	if err := d.Decode(t); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the table is empty: it needs people and cases")
		}
		return nil, err
	}
	if d.Decode(new(yaml.Node)) == nil {
		return nil, errors.New("a table is one YAML document")
	}
	if len(t.Cases) == 0 {
		return nil, errors.New("the table has no cases")
	}
	for i, c := range t.Cases {
		who, ok := t.People[c.Who]
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d: nobody is called %q under people", c.line, c.Who)
		case !slices.Contains([]string{"allow", "deny", needScope, needStepUp, needApproval}, c.Want):
			return nil, fmt.Errorf("line %d: want is allow, deny, scope, step-up or approval", c.line)
		case !who.Principal().Valid():
			return nil, fmt.Errorf("line %d: %q needs an issuer, a subject and a kind that is user, workload, operator or anonymous", c.line, c.Who)
		}
		if c.Address != "" {
			if _, err := netip.ParseAddr(c.Address); err != nil {
				return nil, fmt.Errorf("line %d: %q is no IP address", c.line, c.Address)
			}
		}
		if c.Era != "" && c.Era != mcp.Modern.String() && c.Era != mcp.Legacy.String() {
			return nil, fmt.Errorf("line %d: era is modern or legacy", c.line)
		}
		if _, ok := rules()[c.Method]; !ok {
			return nil, fmt.Errorf("line %d: there is no action for the method %q of case %d", c.line, c.Method, i+1)
		}
	}
	return t, nil
}

// Principal is the caller as an authenticator would make it.
func (p Person) Principal() call.Principal {
	id := call.Identity{Issuer: p.Issuer, Subject: p.Subject, Client: p.Client, Tenant: p.Tenant, Groups: p.Groups, GroupsUnknown: p.GroupsUnknown,
		Roles: p.Roles, Scopes: p.Scopes, Actors: p.Actors, ACR: p.ACR, AMR: p.AMR, AuthTime: p.AuthTime, Claims: p.Claims}
	switch p.Kind {
	case "", "user":
		id.Kind = call.Person
	case "workload":
		id.Kind = call.Workload
	case "operator":
		id.Kind = call.Operator
	case "anonymous":
		id.Kind = call.Anonymous
	}
	return call.NewPrincipal(id)
}

// Outcome is one case and what the policies say of it.
type Outcome struct {
	Line   int         `json:"line"`
	Who    string      `json:"who"`
	Method string      `json:"method"`
	Target string      `json:"target"`
	Want   string      `json:"want"`
	OK     bool        `json:"ok"`
	Got    Explanation `json:"got"`
}

// Play decides every case of a table.
func (d *Decider) Play(ctx context.Context, t *Table) []Outcome {
	out := make([]Outcome, 0, len(t.Cases))
	for _, c := range t.Cases {
		q := authz.Query{Principal: t.People[c.Who].Principal(), Arguments: c.Arguments, Target: call.Target{Server: c.Server, Method: c.Method, Name: c.Name},
			Time: c.Time, Asked: call.Asked{Era: c.Era}}
		if a, err := netip.ParseAddr(c.Address); err == nil {
			q.Asked.Address = a.Unmap().WithZone("")
		}
		x := d.Explain(ctx, q)
		o := Outcome{Line: c.line, Who: c.Who, Method: c.Method, Target: c.Server, Want: c.Want, Got: x}
		if c.Name != "" {
			o.Target += "/" + c.Name
		}
		if c.Listed != nil && *c.Listed {
			o.Want += ", listed"
		} else if c.Listed != nil {
			o.Want += ", not listed"
		}
		got := x.Needs
		if x.Allowed {
			got = "allow"
		} else if got == "" {
			got = "deny"
		}
		o.OK = got == c.Want && (c.Listed == nil || *c.Listed == x.Listed)
		out = append(out, o)
	}
	return out
}

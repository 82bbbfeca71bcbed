package cedar

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/config"
)

// Start says for whom a first policy is.
type Start struct {
	// Issuer and Group are whose the tools are; both empty for the operator of a
	// gateway without an identity provider.
	Issuer, Group string
	// Approvers is the list of those who approve what does more than read.
	Approvers string
	// Merged says that /mcp serves several servers together.
	Merged bool
}

// Draft writes a first policy from what servers say they have, for a person to
// read and change. Tools whose names say that they read, and of which their
// server claims nothing else, are for one group; every other tool waits for an
// approval. What a server claims of a tool stands beside it as its claim: a claim
// that a tool is harmless changes nothing. What the server adds later is not
// permitted.
func Draft(c *Catalogue, s Start) (string, error) {
	if c == nil || len(c.Servers) == 0 {
		return "", errors.New("the catalogue has no server")
	}
	if !plainWord(s.Approvers) || s.Approvers == "" {
		return "", errors.New("the list of approvers needs a name of printable ASCII without spaces and quotes")
	}
	who := "principal is " + string(typeOperator)
	if s.Issuer != "" {
		who = `principal in ` + entityText(types.NewEntityUID(typeGroup, within(s.Issuer, s.Group)))
	}
	var b strings.Builder
	b.WriteString(draftHead)
	if s.Merged {
		fmt.Fprintf(&b, "\n@id(\"merged\")\npermit (\n  %s,\n  action in [%s],\n  resource == %s\n);\n", who, actionTexts(actionConnect, actionList, actionListen), entityText(serverUID(merged)))
	}
	names := make([]string, 0, len(c.Servers))
	for name := range c.Servers {
		if !isServer(name) {
			return "", fmt.Errorf("%q is no server's name", name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		draftServer(&b, name, c.Servers[name], who, s.Approvers)
	}
	return b.String(), nil
}

const draftHead = `// A first policy, written from what the servers said they have. Read every line
// before you use it: names and claims are the servers' own words, and nobody has
// checked them. What a server adds later is not permitted until you add it here.
// Lines that begin with two slashes are for you, not for the gateway.
`

func draftServer(b *strings.Builder, server string, shelf *Shelf, who, approvers string) {
	fmt.Fprintf(b, "\n// ---- %s ----\n", server)
	lists := make([]string, 0, len(shelf.Missing))
	for list := range shelf.Missing {
		lists = append(lists, list)
	}
	slices.Sort(lists)
	for _, list := range lists {
		fmt.Fprintf(b, "// Its %s could not be had: %s\n", comment(list), comment(shelf.Missing[list]))
	}
	rule := func(id, annotation, actions, resource, when string) {
		fmt.Fprintf(b, "\n@id(\"%s-%s\")\n%spermit (\n  %s,\n  action in [%s],\n  %s\n)%s;\n", server, id, annotation, who, actions, resource, when)
	}
	at := "resource == " + entityText(serverUID(server))
	within := " in " + entityText(serverUID(server))
	rule("connect", "", actionTexts(actionConnect, actionList, actionListen), at, "")
	var reading, rest []string
	said := map[string]bool{}
	for _, t := range tools(shelf.Tools) {
		if said[t.Name] {
			continue // listed twice, so never offered
		}
		said[t.Name] = true
		line := fmt.Sprintf("    %s,%s\n", entityText(types.NewEntityUID(typeTool, types.String(server+"/"+t.Name))), claimed(t.Annotations))
		if reads(t) {
			reading = append(reading, line)
		} else {
			rest = append(rest, line)
		}
	}
	set := func(lines []string) string {
		return " when {\n  [\n" + strings.Join(lines, "") + "  ].contains(resource)\n}"
	}
	if len(reading) > 0 {
		b.WriteString("\n// By their names these only read.")
		rule("reads", "", actionTexts(actionCall), "resource is "+string(typeTool)+within, set(reading))
	}
	if len(rest) > 0 {
		b.WriteString("\n// Nothing shows that these only read: each call waits for an approval.")
		rule("by-approval", fmt.Sprintf("@approval(%q)\n", approvers), actionTexts(actionCall), "resource is "+string(typeTool)+within, set(rest))
	}
	if len(reading)+len(rest) > 0 {
		b.WriteString("\n// Long calls become tasks, which only their own caller sees.")
		rule("tasks", "", actionTexts(actionCall, actionGet), "resource is "+string(typeTask)+within, "")
	}
	var prompts []string
	for _, p := range tools(shelf.Prompts) {
		line := fmt.Sprintf("    %s,\n", entityText(types.NewEntityUID(typePrompt, types.String(server+"/"+p.Name))))
		if !slices.Contains(prompts, line) {
			prompts = append(prompts, line)
		}
	}
	if len(prompts) > 0 {
		rule("prompts", "", actionTexts(actionGet, actionComplete), "resource is "+string(typePrompt)+within, set(prompts))
	}
	if len(shelf.Resources)+len(shelf.Templates) > 0 {
		fmt.Fprintf(b, "\n// Every resource that the server has, now and later: %d resources and %d templates at the moment.", len(shelf.Resources), len(shelf.Templates))
		rule("resources", "", actionTexts(actionRead, actionComplete, actionSubscribe), "resource is "+string(typeResource)+within, "")
	}
}

// reads reports a tool whose name says that it reads, where its server claims
// nothing else. A claim alone is never enough.
func reads(t Tool) bool {
	yes := func(b *bool) bool { return b != nil && *b }
	if yes(t.Annotations.Destructive) || yes(t.Annotations.OpenWorld) || t.Annotations.ReadOnly != nil && !*t.Annotations.ReadOnly {
		return false
	}
	words := strings.FieldsFunc(separated(t.Name), func(r rune) bool { return !unicode.IsLetter(r) })
	if len(words) == 0 || !slices.Contains([]string{"get", "list", "read", "show", "describe", "count", "find", "search", "lookup", "view", "status", "head", "stat", "inspect"}, words[0]) {
		return false
	}
	return !slices.ContainsFunc(words[1:], func(w string) bool {
		return slices.Contains([]string{"and", "then", "or", "delete", "remove", "drop", "write", "update", "create", "set", "send", "post", "put", "run", "exec", "execute", "call", "tool", "url", "web", "http", "fetch", "secret", "secrets", "password", "token", "key", "keys", "credential", "credentials"}, w)
	})
}

// separated puts a space before each capital of aNameLikeThis, in small letters.
func separated(name string) string {
	var b strings.Builder
	small := false
	for _, r := range name {
		if unicode.IsUpper(r) && small {
			b.WriteByte(' ')
		}
		small = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// claimed says in a comment what a server claims of its own tool.
func claimed(c Claims) string {
	var words []string
	say := func(b *bool, yes, no string) {
		if b != nil && *b {
			words = append(words, yes)
		} else if b != nil {
			words = append(words, no)
		}
	}
	say(c.ReadOnly, "read-only", "not read-only")
	say(c.Destructive, "destructive", "not destructive")
	say(c.OpenWorld, "reaches outside", "does not reach outside")
	if len(words) == 0 {
		return ""
	}
	return " // its server claims: " + strings.Join(words, ", ")
}

func actionTexts(names ...string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = entityText(actionUID(n))
	}
	return strings.Join(out, ", ")
}

func entityText(u types.EntityUID) string { return string(u.MarshalCedar()) }

// comment makes a text of others one line of a comment.
func comment(s string) string {
	s = config.Visible(strings.Join(strings.Fields(s), " "))
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

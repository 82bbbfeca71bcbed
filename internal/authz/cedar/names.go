package cedar

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/munjigi/munjigi/internal/call"
)

// Entity types. Policies name no others.
const (
	typeUser      types.EntityType = "Munjigi::User"
	typeWorkload  types.EntityType = "Munjigi::Workload"
	typeOperator  types.EntityType = "Munjigi::Operator"
	typeAnonymous types.EntityType = "Munjigi::Anonymous"
	typeGroup     types.EntityType = "Munjigi::Group"
	typeRole      types.EntityType = "Munjigi::Role"
	typeClient    types.EntityType = "Munjigi::Client"
	typeIssuer    types.EntityType = "Munjigi::Issuer"
	typeAction    types.EntityType = "Munjigi::Action"
	typeTool      types.EntityType = "Munjigi::Tool"
	typePrompt    types.EntityType = "Munjigi::Prompt"
	typeResource  types.EntityType = "Munjigi::Resource"
	typeTask      types.EntityType = "Munjigi::Task"
	typeServer    types.EntityType = "Munjigi::Server"
)

func principalTypes() []types.EntityType {
	return []types.EntityType{typeUser, typeWorkload, typeOperator, typeAnonymous}
}

func principalParents() []types.EntityType {
	return []types.EntityType{typeGroup, typeRole, typeClient, typeIssuer}
}

func resourceTypes() []types.EntityType {
	return []types.EntityType{typeTool, typePrompt, typeResource, typeTask, typeServer}
}

// merged is the server of what concerns all of /mcp.
const merged = "*"

// escapeIssuer makes room for the bar that ends an issuer.
func escapeIssuer(issuer string) string {
	return strings.ReplaceAll(strings.ReplaceAll(issuer, "%", "%25"), "|", "%7C")
}

// within is the ID of a name that one issuer gave: the issuer with % and |
// written as %25 and %7C, a bar, and the name as it is. The first bar ends the
// issuer, so two pairs never share an ID.
func within(issuer, name string) types.String {
	return types.String(escapeIssuer(issuer) + "|" + name)
}

// isWithin reports whether within can have made id.
func isWithin(id string) bool {
	issuer, name, ok := strings.Cut(id, "|")
	if !ok || issuer == "" || name == "" {
		return false
	}
	plain := strings.ReplaceAll(strings.ReplaceAll(issuer, "%7C", "|"), "%25", "%")
	return escapeIssuer(plain) == issuer
}

// principalUID is the entity of an authenticated caller.
func principalUID(id call.Identity) (types.EntityUID, error) {
	var t types.EntityType
	switch id.Kind {
	case call.Person:
		t = typeUser
	case call.Workload:
		t = typeWorkload
	case call.Operator:
		t = typeOperator
	case call.Anonymous:
		t = typeAnonymous
	default:
		return types.EntityUID{}, fmt.Errorf("policy has no type for a caller of kind %d", id.Kind)
	}
	if id.Issuer == "" || id.Subject == "" {
		return types.EntityUID{}, fmt.Errorf("the caller has no issuer or no subject")
	}
	return types.NewEntityUID(t, within(id.Issuer, id.Subject)), nil
}

// isServer reports a configured server's name: [a-z][a-z0-9-]{0,31}.
func isServer(s string) bool {
	if s == "" || len(s) > 32 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// targetUID is the entity of what a call is about: the server's name for a
// Server, else the server, a slash and the name as the server knows it. A
// server's name has no slash, so two targets never share an ID.
func targetUID(t types.EntityType, target call.Target) (types.EntityUID, error) {
	if !isServer(target.Server) && (target.Server != merged || t != typeServer) {
		return types.EntityUID{}, fmt.Errorf("the call names no server")
	}
	if t == typeServer {
		return types.NewEntityUID(t, types.String(target.Server)), nil
	}
	if target.Name == "" {
		return types.EntityUID{}, fmt.Errorf("the call names nothing at its server")
	}
	return types.NewEntityUID(t, types.String(target.Server+"/"+target.Name)), nil
}

func serverUID(server string) types.EntityUID {
	return types.NewEntityUID(typeServer, types.String(server))
}

// serverOf is the server that a target's ID begins with.
func serverOf(uid types.EntityUID) string {
	s, _, _ := strings.Cut(string(uid.ID), "/")
	return s
}

// nameProblem says why no request can ever name uid; empty when one can.
func nameProblem(uid types.EntityUID) string {
	id := string(uid.ID)
	switch uid.Type {
	case typeAction:
		if !slices.Contains(actions(), id) {
			return fmt.Sprintf("there is no action %q; the actions are %s", id, strings.Join(actions(), ", "))
		}
	case typeUser, typeWorkload, typeOperator, typeAnonymous, typeGroup, typeRole, typeClient:
		if !isWithin(id) {
			return fmt.Sprintf("%s is not of the form %s::\"issuer|name\", with %% and | in the issuer written as %%25 and %%7C", uid, uid.Type)
		}
	case typeIssuer:
		if id == "" {
			return "an issuer is not empty"
		}
	case typeServer:
		if !isServer(id) && id != merged {
			return fmt.Sprintf("%s is no server's name", uid)
		}
	case typeTool, typePrompt, typeResource, typeTask:
		server, name, ok := strings.Cut(id, "/")
		if !ok || !isServer(server) || name == "" {
			return fmt.Sprintf("%s is not of the form %s::\"server/name\"", uid, uid.Type)
		}
	default:
		return typeProblem(uid.Type)
	}
	return ""
}

// typeProblem says that t is no type of ours; empty when it is.
func typeProblem(t types.EntityType) string {
	all := slices.Concat(principalTypes(), principalParents(), resourceTypes(), []types.EntityType{typeAction})
	if slices.Contains(all, t) {
		return ""
	}
	words := make([]string, len(all))
	for i, k := range all {
		words[i] = string(k)
	}
	return fmt.Sprintf("there is no type %s; the types are %s", t, strings.Join(words, ", "))
}

// isID reports what @id may say.
func isID(s string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`).MatchString(s)
}

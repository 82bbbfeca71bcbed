package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/call"
	"github.com/munjigi/munjigi/internal/mcp"
)

// WellKnown is where the metadata of a protected resource stands, before its
// path (RFC 9728 section 3.1).
const WellKnown = "/.well-known/oauth-protected-resource"

// Resource is one address that tokens are made for.
type Resource struct {
	URL       string
	Audiences []string // accepted aud values; empty means URL
	Metadata  string   // URL of its metadata
	Issuers   []string
	Scopes    []string // all that this resource knows
	Least     []string // what a first token should ask for
	// Binding says to which keys its tokens may and must be bound.
	Binding Binding
	// ScopesIgnored names the issuers whose tokens need no scopes.
	ScopesIgnored map[string]bool
}

// Binding is what metadata and challenges say of bound tokens.
type Binding struct {
	// Algorithms are those of DPoP proofs (RFC 9449); empty takes none.
	Algorithms []string
	// DPoPOnly takes only tokens that are bound to a DPoP key.
	DPoPOnly bool
	// Certificates reports that tokens may be bound to client certificates (RFC
	// 8705).
	Certificates bool
}

// metadata is the protected resource metadata (RFC 9728 section 2).
type metadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	DPoPAlgorithms       []string `json:"dpop_signing_alg_values_supported,omitempty"`
	DPoPOnly             bool     `json:"dpop_bound_access_tokens_required,omitempty"`
	Certificates         bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
}

// serveMetadata answers at the path-inserted well-known URL of each resource.
// The bare root names no resource and answers 404.
func (g *Gateway) serveMetadata(c *call.Call, in *inbound, out *httpOut) {
	w, r := out.w, in.http
	path := strings.TrimPrefix(r.URL.Path, WellKnown)
	res, ok := g.o.Resources[g.o.BaseURL+path]
	switch {
	case !ok || path == "":
		g.astray(c, in, out, deny(c, call.Accept, call.ReasonUnknownPath, "").say("there is no protected resource of this path"))
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		g.astray(c, in, out, deny(c, call.Accept, call.ReasonBadMethod, "").say("metadata is read by GET"))
		return
	}
	b, err := json.Marshal(metadata{Resource: res.URL, AuthorizationServers: res.Issuers, ScopesSupported: res.Least, BearerMethods: []string{"header"},
		DPoPAlgorithms: res.Binding.Algorithms, DPoPOnly: res.Binding.DPoPOnly, Certificates: res.Binding.Certificates})
	if err != nil {
		g.astray(c, in, out, deny(c, call.Accept, call.ReasonInternal, err.Error()))
		return
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Access-Control-Allow-Origin"] = []string{"*"} // public by design, and needed by clients in browsers
	delete(h, "Cross-Origin-Resource-Policy")
	_, _ = w.Write(b)
}

// challenge says which error a request has (RFC 6750 3.1), and where the caller
// finds what to do (RFC 9728 5.1).
func (g *Gateway) challenge(in *inbound, scheme, code string) string {
	c := scheme + ` error="` + code + `"`
	if res, ok := g.o.Resources[g.o.BaseURL+in.http.URL.Path]; ok {
		c += `, resource_metadata="` + res.Metadata + `"`
	}
	return c
}

// scopeOf names the scope that a method needs at a server: {server}:list,
// :read or :call. Methods that open a conversation need none.
func scopeOf(t call.Target) string {
	verb := ""
	switch t.Method {
	case mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList, mcp.MethodTasksList, mcp.MethodListen:
		verb = "list"
	case mcp.MethodResourcesRead, mcp.MethodPromptsGet, mcp.MethodComplete, mcp.MethodResourcesSubscribe, mcp.MethodResourcesUnsubscribe:
		verb = "read"
	case mcp.MethodToolsCall, mcp.MethodTasksGet, mcp.MethodTasksUpdate, mcp.MethodTasksCancel, mcp.MethodTasksResult:
		verb = "call"
	default:
		return ""
	}
	return t.Server + ":" + verb
}

// scoped refuses a token that lacks the scope of what is asked, with the
// challenge that lets a client ask for it (2026-07-28, "Insufficient Scope").
func (g *Gateway) scoped(c *call.Call, in *inbound, t call.Target) *refusal {
	if len(g.o.Resources) == 0 || in.http == nil {
		return nil
	}
	id := c.Principal.Identity()
	res := g.o.Resources[g.o.BaseURL+in.path]
	need := scopeOf(t)
	if need == "" || res.ScopesIgnored[id.Issuer] && !id.Granted || t.Server == mergedName || slices.Contains(id.Scopes, need) {
		return nil
	}
	r := deny(c, call.Authorize, call.ReasonInsufficientScope, need)
	r.challenge = g.lacks(c, in, []string{need})
	return r
}

// lacks is the challenge for scopes that a token does not have. What it has
// already of this resource is asked for again, so that the next token does not
// lose it.
func (g *Gateway) lacks(c *call.Call, in *inbound, need []string) string {
	return g.strengthened(c, in, `error="insufficient_scope", scope="`+strings.Join(g.scopesWith(c, in, need), " ")+`"`)
}

func (g *Gateway) scopesWith(c *call.Call, in *inbound, need []string) []string {
	ask, has := slices.Clone(need), c.Principal.Identity().Scopes
	for _, s := range g.o.Resources[g.o.BaseURL+in.path].Scopes {
		if slices.Contains(has, s) && !slices.Contains(ask, s) {
			ask = append(ask, s)
		}
	}
	return ask
}

// strengthened makes a challenge for a better token of the caller's own kind.
func (g *Gateway) strengthened(c *call.Call, in *inbound, what string) string {
	res := g.o.Resources[g.o.BaseURL+in.path]
	challenge := scheme(c.Principal) + " " + what + `, resource_metadata="` + res.Metadata + `"`
	if c.Principal.Identity().Confirmation.JKT != "" {
		challenge += `, algs="` + strings.Join(res.Binding.Algorithms, " ") + `"`
	}
	return challenge
}

// demand tells the caller what policy asks for beyond its token: by challenge
// where there is somebody who can give another, in words elsewhere. The values
// come from policy, which holds them to what a quoted string takes.
func (g *Gateway) demand(c *call.Call, in *inbound, r *refusal) {
	need := r.decision.Needs
	if len(g.o.Resources) == 0 || in.http == nil {
		// Nobody reads a challenge here.
		if r.decision.Reason == call.ReasonInsufficientScope {
			r.text = "this needs a scope that the caller does not have: " + strings.Join(need.Scopes, " ")
		}
		r.status, r.words = http.StatusOK, true
		return
	}
	if r.decision.Reason == call.ReasonInsufficientScope {
		r.status, r.challenge = http.StatusForbidden, g.lacks(c, in, need.Scopes)
		return
	}
	// RFC 9470 section 3.
	what := `error="insufficient_user_authentication", error_description="a newer or stronger sign-in is required"`
	if len(need.ACR) > 0 {
		what += `, acr_values="` + strings.Join(need.ACR, " ") + `"`
	}
	if need.MaxAge > 0 {
		what += `, max_age="` + strconv.FormatInt(int64(need.MaxAge/time.Second), 10) + `"`
	}
	if len(need.Scopes) > 0 {
		what += `, scope="` + strings.Join(g.scopesWith(c, in, need.Scopes), " ") + `"`
	}
	r.status, r.challenge = http.StatusUnauthorized, g.strengthened(c, in, what)
}

// scheme is the one by which a principal's token has to come.
func scheme(p call.Principal) string {
	if p.Identity().Confirmation.JKT != "" {
		return "DPoP"
	}
	return "Bearer"
}

// allowed is scoped for one server of a merged request, where a server whose
// scope is missing is left out instead of refusing the others.
func (g *Gateway) allowed(c *call.Call, in *inbound, t call.Target) bool {
	if len(g.o.Resources) == 0 || in.http == nil {
		return true
	}
	need, id := scopeOf(t), c.Principal.Identity()
	return need == "" || g.o.Resources[g.o.BaseURL+in.path].ScopesIgnored[id.Issuer] && !id.Granted || slices.Contains(id.Scopes, need)
}

package jwt

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/call"
)

const (
	tid  = "11111111-2222-3333-4444-555555555555"
	oid  = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	v1   = "https://sts.windows.net/" + tid + "/"
	v2   = "https://login.microsoftonline.com/" + tid + "/v2.0"
	guid = "99999999-8888-7777-6666-555555555555"
)

type m = map[string]any

// tryRecipe verifies a token of these claims under an issuer's recipe, with
// the header that the provider writes.
func tryRecipe(t *testing.T, i Issuer, typ any, claims m) (call.Identity, error) {
	t.Helper()
	p := inProcess(t)
	o := p.options(t)
	i.JWKSURI = "https://keys.example/jwks"
	o.Issuers = []Issuer{i}
	if i.As != "" {
		o.Issuers = append(o.Issuers, Issuer{Issuer: i.As, Provider: i.Provider, JWKSURI: i.JWKSURI})
	}
	o.Resources = map[string]authn.Resource{home: {Audiences: []string{home, "api://" + guid, guid}}}
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	all := alter(m{"iss": i.Issuer, "aud": home, "iat": now - 10, "nbf": now - 10, "exp": now + 300, "sub": "sub"}, claims)
	token := sign(t, "RS256", rsaKeys().first, encode(t, alter(header(), m{"typ": typ})), encode(t, all))
	who, err := ask(v, home, token)
	return who.Identity(), err
}

type recipeCase struct {
	name   string
	typ    any // nil: none
	claims m
	err    error
	want   call.Identity // of what the recipe decides
}

func runRecipe(t *testing.T, i Issuer, base m, cases []recipeCase) {
	t.Helper()
	for _, tt := range cases {
		claims := alter(alter(m{}, base), tt.claims)
		for k, val := range tt.claims {
			if val == nil {
				claims[k] = nil
			}
		}
		got, err := tryRecipe(t, i, tt.typ, claims)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
			continue
		}
		if err != nil {
			continue
		}
		part := call.Identity{Issuer: got.Issuer, Subject: got.Subject, Kind: got.Kind, Client: got.Client, Scopes: got.Scopes, Tenant: got.Tenant,
			Groups: got.Groups, Roles: got.Roles, GroupsUnknown: got.GroupsUnknown}
		if diff := cmp.Diff(tt.want, part); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
	}
}

func TestEntraVersion2(t *testing.T) {
	t.Parallel()
	user := call.Identity{Issuer: v2, Subject: oid, Kind: call.Person, Client: "cli", Scopes: []string{"files:call", "files:list"}, Tenant: tid}
	with := func(change func(*call.Identity)) call.Identity { id := user; change(&id); return id }
	base := m{"aud": guid, "ver": "2.0", "tid": tid, "oid": oid, "azp": "cli", "scp": "files:list files:call", "uti": "u1"}
	runRecipe(t, Issuer{Issuer: v2, Provider: Entra}, base, []recipeCase{
		{"user", "JWT", nil, nil, user},
		{"user with roles and groups", "JWT", m{"roles": []string{"Admin"}, "groups": []string{"g1"}}, nil,
			with(func(d *call.Identity) { d.Roles, d.Groups = []string{"Admin"}, []string{"g1"} })},
		{"too many groups", "JWT", m{"_claim_names": m{"groups": "src1"}, "_claim_sources": m{"src1": m{"endpoint": "https://evil.example"}}}, nil,
			with(func(d *call.Identity) { d.GroupsUnknown = true })},
		{"too many groups and some", "JWT", m{"_claim_names": m{"groups": "src1"}, "groups": []string{"g1"}}, nil,
			with(func(d *call.Identity) { d.GroupsUnknown = true })},
		{"too many groups, said shortly", "JWT", m{"hasgroups": true}, nil, with(func(d *call.Identity) { d.GroupsUnknown = true })},
		{"audience as a URI", "JWT", m{"aud": "api://" + guid}, nil, user},
		{"application", "JWT", m{"scp": nil, "roles": []string{"files:call"}, "sub": oid, "oid": oid}, nil,
			call.Identity{Issuer: v2, Subject: oid, Kind: call.Workload, Client: "cli", Scopes: []string{"files:call"}, Roles: []string{"files:call"}, Tenant: tid}},
		{"application that says so", "JWT", m{"scp": nil, "roles": []string{"r"}, "idtyp": "app"}, nil,
			call.Identity{Issuer: v2, Subject: oid, Kind: call.Workload, Client: "cli", Scopes: []string{"r"}, Roles: []string{"r"}, Tenant: tid}},
		{"application without a role", "JWT", m{"scp": nil, "sub": oid}, ErrIDToken, call.Identity{}},
		{"application with scopes", "JWT", m{"idtyp": "app"}, ErrIDToken, call.Identity{}},
		{"roles and no scope of a user", "JWT", m{"scp": nil, "roles": []string{"r"}}, ErrIDToken, call.Identity{}},
		{"ID token", "JWT", m{"scp": nil, "azp": nil, "nonce": "n"}, ErrIDToken, call.Identity{}},
		{"ID token with roles", "JWT", m{"scp": nil, "azp": nil, "roles": []string{"r"}}, ErrIDToken, call.Identity{}},
		{"nonce", "JWT", m{"nonce": "n"}, ErrIDToken, call.Identity{}},
		{"another tenant's claim", "JWT", m{"tid": "22222222-2222-3333-4444-555555555555"}, ErrClaims, call.Identity{}},
		{"no tenant", "JWT", m{"tid": nil}, ErrClaims, call.Identity{}},
		{"no object", "JWT", m{"oid": nil}, ErrClaims, call.Identity{}},
		{"version 1 in a version 2 issuer", "JWT", m{"ver": "1.0"}, ErrClaims, call.Identity{}},
		{"client of version 1", "JWT", m{"azp": nil, "appid": "cli"}, ErrIDToken, call.Identity{}},
		{"scope in the claim of others", "JWT", m{"scp": nil, "scope": "files:call"}, ErrIDToken, call.Identity{}},
		{"no typ", nil, nil, ErrType, call.Identity{}},
		{"version 1 issuer", "JWT", m{"iss": v1}, ErrIssuer, call.Identity{}},
		{"another tenant's issuer", "JWT", m{"iss": "https://login.microsoftonline.com/22222222-2222-3333-4444-555555555555/v2.0"}, ErrIssuer, call.Identity{}},
		{"the template", "JWT", m{"iss": "https://login.microsoftonline.com/{tenantid}/v2.0"}, ErrIssuer, call.Identity{}},
	})
	now := time.Now().Unix()
	if _, err := tryRecipe(t, Issuer{Issuer: v2, Provider: Entra}, "JWT", alter(alter(m{}, base), m{"iat": now - 300, "exp": now + 5400})); err != nil {
		t.Errorf("90 minutes, counted from five minutes before: %v", err)
	}
	got, err := tryRecipe(t, Issuer{Issuer: v2, Provider: Entra}, "JWT", base)
	if err != nil || got.Proof != Proof(v2, "u1") {
		t.Errorf("%s %v", got.Proof, err)
	}
}

func TestEntraVersion1(t *testing.T) {
	t.Parallel()
	base := m{"aud": "api://" + guid, "ver": "1.0", "tid": tid, "oid": oid, "appid": "cli", "scp": "files:call"}
	want := call.Identity{Issuer: v1, Subject: oid, Kind: call.Person, Client: "cli", Scopes: []string{"files:call"}, Tenant: tid}
	runRecipe(t, Issuer{Issuer: v1, Provider: Entra}, base, []recipeCase{
		{"user", "JWT", nil, nil, want},
		{"version 2", "JWT", m{"ver": "2.0"}, ErrClaims, call.Identity{}},
		{"ID token", "JWT", m{"appid": nil}, ErrIDToken, call.Identity{}},
	})
	want.Issuer = v2
	runRecipe(t, Issuer{Issuer: v1, Provider: Entra, As: v2}, base, []recipeCase{{"known as version 2", "JWT", nil, nil, want}})
}

func TestEntraKeysOfOtherTenants(t *testing.T) {
	t.Parallel()
	for of, want := range map[string]error{
		"": nil, v2: nil, "https://login.microsoftonline.com/{tenantid}/v2.0": nil,
		"https://login.microsoftonline.com/" + entraConsumers + "/v2.0": ErrKey, v1: ErrKey,
	} {
		p := inProcess(t)
		k := jwk(t, "k1", rsaKeys().first.Public(), nil)
		if of != "" {
			k["issuer"] = of
		}
		p.publish(k)
		o := p.options(t)
		o.Issuers = []Issuer{{Issuer: v2, Provider: Entra, JWKSURI: "https://keys.example/jwks"}}
		token := sign(t, "RS256", rsaKeys().first, `{"alg":"RS256","typ":"JWT","kid":"k1"}`, encode(t, alter(p.good(), m{
			"iss": v2, "ver": "2.0", "tid": tid, "oid": oid, "azp": "cli", "scp": "x"})))
		if _, err := ask(verifier(t, o), home, token); !errors.Is(err, want) {
			t.Errorf("%q: %v", of, err)
		}
	}
}

func TestKeycloak(t *testing.T) {
	t.Parallel()
	const iss = "https://kc.example/realms/corp"
	user := call.Identity{Issuer: iss, Subject: "u-1", Kind: call.Person, Client: "cli", Scopes: []string{"email", "openid"}}
	with := func(change func(*call.Identity)) call.Identity { id := user; change(&id); return id }
	base := m{"typ": "Bearer", "azp": "cli", "sub": "u-1", "scope": "openid email", "sid": "s", "jti": "j", "preferred_username": "alice"}
	jkt := m{"jkt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
	runRecipe(t, Issuer{Issuer: iss, Provider: Keycloak}, base, []recipeCase{
		{"user", "JWT", nil, nil, user},
		{"user with RFC 9068 header", "at+jwt", nil, nil, user},
		{"nonce as older versions put it", "JWT", m{"nonce": "n"}, nil, user},
		{"roles", "JWT", m{"realm_access": m{"roles": []string{"admin", "x:y"}}, "resource_access": m{"app": m{"roles": []string{"admin"}}, "a:b": m{"roles": []string{"c"}}, "a": m{"roles": []string{"b:c"}}}}, nil,
			with(func(d *call.Identity) {
				d.Roles = []string{"client:a%3Ab:c", "client:a:b:c", "client:app:admin", "realm:admin", "realm:x:y"}
			})},
		{"a claim that imitates roles", "JWT", m{"roles": []string{"realm:admin"}}, nil, user},
		{"groups", "JWT", m{"groups": []string{"/a/b"}}, nil, with(func(d *call.Identity) { d.Groups = []string{"/a/b"} })},
		{"service account", "JWT", m{"client_id": "cli", "preferred_username": "service-account-cli"}, nil, with(func(d *call.Identity) { d.Kind = call.Workload })},
		{"a user of that name", "JWT", m{"preferred_username": "service-account-cli"}, nil, user},
		{"ID token", "JWT", m{"typ": "ID"}, ErrIDToken, call.Identity{}},
		{"refresh token", "JWT", m{"typ": "Refresh"}, ErrIDToken, call.Identity{}},
		{"offline token", "JWT", m{"typ": "Offline"}, ErrIDToken, call.Identity{}},
		{"logout token", "JWT", m{"typ": "Logout"}, ErrIDToken, call.Identity{}},
		{"no typ claim", "JWT", m{"typ": nil}, ErrIDToken, call.Identity{}},
		{"logout header", "logout+jwt", nil, ErrType, call.Identity{}},
		{"no client", "JWT", m{"azp": nil, "client_id": "cli"}, ErrClaims, call.Identity{}},
		{"DPoP", "JWT", m{"typ": "DPoP", "cnf": jkt}, ErrBound, call.Identity{}},
		{"DPoP without a key", "JWT", m{"typ": "DPoP"}, ErrBound, call.Identity{}},
		{"roles are a text", "JWT", m{"realm_access": m{"roles": "admin"}}, ErrClaims, call.Identity{}},
		{"roles of a client are a list", "JWT", m{"resource_access": m{"app": []string{"admin"}}}, ErrClaims, call.Identity{}},
		{"account as audience", "JWT", m{"aud": "account"}, ErrAudience, call.Identity{}},
	})
}

func TestOkta(t *testing.T) {
	t.Parallel()
	const iss = "https://x.okta.example/oauth2/aus1"
	user := call.Identity{Issuer: iss, Subject: "00u1", Kind: call.Person, Client: "cli", Scopes: []string{"files:call", "openid"}}
	base := m{"ver": 1, "cid": "cli", "uid": "00u1", "sub": "alice@example.com", "scp": []string{"openid", "files:call"}, "jti": "AT.1"}
	runRecipe(t, Issuer{Issuer: iss, Provider: Okta}, base, []recipeCase{
		{"user", nil, nil, nil, user},
		{"user with typ", "JWT", nil, nil, user},
		{"client", nil, m{"uid": nil, "sub": "cli"}, nil, call.Identity{Issuer: iss, Subject: "cli", Kind: call.Workload, Client: "cli", Scopes: user.Scopes}},
		{"a name without an ID", nil, m{"uid": nil}, ErrClaims, call.Identity{}},
		{"ID token", nil, m{"cid": nil, "scp": nil}, ErrIDToken, call.Identity{}},
		{"at_hash", nil, m{"at_hash": "x"}, ErrIDToken, call.Identity{}},
		{"token of the org server", "application/okta-internal-at+jwt", nil, ErrType, call.Identity{}},
		{"default audience", nil, m{"aud": "api://default"}, ErrAudience, call.Identity{}},
	})
}

func TestAuth0(t *testing.T) {
	t.Parallel()
	const iss = "https://x.auth0.example/"
	user := call.Identity{Issuer: iss, Subject: "auth0|1", Kind: call.Person, Client: "cli", Scopes: []string{"files:call"}, Roles: []string{"files:call", "files:read"}, Tenant: "org_1"}
	base := m{"azp": "cli", "sub": "auth0|1", "aud": []string{home, iss + "userinfo"}, "scope": "files:call", "permissions": []string{"files:read", "files:call"}, "org_id": "org_1"}
	machine := call.Identity{Issuer: iss, Subject: "cli@clients", Kind: call.Workload, Client: "cli", Scopes: []string{"files:call"}}
	runRecipe(t, Issuer{Issuer: iss, Provider: Auth0}, base, []recipeCase{
		{"user", "JWT", nil, nil, user},
		{"user of the RFC 9068 profile", "at+jwt", m{"azp": nil, "client_id": "cli"}, nil, user},
		{"machine", "JWT", m{"sub": "cli@clients", "gty": "client-credentials", "permissions": nil, "org_id": nil}, nil, machine},
		{"machine without gty", "at+jwt", m{"sub": "cli@clients", "permissions": nil, "org_id": nil}, nil, machine},
		{"a user with a machine's grant", "JWT", m{"gty": "client-credentials"}, ErrClaims, call.Identity{}},
		{"a machine with a user's grant", "JWT", m{"sub": "cli@clients", "gty": "password"}, ErrClaims, call.Identity{}},
		{"ID token", "JWT", m{"nonce": "n"}, ErrIDToken, call.Identity{}},
		{"only userinfo", "JWT", m{"aud": iss + "userinfo"}, ErrAudience, call.Identity{}},
		{"no client", "JWT", m{"azp": nil}, ErrClaims, call.Identity{}},
	})
	named := user
	named.Roles, named.Groups = append([]string{"editor"}, user.Roles...), []string{"g"}
	runRecipe(t, Issuer{Issuer: iss, Provider: Auth0, Roles: "https://x.example/roles", Groups: "https://x.example/groups"}, base, []recipeCase{
		{"claims of its own", "JWT", m{"https://x.example/roles": []string{"editor"}, "https://x.example/groups": "g", "groups": []string{"no"}}, nil, named},
	})
}

// TestGoogle: service accounts get ID tokens for an audience that they name;
// people's name the client that signed them in, and never get in here.
func TestGoogle(t *testing.T) {
	t.Parallel()
	const iss, sub = "https://accounts.google.com", "113774264463038321964"
	account := call.Identity{Issuer: iss, Subject: sub, Kind: call.Workload, Client: sub}
	base := m{"sub": sub, "azp": sub, "email": "job@project.iam.gserviceaccount.com", "email_verified": true}
	runRecipe(t, Issuer{Issuer: iss, Provider: Google}, base, []recipeCase{
		{"service account", "JWT", nil, nil, account},
		{"of an instance", "JWT", m{"email": "1234-compute@developer.gserviceaccount.com", "google": m{"compute_engine": m{"zone": "z"}}}, nil, account},
		{"a person", "JWT", m{"azp": "1234.apps.googleusercontent.com", "email": "alice@example.com", "at_hash": "x"}, ErrIDToken, call.Identity{}},
		{"a person without a hash", "JWT", m{"azp": "1234.apps.googleusercontent.com", "email": "alice@example.com"}, ErrIDToken, call.Identity{}},
		{"a person who looks like an account", "JWT", m{"email": "alice@gserviceaccount.com.example.com"}, ErrIDToken, call.Identity{}},
		{"an address that nobody verified", "JWT", m{"email_verified": false}, ErrIDToken, call.Identity{}},
		{"verified by a text", "JWT", m{"email_verified": "true"}, ErrIDToken, call.Identity{}},
		{"no address", "JWT", m{"email": nil}, ErrIDToken, call.Identity{}},
		{"nonce", "JWT", m{"nonce": "n"}, ErrIDToken, call.Identity{}},
		{"no type", nil, nil, ErrType, call.Identity{}},
		{"for a client", "JWT", m{"aud": "1234.apps.googleusercontent.com"}, ErrAudience, call.Identity{}},
		{"the issuer's other name", "JWT", m{"iss": "accounts.google.com"}, ErrIssuer, call.Identity{}},
	})
}

func TestGenericWithTypJWT(t *testing.T) {
	t.Parallel()
	const iss = "https://as.example"
	want := call.Identity{Issuer: iss, Subject: "sub", Kind: call.Person, Client: "cli", Scopes: []string{"a"}, Tenant: "t"}
	runRecipe(t, Issuer{Issuer: iss, Types: []string{"JWT"}, Tenant: "org"}, m{"client_id": "cli", "scope": []string{"a", "a"}, "org": "t"}, []recipeCase{
		{"as configured", "jwt", nil, nil, want},
		{"its own type is not meant", "at+jwt", nil, ErrType, call.Identity{}},
		{"ID token", "JWT", m{"at_hash": "x"}, ErrIDToken, call.Identity{}},
	})
}

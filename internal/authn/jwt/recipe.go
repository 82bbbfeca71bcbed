package jwt

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/authn"
	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/call"
)

// Provider says whose habits the tokens of an issuer have. docs/identity.md
// describes each.
type Provider string

// Providers.
const (
	Generic  Provider = "generic" // RFC 9068
	Keycloak Provider = "keycloak"
	Entra    Provider = "entra"
	Okta     Provider = "okta"
	Auth0    Provider = "auth0"
	Google   Provider = "google"
)

// recipe is what differs before a token is seen.
type recipe struct {
	types    []string
	lifetime time.Duration
	// judge holds the issuer's URL against the provider's forms and returns
	// the tenant that it names, if it does.
	judge func(*url.URL) (string, error)
}

func recipeOf(p Provider) (recipe, error) {
	anyURL := func(*url.URL) (string, error) { return "", nil }
	switch p {
	case "", Generic:
		return recipe{[]string{"at+jwt", "application/at+jwt"}, DefaultLifetime, anyURL}, nil
	case Keycloak:
		return recipe{[]string{"jwt", "at+jwt"}, DefaultLifetime, anyURL}, nil
	case Entra:
		// iat lies five minutes before the token was made, and the longest
		// default lifetime is 90 minutes from then.
		return recipe{[]string{"jwt", "at+jwt"}, DefaultLifetime + 5*time.Minute, entraTenant}, nil
	case Okta:
		return recipe{[]string{"", "jwt", "at+jwt"}, DefaultLifetime, oktaServer}, nil
	case Auth0:
		return recipe{[]string{"jwt", "at+jwt"}, DefaultLifetime, anyURL}, nil
	case Google:
		return recipe{[]string{"jwt"}, DefaultLifetime, googleIssuer}, nil
	}
	return recipe{}, fmt.Errorf("provider %q is not known: generic, keycloak, entra, okta, auth0 or google", p)
}

// entraIssuer has the tenant's GUID, and v2.0 for tokens of version 2.
var entraIssuer = regexp.MustCompile(`^/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/(v2\.0)?$`)

// entraConsumers is the tenant of everybody's personal account.
const entraConsumers = "9188040d-6c67-4c5b-b112-36a304b66dad"

func entraTenant(u *url.URL) (string, error) {
	m := entraIssuer.FindStringSubmatch(u.EscapedPath())
	if m == nil {
		return "", errors.New("name one tenant by its ID, never common, organizations or consumers: https://login.microsoftonline.com/{tenant}/v2.0, or https://sts.windows.net/{tenant}/ for tokens of version 1")
	}
	if m[1] == entraConsumers {
		return "", errors.New("this is the tenant of all personal accounts; name your own tenant")
	}
	return m[1], nil
}

// templated reports that the issuer of a published key is the template of this
// one: Entra's keys serve many tenants.
func (is *issuer) templated(of string) bool {
	return strings.ReplaceAll(of, "{tenantid}", is.tenant) == is.Issuer.Issuer
}

func oktaServer(u *url.URL) (string, error) {
	if name, ok := strings.CutPrefix(u.EscapedPath(), "/oauth2/"); !ok || name == "" || strings.Contains(name, "/") {
		return "", errors.New("tokens of Okta's org authorization server are not for others to verify; use a custom one: https://{domain}/oauth2/{id}")
	}
	return "", nil
}

// recipe reads what providers say in their own ways: subject, kind, client,
// scopes, tenant, groups and roles.
func (is *issuer) recipe(c authn.Claims, id *call.Identity) error {
	var err error
	switch is.Provider {
	case Keycloak:
		err = is.keycloak(c, id)
	case Entra:
		err = is.entra(c, id)
	case Okta:
		err = is.okta(c, id)
	case Auth0:
		err = is.auth0(c, id)
	case Google:
		err = is.google(c, id)
	default:
		err = is.generic(c, id)
	}
	if err != nil {
		return err
	}
	return is.rights(c, id)
}

// rights reads groups, roles and tenant from the claims that are configured or
// usual. Groups that the issuer left out for their number are unknown.
func (is *issuer) rights(c authn.Claims, id *call.Identity) error {
	groups, roles := "groups", "roles"
	if is.Groups != "" {
		groups = is.Groups
	}
	if is.Roles != "" || is.Provider == Keycloak {
		// Keycloak's roles have their own claims and prefixes; a claim that
		// could imitate them counts only where the operator names it.
		roles = is.Roles
	}
	var ok bool
	if id.Groups, ok = c.Texts(groups, true); !ok {
		return ErrClaims
	}
	more, ok := c.Texts(roles, true)
	if !ok {
		return ErrClaims
	}
	id.Roles = append(id.Roles, more...)
	if is.Tenant != "" {
		if id.Tenant, ok = c.Optional(is.Tenant); !ok {
			return ErrClaims
		}
	}
	elsewhere, ok := c.Inner("_claim_names")
	if !ok {
		return ErrClaims
	}
	if elsewhere.Has(groups) || c.Has("hasgroups") {
		id.GroupsUnknown, id.Groups = true, nil
	}
	return nil
}

// notForAPIs reports claims that OpenID Connect puts into ID and logout
// tokens.
func notForAPIs(c authn.Claims) bool {
	return slices.ContainsFunc([]string{"nonce", "at_hash", "c_hash", "s_hash", "events"}, func(n string) bool {
		_, ok := c.Members.Get(n)
		return ok
	})
}

// clientOf returns the client that the first claim present names. Two that
// disagree name none.
func clientOf(c authn.Claims, names ...string) (string, bool) {
	var out string
	for _, n := range names {
		s, ok := c.Optional(n)
		if !ok || s != "" && out != "" && s != out {
			return "", false
		}
		if s != "" {
			out = s
		}
	}
	return out, out != ""
}

// generic reads RFC 9068: client_id is required, and a client that acts for
// itself is its own subject.
func (is *issuer) generic(c authn.Claims, id *call.Identity) error {
	if notForAPIs(c) {
		return ErrIDToken
	}
	var ok1, ok2 bool
	id.Client, ok1 = clientOf(c, "client_id", "azp")
	id.Scopes, ok2 = c.Scopes("scope")
	if !ok1 || !ok2 {
		return ErrClaims
	}
	id.Kind = call.Person
	if id.Subject == id.Client {
		id.Kind = call.Workload
	}
	return nil
}

// keycloak tells its tokens apart by a claim, whatever the header says.
func (is *issuer) keycloak(c authn.Claims, id *call.Identity) error {
	bound := false
	switch typ, ok := c.Text("typ", 64); {
	case !ok:
		return ErrClaims
	case typ == "DPoP":
		bound = true
	case typ != "Bearer":
		return ErrIDToken
	}
	if cnf, ok := c.Confirmation(); bound && (!ok || cnf.JKT == "") {
		return ErrBound
	}
	var ok bool
	if id.Client, ok = clientOf(c, "azp"); !ok {
		return ErrClaims
	}
	if id.Scopes, ok = c.Scopes("scope"); !ok {
		return ErrClaims
	}
	id.Kind = call.Person
	name, ok1 := c.Optional("preferred_username")
	self, ok2 := c.Optional("client_id")
	if !ok1 || !ok2 {
		return ErrClaims
	}
	if self == id.Client && strings.EqualFold(name, "service-account-"+id.Client) {
		id.Kind = call.Workload
	}
	realm, ok := c.Inner("realm_access")
	if !ok {
		return ErrClaims
	}
	roles, ok := realm.Texts("roles", false)
	if !ok {
		return ErrClaims
	}
	for _, r := range roles {
		id.Roles = append(id.Roles, "realm:"+r)
	}
	clients, ok := c.Inner("resource_access")
	if !ok {
		return ErrClaims
	}
	escape := strings.NewReplacer("%", "%25", ":", "%3A")
	for _, m := range clients.Members {
		of, ok := clients.Inner(m.Name)
		if !ok {
			return ErrClaims
		}
		roles, ok := of.Texts("roles", false)
		if !ok {
			return ErrClaims
		}
		for _, r := range roles {
			id.Roles = append(id.Roles, "client:"+escape.Replace(m.Name)+":"+r)
		}
	}
	return nil
}

// entra keys users by the tenant, which its issuer names, and the object ID;
// sub differs for each application.
func (is *issuer) entra(c authn.Claims, id *call.Identity) error {
	if notForAPIs(c) {
		return ErrIDToken
	}
	tid, ok1 := c.Text("tid", 64)
	oid, ok2 := c.Text("oid", 64)
	ver, ok3 := c.Text("ver", 8)
	idtyp, ok4 := c.Text("idtyp", 16)
	scopes, ok5 := c.Scopes("scp")
	roles, ok6 := c.Texts("roles", false)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || tid != is.tenant || oid == "" {
		return ErrClaims
	}
	name := "appid"
	if strings.HasSuffix(is.Issuer.Issuer, "/v2.0") {
		name = "azp"
	}
	if want := map[string]string{"appid": "1.0", "azp": "2.0"}[name]; ver != want {
		return ErrClaims
	}
	var ok bool
	if id.Client, ok = clientOf(c, name); !ok {
		return ErrIDToken
	}
	switch {
	case len(scopes) > 0 && (idtyp == "" || idtyp == "user"):
		id.Kind, id.Scopes = call.Person, scopes
	case len(scopes) == 0 && len(roles) > 0 && (idtyp == "app" || idtyp == "" && id.Subject == oid):
		// The application roles that were granted are its scopes.
		id.Kind, id.Scopes = call.Workload, slices.Clone(roles)
	default:
		return ErrIDToken
	}
	id.Subject, id.Tenant = oid, tid
	return nil
}

// okta keys users by uid: their sub is a login name, which can change hands.
func (is *issuer) okta(c authn.Claims, id *call.Identity) error {
	if notForAPIs(c) {
		return ErrIDToken
	}
	var ok bool
	if id.Client, ok = clientOf(c, "cid"); !ok {
		return ErrIDToken
	}
	if id.Scopes, ok = c.Scopes("scp"); !ok {
		return ErrClaims
	}
	uid, ok := c.Optional("uid")
	switch {
	case !ok:
		return ErrClaims
	case uid != "":
		id.Kind, id.Subject = call.Person, uid
	case id.Subject == id.Client:
		id.Kind = call.Workload
	default:
		return ErrClaims
	}
	return nil
}

// auth0 names a client that acts for itself ID@clients.
func (is *issuer) auth0(c authn.Claims, id *call.Identity) error {
	if notForAPIs(c) {
		return ErrIDToken
	}
	var ok bool
	if id.Client, ok = clientOf(c, "azp", "client_id"); !ok {
		return ErrClaims
	}
	if id.Scopes, ok = c.Scopes("scope"); !ok {
		return ErrClaims
	}
	if id.Roles, ok = c.Texts("permissions", false); !ok {
		return ErrClaims
	}
	if id.Tenant, ok = c.Optional("org_id"); !ok {
		return ErrClaims
	}
	gty, ok := grantOf(c)
	if !ok {
		return ErrClaims
	}
	self := id.Subject == id.Client+"@clients"
	if gty != "" && (gty == "client-credentials") != self {
		return ErrClaims
	}
	id.Kind = call.Person
	if self {
		id.Kind = call.Workload
	}
	return nil
}

func googleIssuer(u *url.URL) (string, error) {
	if u.String() != "https://accounts.google.com" {
		return "", errors.New("the issuer of Google is https://accounts.google.com, without a slash")
	}
	return "", nil
}

// google takes what a service account is given for an audience that it names: an
// ID token, the only one of Google's tokens that says whom it is for. People's ID
// tokens are made for the client that signs them in, and are refused.
func (is *issuer) google(c authn.Claims, id *call.Identity) error {
	if notForAPIs(c) {
		return ErrIDToken
	}
	email, ok1 := c.Optional("email")
	azp, ok2 := c.Optional("azp")
	verified, ok3 := c.Members.Get("email_verified")
	if !ok1 || !ok2 {
		return ErrClaims
	}
	if azp != id.Subject || !ok3 || string(verified) != "true" || !strings.HasSuffix(email, ".gserviceaccount.com") {
		return ErrIDToken
	}
	id.Kind, id.Client = call.Workload, azp
	return nil
}

// grantOf returns the grant, or the last of several.
func grantOf(c authn.Claims) (string, bool) {
	raw, ok := c.Members.Get("gty")
	if !ok || strictjson.TypeOf(raw) == strictjson.TypeNull {
		return "", true
	}
	list, ok := c.Texts("gty", true)
	if !ok || len(list) == 0 {
		return "", false
	}
	return list[len(list)-1], true
}

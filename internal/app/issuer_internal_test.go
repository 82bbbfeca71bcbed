package app

import (
	"reflect"
	"testing"
	"time"

	"github.com/munjigi/munjigi/internal/config"
)

// TestEveryIssuerKeyArrives: a key of an issuer that is read and not passed on
// would be a protection, or a tenant, that nobody has.
func TestEveryIssuerKeyArrives(t *testing.T) {
	t.Parallel()
	full := issuerOf(config.Issuer{URL: "a", Provider: "b", Algorithms: []string{"c"}, Types: []string{"d"}, JWKSURI: "e", ClockSkew: 1,
		MaxLifetime: time.Hour, GroupsClaim: "f", RolesClaim: "g", TenantClaim: "h", KnownAs: "i", ImpliedScopes: map[string][]string{"j": {"k"}},
		Logout: config.Logout{Clients: []string{"l"}}})
	v := reflect.ValueOf(full)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name == "Own" {
			continue // the gateway itself, which is no issuer of the config
		}
		if v.Field(i).IsZero() {
			t.Errorf("%s is not set from the config", v.Type().Field(i).Name)
		}
	}
	if issuerOf(config.Issuer{Introspection: config.Introspection{Tokens: "opaque"}}).Ends || !issuerOf(config.Issuer{Introspection: config.Introspection{Tokens: "jwt"}}).Ends {
		t.Error("only what is asked about JWTs ends them")
	}
}

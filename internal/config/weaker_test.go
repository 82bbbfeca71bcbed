package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/munjigi/munjigi/internal/config"
)

// TestDepartures weakens all that can be weakened and wants each of it named.
func TestDepartures(t *testing.T) {
	t.Parallel()
	text := `
listen: 127.0.0.1:8931
protocol_floor: 2025-03-26
allowed_origins: [https://app.example.com]
allowed_hosts: [gateway.internal]
identity: { insecure_anonymous: true, dpop: { nonce: off, window: 2m } }
egress: { allow: [10.0.0.1] }
approval: { wait: 11m, use_within: 6m, waiting: 6, per_hour: 21, max_age: 6m, insecure_without_code: true }
guards: { a: { mode: off }, b: { mode: monitor }, c: { mode: enforce }, arguments: { insecure_unchecked: [n/add#text], insecure_sql_writes: [db/run], insecure_private_hosts: ["localhost:3000"] }, secrets: { insecure_allow: [{ servers: [x], types: [jwt] }] } }
audit: { durability: relaxed }
servers:
  x:
    command: [x]
    insecure_unsandboxed: true
    insecure_unpinned: true
    insecure_same_names: true
    shared: true
    deadline: 6m
    max_processes: 17
  y:
    url: https://y.example
    shared: true
  z:
    url: https://z.example
    credential: { type: per_user, insecure_private_hosts: [10.0.0.2] }
limits:
  body: 5MiB
  result: 17MiB
  headers: 33KiB
  depth: 65
  connections: 4097
  streams: 4097
  sessions: 65537
  per_principal_calls: 257
  per_principal_streams: 257
  per_principal_sessions: 1025
  per_principal_suspended: 17
  header_timeout: 11s
  body_timeout: 31s
  write_timeout: 31s
  idle_timeout: 121s
  session_timeout: 31m
  session_lifetime: 25h
  suspend_timeout: 6m
  drain_timeout: 11s
`
	c, err := config.Build{Getenv: home, Guards: []string{"a", "arguments", "secrets", "b", "c"}}.Parse(at("m.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range c.Departures() {
		got = append(got, d.Key+"="+d.Value)
		if d.Means == "" {
			t.Errorf("%s does not say what it means", d.Key)
		}
	}
	want := []string{
		"protocol_floor=2025-03-26",
		"allowed_origins[0]=https://app.example.com",
		"allowed_hosts[0]=gateway.internal",
		"identity.insecure_anonymous=true",
		"identity.dpop.nonce=off",
		"identity.dpop.window=2m0s",
		"egress.allow[0]=10.0.0.1",
		"servers.x.insecure_unsandboxed=true",
		"servers.x.shared=true",
		"servers.x.insecure_unpinned=true",
		"servers.x.insecure_same_names=true",
		"servers.x.deadline=6m0s",
		"servers.x.max_processes=17",
		"servers.y.shared=true",
		"servers.z.credential.insecure_private_hosts[0]=10.0.0.2",
		"approval.wait=11m0s",
		"approval.use_within=6m0s",
		"approval.waiting=6",
		"approval.per_hour=21",
		"approval.max_age=6m0s",
		"approval.insecure_without_code=true",
		"guards.a.mode=off",
		"guards.arguments.insecure_unchecked[0]=n/add#text",
		"guards.arguments.insecure_sql_writes[0]=db/run",
		"guards.arguments.insecure_private_hosts[0]=localhost:3000",
		"guards.b.mode=monitor",
		"guards.secrets.insecure_allow[0]=x",
		"audit.durability=relaxed",
		"limits.body=5MiB",
		"limits.result=17MiB",
		"limits.headers=33KiB",
		"limits.depth=65",
		"limits.connections=4097",
		"limits.streams=4097",
		"limits.sessions=65537",
		"limits.per_principal_calls=257",
		"limits.per_principal_streams=257",
		"limits.per_principal_sessions=1025",
		"limits.per_principal_suspended=17",
		"limits.header_timeout=11s",
		"limits.body_timeout=31s",
		"limits.write_timeout=31s",
		"limits.idle_timeout=2m1s",
		"limits.session_timeout=31m0s",
		"limits.session_lifetime=25h0m0s",
		"limits.suspend_timeout=6m0s",
		"limits.drain_timeout=11s",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("departures (-want +got):\n%s", d)
	}
	for _, d := range c.Departures() {
		if strings.Contains(d.Key, "[") {
			continue
		}
		if p := c.Problem(d.Key, "", ""); p.Line < 2 {
			t.Errorf("%s has no place in the file", d.Key)
		}
	}
}

// TestRelaxedServer is one server whose record is relaxed beside a strict one.
func TestRelaxedServer(t *testing.T) {
	t.Parallel()
	c := parse(t, "servers: { a: { url: https://a.example, audit: { durability: relaxed } }, b: { url: https://b.example } }")
	d := c.Departures()
	if len(d) != 1 || d[0].Key != "servers.a.audit.durability" {
		t.Errorf("%v", d)
	}
	if b, _ := c.Server("b"); b.Durability != config.DurabilityStrict {
		t.Errorf("b is %s", b.Durability)
	}
}

// TestEveryKeyIsClassified fails when a key is added and nobody said whether
// it can weaken the gateway.
func TestEveryKeyIsClassified(t *testing.T) {
	t.Parallel()
	weakens := words(`
		allowed_hosts
		allowed_origins
		approval.insecure_without_code
		approval.max_age
		approval.per_hour
		approval.use_within
		approval.wait
		approval.waiting
		audit.durability
		authorization_server.access_token
		authorization_server.documents.insecure_any_host
		authorization_server.documents.insecure_private_hosts
		authorization_server.key_rotation
		authorization_server.registration
		authorization_server.signed_in_for
		definitions.first_sight
		definitions.resources
		egress.allow
		egress.ca
		guards.*.insecure_private_hosts
		guards.*.insecure_sql_writes
		guards.*.insecure_unchecked
		guards.*.insecure_allow[].direction
		guards.*.insecure_allow[].servers
		guards.*.insecure_allow[].tools
		guards.*.insecure_allow[].types
		guards.*.insecure_unknown_properties
		guards.*.mode
		identity.dpop.nonce
		identity.dpop.window
		identity.insecure_anonymous
		identity.issuers[].implied_scopes
		identity.issuers[].introspection.cache
		identity.issuers[].max_lifetime
		identity.issuers[].scopes
		identity.spiffe[].scopes
		limits.*
		protocol_floor
		servers.*.audit.durability
		servers.*.credential.insecure_private_hosts
		servers.*.deadline
		servers.*.insecure_same_names
		servers.*.insecure_unpinned
		servers.*.insecure_unsandboxed
		servers.*.max_processes
		servers.*.shared
	`)
	neutral := words(`
		approval.acr
		approval.amr
		approval.approvers.*.groups
		approval.approvers.*.issuer
		approval.approvers.*.roles
		approval.approvers.*.subjects
		approval.default
		authorization_server.clients[].client_auth
		authorization_server.clients[].client_keys
		authorization_server.clients[].client_secret
		authorization_server.clients[].dpop
		authorization_server.clients[].id
		authorization_server.clients[].identity_assertions
		authorization_server.clients[].name
		authorization_server.clients[].redirect_uris
		authorization_server.clients[].scopes
		authorization_server.documents.allow
		authorization_server.identity_assertions
		data
		guards.*.roots
		guards.*.tools
		guards.*.rules[].direction
		guards.*.rules[].do
		guards.*.rules[].servers
		guards.*.rules[].tools
		guards.*.rules[].types
		identity.dpop.algorithms
		identity.issuers
		identity.issuers[].algorithms
		identity.issuers[].clock_skew
		identity.issuers[].groups_claim
		identity.issuers[].introspection.client_auth
		identity.issuers[].introspection.client_id
		identity.issuers[].introspection.client_key
		identity.issuers[].introspection.client_secret
		identity.issuers[].introspection.endpoint
		identity.issuers[].introspection.tokens
		identity.issuers[].issuer
		identity.issuers[].jwks_uri
		identity.issuers[].known_as
		identity.issuers[].logout.clients
		identity.issuers[].provider
		identity.issuers[].roles_claim
		identity.issuers[].signin.client_id
		identity.issuers[].signin.client_secret
		identity.issuers[].signin.scopes
		identity.issuers[].tenant_claim
		identity.issuers[].types
		identity.spiffe
		identity.spiffe[].bundle
		identity.spiffe[].certificates
		identity.spiffe[].trust_domain
		listen
		merged
		merged_audience
		merged_require_binding
		policy
		policy_candidate
		public_url
		servers.*.audience
		servers.*.command
		servers.*.credential.actor_token
		servers.*.credential.actor_token_type
		servers.*.credential.algorithm
		servers.*.credential.assertion
		servers.*.credential.assertion_audience
		servers.*.credential.audience
		servers.*.credential.audiences
		servers.*.credential.authorization_server.algorithm
		servers.*.credential.authorization_server.assertion_audience
		servers.*.credential.authorization_server.client_assertion
		servers.*.credential.authorization_server.client_auth
		servers.*.credential.authorization_server.client_id
		servers.*.credential.authorization_server.client_secret
		servers.*.credential.authorization_server.issuer
		servers.*.credential.authorization_server.key_id
		servers.*.credential.authorization_server.private_key
		servers.*.credential.authorization_server.token_endpoint
		servers.*.credential.client_assertion
		servers.*.credential.client_auth
		servers.*.credential.client_document
		servers.*.credential.client_id
		servers.*.credential.client_secret
		servers.*.credential.headers
		servers.*.credential.issuer
		servers.*.credential.key_id
		servers.*.credential.private_key
		servers.*.credential.requested_token_type
		servers.*.credential.resource
		servers.*.credential.scopes
		servers.*.credential.subject_issuers
		servers.*.credential.subject_token_type
		servers.*.credential.token_endpoint
		servers.*.credential.type
		servers.*.cwd
		servers.*.enabled
		servers.*.env
		servers.*.era
		servers.*.idle_timeout
		servers.*.may_ask
		servers.*.require_binding
		servers.*.timeout
		servers.*.tls.ca
		servers.*.tls.cert
		servers.*.tls.key
		servers.*.url
		tls.cert
		tls.client_auth
		tls.client_ca
		tls.key
	`)
	for _, key := range config.Keys() {
		if strings.HasPrefix(key, "limits.") {
			key = "limits.*"
		}
		if weakens[key] == neutral[key] {
			t.Errorf("%s: say here whether it can weaken the gateway, and in Departures if it can", key)
		}
		if strings.Contains(key, "insecure_") && !weakens[key] {
			t.Errorf("%s begins with insecure_ and weakens nothing", key)
		}
	}
}

func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(text) {
		set[w] = true
	}
	return set
}

// TestMessagesHoldNoSecret puts a token where every key is, as key and as
// value, and looks for it in what is said.
func TestMessagesHoldNoSecret(t *testing.T) {
	t.Parallel()
	const token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
	for _, key := range config.Keys() {
		for _, form := range []string{"%s", "[%s]", "{ %s: x }", "{ secret: %s }", "[{ %s: %s }]", "{ %s", "!!%s x", "&%s x", "*%s"} {
			value := strings.ReplaceAll(form, "%s", token)
			parts := strings.Split(strings.NewReplacer("*", "a", "[]", "").Replace(key), ".")
			text := strings.Join(parts, ": { ") + ": " + value + strings.Repeat(" }", len(parts)-1)
			c, err := config.Build{Getenv: home, Guards: []string{"a"}}.Parse(at("m.yaml"), []byte(text))
			said := ""
			if err != nil {
				said = err.Error()
			} else {
				for _, w := range c.Warnings {
					said += w.String()
				}
			}
			if strings.Contains(said, token) {
				t.Errorf("%s\nsays %s", text, said)
			}
		}
	}
}

func TestSecretsInTheClear(t *testing.T) {
	t.Parallel()
	c := parse(t, `
servers:
  a:
    enabled: false
    command: [x, --api-key=abc, --token, abc, --port=80, -H, "Authorization: Bearer abcdefgh", "postgres://u:p@h/db", { secret: env:X }, plain, --verbose]
    env:
      API_KEY: abc
      GITHUB_TOKEN: { secret: env:G }
      LOG_LEVEL: info
      AUTH_ENABLED: true
      NOTHING: ghp_0123456789abcdefghijABCDEFGHIJ012345
      PASSWORD: ""
  b: { url: "https://b.example/mcp?api_key=abc" }
  c: { url: "https://c.example/mcp?page=1" }
`)
	var got []string
	for _, w := range c.Warnings {
		got = append(got, w.Key)
	}
	want := []string{
		"servers.a.command[1]", "servers.a.command[3]", "servers.a.command[6]", "servers.a.command[7]", "servers.a.command[8]",
		"servers.a.env.API_KEY", "servers.a.env.NOTHING", "servers.b.url",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("warnings (-want +got):\n%s", d)
	}
}

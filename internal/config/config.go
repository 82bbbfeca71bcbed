// Package config is the contract between the operator's file and everything
// that runs: it reads munjigi.yaml into plain data that nothing changes
// afterwards.
//
// Threat: a protection that the operator believes to be on and that is not. A
// key that is misspelt, written twice, of the wrong type, or known only to a
// later build would leave such a gap if it were passed over, so each of them
// is an error, all errors of a file are found in one reading, and each names
// its line, its column, its key and what to do next. YAML is cut down to what
// people read the same way as the parser: one document, no anchors, aliases,
// merge keys or tags, no characters that do not show.
//
// It guarantees: no value comes from the environment but the default folder
// for data; whatever is weaker than the safe defaults is listed by
// Config.Departures; no message holds the value of a secret; the file is
// neither writable by others nor are the folder for data and the folders of
// the servers one inside the other; Digest is of the very bytes that were
// judged.
//
// It does not guarantee that what the file names works: no host is asked, no
// command is started, no secret is looked up. What a server can read beyond
// the folders in its command line is not seen here.
package config

import (
	"crypto/sha256"
	"sort"
	"time"
)

// DefaultListen is where the gateway listens when nothing else is said.
const DefaultListen = "127.0.0.1:8931"

// DefaultFloor is the oldest protocol revision that is spoken by default.
const DefaultFloor = "2025-06-18"

// Config is one reading of one file. It is data only: nothing in it changes
// after Load, and a reload makes another one.
type Config struct {
	// File is the absolute path; empty without a file (Default).
	File string
	// Digest is the SHA-256 of the file's bytes.
	Digest [sha256.Size]byte
	// Listen is host:port. The host is an IP address or localhost.
	Listen string
	// PublicURL is how clients name the gateway, without a slash at its end;
	// empty when it follows from Listen.
	PublicURL string
	// Data is the absolute path of the folder for data.
	Data string
	// TLS is how the gateway itself is served; zero for plain HTTP.
	TLS TLS
	// ProtocolFloor is the oldest protocol revision spoken on either side.
	ProtocolFloor string
	// Merged names the servers of the merged endpoint; see MergedServers.
	Merged []string
	// MergedAudience is what tokens for /mcp name where the provider cannot
	// mint its URL.
	MergedAudience []string
	// MergedRequireBinding are the methods of which a token for the merged
	// endpoint needs one; see MergedBinding.
	MergedRequireBinding []string
	// AllowedOrigins and AllowedHosts are accepted besides the gateway's own.
	AllowedOrigins []string
	AllowedHosts   []string
	Identity       Identity
	// AuthorizationServer is the gateway's own, by which any client can log in.
	AuthorizationServer AuthorizationServer
	Egress              Egress
	// Servers are in the order of their names.
	Servers []Server
	// Policy are the absolute paths of policy files and folders.
	Policy []string
	// PolicyCandidate are those of a policy that is only compared.
	PolicyCandidate []string
	Approval        Approval
	// Guards are in the order of their names.
	Guards      []Guard
	Definitions Definitions
	Audit       Audit
	Limits      Limits
	// Demo is true only without a file: the built-in server, and no other.
	Demo bool
	// Warnings are what should be looked at although it is no error.
	Warnings []Problem

	at map[string]position
}

// Identity says who may call.
type Identity struct {
	// InsecureAnonymous lets everyone on loopback in.
	InsecureAnonymous bool
	Issuers           []Issuer
	DPoP              DPoP
	// SPIFFE are the trust domains whose workloads may call.
	SPIFFE []TrustDomain
}

// Outside reports that somebody else than the operator says who may call.
func (i Identity) Outside() bool { return len(i.Issuers) > 0 || len(i.SPIFFE) > 0 }

// Issuer is one identity provider.
type Issuer struct {
	// URL is the issuer identifier (RFC 8414), compared byte for byte.
	URL string
	// Provider is the recipe for its habits; empty is generic (RFC 9068).
	Provider string
	// Algorithms is the allow-list; empty is RS, PS, ES and EdDSA.
	Algorithms []string
	// Types are the accepted values of a token's typ header; empty is the
	// recipe's.
	Types []string
	// JWKSURI names its keys where it has no metadata.
	JWKSURI string
	// ClockSkew is how far its clock may differ; 0 is the default.
	ClockSkew time.Duration
	// ScopesIgnored lets its tokens through without this gateway's scopes,
	// for providers that cannot mint them; policy alone decides then.
	ScopesIgnored bool
	// MaxLifetime is how long its tokens may live; 0 is the recipe's. More than
	// LongLifetime needs Introspection of JWTs or Logout.
	MaxLifetime time.Duration
	// GroupsClaim, RolesClaim and TenantClaim name claims; empty is the
	// recipe's.
	GroupsClaim, RolesClaim, TenantClaim string
	// KnownAs is the issuer of the same Entra tenant under which its users are
	// known.
	KnownAs string
	// ImpliedScopes are what a broader scope of this issuer contains.
	ImpliedScopes map[string][]string
	Introspection Introspection
	Logout        Logout
	// SignIn lets people sign in there to the gateway's own pages.
	SignIn SignIn
}

// Egress bounds what the gateway itself fetches.
type Egress struct {
	// Allow lists host or host:port that may be fetched although private.
	Allow []string
	// CA is the absolute path of certificates (PEM) that are trusted for
	// issuers besides the system's.
	CA string
}

// Era says how a server is spoken to.
type Era string

// The eras. EraAuto finds out by asking the server.
const (
	EraAuto   Era = "auto"
	EraModern Era = "modern"
	EraLegacy Era = "legacy"
)

// Server is one server that stands behind the gateway. It is reached by
// Command or by URL, never both.
type Server struct {
	Name    string
	Enabled bool
	// Command is the program and its arguments, never a shell's line. The
	// first is always plain text.
	Command []Value
	// Env is all that the process gets of an environment, by name.
	Env []EnvVar
	// Cwd is the absolute folder that the process starts in.
	Cwd string
	// URL is plain text, or plain text to which a secret is added. Text holds
	// the scheme and the host in either case.
	URL Value
	Era Era
	// Shared is the operator's word that the server keeps no state of its
	// callers, so that one process or session may serve them all.
	Shared bool
	// InsecureUnsandboxed lets the command run with the operator's own rights.
	InsecureUnsandboxed bool
	// InsecureUnpinned leaves the server's definitions to the guards alone;
	// InsecureSameNames lets its tools have names of another server's.
	InsecureUnpinned, InsecureSameNames bool
	// Audience is what tokens for this server name where the identity
	// provider cannot mint the server's own URL.
	Audience []string
	// RequireBinding are the methods of which a token for this server needs
	// one; empty takes bearer tokens too.
	RequireBinding []string
	// MayAsk is what the server may ask of clients where there is no policy:
	// AskSampling, AskElicitation, AskRoots.
	MayAsk     []string
	Credential Credential
	// TLS is how a server that is a URL is reached.
	TLS ServerTLS
	// Timeout is how long a call may show no sign of life; any message of the
	// server for that call is one.
	Timeout time.Duration
	// Deadline is how long a call may take in all.
	Deadline time.Duration
	// IdleTimeout is how long an unused process or session is kept.
	IdleTimeout time.Duration
	// MaxProcesses bounds the processes of this server at one time.
	MaxProcesses int
	// Durability is that of the server's entries in the record, whether it
	// was said for the server or for all.
	Durability Durability
}

// Stdio reports whether the server is a command that speaks on stdio.
func (s Server) Stdio() bool { return len(s.Command) > 0 }

// EnvVar is one variable of a server's environment.
type EnvVar struct {
	Name  string
	Value Value
}

// Mode is how a guard works.
type Mode string

// The modes of a guard.
const (
	ModeOff     Mode = "off"
	ModeMonitor Mode = "monitor"
	ModeEnforce Mode = "enforce"
)

// Guard is what the file says of one guard.
type Guard struct {
	Name string
	Mode Mode
	// InsecureUnknownProperties are tools, written server/tool, whose arguments
	// and results may have properties that their schemas do not declare.
	InsecureUnknownProperties []string
	// Arguments are the settings of the guard of that name.
	Arguments Arguments
	// Rules say what is done with what the guard finds; the first that fits
	// decides.
	Rules []FindRule
	// InsecureAllow are what a guard finds and lets pass all the same.
	InsecureAllow []FindRule
}

// Durability says when an entry of the record counts as written.
type Durability string

// The durabilities: strict waits for the disk before the call goes on,
// relaxed does not.
const (
	DurabilityStrict  Durability = "strict"
	DurabilityRelaxed Durability = "relaxed"
)

// Audit says how the record is kept.
type Audit struct{ Durability Durability }

// Server finds a server by its name.
func (c *Config) Server(name string) (Server, bool) {
	i := sort.Search(len(c.Servers), func(i int) bool { return c.Servers[i].Name >= name })
	if i < len(c.Servers) && c.Servers[i].Name == name {
		return c.Servers[i], true
	}
	return Server{}, false
}

// MergedServers returns the names of the enabled servers that the merged
// endpoint serves, in order. With an identity provider these are the ones
// that merged: names and no others; without one, and without merged:, all.
func (c *Config) MergedServers() []string {
	named := make(map[string]bool, len(c.Merged))
	for _, name := range c.Merged {
		named[name] = true
	}
	all := !c.Identity.Outside() && c.Merged == nil
	var names []string
	for _, s := range c.Servers {
		if s.Enabled && (all || named[s.Name]) {
			names = append(names, s.Name)
		}
	}
	return names
}

// Problem makes a problem of this file at the given key, such as
// "guards.schema", for those who find one after loading.
func (c *Config) Problem(key, message, next string) Problem {
	p := locate(c.at, key)
	return Problem{File: c.File, Line: p.line, Column: p.column, Key: key, Message: message, Next: next}
}

// defaults returns what holds where the file says nothing.
func defaults() *Config {
	return &Config{
		Listen:        DefaultListen,
		ProtocolFloor: DefaultFloor,
		Audit:         Audit{Durability: DurabilityStrict},
		Limits:        DefaultLimits(),
		Approval:      defaultApproval(),
	}
}

// Default returns the configuration of a gateway without a file: loopback,
// the built-in demo server, every default. It fails where the environment
// names no folder for data.
func Default(getenv func(string) string) (*Config, error) {
	c := defaults()
	c.Demo = true
	data, err := defaultData(getenv)
	if err != nil {
		return nil, err
	}
	c.Data = data
	return c, nil
}

// NewServer returns a server with the defaults of every key, disabled and
// reached by nothing.
func NewServer(name string) Server {
	return Server{
		Name:         name,
		Era:          EraAuto,
		Credential:   Credential{Type: CredentialNone},
		Timeout:      time.Minute,
		Deadline:     5 * time.Minute,
		IdleTimeout:  10 * time.Minute,
		MaxProcesses: 16,
		Durability:   DurabilityStrict,
	}
}

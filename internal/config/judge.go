package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
)

// judge holds the rules that need more than one key.
func (s *source) judge(r *reading) {
	sort.SliceStable(r.Servers, func(i, j int) bool { return r.Servers[i].Name < r.Servers[j].Name })
	sort.SliceStable(r.Guards, func(i, j int) bool { return r.Guards[i].Name < r.Guards[j].Name })
	for i := range r.Servers {
		v := &r.Servers[i]
		if v.Durability == "" {
			v.Durability = r.Audit.Durability
		}
		if !s.said(join("servers", v.Name) + ".timeout") {
			v.Timeout = min(v.Timeout, v.Deadline)
		}
		s.judgeServer(r, *v)
	}
	if len(r.Servers) == 0 {
		s.warnKey("servers", "names no server", "add one under servers:, or run munjigi import FILE")
	}
	s.judgeIdentity(r)
	s.judgeTLS(r)
	s.judgeMerged(r)
	s.judgeBinding(r)
	s.judgeApproval(r)
	checkMayAsk(s, r)
	if len(r.Policy)+len(r.PolicyCandidate) > 0 && !r.build.Policy {
		s.failKey("policy", "asks for policies, which this build does not have",
			"take policy: out, or run a build that has them; until then every caller may call every tool")
	}
	s.judgeData(r)
}

func (s *source) said(key string) bool {
	_, ok := s.at[key]
	return ok
}

// failed reports whether an error was found at the key itself.
func (s *source) failed(key string) bool {
	return slices.ContainsFunc(s.problems, func(p Problem) bool { return p.Key == key })
}

func (s *source) warnKey(key, message, next string) {
	if len(s.warnings) < maxProblems {
		s.warnings = append(s.warnings, s.problem(locate(s.at, key), key, message, next))
	}
}

func (s *source) judgeServer(r *reading, v Server) {
	at := join("servers", v.Name)
	stdio, http := s.said(at+".command"), s.said(at+".url")
	switch {
	case stdio && http:
		s.failKey(at+".url", "stands beside command", "keep one of the two: a server is a command or a URL")
	case !stdio && !http && s.failed(at):
	case !stdio && !http:
		s.failKey(at, "names neither command nor url", "write command: [program, arguments, …] or url: https://…")
	case http:
		for _, k := range []string{"env", "cwd", "max_processes", "insecure_unsandboxed"} {
			if s.said(at + "." + k) {
				s.failKey(at+"."+k, "is for servers that are a command", "take it out: this server is a URL")
			}
		}
	case stdio:
		if s.said(at + ".credential") {
			s.failKey(at+".credential", "is for servers that are a URL", "take it out and name the secret under env:")
		}
		if v.Enabled && !v.InsecureUnsandboxed && !r.build.Sandbox && !s.failed(at+".insecure_unsandboxed") {
			s.failKey(at, "would run without a sandbox, which this build does not have",
				"write insecure_unsandboxed: true if you trust this exact command with all that you may do yourself, or enabled: false")
		}
	}
	s.judgeCredential(r, v)
	if v.Timeout > v.Deadline {
		s.failKey(at+".timeout", fmt.Sprintf("has a timeout of %v, longer than the deadline of %v", v.Timeout, v.Deadline), "make the deadline at least as long as the timeout")
	}
}

func (s *source) judgeIdentity(r *reading) {
	if len(r.Identity.Issuers) > 0 && !r.build.Identity {
		s.failKey("identity.issuers", "asks for identity providers, which this build does not support yet",
			"take issuers: out; without them the gateway listens on loopback only and knows one principal, the operator")
	}
	if r.Identity.Outside() && r.Identity.InsecureAnonymous {
		s.failKey("identity.insecure_anonymous", "lets everyone in beside identity providers", "keep one of the two")
	}
	s.judgeIssuers(r.Identity.Issuers)
	if r.Egress.CA != "" {
		s.judgeFile("egress.ca", r.Egress.CA)
	}
	if len(r.Identity.Issuers) > 0 && r.build.Identity && r.PublicURL == "" && !s.said("public_url") {
		s.failKey("identity.issuers", "needs public_url, which tokens name as their audience", "write public_url: https://… as clients reach the gateway")
	}
	s.judgeSPIFFE(r)
	s.judgeAuthorizationServer(r)
	host, _, _ := net.SplitHostPort(r.Listen)
	if checkListen(r.Listen) == (complaint{}) && !Loopback(host) && (!r.TLS.Enabled() || !r.Identity.Outside()) {
		s.failKey("listen", "is open to other machines without "+missing(r), "listen on "+DefaultListen+", or add tls: and identity: with issuers")
	}
}

func missing(r *reading) string {
	switch {
	case !r.TLS.Enabled() && !r.Identity.Outside():
		return "tls and identity"
	case !r.TLS.Enabled():
		return "tls"
	}
	return "identity"
}

func (s *source) judgeTLS(r *reading) {
	if !s.said("tls") || s.failed("tls") {
		return
	}
	if r.TLS.Cert == "" && !s.said("tls.cert") {
		s.failKey("tls", "names no cert", "write cert: and key:, the paths of two PEM files")
	}
	if r.TLS.Key == "" && !s.said("tls.key") {
		s.failKey("tls", "names no key", "write cert: and key:, the paths of two PEM files")
	}
	s.judgeFile("tls.cert", r.TLS.Cert)
	s.judgeKeyFile("tls.key", r.TLS.Key)
}

// judgeFile holds that a PEM file is there and nobody else can change it. It
// returns nil when it is not.
func (s *source) judgeFile(key, path string) os.FileInfo {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		s.failKey(key, "cannot be found", "check the path; it is relative to the folder of this file")
		return nil
	case !info.Mode().IsRegular():
		s.failKey(key, "is not a file", "name the PEM file itself")
		return nil
	}
	if c := writableByOthers(info); c != (complaint{}) {
		s.failKey(key, c.message, c.next)
	}
	return info
}

func (s *source) judgeMerged(r *reading) {
	names := make([]string, len(r.Servers))
	for i, v := range r.Servers {
		names[i] = v.Name
	}
	for i, name := range r.Merged {
		key := index("merged", i)
		at, found := slices.BinarySearch(names, name)
		switch {
		case !found:
			next := "name servers that stand under servers:"
			if near := nearest(name, names); near != "" {
				next = "did you mean " + near + "?"
			}
			s.failKey(key, "is "+short(name)+", which is no server of this file", next)
		case !r.Servers[at].Enabled:
			s.warnKey(key, "is a server that is not enabled", "enable it, or take it out here")
		}
	}
}

func (s *source) judgeData(r *reading) {
	if r.Data == "" {
		if s.said("data") {
			return
		}
		data, err := defaultData(r.build.Getenv)
		if err != nil {
			s.failKey("data", "is not set, and "+err.Error(), "write data: with the full path of a folder")
			return
		}
		r.Data = data
	}
	const next = "write data: with a folder that no server and no agent works in"
	if filepath.Dir(r.Data) == r.Data {
		s.failKey("data", "is the root of the file system", next)
		return
	}
	l := newLocation(r.Data)
	if tree := workingTree(s.dir); tree != "" && l.inside(tree) {
		s.failKey("data", "("+Visible(r.Data)+") lies in the working tree "+Visible(tree), next)
	}
	asked := map[string]bool{}
	for _, v := range r.Servers {
		if !v.Enabled {
			continue
		}
		for i, arg := range v.Command {
			for _, folder := range folders(arg.Text, v.Cwd) {
				hit, known := asked[folder]
				if !known {
					hit = l.inside(folder)
					asked[folder] = hit
				}
				if hit {
					key := index(join("servers", v.Name)+".command", i)
					s.failKey(key, "gives the server "+Visible(folder)+", and the folder for data ("+Visible(r.Data)+") lies in it",
						"give the server a narrower folder, or write data: with one outside of it")
					break
				}
			}
		}
	}
}

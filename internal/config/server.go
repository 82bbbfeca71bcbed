package config

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ServerName reports whether a server may have this name: 1 to 32 of a to z,
// 0 to 9 and -, beginning with a letter. The underscore is not among them, so
// that server__tool parts at the first "__".
func ServerName(name string) bool {
	if name == "" || len(name) > 32 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

func readServers(s *source, n *yaml.Node, key string, r *reading) {
	fields := serverFields()
	s.members(n, key, func(name string, k, v *yaml.Node) {
		at := join(key, name)
		s.at[at] = position{k.Line, k.Column}
		if !ServerName(name) {
			s.fail(k, at, "is not a name for a server", "use a to z, 0 to 9 and -, beginning with a letter, at most 32")
		}
		srv := NewServer(name)
		srv.Enabled = true
		srv.Durability = ""
		srv.Cwd = s.dir
		readMapping(s, v, at, fields, &srv)
		r.Servers = append(r.Servers, srv)
	})
}

func serverFields() []field[Server] {
	return []field[Server]{
		{"command", readCommand},
		{"env", readEnv},
		{"cwd", func(s *source, n *yaml.Node, key string, v *Server) {
			if p := s.pathAt(n, key); p != "" {
				v.Cwd = p
			}
		}},
		{"url", readURL},
		{"era", func(s *source, n *yaml.Node, key string, v *Server) {
			if era, ok := s.oneOf(n, key, string(EraAuto), string(EraModern), string(EraLegacy)); ok {
				v.Era = Era(era)
			}
		}},
		{"enabled", func(s *source, n *yaml.Node, key string, v *Server) { s.flag(n, key, &v.Enabled) }},
		{"shared", func(s *source, n *yaml.Node, key string, v *Server) { s.flag(n, key, &v.Shared) }},
		{"insecure_unsandboxed", func(s *source, n *yaml.Node, key string, v *Server) { s.flag(n, key, &v.InsecureUnsandboxed) }},
		{"insecure_unpinned", func(s *source, n *yaml.Node, key string, v *Server) { s.flag(n, key, &v.InsecureUnpinned) }},
		{"insecure_same_names", func(s *source, n *yaml.Node, key string, v *Server) { s.flag(n, key, &v.InsecureSameNames) }},
		{"audience", func(s *source, n *yaml.Node, key string, v *Server) { s.words(n, key, &v.Audience) }},
		{"require_binding", func(s *source, n *yaml.Node, key string, v *Server) { s.bindings(n, key, &v.RequireBinding) }},
		{"may_ask", readMayAsk},
		{"credential", readCredential},
		{"tls", func(s *source, n *yaml.Node, key string, v *Server) {
			readMapping(s, n, key, serverTLSFields(), &v.TLS)
		}},
		{"timeout", durationField(func(v *Server) *time.Duration { return &v.Timeout }, time.Second, 24*time.Hour)},
		{"deadline", durationField(func(v *Server) *time.Duration { return &v.Deadline }, time.Second, 24*time.Hour)},
		{"idle_timeout", durationField(func(v *Server) *time.Duration { return &v.IdleTimeout }, time.Second, 24*time.Hour)},
		{"max_processes", func(s *source, n *yaml.Node, key string, v *Server) {
			if c, ok := s.count(n, key, 1, 4096); ok {
				v.MaxProcesses = int(c)
			}
		}},
		{"audit", func(s *source, n *yaml.Node, key string, v *Server) {
			a := Audit{Durability: v.Durability}
			readMapping(s, n, key, auditFields(), &a)
			v.Durability = a.Durability
		}},
	}
}

func durationField(in func(*Server) *time.Duration, least, most time.Duration) func(*source, *yaml.Node, string, *Server) {
	return func(s *source, n *yaml.Node, key string, v *Server) {
		if d, ok := s.duration(n, key, least, most); ok {
			*in(v) = d
		}
	}
}

func readCommand(s *source, n *yaml.Node, key string, v *Server) {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		s.fail(n, key, "must be a list, and is text", "write each word as its own item, [npx, -y, …]: no shell reads it")
		return
	}
	ok := s.items(n, key, func(at string, item *yaml.Node) {
		value, ok := s.value(item, at)
		if !ok {
			value = Value{Text: "?"}
		}
		v.Command = append(v.Command, value)
		s.lookAtArgument(item, at, v.Command)
	})
	if !ok {
		return
	}
	if len(v.Command) == 0 {
		s.fail(n, key, "is empty", "write the program and its arguments, or leave the key out")
		return
	}
	first := n.Content[0]
	switch program := v.Command[0]; {
	case program.IsSecret():
		s.fail(first, index(key, 0), "is a secret", "write the program's name in plain text; arguments may be secrets")
	case program.Text == "":
		s.fail(first, index(key, 0), "is empty", "write the program's name")
	case strings.ContainsFunc(program.Text, Hidden):
		s.fail(first, index(key, 0), "holds characters that do not show", "write the program's name in characters that do")
	}
}

func readEnv(s *source, n *yaml.Node, key string, v *Server) {
	s.members(n, key, func(name string, k, node *yaml.Node) {
		at := join(key, name)
		s.at[at] = position{node.Line, node.Column}
		if !variableName(name) {
			s.fail(k, at, "is not a name for an environment variable", "use letters, digits and _, not beginning with a digit")
			return
		}
		value, ok := s.value(node, at)
		if !ok {
			return
		}
		if !value.IsSecret() && (SecretName(name) && !Setting(name, value.Text) || SecretText(value.Text)) {
			s.warn(node, at, "looks like a secret in the clear", "write { secret: env:NAME } and keep the value out of this file")
		}
		v.Env = append(v.Env, EnvVar{Name: name, Value: value})
	})
}

// variableName allows what POSIX does and the few others that Windows uses.
func variableName(name string) bool {
	if name == "" || len(name) > 256 || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := range len(name) {
		if !alnum(name[i]) && !strings.ContainsRune("_.()-", rune(name[i])) {
			return false
		}
	}
	return true
}

// lookAtArgument warns of a secret that stands in an argument in the clear.
func (s *source) lookAtArgument(n *yaml.Node, key string, command []Value) {
	v := command[len(command)-1]
	if v.IsSecret() {
		s.warn(n, key, "gives a secret to a program as an argument, where other processes of this machine can read it",
			"use the program's environment variable for it, if it has one")
		return
	}
	named := false
	if name, value, ok := strings.Cut(v.Text, "="); ok {
		named = SecretName(name) && strings.HasPrefix(name, "-") && !Setting(name, value)
	} else if before := len(command) - 2; before >= 0 && !strings.HasPrefix(v.Text, "-") {
		flag := command[before].Text
		named = strings.HasPrefix(flag, "-") && !strings.Contains(flag, "=") && SecretName(flag) && !Setting(flag, v.Text)
	}
	if named || SecretText(v.Text) {
		s.warn(n, key, "looks like a secret in the clear", "write { secret: env:NAME }, with what stands before it as prefix:")
	}
}

func readURL(s *source, n *yaml.Node, key string, v *Server) {
	value, ok := s.value(n, key)
	if !ok {
		return
	}
	v.URL = value
	if value.Text == "" {
		s.fail(n, key, "is empty", "write the server's URL, https://…")
		return
	}
	c := checkURL(value.Text)
	if c == (complaint{}) && value.IsSecret() {
		c = checkPrefix(value.Text)
	}
	s.complain(n, key, c)
	if c == (complaint{}) && !value.IsSecret() && SecretInURL(value.Text) {
		s.warn(n, key, "looks as if it held a secret in the clear",
			`write { prefix: "https://…", secret: env:NAME }, or give the server the secret in a header (credential:)`)
	}
}

// headerName reports whether s is a token of RFC 9110, section 5.6.2.
func headerName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if !alnum(s[i]) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return true
}

// reservedHeader reports whether a header frames the message, names the hop,
// or is MCP's own.
func reservedHeader(canonical string) bool {
	switch canonical {
	case "Host", "Connection", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect", "Via",
		"Forwarded", "Accept", "Accept-Encoding", "Origin", "Referer", "Range", "Last-Event-Id", "Traceparent", "Tracestate", "Baggage":
		return true
	}
	for _, prefix := range []string{"Content-", "Mcp-", "X-Forwarded-", "Proxy-", "Sec-", "If-", "Access-Control-"} {
		if strings.HasPrefix(canonical, prefix) {
			return true
		}
	}
	return false
}

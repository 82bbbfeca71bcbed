package importer

import (
	"fmt"
	"net/textproto"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/munjigi/munjigi/internal/base/strictjson"
	"github.com/munjigi/munjigi/internal/config"
)

// entry reads one server's object.
func (r *reader) entry(s *Server) {
	raw := []byte(s.kept)
	s.kept = redact(raw)
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		s.breakOff("it is not an object")
		return
	}
	kind, _ := textOf(o, "type")
	if kind == "" {
		kind, _ = textOf(o, "transport")
	}
	_, hasCommand := o.Get("command")
	url, hasURL := o.Get("url")
	if !hasURL {
		url, hasURL = o.Get("serverUrl")
	}
	switch {
	case hasCommand && hasURL:
		s.breakOff("it has both a command and a url")
	case !hasCommand && !hasURL:
		s.breakOff("it has neither a command nor a url")
	}
	switch kind {
	case "", "stdio", "http", "streamable-http", "streamableHttp", "streamable_http":
	case "sse":
		s.Hold = "it speaks the HTTP+SSE transport of 2024, which is not supported: ask for the server's Streamable HTTP endpoint"
	case "ws":
		s.breakOff("it speaks over a WebSocket, which is not supported")
	default:
		s.breakOff("its type %s is not known", show(kind))
	}
	if kind == "stdio" && hasURL || kind != "" && kind != "stdio" && hasCommand {
		s.breakOff("its type %s does not fit what it has", show(kind))
	}
	if s.Broken != "" {
		return
	}
	if hasCommand {
		r.command(s, o)
	} else {
		s.Cwd = ""
		r.url(s, url)
	}
	r.rest(s, o)
}

func (r *reader) command(s *Server, o strictjson.Object) {
	program, ok := textOf(o, "command")
	if !ok || program == "" {
		s.breakOff("its command is not text")
		return
	}
	program, ok = r.fixed(s, "command", program)
	if !ok {
		return
	}
	if secretLooking("", program) {
		s.breakOff("its command seems to hold a secret: put the secret into env and write the server by hand")
		return
	}
	s.Command = []config.Value{{Text: program}}
	if raw, has := o.Get("args"); has {
		list, err := strictjson.SplitArray(raw)
		if err != nil {
			s.breakOff("its args are not a list")
			return
		}
		args := make([]string, len(list))
		for i, item := range list {
			text, ok := scalar(item)
			if !ok {
				s.breakOff("its args[%d] is not text", i)
				return
			}
			args[i] = text
		}
		r.arguments(s, args)
	}
	r.environment(s, o)
	if cwd, has := textOf(o, "cwd"); has && cwd != "" {
		if cwd, ok = r.fixed(s, "cwd", cwd); ok {
			if !filepath.IsAbs(cwd) && s.Cwd != "" {
				cwd = filepath.Join(s.Cwd, cwd)
			}
			s.Cwd = cwd
		}
	}
}

// fixed resolves a text that must be known when munjigi.yaml is written.
func (r *reader) fixed(s *Server, where, text string) (string, bool) {
	var b strings.Builder
	for _, seg := range r.split(text) {
		switch {
		case seg.kind == plainText:
			b.WriteString(seg.text)
		case seg.kind == environment && seg.falls && !secretLooking(seg.name, seg.fallback):
			s.note("%s: the client took %s where %s was not set; that is what is written here", where, show(seg.fallback), show(seg.name))
			b.WriteString(seg.fallback)
		default:
			s.breakOff("its %s holds the variable %s, which has no value here: write the server by hand", where, show(seg.text))
			return "", false
		}
	}
	return b.String(), true
}

// scalar reads text, or a number or a boolean as the text that it is.
func scalar(raw []byte) (string, bool) {
	switch strictjson.TypeOf(raw) {
	case strictjson.TypeString:
		text, err := strictjson.String(raw)
		return text, err == nil
	case strictjson.TypeNumber, strictjson.TypeBool:
		return strings.TrimSpace(string(raw)), true
	}
	return "", false
}

// arguments reads the arguments, each with what the one before says of it.
func (r *reader) arguments(s *Server, args []string) {
	before := ""
	for i, arg := range args {
		where := fmt.Sprintf("args[%d]", i)
		lead, name := leadOf(arg, before)
		s.Command = append(s.Command, r.value(s, where, name, lead, arg[len(lead):]))
		before = arg
	}
}

// leadOf parts an argument into what surely is no secret and what may be one,
// and names the latter: --flag=…, NAME=…, Name: …, or the flag before it.
func leadOf(arg, before string) (lead, name string) {
	rest := arg
	flag := strings.HasPrefix(before, "-") && !strings.Contains(before, "=")
	if flag && !strings.HasPrefix(arg, "-") {
		name = before
	}
	for range 2 {
		at := strings.IndexByte(rest, '=')
		if at <= 0 || !nameLike(rest[:at]) {
			break
		}
		lead, name, rest = lead+rest[:at+1], rest[:at], rest[at+1:]
	}
	if at := strings.IndexByte(rest, ':'); at > 0 && headerLike(rest[:at]) && !strings.HasPrefix(rest[at:], "://") &&
		(flag && headerFlag(before) || headerFlag(name) || config.SecretName(rest[:at])) {
		name = rest[:at]
		end := at + 1
		for end < len(rest) && rest[end] == ' ' {
			end++
		}
		lead += rest[:end]
	}
	if at := strings.IndexByte(rest, ':'); userFlag(name) && at >= 0 && strings.Trim(rest, "0123456789:") != "" {
		lead, name = lead+rest[:at+1], "password"
	}
	if secretLooking("", lead) {
		return "", name
	}
	return lead, name
}

// userFlag reports whether a flag takes user:password.
func userFlag(flag string) bool {
	switch strings.TrimLeft(flag, "-") {
	case "u", "user", "userpwd", "proxy-user", "U":
		return strings.HasPrefix(flag, "-")
	}
	return false
}

func headerFlag(flag string) bool {
	switch strings.TrimLeft(flag, "-") {
	case "H", "header", "headers", "http-header":
		return strings.HasPrefix(flag, "-")
	}
	return false
}

func nameLike(text string) bool {
	for i := range len(text) {
		if c := text[i]; !(tokenByte(c) && c != '~' && c != '+') {
			return false
		}
	}
	return true
}

func headerLike(text string) bool { return nameLike(text) && !strings.Contains(text, ".") }

func (r *reader) environment(s *Server, o strictjson.Object) {
	raw, has := o.Get("env")
	if !has {
		return
	}
	vars, err := strictjson.SplitObject(raw)
	if err != nil {
		s.breakOff("its env is not an object of variables by their names")
		return
	}
	for _, m := range vars {
		if strictjson.TypeOf(m.Raw) == strictjson.TypeNull {
			s.note("env %s is null, which means that it is not set: nothing is set here unless it is named", show(m.Name))
			continue
		}
		text, ok := scalar(m.Raw)
		if !ok || !variable(m.Name) {
			s.note("env %s was left out: it is not a variable with a text", show(m.Name))
			continue
		}
		s.Env = append(s.Env, config.EnvVar{Name: m.Name, Value: r.value(s, "env "+m.Name, m.Name, "", text)})
	}
}

func (r *reader) url(s *Server, raw []byte) {
	text, ok := scalar(raw)
	if !ok || text == "" {
		s.breakOff("its url is not text")
		return
	}
	list := r.split(text)
	last := list[len(list)-1]
	if last.kind != plainText && !last.falls && len(list) == 2 && list[0].kind == plainText && hostEnds(list[0].text) && !secretLooking("", list[0].text) {
		s.URL = config.Value{Text: list[0].text, Secret: r.refer(s, "url", last)}
		return
	}
	if text, ok = r.fixed(s, "url", text); !ok {
		return
	}
	text = r.userInfo(s, text)
	at, secret := secretInURL(text)
	if !secret {
		if secretLooking("", text) {
			s.breakOff("its url seems to hold a secret where none can stand")
			return
		}
		s.URL = config.Value{Text: text}
		return
	}
	if !hostEnds(text[:at]) {
		s.breakOff("its url seems to hold a secret where none can stand")
		return
	}
	how := "all of the url that follows " + show(text[:at])
	s.URL = config.Value{Text: text[:at], Secret: r.fresh(s, "url", how)}
}

// hostEnds reports whether the host of a URL is complete.
func hostEnds(text string) bool {
	_, rest, ok := strings.Cut(text, "://")
	return ok && strings.ContainsAny(rest, "/?")
}

// userInfo takes user:password out of a URL; they travel in a header.
func (r *reader) userInfo(s *Server, text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return text
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	at := strings.LastIndexByte(rest[:end], '@')
	if at < 0 {
		return text
	}
	ref := r.fresh(s, "url user", "the Base64 of user:password, which stand in the url of the client's file before the @")
	s.Headers = append(s.Headers, config.CredentialHeader{Name: "Authorization", Value: config.Value{Text: "Basic ", Secret: ref}})
	return scheme + "://" + rest[at+1:]
}

func (r *reader) headers(s *Server, raw []byte) {
	o, err := strictjson.SplitObject(raw)
	if err != nil {
		s.note("headers were left out: they are not an object")
		return
	}
	seen := map[string]bool{}
	for _, h := range s.Headers {
		seen[h.Name] = true
	}
	for _, m := range o {
		text, ok := scalar(m.Raw)
		name := textproto.CanonicalMIMEHeaderKey(m.Name)
		switch {
		case !ok:
			s.note("the header %s was left out: it is not text", show(m.Name))
		case !config.CredentialHeaderName(name):
			s.note("the header %s was left out: the gateway sets such headers itself", show(m.Name))
		case seen[name]:
			s.note("the header %s was left out: it stands there twice", show(m.Name))
		default:
			seen[name] = true
			s.Headers = append(s.Headers, config.CredentialHeader{Name: name, Value: r.header(s, m.Name, text)})
		}
	}
}

// header makes every header's value a reference: what is sent with each
// request to a server is a credential, or is treated as one.
func (r *reader) header(s *Server, name, text string) config.Value {
	where := "header " + name
	v := r.value(s, where, name, "", text)
	if v.IsSecret() {
		return v
	}
	how := "the value that stands there in the client's file"
	if len(text) <= 40 {
		how += ", which does not look like a secret: " + show(text)
	}
	return config.Value{Secret: r.fresh(s, where, how)}
}

// rest reads the members that all servers may have, and keeps those that it
// does not know as notes.
func (r *reader) rest(s *Server, o strictjson.Object) {
	for _, m := range o {
		switch m.Name {
		case "type", "transport", "command", "args", "url", "serverUrl":
			continue
		case "env", "cwd":
			if s.Stdio() {
				continue
			}
		case "headers":
			if !s.Stdio() {
				r.headers(s, m.Raw)
				continue
			}
		case "disabled":
			if string(m.Raw) == "true" {
				s.Hold = "it is disabled in the client"
			}
			continue
		case "timeout":
			if r.deadline(s, m.Raw) {
				continue
			}
		}
		s.note("%s was left out: %s. It was %s", show(m.Name), reason(m.Name), redact(m.Raw))
	}
}

// deadline reads a number of milliseconds, as Claude Code has it.
func (r *reader) deadline(s *Server, raw []byte) bool {
	ms, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || r.plan.Format != ClaudeCode || ms < 1000 || ms > 24*3600*1000 {
		return false
	}
	s.Deadline = time.Duration(ms) * time.Millisecond
	return true
}

// reason says why a member of a server is not imported.
func reason(name string) string {
	switch name {
	case "envFile":
		return "files of variables are not read; name each variable that the server needs under env"
	case "headersHelper":
		return "no command is run to make headers; name the header under credential"
	case "oauth", "auth":
		return "signing in to a server by OAuth is not part of this build"
	case "sandbox", "sandboxEnabled":
		return "the client's sandbox does not come along, and this build has none"
	case "autoApprove", "alwaysAllow", "autoStart", "trust":
		return "what may be called without asking is not the client's to say here"
	case "env", "cwd", "headers":
		return "it does not fit this kind of server"
	case "dev", "gallery", "version", "alwaysLoad", "description", "name", "icon", "tools", "timeout", "enabled":
		return "it means something to the client only"
	}
	return "it is not known"
}

package arguments

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/munjigi/munjigi/internal/base/egress"
)

// maxURL is how long a URL may be, in bytes.
const maxURL = 64 << 10

// local are schemes by which a URL reaches what is on the machine or inside, or
// runs something.
func local(scheme string) bool {
	switch scheme {
	case "gopher", "dict", "ldap", "ldaps", "ldapi", "tftp", "jar", "netdoc", "php", "phar", "expect", "smb", "cifs", "nfs", "javascript", "vbscript", "view-source", "chrome":
		return true
	}
	return false
}

// fetched are schemes whose host is asked.
func fetched(scheme string) bool {
	switch scheme {
	case "http", "https", "ws", "wss", "ftp", "ftps", "sftp", "ssh", "git", "redis", "rediss", "mongodb", "postgres", "postgresql", "mysql", "amqp", "grpc", "imap", "imaps", "pop3", "smtp", "smtps", "telnet", "rtsp", "mqtt", "mqtts", "scp", "svn", "rsync", "":
		return true
	}
	return false
}

// rebinding are domains whose names resolve to whatever address they spell, or to
// the machine itself.
func rebinding() []string {
	return []string{"nip.io", "sslip.io", "xip.io", "ip6.name", "nip.name", "backname.io", "ipq.co", "lvh.me", "vcap.me", "lacolhost.com", "localtest.me",
		"localho.st", "local.gd", "localdev.me", "localhost.localstack.cloud", "fuf.me", "traefik.me", "rbndr.us", "1u.ms", "spoofed.burpcollaborator.net"}
}

// inside are top-level names that no public name ends in.
func inside() []string {
	return []string{"localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa", "in-addr.arpa", "ip6.arpa", "svc", "cluster.local", "consul", "test", "invalid", "onion"}
}

// urlProblem says why a URL is refused; empty if it is not. opened are hosts that
// may be private. declared says that the argument is a URL whatever it looks
// like.
func urlProblem(s string, opened map[string]bool, r roots, declared bool) string {
	if len(s) > maxURL {
		return "is longer than a URL can be"
	}
	for i, v := range viewsOf(s) {
		if i > 0 && !hasAuthority(v) && !declared {
			continue
		}
		if why := oneURL(v, opened, r, declared); why != "" {
			return why
		}
	}
	return ""
}

// hasAuthority reports that a text begins as a URL with a host.
func hasAuthority(v string) bool {
	v = strings.TrimLeftFunc(v, func(c rune) bool { return c <= ' ' })
	scheme, rest := schemeOf(v)
	rest = strings.ReplaceAll(rest, `\`, "/")
	return strings.HasPrefix(rest, "//") || scheme != "" && (fetched(scheme) || local(scheme) || scheme == "file")
}

// schemeOf splits a URL behind its scheme, which is lower case and empty where
// there is none.
func schemeOf(v string) (scheme, rest string) {
	i := strings.IndexByte(v, ':')
	if i <= 0 {
		return "", v
	}
	for j := range i {
		c := v[j] | 0x20
		if !(c >= 'a' && c <= 'z' || j > 0 && (v[j] >= '0' && v[j] <= '9' || v[j] == '+' || v[j] == '-' || v[j] == '.')) {
			return "", v
		}
	}
	return strings.ToLower(v[:i]), v[i+1:]
}

func oneURL(v string, opened map[string]bool, r roots, declared bool) string {
	trimmed := strings.TrimFunc(v, func(c rune) bool { return c <= ' ' })
	if strings.ContainsAny(trimmed, "\t\r\n\x00") {
		// Browsers leave these out; others end the line there.
		if hasAuthority(strings.NewReplacer("\t", "", "\r", "", "\n", "", "\x00", "").Replace(trimmed)) || declared {
			return "has control characters in a URL: write it without them"
		}
		return ""
	}
	scheme, rest := schemeOf(trimmed)
	plain := false
	switch {
	case scheme == "file":
		if len(r) > 0 {
			return pathProblem(trimmed, r, true)
		}
		return "names a file by URL: give a URL of the web, or ask the operator to declare this argument as a path"
	case scheme == "view-source" || scheme == "feed" || scheme == "blob" || scheme == "url":
		return oneURL(rest, opened, r, declared)
	case local(scheme):
		return "has the scheme " + scheme + ", by which a URL reaches inside: use https"
	case scheme == "", fetched(scheme) && slashed(rest):
	case fetched(scheme):
		// http:host is read as http://host by some.
		rest = "//" + rest
	case slashed(rest):
		// What stands there in a scheme that nobody fetches by is a name of the
		// server's own, unless it is written like a host.
		if !looksLikeHost(strings.TrimLeft(rest, `/\`)) {
			return ""
		}
	case isPort(rest) || strings.Contains(scheme, "."):
		// host:port without a scheme.
		rest, plain = trimmed, true
	default:
		return "" // mailto:, urn:, data: and what else names no host
	}
	if scheme == "" && !plain && !slashed(rest) && !looksLikeHost(rest) {
		return "" // a relative reference
	}
	rest = strings.TrimLeft(rest, `/\`)
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	if strings.ContainsAny(authority, `\ `) || strings.Count(authority, "@") > 1 {
		return "can be read as naming two hosts: write it without spaces, backslashes and more than one @"
	}
	hosts := []string{authority}
	if i := strings.IndexByte(authority, '@'); i >= 0 {
		hosts = []string{authority[i+1:]}
	}
	// Some readers take what stands behind an @ for the host wherever it is.
	whole, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(whole, '@'); i >= 0 {
		hosts = append(hosts, whole[i+1:])
	}
	for _, h := range hosts {
		if private(h, opened) {
			return "names a host that is private, of this machine, or of its cloud: name a public host, or ask the operator to open it"
		}
	}
	return ""
}

// slashed reports a reference to another host without a scheme.
func slashed(s string) bool { return strings.HasPrefix(strings.ReplaceAll(s, `\`, "/"), "//") }

func isPort(s string) bool {
	s, _, _ = strings.Cut(s, "/")
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// looksLikeHost reports a text that is written like an address or a name with
// dots.
func looksLikeHost(s string) bool {
	s, _, _ = strings.Cut(s, "/")
	if strings.HasPrefix(s, "[") || strings.EqualFold(s, "localhost") || strings.HasPrefix(strings.ToLower(s), "localhost:") {
		return true
	}
	host, _, _ := strings.Cut(s, ":")
	if _, ok := fourOf(host); ok && strings.ContainsAny(host, ".xX") {
		return true
	}
	for _, d := range append(rebinding(), inside()...) {
		if strings.HasSuffix(strings.ToLower(strings.TrimRight(host, ".")), "."+d) {
			return true
		}
	}
	return false
}

// private reports a host, with or without a port, that no public name or address
// is.
func private(hostport string, opened map[string]bool) bool {
	host, port := splitHost(strings.ToLower(hostport))
	if host == "" {
		return false
	}
	if opened[host] || opened[host+":"+port] || opened["["+host+"]:"+port] {
		return false
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return !egress.Public(a)
	}
	if strings.Contains(host, ":") {
		return true // an address that nobody can read
	}
	if list, ok := fourOf(host); ok {
		return slices.ContainsFunc(list, func(a netip.Addr) bool { return !egress.Public(a) })
	}
	if !strings.Contains(host, ".") {
		return true // a name of the own network
	}
	for _, d := range append(rebinding(), inside()...) {
		if host == d || strings.HasSuffix(host, "."+d) {
			return true
		}
	}
	return spells(host)
}

// splitHost takes the port off, the brackets and zone of an address, and dots at
// the end.
func splitHost(s string) (host, port string) {
	if strings.HasPrefix(s, "[") {
		host, port, _ = strings.Cut(s[1:], "]")
		host, _, _ = strings.Cut(host, "%")
		return host, strings.TrimPrefix(port, ":")
	}
	host = s
	if strings.Count(s, ":") == 1 {
		host, port, _ = strings.Cut(s, ":")
	}
	return strings.TrimRight(host, "."), port
}

// fourOf reads an IPv4 address in any of the spellings of inet_aton: one to four
// parts, each decimal, octal or hexadecimal. A part that begins with 0 may be
// meant either way, and a number may be too large for one reader and cut by
// another, so there may be several addresses.
func fourOf(host string) ([]netip.Addr, bool) {
	parts := strings.Split(strings.TrimRight(host, "."), ".")
	if len(parts) > 4 || host == "" {
		return nil, false
	}
	readings := []uint64{0}
	for i, p := range parts {
		values := numbers(p)
		if len(values) == 0 {
			return nil, false
		}
		shift := 8
		if i == len(parts)-1 {
			shift = 8 * (5 - len(parts))
		}
		var next []uint64
		for _, r := range readings {
			for _, v := range values {
				next = append(next, r<<shift|v&(1<<shift-1))
			}
		}
		readings = next
	}
	var out []netip.Addr
	for _, r := range readings {
		out = append(out, netip.AddrFrom4([4]byte{byte(r >> 24), byte(r >> 16), byte(r >> 8), byte(r)}))
	}
	return out, true
}

// numbers are the readings of one part.
func numbers(p string) []uint64 {
	var out []uint64
	add := func(s string, base int) {
		if n, err := strconv.ParseUint(s, base, 64); err == nil {
			out = append(out, n)
		}
	}
	switch {
	case p == "":
	case len(p) > 24:
		return nil
	case len(p) > 1 && p[0] == '0' && p[1]|0x20 == 'x':
		if add(p[2:], 16); len(p) == 2 {
			out = append(out, 0)
		}
	case len(p) > 1 && p[0] == '0':
		add(p, 8)
		add(p, 10)
	default:
		add(p, 10)
	}
	return out
}

// spells reports a name that spells a private address: 10.0.0.1.example.com and
// 10-0-0-1.example.com.
func spells(host string) bool {
	labels := strings.Split(host, ".")
	for i, l := range labels {
		if a, err := netip.ParseAddr(strings.ReplaceAll(l, "-", ".")); err == nil && a.Is4() && !egress.Public(a) {
			return true
		}
		if strings.Count(l, "-") > 3 {
			// ip-10-0-0-1, app-10-0-0-1
			p := strings.Split(l, "-")
			if a, err := netip.ParseAddr(strings.Join(p[len(p)-4:], ".")); err == nil && !egress.Public(a) {
				return true
			}
		}
		if i+4 < len(labels) {
			if a, err := netip.ParseAddr(strings.Join(labels[i:i+4], ".")); err == nil && !egress.Public(a) {
				return true
			}
		}
	}
	return false
}

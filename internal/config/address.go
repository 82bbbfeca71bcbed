package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Loopback reports whether a host, without its port, can only mean this
// machine: a loopback IP address in its plain form, or localhost.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Zone() == "" && a.Unmap().IsLoopback()
}

func checkListen(t string) complaint {
	const next = "write an address and a port, such as " + DefaultListen
	host, port, err := net.SplitHostPort(t)
	if err != nil || !validPort(port, 0) {
		return complaint{"is not an address to listen on", next}
	}
	if host == "" {
		return complaint{"names no address, which means all of them", next}
	}
	if !Loopback(host) {
		if _, err := netip.ParseAddr(host); err != nil {
			return complaint{"names a host, not an address", next}
		}
	}
	return complaint{}
}

func validPort(port string, least int) bool {
	p, err := strconv.ParseUint(port, 10, 16)
	return err == nil && int(p) >= least && strconv.FormatUint(p, 10) == port
}

// checkURL judges the URL of something that is reached over HTTP. It never
// repeats the URL, for there may be a secret in it.
func checkURL(t string) complaint {
	if strings.ContainsFunc(t, Hidden) || strings.ContainsAny(t, ` \`) {
		return complaint{"holds characters that a URL cannot have", "write it in plain ASCII, percent-encoded where need be"}
	}
	u, err := url.Parse(t)
	if err != nil || u.Opaque != "" || u.Host == "" {
		return complaint{"is not a URL", "write it whole: https://host/path"}
	}
	if u.User != nil {
		return complaint{"holds a user name or a password", "take them out and name the secret in a header (credential:)"}
	}
	if strings.Contains(t, "#") {
		return complaint{"holds a fragment (#…)", "take it out: a server never sees it"}
	}
	if c := checkHost(u.Hostname(), u.Port()); c != (complaint{}) {
		return c
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !Loopback(u.Hostname()) {
			return complaint{"is plain HTTP to another machine", "write https://; plain HTTP is for 127.0.0.1, [::1] and localhost"}
		}
	default:
		return complaint{"is not an HTTP URL", "write https://host/path"}
	}
	return complaint{}
}

func checkNoQuery(t string) complaint {
	if strings.Contains(t, "?") {
		return complaint{"holds a query (?…)", "take it out: this is the beginning of other URLs"}
	}
	return complaint{}
}

// checkPrefix makes sure that what is added to the URL cannot change its host.
func checkPrefix(t string) complaint {
	_, rest, _ := strings.Cut(t, "://")
	if !strings.ContainsAny(rest, "/?") {
		return complaint{"ends within its host", "let the prefix hold the host and the / after it, so that the secret cannot change the host"}
	}
	return complaint{}
}

func checkHost(host, port string) complaint {
	const next = "write a host name in ASCII or an IP address"
	if port != "" && !validPort(port, 1) {
		return complaint{"has a port that is none", "write a port from 1 to 65535"}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return complaint{"has an address with a zone", "leave the zone out"}
		}
		return complaint{}
	}
	if host == "" || len(host) > 253 {
		return complaint{"names no host", next}
	}
	digits := true
	for _, label := range strings.Split(host, ".") {
		if label == "" || len(label) > 63 {
			return complaint{"has a host name that is none", next}
		}
		for i := range len(label) {
			if !alnum(label[i]) && label[i] != '-' && label[i] != '_' {
				return complaint{"has a host name that is none", next}
			}
		}
		digits = label[0] >= '0' && label[0] <= '9' && !strings.ContainsFunc(label, func(r rune) bool {
			return !(r >= '0' && r <= '9' || r == 'x' || r == 'X' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F')
		})
	}
	if digits {
		return complaint{"has an address in a form that programs read differently", "write it as four numbers, such as 127.0.0.1"}
	}
	return complaint{}
}

func checkHostPort(t string) complaint {
	const next = "write host or host:port in lower case, without scheme or path"
	if strings.Contains(t, "*") {
		return complaint{"holds a wildcard", "name each host"}
	}
	if t != strings.ToLower(t) {
		return complaint{"has capital letters", next}
	}
	if a, err := netip.ParseAddr(t); err == nil && a.Zone() == "" {
		return complaint{}
	}
	host, port := t, ""
	if strings.Contains(t, ":") {
		var err error
		if host, port, err = net.SplitHostPort(t); err != nil || port == "" {
			return complaint{"is not a host", next}
		}
	}
	if c := checkHost(host, port); c != (complaint{}) {
		return complaint{c.message, next}
	}
	return complaint{}
}

func checkOrigin(t string) complaint {
	const next = "write scheme://host or scheme://host:port in lower case, as browsers send it"
	if strings.Contains(t, "*") {
		return complaint{"holds a wildcard", "name each origin"}
	}
	if t == "null" {
		return complaint{"lets in every page without an origin", "name the origin of the page"}
	}
	scheme, rest, ok := strings.Cut(t, "://")
	if !ok || rest == "" || scheme == "" || t != strings.ToLower(t) {
		return complaint{"is not an origin", next}
	}
	for i := range len(scheme) {
		if !alnum(scheme[i]) && !strings.ContainsRune("+.-", rune(scheme[i])) {
			return complaint{"is not an origin", next}
		}
	}
	if c := checkHostPort(rest); c != (complaint{}) || strings.Contains(rest, ":") && !strings.Contains(rest, "]") && strings.Count(rest, ":") > 1 {
		return complaint{"is not an origin", next}
	}
	return complaint{}
}

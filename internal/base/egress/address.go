package egress

import "net/netip"

// notPublic are the ranges that are not the public internet, or that are
// public by number and serve the machine's own cloud: IANA's special-purpose
// registries, cloud metadata and Azure's wire server.
var notPublic = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.31.196.0/24"),
	netip.MustParsePrefix("192.52.193.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("192.175.48.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("168.63.129.16/32"),

	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2620:4f:8000::/48"),
	netip.MustParsePrefix("3fff::/20"),
}

// neverOpened are ranges that no allow-list opens: nothing that publishes
// metadata or keys lives there, and what does live there hands out credentials.
var neverOpened = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("168.63.129.16/32"),

	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fec0::/10"),
	netip.MustParsePrefix("ff00::/8"),
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::254/128"),
}

// reach says how far an address may be trusted to be outside.
type reach uint8

const (
	never   reach = iota // no rule opens it
	private              // an allow-list may open it
	public
)

// reachOf judges an address by where a packet to it would end: an IPv4 address
// inside an IPv6 one (mapped, compatible, NAT64, 6to4, ISATAP) counts as
// itself. IPv6 outside 2000::/3 is not public.
func reachOf(a netip.Addr) reach {
	if !a.IsValid() || a.Zone() != "" {
		return never
	}
	a = a.Unmap()
	if in(a, neverOpened[:]) || a.IsUnspecified() {
		return never
	}
	if a.Is4() {
		if in(a, notPublic[:]) {
			return private
		}
		return public
	}
	if a.IsLoopback() {
		return private
	}
	if inner, ok := inside(a); ok {
		// Only the well-known NAT64 prefix is a way to a public address. The
		// others are tunnels: what they lead to is not what they look like.
		if r := reachOf(inner); r != public || netip.PrefixFrom(a, 96).Masked() != wellKnownNAT64() {
			return never
		}
		return public
	}
	b := a.As16()
	switch {
	case b[0] == 0xfc || b[0] == 0xfd:
		return private
	case b[0]>>5 != 1:
		return never
	case in(a, notPublic[:]):
		return never
	}
	return public
}

func in(a netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func wellKnownNAT64() netip.Prefix { return netip.MustParsePrefix("64:ff9b::/96") }

// inside returns the IPv4 address that an IPv6 address carries.
func inside(a netip.Addr) (netip.Addr, bool) {
	b := a.As16()
	four := func(i int) (netip.Addr, bool) { return netip.AddrFrom4([4]byte(b[i : i+4])), true }
	switch {
	case wellKnownNAT64().Contains(a), netip.MustParsePrefix("64:ff9b:1::/48").Contains(a):
		return four(12)
	case netip.MustParsePrefix("::/96").Contains(a):
		return four(12)
	case b[0] == 0x20 && b[1] == 0x02:
		return four(2)
	case (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe:
		return four(12)
	}
	return netip.Addr{}, false
}

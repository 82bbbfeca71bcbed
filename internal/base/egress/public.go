package egress

import "net/netip"

// Public reports that an address is one of the public internet, however it is
// written: an IPv4 address inside an IPv6 one counts as itself.
func Public(a netip.Addr) bool { return reachOf(a) == public }

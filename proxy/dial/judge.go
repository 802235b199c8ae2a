package dial

import (
	"encoding/binary"
	"net/netip"
)

// Forbidden reports whether no request may be sent to addr unless its profile
// excepts it, and why. It refuses every address that is not globally reachable
// unicast by the IANA special-purpose registries (RFC 6890), and metadata
// services that have public addresses. An IPv4 address embedded in an IPv6 one
// is judged as IPv4. An address with a zone is refused.
func Forbidden(addr netip.Addr) (why string, forbidden bool) {
	return judge(addr, nil)
}

// judge is Forbidden but for what lies in allow, which is compared with addr
// as written and with what it embeds.
func judge(addr netip.Addr, allow []netip.Prefix) (why string, forbidden bool) {
	switch {
	case !addr.IsValid():
		return "not an address", true
	case addr.Zone() != "":
		return "zoned", true
	}
	for _, p := range allow {
		if p.Contains(addr) {
			return "", false
		}
	}
	if addr.Is4() {
		return special(addr, special4)
	}
	if why, forbidden = special(addr, special6); forbidden {
		return why, true
	}
	inner, n, replaces := embedded(addr)
	for _, v4 := range inner[:n] {
		if why, forbidden = judge(v4, allow); forbidden {
			return "embeds " + why, true
		}
	}
	if !replaces && !globalUnicast.Contains(addr) {
		return "reserved", true
	}
	return "", false
}

// globalUnicast is all that IANA has given out for global unicast (RFC 4291
// §2.4). What lies outside is local, multicast or unassigned.
var globalUnicast = netip.MustParsePrefix("2000::/3") // never assigned again

type specialRange struct {
	prefix netip.Prefix
	why    string
}

// The ranges are constants: never assigned again. The first that contains an
// address names it.
var (
	special4 = ranges(
		"169.254.169.254/32", "metadata",
		"168.63.129.16/32", "metadata", // Azure's wire server: a public address
		"192.0.0.192/32", "metadata", // Oracle's
		"100.100.100.200/32", "metadata", // Alibaba's
		"0.0.0.0/32", "unspecified", // connects to this host on Linux
		"0.0.0.0/8", "this network", // RFC 791 §3.2
		"10.0.0.0/8", "private",
		"100.64.0.0/10", "shared", // RFC 6598: CGNAT
		"127.0.0.0/8", "loopback",
		"169.254.0.0/16", "link-local",
		"172.16.0.0/12", "private",
		"192.0.0.0/24", "reserved", // RFC 6890 §2.1
		"192.0.2.0/24", "documentation",
		"192.88.99.0/24", "reserved", // RFC 7526: 6to4 relays
		"192.168.0.0/16", "private",
		"198.18.0.0/15", "benchmarking", // RFC 2544
		"198.51.100.0/24", "documentation",
		"203.0.113.0/24", "documentation",
		"224.0.0.0/4", "multicast",
		"255.255.255.255/32", "broadcast",
		"240.0.0.0/4", "reserved", // RFC 1112 §4
	)
	special6 = ranges(
		"::/128", "unspecified",
		"::1/128", "loopback",
		"fd00:ec2::254/128", "metadata", // Amazon's
		"fd20:ce::254/128", "metadata", // Google's
		"fd00:42::42/128", "metadata", // Scaleway's
		"64:ff9b:1::/48", "local NAT64", // RFC 8215: where the IPv4 address stands is local too
		"100::/64", "discard", // RFC 6666
		"2001:2::/48", "benchmarking", // RFC 5180
		"2001:db8::/32", "documentation",
		"3fff::/20", "documentation", // RFC 9637
		"fc00::/7", "private", // RFC 4193
		"fe80::/10", "link-local",
		"fec0::/10", "site-local", // RFC 3879
		"ff00::/8", "multicast",
	)
	ietf6  = netip.MustParsePrefix("2001::/23") // RFC 2928: protocol assignments, Teredo but one of them
	teredo = netip.MustParsePrefix("2001::/32")
	sixTo4 = netip.MustParsePrefix("2002::/16")
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
)

func ranges(pairs ...string) []specialRange {
	rs := make([]specialRange, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		rs = append(rs, specialRange{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return rs
}

func special(addr netip.Addr, rs []specialRange) (string, bool) {
	for _, r := range rs {
		if r.prefix.Contains(addr) {
			return r.why, true
		}
	}
	if ietf6.Contains(addr) && !teredo.Contains(addr) {
		return "reserved", true
	}
	return "", false
}

// embedded returns the IPv4 addresses that packets to addr may end at. Replaces
// is true where addr lies outside global unicast and stands for them alone.
func embedded(addr netip.Addr) (inner [2]netip.Addr, n int, replaces bool) {
	b := addr.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case addr.Is4In6(), nat64.Contains(addr): // RFC 6052 §2.1
		return [2]netip.Addr{at(12)}, 1, true
	case sixTo4.Contains(addr): // RFC 3056 §2
		return [2]netip.Addr{at(2)}, 1, false
	case teredo.Contains(addr): // RFC 4380 §4: the server, and the client with its bits inverted
		client := binary.BigEndian.AppendUint32(nil, ^binary.BigEndian.Uint32(b[12:]))
		return [2]netip.Addr{at(4), netip.AddrFrom4([4]byte(client))}, 2, false
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // RFC 5214 §6.1: ISATAP
		return [2]netip.Addr{at(12)}, 1, false
	case [12]byte(b[:12]) == [12]byte{}, // RFC 4291 §2.5.5.1: IPv4-compatible
		[12]byte(b[:12]) == [12]byte{8: 0xff, 9: 0xff}: // RFC 7915: IPv4-translated
		return [2]netip.Addr{at(12)}, 1, false // deprecated, hence refused whatever it embeds
	}
	return inner, 0, false
}

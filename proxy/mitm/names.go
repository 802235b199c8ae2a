package mitm

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// names is a set of permitted subtrees: DNS names, each with all that is below
// it, and single addresses. Both are sorted, and no name is below another.
type names struct {
	dns []string
	ips []netip.Addr
}

var (
	errWildcard = errors.New("a wildcard may only stand in front, as in *.x and **.x")
	errName     = errors.New("not a host name")
)

// parseNames reads host patterns. RFC 5280 cannot tell one label from many, nor
// a name from what is below it, so "*.x", "**.x" and "x" all become x.
func parseNames(patterns ...[]string) (names, error) {
	var n names
	for _, list := range patterns {
		for _, pattern := range list {
			if err := n.add(pattern); err != nil {
				return names{}, fmt.Errorf("host %q: %w", pattern, err)
			}
		}
	}
	n.tidy()
	return n, nil
}

func (n *names) add(pattern string) error {
	host := pattern
	if rest, ok := strings.CutPrefix(host, "**."); ok {
		host = rest
	} else if rest, ok := strings.CutPrefix(host, "*."); ok {
		host = rest
	}
	host = strings.ToLower(host)
	if ip, err := netip.ParseAddr(host); err == nil {
		if host != strings.ToLower(pattern) || ip.Zone() != "" {
			return errName
		}
		n.ips = append(n.ips, ip.Unmap())
		return nil
	}
	if strings.Contains(host, "*") {
		return errWildcard
	}
	if !isName(host) {
		return errName
	}
	n.dns = append(n.dns, host)
	return nil
}

// tidy sorts, and drops what is permitted twice.
func (n *names) tidy() {
	slices.SortFunc(n.ips, netip.Addr.Compare)
	n.ips = slices.Compact(n.ips)
	slices.Sort(n.dns)
	n.dns = slices.Compact(n.dns)
	all := n.dns
	kept := make([]string, 0, len(all))
	for _, name := range all {
		if _, parent, ok := strings.Cut(name, "."); !ok || !coversName(all, parent) {
			kept = append(kept, name)
		}
	}
	n.dns = kept
}

// covers reports whether host, a normalised name or IP literal, is permitted.
func (n *names) covers(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		_, ok := slices.BinarySearchFunc(n.ips, ip, netip.Addr.Compare)
		return ok
	}
	return coversName(n.dns, host)
}

func coversName(sorted []string, host string) bool {
	for {
		if _, ok := slices.BinarySearch(sorted, host); ok {
			return true
		}
		var ok bool
		if _, host, ok = strings.Cut(host, "."); !ok {
			return false
		}
	}
}

// list is for people: names first.
func (n *names) list() []string {
	out := slices.Clone(n.dns)
	for _, ip := range n.ips {
		out = append(out, ip.String())
	}
	return out
}

// The room that one intermediate may take for its names. Java's default limit
// for a handshake message is 32 KiB, OpenSSL's for a chain 100 KiB.
const maxNames = 16 << 10

// split cuts the set into parts that each fit one generation. The empty set is one part.
func (n *names) split() []names {
	parts := make([]names, 1)
	room := maxNames
	take := func(size int) *names {
		if room -= size; room < 0 {
			parts = append(parts, names{})
			room = maxNames - size
		}
		return &parts[len(parts)-1]
	}
	for _, name := range n.dns {
		p := take(len(name) + 8) // three DER headers, lengths above 127 included
		p.dns = append(p.dns, name)
	}
	for _, ip := range n.ips {
		p := take(2*ip.BitLen()/8 + 4)
		p.ips = append(p.ips, ip)
	}
	return parts
}

// noName permits no DNS name that anyone has (RFC 6761 section 6.4). Excluding
// the empty name would say the same, but Java fails on it with an index out of range (measured, 17).
const noName = "invalid"

// constrain writes the set into a template, critically. A form of name without
// a host is excluded whole: a constraint on one form says nothing about another.
func (n *names) constrain(c *x509.Certificate) {
	c.PermittedDNSDomainsCritical = true // of the whole extension, not of DNS alone
	c.PermittedDNSDomains = n.dns
	if len(n.dns) == 0 {
		c.PermittedDNSDomains = []string{noName}
	}
	for _, ip := range n.ips {
		c.PermittedIPRanges = append(c.PermittedIPRanges, ipNet(netip.PrefixFrom(ip, ip.BitLen())))
	}
	// With any address permitted the others are excluded by that, of both
	// families. Excluding the unused family as well makes Java compare
	// across lengths: it fails on every IPv4 leaf, and takes IPv6 ones for excluded (measured, 17).
	if len(n.ips) == 0 {
		for _, every := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			c.ExcludedIPRanges = append(c.ExcludedIPRanges, ipNet(netip.PrefixFrom(every, 0)))
		}
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// namesOf reads back what constrain wrote, and refuses a certificate that
// carries any other constraints.
func namesOf(c *x509.Certificate) (names, error) {
	var n names
	if !slices.Equal(c.PermittedDNSDomains, []string{noName}) {
		n.dns = slices.Clone(c.PermittedDNSDomains)
	}
	for _, r := range c.PermittedIPRanges {
		ip, ok := netip.AddrFromSlice(r.IP)
		if !ok {
			return names{}, errors.New("constraints: not an address")
		}
		n.ips = append(n.ips, ip)
	}
	n.tidy()
	var want x509.Certificate
	n.constrain(&want)
	if !sameConstraints(&want, c) || len(c.UnhandledCriticalExtensions) > 0 {
		return names{}, errors.New("constraints: not those of this CA")
	}
	return n, nil
}

func sameConstraints(a, b *x509.Certificate) bool {
	sameNet := func(x, y *net.IPNet) bool { return x.String() == y.String() }
	return a.PermittedDNSDomainsCritical == b.PermittedDNSDomainsCritical &&
		slices.Equal(a.PermittedDNSDomains, b.PermittedDNSDomains) &&
		slices.Equal(a.ExcludedDNSDomains, b.ExcludedDNSDomains) &&
		slices.EqualFunc(a.PermittedIPRanges, b.PermittedIPRanges, sameNet) &&
		slices.EqualFunc(a.ExcludedIPRanges, b.ExcludedIPRanges, sameNet) &&
		len(b.PermittedEmailAddresses)+len(b.ExcludedEmailAddresses)+len(b.PermittedURIDomains)+len(b.ExcludedURIDomains) == 0
}

// isName reports whether s is a lower-case host name of letters, digits, hyphens
// and underscores (RFC 1123 section 2.1; underscores because real hosts have them).
func isName(s string) bool {
	if len(s) == 0 || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

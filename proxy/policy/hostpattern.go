package policy

import (
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// depth is how far below its name a host pattern reaches.
type depth uint8

const (
	exact depth = iota // the name itself
	one                // one label more: *.name
	many               // one label or more: **.name
)

// hostPattern is one compiled element of hosts.
type hostPattern struct {
	hostKey
	depth  depth
	domain string // the registrable one, for NearestHost
}

// hostKey is where a host can be found: a name, a port, and whether in clear.
type hostKey struct {
	name  string
	port  uint16
	clear bool
}

// String is the pattern without scheme and port.
func (h hostPattern) String() string {
	return [...]string{"", "*.", "**."}[h.depth] + h.name
}

// matches compares with a normalised host. Decide finds rules by the index
// instead; a test holds the two together.
func (h hostPattern) matches(scheme, host string, port uint16) bool {
	if port != h.port || scheme != "http" && scheme != "https" || (scheme == "http") != h.clear || !isCanonical(host) {
		return false
	}
	if h.depth == exact {
		return host == h.name
	}
	below, ok := strings.CutSuffix(host, h.name)
	below, dot := strings.CutSuffix(below, ".")
	return ok && dot && (h.depth == many || !strings.Contains(below, "."))
}

// covers reports whether h matches every host that o matches.
func (h hostPattern) covers(o hostPattern) bool {
	if h.port != o.port || h.clear != o.clear {
		return false
	}
	below := strings.HasSuffix(o.name, "."+h.name)
	switch h.depth {
	case exact:
		return o.depth == exact && o.name == h.name
	case one:
		if o.depth == exact {
			return h.matches(o.scheme(), o.name, o.port)
		}
		return o.depth == one && o.name == h.name
	default:
		return below || o.depth != exact && o.name == h.name
	}
}

func (k hostKey) scheme() string {
	if k.clear {
		return "http"
	}
	return "https"
}

// parseHostPattern compiles one element of hosts.
func parseHostPattern(text string) (hostPattern, *fault) {
	h := hostPattern{hostKey: hostKey{port: 443}}
	rest := text
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		switch strings.ToLower(scheme) {
		case "http":
			h.clear, h.port, rest = true, 80, after
		case "https":
			return h, &fault{"the scheme is not written", "a host means https: write " + quoteHost(after)}
		default:
			return h, &fault{"only http:// can stand before a host", "a host alone means https"}
		}
	}
	if f := misplaced(rest); f != nil {
		return h, f
	}
	if after, ok := strings.CutPrefix(rest, "**."); ok {
		h.depth, rest = many, after
	} else if after, ok := strings.CutPrefix(rest, "*."); ok {
		h.depth, rest = one, after
	}
	if strings.Contains(rest, "*") {
		return h, &fault{"a wildcard must be the whole first label", "write *.example.com for one label, **.example.com for any depth"}
	}
	var err error
	h.name, h.port, err = SplitAuthority(rest, h.port)
	if cause, ok := errors.AsType[hostFault](err); ok {
		return h, &fault{string(cause), hostHint(cause)}
	}
	f := h.reach()
	if f == nil {
		h.domain = registrable(h.name)
	}
	return h, f
}

// misplaced finds what belongs elsewhere.
func misplaced(host string) *fault {
	name, _, _ := strings.Cut(host, ":")
	switch {
	case name == "*" || name == "**":
		return &fault{"would match every host", "name the hosts that may be called; everything else is refused"}
	case strings.ContainsAny(host, "/?#"):
		return &fault{"a host has no path", "write the path under paths"}
	case strings.Contains(host, "@"):
		return &fault{"a host has no user", "credentials are attached by attach, from a secret"}
	}
	return nil
}

func hostHint(f hostFault) string {
	switch f {
	case hostBrackets, hostAddress:
		return "write an IPv6 address as [2001:db8::1]"
	case hostNumeric:
		return "write an IPv4 address as 192.0.2.1"
	}
	return ""
}

// reach refuses patterns under which anyone can have a name. The exact name of
// a registry's suffix ("com", "co.uk") is refused too: the CA's name constraint
// for it would permit everything below (RFC 5280 §4.2.1.10). A private suffix
// by its exact name is a host like any other (s3.amazonaws.com). A top-level
// name that is in no registry (localhost, internal, test) is the operator's own.
func (h hostPattern) reach() *fault {
	if _, err := netip.ParseAddr(h.name); err == nil {
		if h.depth != exact {
			return &fault{"an address has no names below it", "write the address alone"}
		}
		return nil
	}
	suffix, icann := publicsuffix.PublicSuffix(h.name)
	listed := icann || strings.Contains(suffix, ".")
	switch {
	case suffix == h.name && (icann || listed && h.depth != exact):
	case h.depth != exact && childIsSuffix(h.name):
	default:
		return nil
	}
	return &fault{quoteHost(h.name) + " is a public suffix: anyone can have a name below it", "name the hosts, or a domain of one owner"}
}

// childIsSuffix finds the registries whose every name is itself a suffix
// (*.kawasaki.jp): there a wildcard would span owners.
func childIsSuffix(name string) bool {
	child := "attache-any." + name
	suffix, _ := publicsuffix.PublicSuffix(child)
	return suffix == child
}

func quoteHost(s string) string { return `"` + s + `"` }

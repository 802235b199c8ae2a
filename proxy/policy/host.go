package policy

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// hostFault says why a text is not a host or an authority. It never repeats
// the text, which comes from outside.
type hostFault string

func (f hostFault) Error() string { return "host: " + string(f) }

const (
	hostEmpty    hostFault = "empty"
	hostTooLong  hostFault = "longer than 253 bytes"
	hostLabel    hostFault = "a label is empty, longer than 63 bytes, or begins or ends with a hyphen"
	hostCharset  hostFault = "a character that names do not have"
	hostIDN      hostFault = "not a valid internationalised name"
	hostNumeric  hostFault = "looks like a number, but is not an IPv4 address of four decimal parts"
	hostAddress  hostFault = "not an IPv6 address"
	hostZone     hostFault = "an address with a zone"
	hostBrackets hostFault = "an IPv6 address must be in brackets"
	portMissing  hostFault = "a port is required"
	portInvalid  hostFault = "the port is not a number from 1 to 65535"
)

// The longest name and label of DNS in text (RFC 1035 §2.3.4), and the most of
// a name in Unicode that is looked at: punycode takes quadratic time.
const (
	maxName    = 253
	maxLabel   = 63
	maxUnicode = 1024
)

// NormalizeHost returns the one spelling of a host name or IP literal that
// rules, certificates and dialling use: lower case, A-labels, no trailing dot,
// IP literals without brackets and unmapped; or an error for what is not a
// host. Names are judged by RFC 5891's lookup rules, but may hold underscores.
// What the WHATWG URL standard would take for an IPv4 address in another
// notation (0x7f.1, 127.1, 0177.0.0.1) is an error, and so is a zone.
func NormalizeHost(host string) (string, error) {
	if host == "" {
		return "", hostEmpty
	}
	if host[0] == '[' || strings.IndexByte(host, ':') >= 0 {
		return normalizeIPv6(host)
	}
	if host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	name, err := toASCII(host)
	if err != nil {
		return "", err
	}
	if err := checkName(name); err != nil {
		return "", err
	}
	if endsInNumber(name) {
		// ParseAddr takes four decimal parts without leading zeros only. A
		// number that came out of Unicode (１２７.0.0.1) is no way to write one.
		if a, err := netip.ParseAddr(name); err != nil || !a.Is4() || !isASCII(host) {
			return "", hostNumeric
		}
	}
	return name, nil
}

func normalizeIPv6(host string) (string, error) {
	if host[0] == '[' {
		if host[len(host)-1] != ']' {
			return "", hostAddress
		}
		host = host[1 : len(host)-1]
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Is4() {
		return "", hostAddress
	}
	if a.Zone() != "" {
		return "", hostZone
	}
	return a.Unmap().String(), nil
}

// lookup is RFC 5891's lookup profile without STD3 (names with underscores
// exist; checkName judges the characters) and without the ban on "--" in the
// third and fourth place (names of CDNs have them).
var lookup = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(),
	idna.StrictDomainName(false), idna.CheckHyphens(false))

// toASCII puts a name into lower case and its labels into A-labels.
func toASCII(host string) (string, error) {
	ascii := isASCII(host)
	if ascii {
		host = strings.ToLower(host) // allocates only where it changes something
		if !strings.Contains(host, "xn--") {
			return host, nil
		}
	}
	if len(host) > maxUnicode {
		return "", hostTooLong
	}
	name, err := lookup.ToASCII(host)
	if err != nil {
		return "", hostIDN
	}
	// An A-label that says the same as another spelling would be a second
	// name for one host: the spelling must be a fixed point.
	if again, err := lookup.ToASCII(name); err != nil || again != name || ascii && name != host {
		return "", hostIDN
	}
	return name, nil
}

// checkName judges a name in lower case and A-labels.
func checkName(name string) error {
	if name == "" {
		return hostEmpty
	}
	if len(name) > maxName {
		return hostTooLong
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			if c := name[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
				return hostCharset
			}
			continue
		}
		if i == start || i-start > maxLabel || name[start] == '-' || name[i-1] == '-' {
			return hostLabel
		}
		start = i + 1
	}
	return nil
}

// endsInNumber is the "ends in a number checker" of the WHATWG URL standard
// (§3.5): such a host is an IPv4 address to a browser or to inet_aton, never a name.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if digits, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// SplitAuthority splits "host", "host:port" or "[v6]:port" and normalises the
// host. A missing port is defaultPort; 0 means that the port is required. A port
// has no sign and no leading zeros; user information and paths are errors.
func SplitAuthority(authority string, defaultPort uint16) (host string, port uint16, err error) {
	name, digits, explicit := authority, "", false
	if end := strings.LastIndexByte(authority, ']'); end >= 0 {
		name = authority[:end+1]
		if rest := authority[end+1:]; rest != "" {
			if rest[0] != ':' {
				return "", 0, hostAddress
			}
			digits, explicit = rest[1:], true
		}
	} else {
		name, digits, explicit = strings.Cut(authority, ":")
		if strings.IndexByte(digits, ':') >= 0 {
			return "", 0, hostBrackets
		}
	}
	port = defaultPort
	if explicit {
		if port, err = parsePort(digits); err != nil {
			return "", 0, err
		}
	}
	if port == 0 {
		return "", 0, portMissing
	}
	host, err = NormalizeHost(name)
	if err != nil {
		return "", 0, err
	}
	return host, port, nil
}

func parsePort(digits string) (uint16, error) {
	if digits == "" || digits[0] < '1' || digits[0] > '9' {
		return 0, portInvalid
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0, portInvalid
	}
	return uint16(n), nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// isCanonical reports whether host can be what NormalizeHost returns, so that a
// caller's slip ("API.test", "api.test.") is refused, not compared.
func isCanonical(host string) bool {
	previous := byte('.')
	for i := range len(host) {
		c := host[i]
		if !isAlphanumeric(c) && c != '-' && c != '_' && c != ':' && (c != '.' || previous == '.') {
			return false
		}
		previous = c
	}
	return previous != '.'
}

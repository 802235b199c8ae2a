package policy

import (
	"strings"
	"testing"
)

// TestHostSpellings holds DuplicateHost, HostWithPort, HostTrailingDot,
// HostUpperCase and HostIDNA of ATTACKS.md where hosts are read: every
// spelling is the plain form, or not a host.
func TestHostSpellings(t *testing.T) {
	for _, tt := range []struct{ name, authority, host string }{
		{"plain", "api.test", "api.test"},
		{"HostUpperCase", "API.Test", "api.test"},
		{"HostTrailingDot", "api.test.", "api.test"},
		{"HostTrailingDot", "API.TEST.:443", "api.test"},
		{"HostTrailingDot", "api.test..", ""},
		{"HostTrailingDot", ".api.test", ""},
		{"HostTrailingDot", "api..test", ""},
		{"HostTrailingDot", ".", ""},
		{"HostWithPort", "api.test:443", "api.test"},
		{"HostWithPort", "api.test:", ""},
		{"HostWithPort", "api.test:0443", ""},
		{"HostWithPort", "api.test:+443", ""},
		{"HostWithPort", "api.test:65979", ""},
		{"HostWithPort", "api.test:0", ""},
		{"HostWithPort", "api.test:443:443", ""},
		{"HostWithPort", "api.test: 443", ""},
		{"HostWithPort", ":443", ""},
		{"DuplicateHost", "api.test,evil.test", ""},
		{"DuplicateHost", "api.test evil.test", ""},
		{"DuplicateHost", "api.test\nevil.test", ""},
		{"DuplicateHost", "evil.test@api.test", ""},
		{"DuplicateHost", "api.test/evil.test", ""},
		{"DuplicateHost", "api.test%2eevil.test", ""},
		{"DuplicateHost", "api.test\\evil.test", ""},
		{"DuplicateHost", "api.test#evil.test", ""},
		{"DuplicateHost", "api.test\x00evil.test", ""},
		{"DuplicateHost", "api.test\x7f", ""},
		{"HostIDNA", "bücher.test", "xn--bcher-kva.test"},
		{"HostIDNA", "BÜCHER.test", "xn--bcher-kva.test"},
		{"HostIDNA", "bu\u0308cher.test", "xn--bcher-kva.test"},
		{"HostIDNA", "XN--BCHER-KVA.test", "xn--bcher-kva.test"},
		{"HostIDNA", "faß.test", "xn--fa-hia.test"},
		{"HostIDNA", "ａｐｉ.test", "api.test"},
		{"HostIDNA", "api。test", "api.test"},
		{"HostIDNA", "api．test．", ""},
		{"HostIDNA", "a\u00adpi.test", "api.test"},
		{"HostIDNA", "xn--api-.test", ""},      // says "api" in Punycode
		{"HostIDNA", "xn--.test", ""},          // says nothing
		{"HostIDNA", "xn--a-ecp.test", ""},     // a mapped letter behind Punycode
		{"HostIDNA", "xn--999999.test", ""},    // no Punycode
		{"HostIDNA", "api\uff0fevil.test", ""}, // a full-width slash
		{"HostIDNA", "℀.test", ""},             // maps to a/c
		{"HostIDNA", "api\u2024test", ""},
		{"HostIDNA", "\xff.test", ""},
		{"underscore", "_acme._tcp.api.test", "_acme._tcp.api.test"},
		{"digits first", "1password.test", "1password.test"},
		{"digits", "7.7.7.7.test", "7.7.7.7.test"},
		{"double hyphen", "r3---sn-x.test", "r3---sn-x.test"},
		{"hyphen first", "-api.test", ""},
		{"hyphen last", "api-.test", ""},
		{"single label", "localhost", "localhost"},
		{"long label", strings.Repeat("a", 63) + ".test", strings.Repeat("a", 63) + ".test"},
		{"longer label", strings.Repeat("a", 64) + ".test", ""},
		{"long name", strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 126) + "a"},
		{"longer name", strings.Repeat("a.", 127) + "a", ""},
		{"endless name", strings.Repeat("ü", 1<<16), ""},
		{"IPv4", "192.0.2.1", "192.0.2.1"},
		{"IPv4 dot", "192.0.2.1.", "192.0.2.1"},
		{"IPv4 short", "127.1", ""},
		{"IPv4 one number", "2130706433", ""},
		{"IPv4 hex", "0x7f000001", ""},
		{"IPv4 hex upper", "0X7F.1", ""},
		{"IPv4 hex last", "127.0.0.0x1", ""},
		{"IPv4 hex nothing", "127.0.0.0x", ""},
		{"IPv4 octal", "0177.0.0.1", ""},
		{"IPv4 zero", "127.0.0.01", ""},
		{"IPv4 too much", "127.0.0.256", ""},
		{"IPv4 five", "1.127.0.0.1", ""},
		{"name ending in a number", "api.test.1", ""},
		{"name ending in hex", "api.0xcafe", ""},
		{"name not ending in hex", "api.0xcafes", "api.0xcafes"},
		{"IPv4 full width", "１２７.0.0.1", ""},
		{"IPv4 circled", "①.0.0.1", ""},
		{"IPv4 in brackets", "[192.0.2.1]", ""},
		{"IPv6", "[2001:DB8:0:0::1]", "2001:db8::1"},
		{"IPv6 port", "[::1]:443", "::1"},
		{"IPv6 mapped", "[::ffff:127.0.0.1]", "127.0.0.1"},
		{"IPv6 mapped hex", "[::FFFF:7f00:1]:443", "127.0.0.1"},
		{"IPv6 zone", "[fe80::1%eth0]", ""},
		{"IPv6 zone escaped", "[fe80::1%25eth0]", ""},
		{"IPv6 bare", "::1", ""},
		{"IPv6 half a bracket", "[::1", ""},
		{"IPv6 other half", "::1]:443", ""},
		{"IPv6 dot", "[::1].", ""},
		{"IPv6 tail", "[::1]x:443", ""},
		{"IPv6 nested", "[[::1]]", ""},
		{"IPv6 of nothing", "[]", ""},
		{"a name in brackets", "[api.test]", ""},
		{"nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, port, err := SplitAuthority(tt.authority, 443)
			if (err != nil) != (tt.host == "") || host != tt.host {
				t.Fatalf("SplitAuthority(%q) = %q, %v; want %q", tt.authority, host, err, tt.host)
			}
			if err == nil && port != 443 {
				t.Errorf("port %d", port)
			}
		})
	}
}

func TestConnectNeedsPort(t *testing.T) {
	if _, _, err := SplitAuthority("api.test", 0); err == nil {
		t.Error("a CONNECT without a port is taken")
	}
	host, port, err := SplitAuthority("[::1]:8443", 0)
	if host != "::1" || port != 8443 || err != nil {
		t.Error(host, port, err)
	}
}

func TestNormalizeHostTakesItsOwnAnswer(t *testing.T) {
	for _, host := range []string{"::1", "2001:db8::1", "192.0.2.1", "api.test", "xn--bcher-kva.test"} {
		if got, err := NormalizeHost(host); got != host || err != nil {
			t.Errorf("NormalizeHost(%q) = %q, %v", host, got, err)
		}
	}
}

func TestNormalizeHostCostsNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { NormalizeHost("api.stripe.com") }); n != 0 {
		t.Errorf("%v allocations for a plain name", n)
	}
}

// A host in an error text would be whatever a client sent.
func TestHostErrorsDoNotRepeatTheHost(t *testing.T) {
	_, _, err := SplitAuthority("canary canary:443", 0)
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func FuzzSplitAuthority(f *testing.F) {
	for _, s := range []string{"api.test:443", "API.test.", "[::ffff:7f00:1]:1", "bücher.test", "xn--bcher-kva.test:80",
		"127.1", "0x7f.1:443", "a@b:1", "[fe80::1%25x]:443", "１２７.0.0.1", "a..b", "℀.test:443"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, authority string) {
		host, port, err := SplitAuthority(authority, 443)
		if err != nil {
			return
		}
		if port == 0 || !isCanonical(host) || len(host) > maxName {
			t.Fatalf("%q: host %q, port %d", authority, host, port)
		}
		if again, err := NormalizeHost(host); err != nil || again != host {
			t.Fatalf("%q: %q is not a fixed point: %q, %v", authority, host, again, err)
		}
		if strings.ContainsAny(host, "/@\\%?#*[] ") {
			t.Fatalf("%q: host %q", authority, host)
		}
	})
}

package dial

import (
	"encoding/binary"
	"go/build"
	"net/netip"
	"strings"
	"testing"
)

func TestMetadataAddresses(t *testing.T) {
	for _, s := range []string{
		"169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::169.254.169.254", "::ffff:0:169.254.169.254",
		"2002:a9fe:a9fe::1", "168.63.129.16", "::ffff:168.63.129.16", "2002:a83f:8110::",
		"100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42",
	} {
		if why, forbidden := Forbidden(netip.MustParseAddr(s)); !forbidden || !strings.Contains(why, "metadata") && !strings.HasPrefix(s, "::") {
			t.Errorf("%s: forbidden %v, %q", s, forbidden, why)
		}
	}
}

func TestForbiddenAddresses(t *testing.T) {
	for s, want := range map[string]string{
		"127.0.0.1": "loopback", "127.255.0.9": "loopback", "::1": "loopback", "::ffff:127.0.0.1": "embeds loopback",
		"::127.0.0.1": "embeds loopback", "::8.8.8.8": "reserved", "::ffff:0:8.8.8.8": "reserved",
		"0.0.0.0": "unspecified", "::": "unspecified", "0.1.2.3": "this network", "::ffff:0.0.0.0": "embeds unspecified",
		"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private",
		"fd12::1": "private", "fc00::1": "private", "::ffff:10.0.0.1": "embeds private", "64:ff9b::a00:1": "embeds private",
		"64:ff9b:1::8.8.8.8": "local NAT64", "2002:7f00:1::": "embeds loopback", "2002:a00:1:2::3": "embeds private",
		"2001:0:a00:1:0:0:f7f7:f7f7":   "embeds private",  // Teredo, private server
		"2001:0:808:808:0:0:80ff:fffe": "embeds loopback", // Teredo, client 127.0.0.1
		"2a00::5efe:10.0.0.1":          "embeds private",  // ISATAP
		"2a00:1450:1::200:5efe:7f00:1": "embeds loopback", // ISATAP with the u bit
		"169.254.1.1":                  "link-local", "fe80::1": "link-local", "fe80::1%eth0": "zoned", "2a00::1%eth0": "zoned",
		"100.64.0.1": "shared", "100.127.255.255": "shared", "192.0.0.1": "reserved", "192.0.2.1": "documentation",
		"198.51.100.1": "documentation", "203.0.113.1": "documentation", "2001:db8::1": "documentation", "3fff::1": "documentation",
		"198.18.0.1": "benchmarking", "198.19.255.255": "benchmarking", "2001:2::1": "benchmarking", "192.88.99.1": "reserved",
		"224.0.0.1": "multicast", "239.255.255.255": "multicast", "ff02::1": "multicast", "240.0.0.1": "reserved",
		"255.255.255.255": "broadcast", "fec0::1": "site-local", "100::1": "discard", "2001:10::1": "reserved", "2001:20::1": "reserved",
		"4000::1": "reserved", "5f00::1": "reserved", "1::1": "reserved",
	} {
		if why, forbidden := Forbidden(netip.MustParseAddr(s)); !forbidden || why != want {
			t.Errorf("%s: forbidden %v, %q, want %q", s, forbidden, why, want)
		}
	}
	if _, forbidden := Forbidden(netip.Addr{}); !forbidden {
		t.Error("the zero address passed")
	}
	for _, s := range []string{
		"8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "169.253.0.1", "198.20.0.1", "223.255.255.255", "168.63.129.17",
		"2a00:1450:4001::1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001:200::1",
		"2001:0:808:808:0:0:f7f7:f7f7", // Teredo, public both
	} {
		if why, forbidden := Forbidden(netip.MustParseAddr(s)); forbidden {
			t.Errorf("%s: forbidden as %q", s, why)
		}
	}
}

func TestAllowedAddresses(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32"), netip.MustParsePrefix("fe80::/10")}
	for s, want := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "::ffff:10.1.2.3": true, "64:ff9b::a01:203": true, "64:ff9b::a02:203": false,
		"2002:a01:203::": true, "fd00:1::9": true, "fd00:2::9": false, "127.0.0.1": false, "8.8.8.8": true,
		"fe80::1": true, "fe80::1%eth0": false,
		"2001:0:a01:203:0:0:80ff:fffe": false, // Teredo: the server is excepted, the client is loopback
		"::10.1.2.3":                   false, // a deprecated spelling stays reserved
	} {
		if _, forbidden := judge(netip.MustParseAddr(s), allow); forbidden == want {
			t.Errorf("%s: allowed %v, want %v", s, !forbidden, want)
		}
	}
}

// FuzzForbidden holds that no embedding makes a forbidden IPv4 address pass.
func FuzzForbidden(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "169.254.169.254", "10.0.0.1", "8.8.8.8", "0.0.0.0", "255.255.255.255"} {
		a := netip.MustParseAddr(s).As4()
		f.Add(binary.BigEndian.Uint32(a[:]), uint64(0x20010db8), uint64(1))
	}
	f.Fuzz(func(t *testing.T, v4 uint32, hi, lo uint64) {
		b4 := binary.BigEndian.AppendUint32(nil, v4)
		inverted := binary.BigEndian.AppendUint32(nil, ^v4)
		_, forbidden := Forbidden(netip.AddrFrom4([4]byte(b4)))
		rest := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, hi), lo)
		build := func(parts ...[]byte) netip.Addr {
			var b []byte
			for _, p := range parts {
				b = append(b, p...)
			}
			return netip.AddrFrom16([16]byte(append(b, rest...)[:16]))
		}
		for name, a := range map[string]netip.Addr{
			"mapped":     build(make([]byte, 10), []byte{0xff, 0xff}, b4),
			"compatible": build(make([]byte, 12), b4),
			"translated": build(make([]byte, 8), []byte{0xff, 0xff, 0, 0}, b4),
			"nat64":      build([]byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0}, b4),
			"6to4":       build([]byte{0x20, 0x02}, b4),
			"teredo":     build([]byte{0x20, 0x01, 0, 0}, b4),
			"client":     build([]byte{0x20, 0x01, 0, 0}, rest[:8], inverted),
			"isatap":     build(rest[:8], []byte{0, 0, 0x5e, 0xfe}, b4),
		} {
			if _, got := Forbidden(a); forbidden && !got {
				t.Errorf("%s passes, embedding %v as %s", a, b4, name)
			}
		}
		any := netip.AddrFrom16([16]byte(rest))
		if _, got := Forbidden(any); !got && !any.Is4In6() && !nat64.Contains(any) && !globalUnicast.Contains(any) {
			t.Errorf("%s passes", any)
		}
	})
}

func FuzzSplitAddr(f *testing.F) {
	for _, s := range []string{"a.test:443", "[::1]:443", "[fe80::1%eth0]:1", ":80", "a:0", "a:65536", "a\r\nb:1", "a b:1", "a@b:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := splitAddr(s)
		if err == nil && (host == "" || port == 0 || strings.ContainsAny(host, " \r\n\t\x00/@%\"")) {
			t.Errorf("%q gave %q and %d", s, host, port)
		}
	})
}

// TestImports: dial knows nothing else of ours (DESIGN §3: no rules).
func TestImports(t *testing.T) {
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pkg.Imports {
		if strings.HasPrefix(p, "github.com/attache-proxy/") {
			t.Errorf("imports %s", p)
		}
	}
}

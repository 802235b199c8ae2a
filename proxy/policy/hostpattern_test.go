package policy

import (
	"strings"
	"testing"
)

func TestHostPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string // scheme://host:port, https and 443 where left out
	}{
		{"api.test", []string{"api.test"}, []string{"a.api.test", "test", "xapi.test", "http://api.test:80", "api.test:8443", "http://api.test:443"}},
		{"API.Test.", []string{"api.test"}, nil},
		{"*.api.test", []string{"a.api.test"}, []string{"api.test", "a.b.api.test", "xapi.test"}},
		{"**.api.test", []string{"a.api.test", "a.b.c.api.test"}, []string{"api.test", "xapi.test", "a.b.xapi.test"}},
		{"*.lab.test:8443", []string{"a.lab.test:8443"}, []string{"a.lab.test"}},
		{"http://api.test", []string{"http://api.test:80"}, []string{"api.test", "api.test:80", "http://api.test:8080"}},
		{"HTTP://*.api.test:8080", []string{"http://a.api.test:8080"}, []string{"a.api.test:8080"}},
		{"192.0.2.1", []string{"192.0.2.1"}, []string{"192.0.2.11"}},
		{"[2001:DB8::1]:8443", []string{"2001:db8::1:8443"}, nil},
		{"[::ffff:192.0.2.1]", []string{"192.0.2.1"}, nil},
		{"bücher.test", []string{"xn--bcher-kva.test"}, nil},
		{"localhost", []string{"localhost"}, []string{"a.localhost"}},
		{"**.internal", []string{"a.b.internal"}, []string{"internal"}},
		{"*.crm.example", []string{"a.crm.example"}, nil},
		{"s3.amazonaws.com", []string{"s3.amazonaws.com"}, []string{"bucket.s3.amazonaws.com"}},
		{"*.bucket.s3.amazonaws.com", []string{"a.bucket.s3.amazonaws.com"}, nil},
	} {
		h, f := parseHostPattern(tt.pattern)
		if f != nil {
			t.Errorf("%q: %s", tt.pattern, f.problem)
			continue
		}
		for _, target := range tt.yes {
			if scheme, host, port := splitTarget(t, target); !h.matches(scheme, host, port) {
				t.Errorf("%q does not match %s", tt.pattern, target)
			}
		}
		for _, target := range tt.no {
			if scheme, host, port := splitTarget(t, target); h.matches(scheme, host, port) {
				t.Errorf("%q matches %s", tt.pattern, target)
			}
		}
	}
}

func splitTarget(t *testing.T, target string) (string, string, uint16) {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok {
		scheme, rest = "https", target
	}
	if i := strings.LastIndexByte(rest, ':'); strings.Count(rest, ":") > 1 {
		rest = "[" + rest[:i] + "]" + rest[i:]
	}
	host, port, err := SplitAuthority(rest, 443)
	if err != nil {
		t.Fatal(target, err)
	}
	return scheme, host, port
}

func TestHostPatternsThatAreRefused(t *testing.T) {
	for _, pattern := range []string{
		"", " ", "*", "**", "*:443", "http://*", "*.", "**.", "*.*.test", "a.*.test", "api*.test", "*api.test", "***.test", "**", "*.**.test",
		"com", "co.uk", "*.com", "**.com", "*.co.uk", "**.github.io", "*.github.io", "*.s3.amazonaws.com", "foo.ck", "*.foo.ck", "*.kawasaki.jp", "*.xn--p1ai", "*.рф",
		"https://api.test", "HTTPS://api.test", "ftp://api.test", "http://http://api.test", "://api.test",
		"api.test/", "api.test/v1", "api.test?x", "api.test#x", "user@api.test", "user:password@api.test",
		"api.test:0", "api.test:https", "api.test:65536", "api.test:", "api..test", ".api.test", "api test", "api.test\n",
		"127.1", "0x7f.1", "*.192.0.2.1", "*.2.1", "**.[::1]", "::1", "2001:db8::1", "[fe80::1%eth0]", "api.test,evil.test",
		"%61pi.test", "http://unix:/run/x.sock",
	} {
		if h, f := parseHostPattern(pattern); f == nil {
			t.Errorf("%q is taken, as %s", pattern, h)
		} else if f.problem == "" {
			t.Errorf("%q: no problem told", pattern)
		}
	}
}

func FuzzHostPattern(f *testing.F) {
	f.Add("*.api.test", "a.api.test")
	f.Add("**.api.test:8443", "a.b.api.test")
	f.Add("http://127.0.0.1:8080", "127.0.0.1")
	f.Add("[::ffff:1.2.3.4]", "1.2.3.4")
	f.Add("*.com", "evil.com")
	f.Add("*.bücher.test", "a.xn--bcher-kva.test")
	f.Fuzz(func(t *testing.T, pattern, host string) {
		h, bad := parseHostPattern(pattern)
		if bad != nil {
			return
		}
		if h.name == "" || h.port == 0 {
			t.Fatalf("%q compiled to %+v", pattern, h)
		}
		if again, bad := parseHostPattern(quotedIPv6(h)); bad != nil || again.String() != h.String() {
			t.Fatalf("%q prints as %s, which is %v", pattern, h, bad)
		}
		host, err := NormalizeHost(host)
		if err != nil {
			return
		}
		if h.matches(h.scheme(), host, h.port) && host != h.name && !strings.HasSuffix(host, "."+h.name) {
			t.Fatalf("%q matches %q", pattern, host)
		}
	})
}

func quotedIPv6(h hostPattern) string {
	if strings.Contains(h.name, ":") {
		return "[" + h.name + "]"
	}
	return h.String()
}

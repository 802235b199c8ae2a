package mitm

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// forge signs a leaf as a thief of the intermediate's key would.
func forge(t *testing.T, g *generation, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	serial, err := newSerial()
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "forged"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(c)
	cert, err := sign(c, g.issuer, key.Public(), g.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: append([][]byte{cert.Raw}, g.chain...), PrivateKey: key}
}

// forgeBelow signs it through a further intermediate without constraints.
func forgeBelow(t *testing.T, g *generation, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template, err := caTemplate("forged CA", 0, names{}, true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := sign(template, g.issuer, key.Public(), g.key)
	if err != nil {
		t.Fatal(err)
	}
	below := &generation{issuer: ca, key: key, chain: append([][]byte{ca.Raw}, g.chain...)}
	return forge(t, below, change)
}

func dns(n ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = n }
}

func ip(s string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP(s)} }
}

// longHost is the longest name there is: 253 bytes.
var longHost = strings.Repeat("a.", 120) + "bbb.wild.test"

// TestStolenCAKey: who takes the CA's key can sign for the hosts that rules
// name, and for nothing else, whatever the client. Every client must also
// accept our own leaf, or its refusals would prove nothing.
func TestStolenCAKey(t *testing.T) {
	for _, tc := range []struct {
		name    string
		permits []string
		own     []string // leaves of ours, accepted
		forged  map[string]func(*x509.Certificate)
	}{
		{
			name: "names", permits: []string{"api.test", "*.wild.test"},
			own: []string{"api.test", "a.wild.test", "xn--bcher-kva.wild.test", longHost},
			forged: map[string]func(*x509.Certificate){
				"evil.test":   dns("evil.test"),
				"notapi.test": dns("notapi.test"),
				"two.test":    dns("api.test", "two.test"),
				"star.test":   dns("*.test"),
				"127.0.0.1":   ip("127.0.0.1"),
				"::1":         ip("::1"),
				"both.test": func(c *x509.Certificate) {
					c.DNSNames = []string{"both.test"}
					c.IPAddresses = []net.IP{{127, 0, 0, 1}}
				},
				"10.0.0.1":    func(c *x509.Certificate) { c.DNSNames = []string{"api.test"}; c.IPAddresses = []net.IP{{10, 0, 0, 1}} },
				"cnonly.test": func(c *x509.Certificate) { c.Subject.CommonName = "cnonly.test" },
				"cnbeside.com": func(c *x509.Certificate) {
					c.Subject.CommonName = "cnbeside.com"
					c.EmailAddresses = []string{"a@b.test"}
				},
			},
		},
		{
			name: "address", permits: []string{"127.0.0.1"}, own: []string{"127.0.0.1"},
			forged: map[string]func(*x509.Certificate){
				"127.0.0.2": ip("127.0.0.2"), "::1": ip("::1"), "evil.test": dns("evil.test"),
				"cnonly.test": func(c *x509.Certificate) { c.Subject.CommonName = "cnonly.test" },
			},
		},
		{
			name: "mixed", permits: []string{"api.test", "::1", "2001:db8::7"}, own: []string{"api.test", "::1", "2001:db8::7"},
			forged: map[string]func(*x509.Certificate){
				"127.0.0.1": ip("127.0.0.1"), "2001:db8::8": ip("2001:db8::8"), "evil.test": dns("evil.test"),
			},
		},
		{
			name: "mixed IPv4", permits: []string{"api.test", "127.0.0.1"}, own: []string{"api.test", "127.0.0.1"},
			forged: map[string]func(*x509.Certificate){
				"::1": ip("::1"), "10.0.0.1": ip("10.0.0.1"), "evil.test": dns("evil.test"),
			},
		},
		{
			name: "nothing", permits: nil,
			forged: map[string]func(*x509.Certificate){"evil.test": dns("evil.test"), "127.0.0.1": ip("127.0.0.1"), "::1": ip("::1")},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			trust := t.TempDir()
			a, err := New(Options{Publish: trust}, tc.permits) // beside the system's roots, as Java will find it
			if err != nil {
				t.Fatal(err)
			}
			g := (*a.live.Load())[0]
			var targets []target
			for _, host := range tc.own {
				leaf, err := a.Leaf(host)
				if err != nil {
					t.Fatal(err)
				}
				targets = append(targets, target{serve(t, leaf), host})
			}
			for host, change := range tc.forged {
				targets = append(targets, target{serve(t, forge(t, g, change)), host})
			}
			targets = append(targets, target{serve(t, forgeBelow(t, g, dns("evil.test"))), "evil.test"})
			if len(tc.own) > 0 && net.ParseIP(tc.own[0]) == nil {
				targets = append(targets, target{serve(t, forgeBelow(t, g, dns(tc.own[0]))), tc.own[0]})
			}
			t.Run("clients", func(t *testing.T) { // returns when all are done: the servers outlive them
				eachClient(t, func(t *testing.T, c client) {
					for i, err := range c.try(t, trust, targets) {
						name := targets[i].name
						t.Logf("%s: %.200v", name, err)
						if errors.Is(err, errUntried) {
							continue
						}
						if i < len(tc.own) && err != nil {
							t.Errorf("%s: own leaf refused: %v", name, err)
						}
						if i >= len(tc.own) && err == nil {
							t.Errorf("%s: forged leaf accepted", name)
						}
					}
				})
			})
		})
	}
}

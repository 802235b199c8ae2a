package mitm

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type pkixExtension = pkix.Extension

var discard = slog.New(slog.DiscardHandler)

func TestLeafShape(t *testing.T) {
	a := mustNew(t, Options{SystemRoots: []byte{}}, "api.test", "**.wild.test", "10.0.0.1", "2001:db8::1")
	for _, host := range []string{"api.test", "xn--bcher-kva.wild.test", "wild.test", "under_score.wild.test", longHost, "10.0.0.1", "2001:db8::1"} {
		leaf, err := a.Leaf(host)
		if err != nil {
			t.Fatal(err)
		}
		c := leaf.Leaf
		if n := len(c.DNSNames) + len(c.IPAddresses) + len(c.URIs) + len(c.EmailAddresses); n != 1 {
			t.Errorf("%s: %d names", host, n)
		}
		if c.IsCA || len(leaf.Certificate) != 2 || len(c.AuthorityKeyId) == 0 || len(c.RawSubject) <= 2 ||
			len(c.OCSPServer)+len(c.IssuingCertificateURL)+len(c.CRLDistributionPoints) > 0 ||
			len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth || c.SerialNumber.BitLen() > 128 {
			t.Errorf("%s: %+v", host, c)
		}
		if d := time.Until(c.NotAfter); d > leafLife || d < leafLife-time.Minute {
			t.Errorf("%s: ends in %v", host, d)
		}
		if d := time.Since(c.NotBefore); d < backdate || d > backdate+time.Minute {
			t.Errorf("%s: began %v ago", host, d)
		}
		if err := verify(t, a, host, a.CAPEM(), time.Now()); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestLeafOnlyForPermittedHosts: and only in the one spelling that the decision used.
func TestLeafOnlyForPermittedHosts(t *testing.T) {
	a := mustNew(t, Options{SystemRoots: []byte{}}, "api.test", "*.wild.test", "10.0.0.1")
	for _, host := range []string{
		"", ".", "test", "evil.test", "notapi.test", "api.test.", "API.test", "api.test:443", "api..test", ".api.test", "*.wild.test",
		"a b.wild.test", "a\x00.wild.test", "-a.wild.test", "10.0.0.2", "::ffff:10.0.0.1", "[10.0.0.1]", "010.0.0.1", "::1", "fe80::1%eth0",
		"bücher.wild.test", "a" + longHost,
	} {
		_, err := a.Leaf(host)
		if _, ok := errors.AsType[*NotPermittedError](err); !ok {
			t.Errorf("%q: %v", host, err)
		}
	}
	if a.Minted() != 0 {
		t.Error("something was signed")
	}
}

func TestLeafReminted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := mustNew(t, Options{SystemRoots: []byte{}}, "a.test")
		first, err := a.Leaf("a.test")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(leafLife/2 - time.Second)
		if again, _ := a.Leaf("a.test"); again != first {
			t.Error("re-minted before half its life")
		}
		time.Sleep(time.Second)
		if again, _ := a.Leaf("a.test"); again == first || again.Leaf.NotAfter.Equal(first.Leaf.NotAfter) {
			t.Error("not re-minted at half its life")
		}
	})
}

// TestLeafAfterClockJumpsBack: a certificate from the future is no use to clients whose clock is right.
func TestLeafAfterClockJumpsBack(t *testing.T) {
	now := time.Now()
	a := mustNew(t, Options{SystemRoots: []byte{}, Now: func() time.Time { return now }}, "a.test")
	first, _ := a.Leaf("a.test")
	now = now.Add(-30 * time.Minute)
	if again, _ := a.Leaf("a.test"); again != first {
		t.Error("re-minted within the hour that leaves are backdated")
	}
	now = now.Add(-time.Hour)
	if again, err := a.Leaf("a.test"); err != nil || again == first {
		t.Error("not re-minted", err)
	}
}

// TestThousandHosts: many names; the cache is bounded, and what it forgot is minted again.
func TestThousandHosts(t *testing.T) {
	a := mustNew(t, Options{SystemRoots: []byte{}}, "**.wild.test")
	host := func(i int) string { return fmt.Sprintf("h%d.wild.test", i) }
	for i := range 5000 {
		if _, err := a.Leaf(host(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Leaf(host(0)); err != nil { // in use all the time: never forgotten
			t.Fatal(err)
		}
	}
	if len(a.leaves.byHost) != cacheSize || a.leaves.order.Len() != cacheSize {
		t.Errorf("cache holds %d, %d", len(a.leaves.byHost), a.leaves.order.Len())
	}
	if n := a.Minted(); n != 5000 {
		t.Errorf("minted %d", n)
	}
	if _, err := a.Leaf(host(1)); err != nil || a.Minted() != 5001 {
		t.Errorf("minted %d: %v", a.Minted(), err)
	}
}

// TestManyPermittedHosts: names too many for one intermediate are spread over several, each of which any client reads.
func TestManyPermittedHosts(t *testing.T) {
	var hosts []string
	for i := range 2000 {
		hosts = append(hosts, fmt.Sprintf("host-%d.example.test", i))
	}
	a := mustNew(t, Options{SystemRoots: []byte{}}, hosts...)
	for i := 0; i < len(hosts); i += 50 {
		if err := verify(t, a, hosts[i], a.CAPEM(), time.Now()); err != nil {
			t.Fatal(err)
		}
		leaf, _ := a.Leaf(hosts[i])
		if n := len(leaf.Certificate[1]); n > maxNames+1024 {
			t.Fatalf("intermediate of %d bytes", n)
		}
	}
	mustPermit(t, a, false, hosts[7:1900]...)
	for i := range 100_000 {
		hosts = append(hosts, fmt.Sprintf("further-host-%d.example.test", i))
	}
	if _, err := a.Permit(hosts); err == nil {
		t.Error("want an error that asks for a common parent")
	}
}

// TestMintOnce: a thousand waiters cost one signature.
func TestMintOnce(t *testing.T) {
	a := mustNew(t, Options{SystemRoots: []byte{}}, "a.test")
	var wg sync.WaitGroup
	certs := make([]*tls.Certificate, 1000)
	for i := range certs {
		wg.Go(func() { certs[i], _ = a.Leaf("a.test") })
	}
	wg.Wait()
	for _, c := range certs {
		if c == nil || c != certs[0] {
			t.Fatal("not one certificate for all")
		}
	}
	if n := a.Minted(); n != 1 {
		t.Errorf("minted %d", n)
	}
}

// TestConcurrentUse runs everything at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	a := mustNew(t, Options{Publish: t.TempDir(), State: t.TempDir(), SystemRoots: []byte{}}, "a.test")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				host := fmt.Sprintf("h%d-%d.a.test", i, j)
				if _, err := a.Leaf(host); err != nil {
					t.Error(err)
				}
				if j%10 == 0 {
					if _, err := a.Permit([]string{"a.test", fmt.Sprintf("n%d.test", i)}); err != nil {
						t.Error(err)
					}
					if err := a.renew(); err != nil {
						t.Error(err)
					}
				}
				a.Generations()
				a.CAPEM()
			}
		})
	}
	wg.Wait()
}

func BenchmarkLeafCached(b *testing.B) {
	a, err := New(Options{SystemRoots: []byte{}}, []string{"a.test"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Leaf("a.test"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLeafMint(b *testing.B) {
	a, err := New(Options{SystemRoots: []byte{}}, []string{"a.test"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.mint("a.test", time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for name, roots := range map[string][]byte{"bare": {}, "systemRoots": findRoots()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			dir, state := b.TempDir(), b.TempDir()
			for b.Loop() {
				if _, err := New(Options{Publish: dir, State: state, SystemRoots: roots}, []string{"a.test"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package mitm

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func mustNew(t *testing.T, opts Options, hosts ...string) *Authority {
	t.Helper()
	a, err := New(opts, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustPermit(t *testing.T, a *Authority, wantAdded bool, hosts ...string) {
	t.Helper()
	added, err := a.Permit(hosts)
	if err != nil {
		t.Fatal(err)
	}
	if added != wantAdded {
		t.Fatalf("Permit(%v): added %v, want %v", hosts, added, wantAdded)
	}
}

// verify checks host's leaf as a Go client that trusts roots does.
func verify(t *testing.T, a *Authority, host string, roots []byte, at time.Time) error {
	t.Helper()
	leaf, err := a.Leaf(host)
	if err != nil {
		return err
	}
	trusted, sent := x509.NewCertPool(), x509.NewCertPool()
	trusted.AppendCertsFromPEM(roots)
	for _, der := range leaf.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		sent.AddCert(c)
	}
	_, err = leaf.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: trusted, Intermediates: sent, CurrentTime: at})
	return err
}

// trustDir writes the files of other generations than the live ones.
func trustDir(t *testing.T, gens ...*generation) string {
	t.Helper()
	dir := t.TempDir()
	a := &Authority{opts: Options{Publish: dir, SystemRoots: []byte{}}, log: discard}
	if err := a.publish(gens); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestCAGenerations: a host is added by a reload. Hosts from before work for
// clients that have the old CA, the new one, or both in either order; the new host for those that have the new one.
func TestCAGenerations(t *testing.T) {
	a := mustNew(t, Options{SystemRoots: []byte{}}, "old.test", "*.old.test")
	before := *a.live.Load()
	mustPermit(t, a, true, "old.test", "*.old.test", "new.test")
	after := *a.live.Load()
	if len(after) != 2 || after[0] != before[0] || after[0].root.Subject.CommonName == after[1].root.Subject.CommonName {
		t.Fatalf("want the old generation and one of another subject, got %v", a.Generations())
	}
	ports := map[string]int{}
	for _, host := range []string{"old.test", "a.old.test", "new.test"} {
		leaf, err := a.Leaf(host)
		if err != nil {
			t.Fatal(err)
		}
		ports[host] = serve(t, leaf)
	}
	hosts := []string{"old.test", "a.old.test", "new.test"}
	var targets []target
	for _, h := range hosts {
		targets = append(targets, target{ports[h], h})
	}
	for _, tc := range []struct {
		name  string
		trust string
		want  []bool
	}{
		{"old", trustDir(t, before...), []bool{true, true, false}},
		{"new", trustDir(t, after...), []bool{true, true, true}},
		{"reversed", trustDir(t, after[1], after[0]), []bool{true, true, true}},
		{"both", trustDir(t, after[0], after[0], after[1]), []bool{true, true, true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachClient(t, func(t *testing.T, c client) {
				for i, err := range c.try(t, tc.trust, targets) {
					if (err == nil) != tc.want[i] {
						t.Errorf("%s: accepted %v, want %v: %v", hosts[i], err == nil, tc.want[i], err)
					}
				}
			})
		})
	}
}

// TestRemovedHostsChangeNothing: neither removing a host nor bringing it back asks anything of clients.
func TestRemovedHostsChangeNothing(t *testing.T) {
	dir := t.TempDir()
	a := mustNew(t, Options{Publish: dir, SystemRoots: []byte{}}, "a.test", "b.test")
	was := a.CAPEM()
	mustPermit(t, a, false, "a.test")
	mustPermit(t, a, false)
	mustPermit(t, a, false, "a.test", "b.test", "sub.a.test", "*.b.test")
	if !bytes.Equal(was, a.CAPEM()) {
		t.Error("the CA changed")
	}
	if err := verify(t, a, "b.test", was, time.Now()); err != nil {
		t.Error(err)
	}
}

// TestPermitTellsAndPublishes: when Permit returns, the files hold the new root, and whoever listens was told.
func TestPermitTellsAndPublishes(t *testing.T) {
	dir := t.TempDir()
	var told []string
	a := mustNew(t, Options{
		Publish: dir, SystemRoots: []byte{}, Permit: []string{"**.extra.test"},
		OnGeneration: func(g Generation) { told = append(told, g.ID) },
	}, "a.test")
	if _, err := a.Leaf("b.test"); err == nil {
		t.Fatal("a leaf for a host nobody permitted")
	}
	if _, err := a.Leaf("x.extra.test"); err != nil {
		t.Fatal(err)
	}
	mustPermit(t, a, true, "a.test", "b.test", "10.0.0.9")
	onDisk, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"a.test", "b.test", "10.0.0.9"} {
		if err := verify(t, a, host, onDisk, time.Now()); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	var ids []string
	for _, g := range a.Generations() {
		ids = append(ids, g.ID)
	}
	if len(ids) != 2 || !slices.Equal(ids, told) {
		t.Errorf("told %v, live %v", told, ids)
	}
}

// TestPermitFailureChangesNothing: a reload is all or nothing.
func TestPermitFailureChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trust")
	a := mustNew(t, Options{Publish: dir, SystemRoots: []byte{}}, "a.test")
	was := a.CAPEM()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o644); err != nil { // the directory is a file now
		t.Fatal(err)
	}
	if _, err := a.Permit([]string{"b.test"}); err == nil {
		t.Fatal("want an error")
	}
	if _, err := a.Permit([]string{"b.*.test"}); err == nil {
		t.Fatal("want an error")
	}
	if !bytes.Equal(was, a.CAPEM()) {
		t.Error("the CA changed")
	}
	if _, err := a.Leaf("b.test"); err == nil {
		t.Error("a leaf of an unpublished generation")
	}
}

// TestGenerationsBounded: however many reloads add hosts, ca.pem stays small and the last hosts work.
func TestGenerationsBounded(t *testing.T) {
	a := mustNew(t, Options{SystemRoots: []byte{}}, "h.test")
	var hosts []string
	for i := range 2 * maxGenerations {
		hosts = append(hosts, string(rune('a'+i%26))+string(rune('a'+i/26))+".test")
		mustPermit(t, a, true, hosts...)
	}
	if n := len(a.Generations()); n != maxGenerations {
		t.Errorf("%d generations", n)
	}
	for _, h := range hosts {
		if err := verify(t, a, h, a.CAPEM(), time.Now()); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
}

// TestRenewal: over three years every host always has a leaf that verifies
// with the CA as clients read it up to half a year ago, and nothing piles up.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := t.TempDir()
		a := mustNew(t, Options{State: state, SystemRoots: []byte{}}, "a.test", "10.0.0.1")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		read := [][]byte{} // ca.pem, day by day
		made := map[string]bool{}
		for day := range 3*365 - 15 { // not to end on the day of a renewal
			read = append(read, a.CAPEM())
			for _, g := range a.Generations() {
				made[g.ID] = true
			}
			old := read[max(0, day-181)]
			for _, host := range []string{"a.test", "10.0.0.1"} {
				if err := verify(t, a, host, old, time.Now()); err != nil {
					t.Fatalf("day %d: %s: %v", day, host, err)
				}
			}
			if n := len(a.Generations()); n > 3 {
				t.Fatalf("day %d: %d generations", day, n)
			}
			time.Sleep(24 * time.Hour) // the bubble's clock
		}
		if len(made) != 6 {
			t.Errorf("%d generations in three years, want one each half year", len(made))
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b := mustNew(t, Options{State: state, SystemRoots: []byte{}}, "a.test")
		if !bytes.Equal(a.CAPEM(), b.CAPEM()) {
			t.Error("the state differs from what is in force")
		}
	})
}

// TestGenerationShape holds what RFC 5280 and clients want of the two certificates.
func TestGenerationShape(t *testing.T) {
	g, err := newGeneration(names{dns: []string{"a.test"}}, false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*x509.Certificate{g.root, g.issuer} {
		if !c.IsCA || c.KeyUsage != x509.KeyUsageCertSign || len(c.SubjectKeyId) == 0 || len(c.OCSPServer)+len(c.IssuingCertificateURL)+len(c.CRLDistributionPoints) > 0 {
			t.Errorf("%s: %+v", c.Subject, c)
		}
		critical := slices.ContainsFunc(c.Extensions, func(e pkixExtension) bool { return e.Id.String() == "2.5.29.30" && e.Critical })
		if !critical {
			t.Errorf("%s: name constraints are not critical", c.Subject)
		}
	}
	if g.root.MaxPathLen != 1 || g.issuer.MaxPathLen != 0 || !g.issuer.MaxPathLenZero {
		t.Errorf("path lengths %d, %d", g.root.MaxPathLen, g.issuer.MaxPathLen)
	}
	if life := g.root.NotAfter.Sub(g.root.NotBefore); life < caLife || life > caLife+2*backdate {
		t.Errorf("life %v", life)
	}
	if pub, err := x509.MarshalPKIXPublicKey(g.key.Public()); err != nil || bytes.Equal(pub, g.root.RawSubjectPublicKeyInfo) {
		t.Error("the kept key is the root's", err)
	}
}

func countCerts(data []byte) (n int) {
	for b, rest := pem.Decode(data); b != nil; b, rest = pem.Decode(rest) {
		n++
	}
	return n
}

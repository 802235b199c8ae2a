package mitm

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeGiven writes a CA of someone else's: the certificates in order, and the key of the first.
func writeGiven(t *testing.T, key any, certs ...*x509.Certificate) Options {
	t.Helper()
	dir := t.TempDir()
	var chain []byte
	for _, c := range certs {
		chain = append(chain, certPEM(c.Raw)...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{CertFile: filepath.Join(dir, "ca.crt"), KeyFile: filepath.Join(dir, "ca.key"), SystemRoots: []byte{}}
	if err := os.WriteFile(opts.CertFile, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(opts.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return opts
}

func selfSigned(t *testing.T, change func(*x509.Certificate)) (*x509.Certificate, any) {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template, err := caTemplate("Corporate CA", 0, names{}, true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	change(template)
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// TestGivenCA: leaves come from it directly, ca.pem is its root, it is never added to, and it warns.
func TestGivenCA(t *testing.T) {
	root, key := selfSigned(t, func(*x509.Certificate) {})
	opts := writeGiven(t, key, root)
	log, out := logged()
	opts.Log, opts.Publish, opts.State = log, t.TempDir(), t.TempDir()
	a := mustNew(t, opts, "a.test")
	mustPermit(t, a, false, "a.test", "b.test")
	if !strings.Contains(out.String(), "given CA") {
		t.Errorf("no warning: %s", out)
	}
	if !bytes.Equal(a.CAPEM(), certPEM(root.Raw)) || !bytes.Equal(read(t, opts.Publish, "ca.pem"), a.CAPEM()) {
		t.Error("ca.pem is not the given root")
	}
	leaf, err := a.Leaf("b.test")
	if err != nil || len(leaf.Certificate) != 1 {
		t.Fatalf("want the leaf alone: %v", err)
	}
	if err := verify(t, a, "b.test", a.CAPEM(), time.Now()); err != nil {
		t.Error(err)
	}
	if g := a.Generations(); len(g) != 1 || !g[0].Given || !g[0].NotAfter.Equal(root.NotAfter) {
		t.Errorf("%+v", g)
	}
	if entries, err := os.ReadDir(opts.State); err != nil || len(entries) > 0 {
		t.Errorf("state of a given CA: %v, %v", entries, err)
	}
}

// TestGivenIntermediate: the chain is sent, and clients trust its end.
func TestGivenIntermediate(t *testing.T) {
	g, err := newGeneration(names{dns: []string{"a.test"}}, false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := mustNew(t, writeGiven(t, g.key, g.issuer, g.root), "a.test")
	leaf, err := a.Leaf("a.test")
	if err != nil || len(leaf.Certificate) != 2 || !bytes.Equal(a.CAPEM(), certPEM(g.root.Raw)) {
		t.Fatalf("%d certificates: %v", len(leaf.Certificate), err)
	}
	if err := verify(t, a, "a.test", a.CAPEM(), time.Now()); err != nil {
		t.Error(err)
	}
	if _, err := a.Leaf("evil.test"); err == nil {
		t.Error("a leaf that no client would take")
	}
}

// TestGivenCAEnds: its leaves never outlive it.
func TestGivenCAEnds(t *testing.T) {
	root, key := selfSigned(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(2 * time.Hour) })
	now := time.Now()
	opts := writeGiven(t, key, root)
	opts.Now = func() time.Time { return now }
	a := mustNew(t, opts, "a.test")
	leaf, err := a.Leaf("a.test")
	if err != nil || leaf.Leaf.NotAfter.After(root.NotAfter) {
		t.Fatalf("%v", err)
	}
	now = now.Add(90 * time.Minute)
	if again, err := a.Leaf("a.test"); err != nil || again == leaf {
		t.Error("not re-minted at half its life", err)
	}
	now = now.Add(time.Hour)
	if _, err := a.Leaf("a.test"); err == nil {
		t.Error("signed by an expired CA")
	}
	if err := a.renew(); err != nil || len(a.Generations()) != 1 {
		t.Error("a given CA is not replaced", err)
	}
}

func TestGivenCARefused(t *testing.T) {
	root, key := selfSigned(t, func(*x509.Certificate) {})
	otherKey, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	notCA, notCAKey := selfSigned(t, func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false })
	noSign, noSignKey := selfSigned(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature })
	old, oldKey := selfSigned(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	half := writeGiven(t, key, root)
	half.KeyFile = ""
	missing := writeGiven(t, key, root)
	missing.KeyFile += "x"
	for want, opts := range map[string]Options{
		"does not match": writeGiven(t, otherKey, root),
		"not a CA":       writeGiven(t, notCAKey, notCA),
		"key usage":      writeGiven(t, noSignKey, noSign),
		"expired on":     writeGiven(t, oldKey, old),
		"together":       half,
		"ca.key":         missing,
	} {
		if _, err := New(opts, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

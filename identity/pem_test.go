package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// pemOf is an SVID and its key as files have them.
func pemOf(t testing.TB, s *x509svid.SVID) (cert, key string) {
	t.Helper()
	c, k, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(c), string(k)
}

func rootsOf(t testing.TB, b *x509bundle.Bundle) string {
	t.Helper()
	text, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSinglePEM(t *testing.T) {
	ca, partner := identitytest.NewCA("acme.example"), identitytest.NewCA("bank.example")
	svid := ca.Issue(shop, time.Hour)
	cert, key := pemOf(t, svid)
	der, err := x509.MarshalECPrivateKey(svid.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	openssl := "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" +
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	roots, foreign := rootsOf(t, ca.Bundle()), rootsOf(t, partner.Bundle())
	for name, text := range map[string]string{
		"cert, key, roots":  cert + key + roots,
		"key first":         key + cert + roots,
		"roots before key":  cert + roots + key,
		"openssl's key":     cert + openssl + roots,
		"text between":      "shop\n" + cert + "its key\r\n" + key + "\n\nroots\n" + roots + "end",
		"marked roots":      cert + key + BundleMark + "\n" + roots,
		"named roots":       cert + key + BundleMark + " acme.example\n" + roots,
		"roots twice":       cert + key + roots + BundleMark + " acme.example\n" + roots,
		"carriage returns":  strings.ReplaceAll(cert+key+BundleMark+"\n"+roots, "\n", "\r\n"),
		"no newline at end": strings.TrimSpace(cert + key + roots),
	} {
		s := NewSource(SourceOptions{})
		if err := s.SetPEM([]byte(text + "\n" + BundleMark + " bank.example\n" + foreign)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			<-s.Ready()
			st := s.State()
			if st.ID().String() != shop || len(st.SVIDs[0].Certificates) != 1 {
				t.Errorf("%s: %v", name, st.SVIDs)
			}
			for _, peer := range []*x509svid.SVID{ca.Issue(shop, time.Hour), partner.Issue(bank, time.Hour)} {
				if _, _, err := st.VerifyX509(raw(peer), time.Now()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if _, _, err := st.VerifyX509(raw(partner.Issue(shop, time.Hour)), time.Now()); err == nil {
				t.Errorf("%s: bank.example's roots vouch for acme.example", name)
			}
		}
		if _, _, err := s.Token(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "Workload API") {
			t.Errorf("token from files: %v", err)
		}
		s.Close()
	}
}

func TestBadPEM(t *testing.T) {
	ca, other := identitytest.NewCA("acme.example"), identitytest.NewCA("bank.example")
	cert, key := pemOf(t, ca.Issue(shop, time.Hour))
	cert2, key2 := pemOf(t, ca.Issue(shop, time.Hour))
	old, oldKey := pemOf(t, ca.Issue(shop, -time.Minute))
	root, rootKey := pemOf(t, ca.Issue("spiffe://acme.example", time.Hour))
	roots := rootsOf(t, ca.Bundle())
	s := NewSource(SourceOptions{})
	defer s.Close()
	if err := s.SetPEM([]byte(cert + key + roots)); err != nil {
		t.Fatal(err)
	}
	before := s.State()
	for name, tc := range map[string]struct{ text, want string }{
		"empty":              {"", "no private key"},
		"no key":             {cert + roots, "no private key"},
		"no certificate":     {key, "no certificate"},
		"no roots":           {cert + key, "roots beside it"},
		"two keys":           {cert + key + key2 + roots, "more than one"},
		"another's key":      {cert + key2 + roots, "does not match"},
		"another's roots":    {cert + key + rootsOf(t, other.Bundle()), "roots beside it"},
		"expired":            {old + oldKey + roots, "expired at"},
		"no path":            {root + rootKey + roots, "non-root path"},
		"only a root":        {roots + key, "SVID: "},
		"half a block":       {cert + key + roots[:len(roots)-40], "unfinished"},
		"half a key":         {cert + key[:60] + "\n" + roots, "SVID: "},
		"damaged":            {strings.Replace(cert, "MII", "MIX", 1) + key + roots, "cannot be read"},
		"encrypted":          {cert + strings.ReplaceAll(key, "PRIVATE", "ENCRYPTED PRIVATE") + roots, "encrypted"},
		"other block":        {cert + key + strings.ReplaceAll(roots, "CERTIFICATE", "X509 CRL"), "neither"},
		"leaf in a bundle":   {cert + key + roots + BundleMark + "\n" + cert2, "no CA's"},
		"key in a bundle":    {cert + key + roots + BundleMark + " bank.example\n" + key2, "neither"},
		"no trust domain":    {cert + key + roots + BundleMark + " Bank!\n" + roots, "not the name of a trust domain"},
		"roots of elsewhere": {cert + key + BundleMark + " bank.example\n" + roots, "roots beside it"},
		"huge":               {cert + key + roots + strings.Repeat("\n", maxPEM), "1 MiB"},
	} {
		err := s.SetPEM([]byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
			continue
		}
		if s.State() != before || s.Status().Problem != err.Error() {
			t.Errorf("%s: state %d, problem %q", name, s.State().Generation, s.Status().Problem)
		}
		for _, line := range strings.Split(key, "\n")[1:3] {
			if strings.Contains(err.Error(), line) {
				t.Errorf("%s: the key is in %q", name, err)
			}
		}
	}
	if err := s.SetPEM([]byte(cert2 + key2 + roots)); err != nil || s.Status().Problem != "" || s.State().Generation != before.Generation+1 {
		t.Errorf("%v: %+v", err, s.Status())
	}
}

// TestExpiryIsTold: the State is published once more when its SVID has expired, soon also when the clock jumped.
func TestExpiryIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := identitytest.NewCA("acme.example")
		told := make(chan *State, 10)
		var jump atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }
		s := NewSource(SourceOptions{OnState: func(st *State) { told <- st }, Now: now})
		defer s.Close()
		for _, by := range []time.Duration{0, 2 * time.Hour} {
			cert, key := pemOf(t, ca.Issue(shop, time.Hour))
			if err := s.SetPEM([]byte(cert + key + rootsOf(t, ca.Bundle()))); err != nil {
				t.Fatal(err)
			}
			first, began := <-told, time.Now()
			if _, _, err := first.Certificate(now()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			jump.Store(int64(by))
			again := <-told
			if again.Generation != first.Generation+1 || again.ID() != first.ID() {
				t.Errorf("told of %+v", again)
			}
			if _, _, err := again.Certificate(now()); err == nil || errors.Is(err, ErrNone) {
				t.Errorf("certificate: %v", err)
			}
			if took := time.Since(began); took > time.Hour || by > 0 && took > wallLook {
				t.Errorf("clock %v off: told after %v", by, took)
			}
		}
		time.Sleep(time.Hour)
		if len(told) > 0 {
			t.Error("told again of the same")
		}
	})
}

// fixedPEM is an SVID and its root that are the same in every process: a fuzzer must be able to repeat what it sees.
func fixedPEM(f *testing.F, now time.Time) (cert, key, root string) {
	f.Helper()
	sign := func(n byte, template, parent *x509.Certificate, signer ed25519.PrivateKey) (*x509.Certificate, ed25519.PrivateKey, string) {
		own := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
		if signer == nil {
			parent, signer = template, own
		}
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(int64(n)), now.Add(-time.Hour), now.Add(time.Hour)
		template.BasicConstraintsValid = true
		der, err := x509.CreateCertificate(nil, template, parent, own.Public(), signer)
		if err != nil {
			f.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			f.Fatal(err)
		}
		return c, own, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	id, err := url.Parse(shop)
	if err != nil {
		f.Fatal(err)
	}
	ca, caKey, root := sign(1, &x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "root"}}, nil, nil)
	_, own, cert := sign(2, &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, URIs: []*url.URL{id}}, ca, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		f.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), root
}

func FuzzPEM(f *testing.F) {
	now := time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)
	cert, key, root := fixedPEM(f, now)
	f.Add([]byte(cert + key + root))
	f.Add([]byte(key + cert + BundleMark + "\n" + root + BundleMark + " bank.example\n" + root))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"))
	if _, _, err := parsePEM([]byte(cert+key+root), now); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		svid, set, err := parsePEM(text, now)
		if err != nil {
			if strings.Contains(err.Error(), "-----BEGIN") {
				t.Fatal(err)
			}
			return
		}
		if svid.ID.Path() == "" || !set.Has(svid.ID.TrustDomain()) {
			t.Fatalf("%v of %d bundles", svid.ID, set.Len())
		}
	})
}

package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clientPEM is a certificate for name and its key.
func clientPEM(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// TestClientCertRotatedResumption holds that a rotated client certificate is what the upstream sees
// next, over full handshakes, and that one that cannot be used replaces none that can.
func TestClientCertRotatedResumption(t *testing.T) {
	var mu sync.Mutex
	var order, wrong []string // identities as they were first seen; uses of a former one's session
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A resumed session shows the certificate of its full handshake. A second connection may resume
		// the session of the identity in force, none that of a former one.
		name := r.TLS.PeerCertificates[0].Subject.CommonName
		mu.Lock()
		switch known := slices.Index(order, name); {
		case known < 0 && !r.TLS.DidResume:
			order = append(order, name)
		case known != len(order)-1 || known < 0:
			wrong = append(wrong, fmt.Sprintf("%s after %v, resumed: %v", name, order, r.TLS.DidResume))
		}
		mu.Unlock()
		w.Header().Set("X-Client", name)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	config := strings.NewReplacer("attach: {bearer: key}, ", "", "ca: @dir", "client: key, ca: @dir").Replace(basic)
	r := launch(t, s, config, nil)
	c := r.client()
	if status, body := get(t, c, "https://example.com/"); status != 503 {
		t.Errorf("without a certificate: %d %s, want 503", status, body)
	}
	seen := func() string {
		res, err := c.Get("https://example.com/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.Header.Get("X-Client")
	}
	for _, name := range []string{"one", "two", "three"} {
		r.replace("key", clientPEM(t, name))
		await(t, name+" is presented", func() bool { return seen() == name })
	}
	before := r.generationOf("key")
	r.replace("key", "not a certificate, of some length")
	await(t, "the bad version is looked at", func() bool { return r.generationOf("key") > before || r.stale("key") })
	for range 3 {
		if got := seen(); got != "three" {
			t.Errorf("after a bad version: %q, want the last good", got)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(wrong) > 0 || len(order) != 3 {
		t.Errorf("seen %v; former identities: %q", order, wrong)
	}
}

// replace replaces a file as careful writers do.
func (r *running) replace(name, content string) {
	r.t.Helper()
	r.write(name+".next", content)
	if err := os.Rename(filepath.Join(r.dir, name+".next"), filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) generationOf(name string) uint64 {
	for _, s := range r.store.Status() {
		if s.Name == name {
			return s.Generation
		}
	}
	return 0
}

func (r *running) stale(name string) bool {
	for _, s := range r.store.Status() {
		if s.Name == name {
			return s.Reason != ""
		}
	}
	return false
}

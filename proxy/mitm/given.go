package mitm

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"
)

// loadGiven reads a CA that somebody else made. It is read once, at the start.
func loadGiven(certFile, keyFile string, now time.Time) (*generation, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("ca.cert: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("ca.key: %w", err)
	}
	// crypto/tls finds the key among the PEM blocks of every usual kind, and matches the two.
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("ca.cert %q with ca.key %q: %w", certFile, keyFile, err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("ca.key %q: cannot sign", keyFile)
	}
	g, err := givenGeneration(pair.Certificate, signer, now)
	if err != nil {
		return nil, fmt.Errorf("ca.cert %q: %w", certFile, err)
	}
	return g, nil
}

func givenGeneration(ders [][]byte, key crypto.Signer, now time.Time) (*generation, error) {
	issuer, err := x509.ParseCertificate(ders[0])
	switch {
	case err != nil:
		return nil, err
	case !issuer.BasicConstraintsValid || !issuer.IsCA:
		return nil, errors.New("not a CA certificate")
	case issuer.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, errors.New("key usage does not include signing certificates")
	case now.After(issuer.NotAfter):
		return nil, fmt.Errorf("expired on %s", issuer.NotAfter.Format(time.DateOnly))
	}
	sum := sha256.Sum256(issuer.Raw)
	g := &generation{key: key, issuer: issuer, root: issuer, free: true}
	g.Generation = Generation{
		ID: hex.EncodeToString(sum[:5]), Permits: []string{"**"}, Given: true,
		NotAfter: issuer.NotAfter, Created: issuer.NotBefore,
	}
	if issuer.PermittedDNSDomains != nil || issuer.PermittedIPRanges != nil {
		g.Permits = givenPermits(issuer)
	}
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		g.root = c // the last one is what clients trust
		if !bytes.Equal(c.RawIssuer, c.RawSubject) {
			g.chain = append(g.chain, der)
		}
	}
	return g, nil
}

func givenPermits(c *x509.Certificate) []string {
	out := append([]string(nil), c.PermittedDNSDomains...)
	for _, r := range c.PermittedIPRanges {
		out = append(out, r.String())
	}
	return out
}

package mitm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

const (
	caLife   = 365 * 24 * time.Hour
	leafLife = 24 * time.Hour
	backdate = time.Hour // for clients whose clock is behind

	rootPrefix   = "Attache CA "
	issuerSuffix = " issuer"
)

// generation is one signer of leaves. It is immutable.
type generation struct {
	Generation
	root   *x509.Certificate // what clients trust
	issuer *x509.Certificate // what signs; for a given CA perhaps the root itself
	chain  [][]byte          // what is sent after the leaf
	key    crypto.Signer     // of issuer
	free   bool              // not constrained by us
	names  names             // unless free
}

func (g *generation) covers(host string) bool { return g.free || g.names.covers(host) }

func (g *generation) live(now time.Time) bool { return now.Before(g.NotAfter) }

// signs: a generation stops signing while its last leaves can still live a
// whole life, so a cached leaf never outlives its issuer. A given CA signs to the end.
func (g *generation) signs(now time.Time) bool {
	if g.Given {
		return g.live(now)
	}
	return now.Before(g.NotAfter.Add(-leafLife))
}

// young: in the first half of its life.
func (g *generation) young(now time.Time) bool {
	return g.Given || now.Before(g.Created.Add(caLife/2))
}

// newGeneration makes a root and its intermediate for n, or for any host where
// free is set. The root's key is dropped here: nothing but this intermediate
// will ever be signed with it.
func newGeneration(n names, free bool, now time.Time) (*generation, error) {
	rootKey, err := newKey()
	if err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	id, err := newID()
	if err != nil {
		return nil, err
	}
	root, err := caTemplate(rootPrefix+id, 1, n, free, now)
	if err != nil {
		return nil, err
	}
	root, err = sign(root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	issuer, err := caTemplate(rootPrefix+id+issuerSuffix, 0, n, free, now)
	if err != nil {
		return nil, err
	}
	// An issuer's usage binds its leaves (Go, OpenSSL, NSS, Windows): no client certificates, no code, no mail.
	issuer.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	issuer, err = sign(issuer, root, key.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	return assemble(root, issuer, key)
}

func caTemplate(name string, pathLen int, n names, free bool, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
	}
	if !free {
		n.constrain(c)
	}
	return c, nil
}

// assemble checks that the parts are one of our own generations, and joins them.
func assemble(root, issuer *x509.Certificate, key crypto.Signer) (*generation, error) {
	if err := root.CheckSignatureFrom(root); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if err := issuer.CheckSignatureFrom(root); err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if !issuer.BasicConstraintsValid || !issuer.IsCA || issuer.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("issuer: not a CA certificate")
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(issuer.PublicKey) {
		return nil, fmt.Errorf("key: not the issuer's")
	}
	id, ok := strings.CutPrefix(root.Subject.CommonName, rootPrefix)
	if !ok || id == "" {
		return nil, fmt.Errorf("root: not of this program")
	}
	g := &generation{root: root, issuer: issuer, chain: [][]byte{issuer.Raw}, key: key}
	g.ID, g.NotAfter, g.Created = id, issuer.NotAfter, issuer.NotBefore.Add(backdate)
	if root.NotAfter.Before(g.NotAfter) {
		g.NotAfter = root.NotAfter
	}
	if !issuer.PermittedDNSDomainsCritical && !root.PermittedDNSDomainsCritical {
		g.free, g.Permits = true, []string{"**"}
		return g, nil
	}
	n, err := namesOf(issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if !sameConstraints(issuer, root) {
		return nil, fmt.Errorf("root: constraints are not the issuer's")
	}
	g.names, g.Permits = n, n.list()
	return g, nil
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newSerial returns 128 random bits, never zero (RFC 5280 section 4.1.2.2).
func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	b[15] |= 1
	return new(big.Int).SetBytes(b[:]), nil
}

// newID makes subjects differ: OpenSSL looks issuers up by subject, and a new
// root under an old name would hide it.
func newID() (string, error) {
	var b [5]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

// told copies what may be told, so that a reader cannot change ours.
func (g *generation) told() Generation {
	t := g.Generation
	t.Permits = slices.Clone(t.Permits)
	return t
}

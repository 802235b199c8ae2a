package identitytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// CA is the authority of one trust domain: what a SPIRE server is to its agents. It signs with its
// newest keys; its bundles hold the older ones too until [CA.Forget].
type CA struct {
	domain spiffeid.TrustDomain
	now    func() time.Time

	mu    sync.Mutex
	roots []authority
	jwt   []jwtAuthority
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

type jwtAuthority struct {
	kid string
	key *ecdsa.PrivateKey
}

// NewCA is the authority of a trust domain without a Workload API.
func NewCA(trustDomain string) *CA {
	return newCA(spiffeid.RequireTrustDomainFromString(trustDomain), time.Now)
}

func newCA(domain spiffeid.TrustDomain, now func() time.Time) *CA {
	ca := &CA{domain: domain, now: now}
	ca.addRoot()
	ca.addJWTKey()
	return ca
}

// TrustDomain is the one whose IDs ca signs.
func (ca *CA) TrustDomain() spiffeid.TrustDomain { return ca.domain }

// addRoot adds a self-signed root as a SPIRE server makes it without an upstream authority.
func (ca *CA) addRoot() {
	key := newKey()
	now := ca.now()
	t := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Country: []string{"US"}, Organization: []string{"SPIFFE"}, SerialNumber: serial().String()},
		URIs:                  []*url.URL{ca.domain.ID().URL()},
		NotBefore:             now.Add(-2 * time.Hour), // older than what it signs, expired SVIDs too
		NotAfter:              now.Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	ca.roots = append(ca.roots, authority{sign(t, t, &key.PublicKey, key), key})
}

func (ca *CA) addJWTKey() {
	ca.jwt = append(ca.jwt, jwtAuthority{rand.Text(), newKey()})
}

// Issue signs an X509-SVID that is valid for ttl. id is a whole SPIFFE ID; one without a path, or of another
// trust domain, is signed as well: tests want such peers. dns are its DNS names.
func (ca *CA) Issue(id string, ttl time.Duration, dns ...string) *x509svid.SVID {
	u, err := url.Parse(id)
	must(err)
	ca.mu.Lock()
	root := ca.roots[len(ca.roots)-1]
	ca.mu.Unlock()
	key := newKey()
	now := ca.now()
	subject := pkix.Name{Country: []string{"US"}, Organization: []string{"SPIRE"}}
	if len(dns) > 0 {
		subject.CommonName = dns[0]
	}
	t := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               subject,
		URIs:                  []*url.URL{u},
		DNSNames:              dns,
		NotBefore:             now.Add(min(-10*time.Second, ttl-time.Hour)),
		NotAfter:              now.Add(ttl),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	leaf := sign(t, root.cert, &key.PublicKey, root.key)
	sid, _ := spiffeid.FromString(id)
	return &x509svid.SVID{ID: sid, Certificates: []*x509.Certificate{leaf}, PrivateKey: key}
}

// Token signs a JWT-SVID.
func (ca *CA) Token(id, audience string, ttl time.Duration) string {
	ca.mu.Lock()
	a := ca.jwt[len(ca.jwt)-1]
	ca.mu.Unlock()
	return ca.token(a, id, []string{audience}, ttl)
}

func (ca *CA) token(a jwtAuthority, id string, audience []string, ttl time.Duration) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: a.key, KeyID: a.kid}},
		new(jose.SignerOptions).WithType("JWT"))
	must(err)
	now := ca.now()
	text, err := jwt.Signed(signer).Claims(jwt.Claims{
		Subject:  id,
		Audience: audience,
		Expiry:   jwt.NewNumericDate(now.Add(ttl)),
		IssuedAt: jwt.NewNumericDate(now),
	}).Serialize()
	must(err)
	return text
}

// Bundle holds the roots.
func (ca *CA) Bundle() *x509bundle.Bundle {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	b := x509bundle.New(ca.domain)
	for _, r := range ca.roots {
		b.AddX509Authority(r.cert)
	}
	return b
}

// JWTBundle holds the public keys of JWT-SVIDs.
func (ca *CA) JWTBundle() *jwtbundle.Bundle {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	keys := map[string]crypto.PublicKey{}
	for _, a := range ca.jwt {
		keys[a.kid] = &a.key.PublicKey
	}
	return jwtbundle.FromJWTAuthorities(ca.domain, keys)
}

// forget drops all but the newest keys.
func (ca *CA) forget(roots, jwt bool) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if roots {
		ca.roots = slices.Clone(ca.roots[len(ca.roots)-1:])
	}
	if jwt {
		ca.jwt = slices.Clone(ca.jwt[len(ca.jwt)-1:])
	}
}

func (ca *CA) rotate(roots, jwt bool) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if roots {
		ca.addRoot()
	}
	if jwt {
		ca.addJWTKey()
	}
}

func sign(t, parent *x509.Certificate, public, key any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	must(err)
	c, err := x509.ParseCertificate(der)
	must(err)
	return c
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	must(err)
	return n
}

// must is for what cannot go wrong but by a mistake of the caller.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("identitytest: %v", err))
	}
}

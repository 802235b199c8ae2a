package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// BundleMark begins a line between PEM blocks: the certificates behind it are the roots of the trust domain that
// the line goes on to name, or of our own if it names none.
const BundleMark = "# trust-bundle:"

// maxPEM is the longest text in bytes that is looked at.
const maxPEM = 1 << 20

// SetPEM replaces the identity by what a file holds, or by several that stand one after the other: an X509-SVID with the
// certificates of its chain behind it, its private key, and roots. Before the first [BundleMark], what signed itself is a root.
// An error leaves the identity as it was, and has no byte of the text in it.
func (s *Source) SetPEM(text []byte) error {
	svid, set, err := parsePEM(text, s.o.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.trouble(err.Error())
		return err
	}
	s.next.svids, s.next.x509 = []*x509svid.SVID{svid}, set
	s.trouble("")
	s.publishNews()
	return nil
}

// SetProblem notes why there is nothing for SetPEM.
func (s *Source) SetProblem(problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble(problem)
}

// parsePEM reads what SetPEM takes. The SVID must be valid now, by the roots beside it.
func parsePEM(text []byte, now time.Time) (*x509svid.SVID, *x509bundle.Set, error) {
	if len(text) > maxPEM {
		return nil, nil, errors.New("SVID: over 1 MiB of PEM")
	}
	own, bundles := sections(string(text))
	certs, key, err := ownBlocks(own)
	if err != nil {
		return nil, nil, err
	}
	if len(certs) == 0 {
		return nil, nil, errors.New("SVID: no certificate")
	}
	var chain, roots []*x509.Certificate
	for i, c := range certs {
		if i > 0 && selfSigned(c) {
			roots = append(roots, c)
		} else {
			chain = append(chain, c)
		}
	}
	svid, err := newSVID(chain, key)
	if err != nil {
		return nil, nil, err
	}
	set := x509bundle.NewSet()
	add(set, svid.ID.TrustDomain(), roots)
	for _, b := range bundles {
		if err := addBundle(set, svid.ID.TrustDomain(), b); err != nil {
			return nil, nil, err
		}
	}
	if end := notAfter(svid); !now.Before(end) {
		return nil, nil, fmt.Errorf("SVID %q: expired at %s", svid.ID, end.UTC().Format(time.RFC3339))
	}
	if _, _, err := x509svid.Verify(svid.Certificates, set, x509svid.WithTime(now)); err != nil {
		return nil, nil, fmt.Errorf("SVID %q: not valid by the roots beside it: %w", svid.ID, err)
	}
	return svid, set, nil
}

// section is the text behind a BundleMark.
type section struct{ domain, text string }

// sections splits text at its marks.
func sections(text string) (own string, bundles []section) {
	at, from, offset := &own, 0, 0
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, BundleMark); ok {
			*at = text[from:offset]
			bundles = append(bundles, section{domain: strings.TrimSpace(name)})
			at, from = &bundles[len(bundles)-1].text, offset+len(line)
		}
		offset += len(line)
	}
	*at = text[from:]
	return own, bundles
}

// ownBlocks are the certificates and the one key before the first mark; the key as PKCS #8.
func ownBlocks(text string) (certs []*x509.Certificate, key []byte, err error) {
	err = blocks(text, func(b *pem.Block) error {
		if strings.HasSuffix(b.Type, "PRIVATE KEY") {
			if key != nil {
				return errors.New("SVID: more than one private key")
			}
			key, err = pkcs8(b)
			return err
		}
		c, err := certificate(b)
		certs = append(certs, c)
		return err
	})
	if err == nil && key == nil {
		err = errors.New("SVID: no private key")
	}
	return certs, key, err
}

// blocks gives every PEM block of text to f. What begins like one and is none is an error.
func blocks(text string, f func(*pem.Block) error) error {
	want := strings.Count(text, "-----BEGIN ")
	for rest := []byte(text); ; want-- {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type == "EC PARAMETERS" { // openssl writes them before a key, which names its curve itself
			continue
		}
		if err := f(b); err != nil {
			return err
		}
	}
	if want != 0 {
		return errors.New("SVID: a damaged or unfinished PEM block")
	}
	return nil
}

func certificate(b *pem.Block) (*x509.Certificate, error) {
	if b.Type != "CERTIFICATE" {
		return nil, errors.New("SVID: a PEM block that is neither a certificate nor a private key")
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil { // its text may quote the content
		return nil, errors.New("SVID: a certificate that cannot be read")
	}
	return c, nil
}

// pkcs8 is a private key in the form that go-spiffe reads.
func pkcs8(b *pem.Block) ([]byte, error) {
	var key any
	var err error
	switch b.Type {
	case "PRIVATE KEY":
		return b.Bytes, nil
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	default:
		return nil, errors.New("SVID: an encrypted private key, or one of a kind not known")
	}
	if err != nil {
		return nil, errors.New("SVID: a private key that cannot be read")
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// newSVID lets go-spiffe check what an X509-SVID must be (X509-SVID §4), and that the key is its own.
func newSVID(chain []*x509.Certificate, key []byte) (*x509svid.SVID, error) {
	var raw []byte
	for _, c := range chain {
		raw = append(raw, c.Raw...)
	}
	if _, err := x509.ParsePKCS8PrivateKey(key); err != nil {
		return nil, errors.New("SVID: a private key that cannot be read")
	}
	svid, err := x509svid.ParseRaw(raw, key)
	if err != nil {
		return nil, errors.New("SVID: " + strings.TrimPrefix(err.Error(), "x509svid: "))
	}
	return svid, nil
}

func selfSigned(c *x509.Certificate) bool {
	return c.IsCA && bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil
}

// addBundle adds the roots of one section.
func addBundle(set *x509bundle.Set, own spiffeid.TrustDomain, s section) error {
	domain := own
	if s.domain != "" {
		var err error
		if domain, err = spiffeid.TrustDomainFromString(s.domain); err != nil {
			return fmt.Errorf("trust bundle: what stands behind %q is not the name of a trust domain", BundleMark) // it may be anything
		}
	}
	var roots []*x509.Certificate
	err := blocks(s.text, func(b *pem.Block) error {
		c, err := certificate(b)
		if err == nil && !c.IsCA { // in a pool of roots it would vouch for itself
			return errors.New("a certificate that is no CA's")
		}
		roots = append(roots, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("trust bundle %q: %w", domain.Name(), err)
	}
	add(set, domain, roots)
	return nil
}

// add adds roots to those that set has of a trust domain.
func add(set *x509bundle.Set, domain spiffeid.TrustDomain, roots []*x509.Certificate) {
	b, ok := set.Get(domain)
	if !ok {
		b = x509bundle.New(domain)
		set.Add(b)
	}
	for _, c := range roots {
		b.AddX509Authority(c)
	}
}

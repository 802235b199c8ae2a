package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ErrNone is what the proxy has before its first SVID, and after it was denied any.
var ErrNone = errors.New("the proxy has no SPIFFE identity")

// maxToken is the longest JWT-SVID in bytes that is looked at.
const maxToken = 16 << 10

// State is what the proxy knows of itself and of trust domains at one moment. It is immutable:
// nobody changes what it points to. A nil State knows nothing and trusts nobody.
type State struct {
	Generation uint64
	SVIDs      []*x509svid.SVID // the first is the default; each carries its hint
	X509       *x509bundle.Set  // by trust domain, federated ones too; may be nil
	JWT        *jwtbundle.Set   // likewise
	Updated    time.Time
}

// ID is the SPIFFE ID of the default SVID, zero if there is none. It may have expired.
func (s *State) ID() spiffeid.ID {
	if s == nil || len(s.SVIDs) == 0 {
		return spiffeid.ID{}
	}
	return s.SVIDs[0].ID
}

// Has reports whether some SVID of ours that has not expired has an ID that p names.
func (s *State) Has(p Pattern, now time.Time) bool {
	if s == nil {
		return false
	}
	for _, svid := range s.SVIDs {
		if now.Before(notAfter(svid)) && p.Match(svid.ID) {
			return true
		}
	}
	return false
}

// Certificate is the default SVID for use in TLS, and when it expires. One that has expired by now is an
// error: go-spiffe would present it.
func (s *State) Certificate(now time.Time) (*tls.Certificate, time.Time, error) {
	if s == nil || len(s.SVIDs) == 0 {
		return nil, time.Time{}, ErrNone
	}
	svid := s.SVIDs[0]
	end := notAfter(svid)
	if !now.Before(end) {
		return nil, end, fmt.Errorf("SVID %q: expired at %s", svid.ID, end.UTC().Format(time.RFC3339))
	}
	c := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: svid.Certificates[0]}
	for _, cert := range svid.Certificates {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c, end, nil
}

// VerifyX509 verifies a chain, leaf first, against the bundle of the trust domain that the leaf's own
// ID names (X509-SVID §5), and returns that ID and when the leaf expires.
func (s *State) VerifyX509(raw [][]byte, now time.Time) (spiffeid.ID, time.Time, error) {
	certs := make([]*x509.Certificate, len(raw))
	for i := range raw {
		var err error
		if certs[i], err = x509.ParseCertificate(raw[i]); err != nil {
			return spiffeid.ID{}, time.Time{}, fmt.Errorf("X509-SVID: %w", err)
		}
	}
	return s.verify(certs, now)
}

func (s *State) verify(certs []*x509.Certificate, now time.Time) (spiffeid.ID, time.Time, error) {
	if s == nil || s.X509 == nil {
		return spiffeid.ID{}, time.Time{}, errors.New("X509-SVID: no trust bundle yet")
	}
	id, _, err := x509svid.Verify(certs, s.X509, x509svid.WithTime(now))
	if err != nil {
		return spiffeid.ID{}, time.Time{}, err
	}
	if id.Path() == "" { // go-spiffe lets it pass; it names an authority, not a workload (X509-SVID §5.2)
		return spiffeid.ID{}, time.Time{}, fmt.Errorf("X509-SVID %q: has no path", id)
	}
	return id, certs[0].NotAfter, nil
}

// VerifyJWT verifies a JWT-SVID for the audience against the bundle of the trust domain that its subject
// names, and returns that ID and when it expires. An error never has the token in it.
func (s *State) VerifyJWT(token, audience string, now time.Time) (spiffeid.ID, time.Time, error) {
	fault := func(err error) (spiffeid.ID, time.Time, error) { return spiffeid.ID{}, time.Time{}, err }
	switch {
	case s == nil || s.JWT == nil:
		return fault(errors.New("JWT-SVID: no trust bundle yet"))
	case audience == "":
		return fault(errors.New("JWT-SVID: no audience to compare with"))
	case len(token) > maxToken:
		return fault(errors.New("JWT-SVID: too long"))
	}
	svid, err := jwtsvid.ParseAndValidate(token, s.JWT, []string{audience})
	switch {
	case err != nil:
		return fault(err)
	case !now.Before(svid.Expiry): // go-spiffe allows a minute more
		return fault(errors.New("JWT-SVID: expired"))
	case svid.ID.Path() == "":
		return fault(fmt.Errorf("JWT-SVID %q: has no path", svid.ID))
	}
	return svid.ID, svid.Expiry, nil
}

// notAfter is when an SVID expires.
func notAfter(s *x509svid.SVID) time.Time { return s.Certificates[0].NotAfter }

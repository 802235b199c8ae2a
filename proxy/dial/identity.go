package dial

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Identity is what the proxy can show of itself, and check of servers, by
// SPIFFE at one moment. Its functions are pure; both are set.
type Identity struct {
	// Certificate is our X.509-SVID and when it expires. One that has expired is an error.
	Certificate func(now time.Time) (*tls.Certificate, time.Time, error)
	// Verify checks a chain, leaf first, against the bundle of the leaf's own
	// trust domain, and returns its SPIFFE ID and when it expires.
	Verify func(chain [][]byte, now time.Time) (id string, expires time.Time, err error)
}

var errNoSVID = errors.New("the proxy has no SPIFFE identity") // a constant: never assigned again

// certificate is Certificate for an Identity that may be nil.
func (i *Identity) certificate(now time.Time) (*tls.Certificate, time.Time, error) {
	if i == nil {
		return nil, time.Time{}, errNoSVID
	}
	return i.Certificate(now)
}

// verify is Verify for one peer, and for an Identity that may be nil.
func (i *Identity) verify(chain [][]byte, p *Profile, now time.Time) (time.Time, error) {
	if i == nil {
		return time.Time{}, &peerError{"there is no trust bundle to verify it by"}
	}
	id, expires, err := i.Verify(chain, now)
	switch {
	case err != nil:
		return time.Time{}, &peerError{err.Error()}
	case p.PeerIs != nil && !p.PeerIs(id), p.PeerIs == nil && id != p.Peer:
		return time.Time{}, &peerError{"it is another SPIFFE ID"}
	}
	return expires, nil
}

// bundled reports whether the server is verified by the Identity's trust bundles.
func (p *Profile) bundled() bool { return p.Peer != "" && p.CA == nil }

// shows reports whether our SVID is presented.
func (p *Profile) shows() bool { return p.SVID || p.bundled() }

// SetIdentity makes i what every Upstream shows and checks from now on.
// Requests under way stay on connections that show a former SVID, until that
// expires; a connection to a server that i no longer verifies closes at once.
func (p *Pool) SetIdentity(i *Identity) {
	p.mu.Lock()
	p.identity = i
	all := make([]*Upstream, 0, len(p.ups)+len(p.draining))
	for _, u := range p.ups {
		all = append(all, u)
	}
	all = append(all, p.draining...)
	p.mu.Unlock()
	for _, u := range all {
		u.setIdentity(i)
	}
}

// setIdentity is SetIdentity for one Upstream.
func (u *Upstream) setIdentity(i *Identity) {
	if !u.profile.shows() {
		return
	}
	u.renewing.Lock() // or transports that are being made might show the former one, and nobody would replace them
	u.identity.Store(i)
	u.renewing.Unlock()
	if old := u.now.Load(); !old.shows(i) {
		u.renew(old)
	}
	if !u.profile.bundled() {
		return
	}
	for _, c := range u.heldConns() {
		_ = c.recheck(i)
	}
}

// shows reports whether ts shows the certificate that i has.
func (ts *transports) shows(i *Identity) bool {
	cert, _, err := i.certificate(time.Now())
	return err == nil && ts.cert != nil && slices.EqualFunc(cert.Certificate, ts.cert.Certificate, bytes.Equal)
}

// missing says why nothing may be sent by ts now: our SVID is not there, or
// has expired. nil: it may.
func (ts *transports) missing(addr string) *Error {
	switch {
	case !ts.u.profile.shows():
		return nil
	case ts.why != nil:
		return &Error{NoIdentity, addr, ts.why}
	case !time.Now().Before(ts.until):
		return &Error{NoIdentity, addr, fmt.Errorf("the proxy's SVID expired at %s", ts.until.UTC().Format(time.RFC3339))}
	}
	return nil
}

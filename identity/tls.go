package identity

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// ServerTLS presents our SVID and asks for one of the client, which any trust domain in the State may
// have issued: who of them may do what, the rules of callers decide. now is nil for the clock.
//
// Peers are verified in VerifyConnection, which runs on resumed sessions too, and there are none: a ticket
// would outlive the SVID and the bundle that it was given for.
func ServerTLS(current func() *State, now func() time.Time) *tls.Config {
	now = orClock(now)
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, _, err := current().Certificate(now())
			return c, err
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, _, err := current().verify(cs.PeerCertificates, now())
			return err
		},
	}
}

// ClientTLS presents our SVID to a server that asks for it, and accepts no server but one whose SPIFFE ID
// peer names; the server's DNS name does not matter. now is nil for the clock.
func ClientTLS(current func() *State, peer Pattern, now func() time.Time) *tls.Config {
	now = orClock(now)
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // of names and public roots: VerifyConnection verifies the SPIFFE ID
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c, _, err := current().Certificate(now())
			return c, err
		},
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.DidResume {
				return errors.New("X509-SVID: a resumed session shows none")
			}
			id, _, err := current().verify(cs.PeerCertificates, now())
			if err == nil && !peer.Match(id) {
				err = fmt.Errorf("X509-SVID %q: not the peer %q", id, peer)
			}
			return err
		},
	}
}

func orClock(now func() time.Time) func() time.Time {
	if now == nil {
		return time.Now
	}
	return now
}

package dial

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

const sessions = 64 // TLS sessions kept per profile

// tlsConfig is what all connections of p share; ServerName and NextProtos are each connection's.
func tlsConfig(p *Profile, roots *x509.CertPool) (*tls.Config, error) {
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            roots,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
	if p.CA != nil {
		pool, err := rootPool(p.CA)
		if err != nil {
			return nil, fmt.Errorf("upstream ca: %w", err)
		}
		conf.RootCAs = pool
	}
	if p.Client != nil {
		cert, err := tls.X509KeyPair(p.Client, p.Client)
		if err != nil { // its text may quote the secret
			return nil, fmt.Errorf("upstream client certificate %q: not PEM of a certificate chain and its key", p.ClientName)
		}
		// Not Certificates: that leaves ours out, silently, when the server's list of authorities does not name its issuer.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	if p.shows() { // hold does the rest, for each connection
		conf.ClientSessionCache = nil
	}
	if p.Peer != "" && p.PeerIs == nil {
		if err := checkSPIFFE(p.Peer); err != nil {
			return nil, fmt.Errorf("upstream peer %q: %w", p.Peer, err)
		}
	}
	switch {
	case p.bundled():
		conf.InsecureSkipVerify = true // of names and roots: heldConn.verify verifies the SPIFFE ID
		conf.VerifyConnection = func(tls.ConnectionState) error { return &peerError{"nobody verified it"} }
	case p.Peer != "" && p.PeerIs != nil:
		return nil, fmt.Errorf("upstream peer %q: a pattern excludes ca", p.Peer)
	case p.Peer != "":
		// The name is not the identity here. VerifyConnection runs on resumption too,
		// VerifyPeerCertificate does not; there are no sessions to resume anyway.
		conf.InsecureSkipVerify = true
		conf.ClientSessionCache = nil
		pool := conf.RootCAs
		conf.VerifyConnection = func(cs tls.ConnectionState) error { return verifyPeer(cs.PeerCertificates, pool, p.Peer) }
	}
	return conf, nil
}

// rootPool reads every certificate or none: one that is left out is noticed only when it is missed.
func rootPool(text []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("holds PEM that is not a certificate")
		}
		n++
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: unreadable", n)
		}
		pool.AddCert(cert)
	}
	if n == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return pool, nil
}

// peerError says that the server is not the peer it should be.
type peerError struct{ why string }

func (e *peerError) Error() string { return "peer: " + e.why }

// verifyPeer checks an X.509-SVID by the SPIFFE X509-SVID specification §5: a
// chain to roots, a leaf that signs nothing, and exactly one URI, which is id.
func verifyPeer(chain []*x509.Certificate, roots *x509.CertPool, id string) error {
	if len(chain) == 0 {
		return &peerError{"no certificate"}
	}
	leaf := chain[0]
	switch {
	case leaf.IsCA, leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return &peerError{"its certificate may sign others"}
	case len(leaf.URIs) != 1:
		return &peerError{"its certificate does not have exactly one URI"}
	case leaf.URIs[0].String() != id:
		return &peerError{"it is another SPIFFE ID"}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return &peerError{err.Error()}
	}
	return nil
}

// checkSPIFFE holds id to the form that a certificate's URI has: spiffe://trust-domain/path.
func checkSPIFFE(id string) error {
	u, err := url.Parse(id)
	if err != nil || u.Scheme != "spiffe" || u.Host == "" || u.User != nil || u.Port() != "" ||
		u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Path == "/" || strings.HasSuffix(u.Path, "/") || u.String() != id {
		return errors.New("not a SPIFFE ID")
	}
	return nil
}

package dial

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"time"
)

// heldConn is a connection on which our SVID was shown, or a server was
// verified by its own. It outlives neither, nor the trust in the server.
type heldConn struct {
	net.Conn
	ts *transports

	mu    sync.Mutex
	by    *Identity // that verified the server last
	chain [][]byte  // the server's; nil where roots vouch for it
	until time.Time // the server's SVID expires; zero where roots vouch for it
	ends  *time.Timer
	ages  *time.Timer
}

// hold prepares conf for the handshake over c.
func (ts *transports) hold(c net.Conn, conf *tls.Config) *heldConn {
	h := &heldConn{Conn: c, ts: ts}
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if e := ts.missing(""); e != nil {
			return nil, e
		}
		return ts.cert, nil
	}
	if ts.u.profile.bundled() {
		conf.VerifyConnection = h.verify
	}
	return h
}

// verify checks the server during the handshake. VerifyConnection runs on
// resumption too, and there are no sessions to resume.
func (h *heldConn) verify(cs tls.ConnectionState) error {
	if cs.DidResume {
		return &peerError{"a resumed session shows no certificate"}
	}
	chain, by := rawChain(cs.PeerCertificates), h.ts.u.identity.Load()
	until, err := by.verify(chain, &h.ts.u.profile, time.Now())
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by, h.chain, h.until = by, chain, until
	return nil
}

func rawChain(certs []*x509.Certificate) [][]byte {
	chain := make([][]byte, len(certs))
	for i, c := range certs {
		chain[i] = c.Raw
	}
	return chain
}

// keep bounds the connection once its handshake is done. It fails if the
// server has come to be distrusted meanwhile.
func (h *heldConn) keep() error {
	h.mu.Lock()
	until := h.ts.until
	if !h.until.IsZero() && h.until.Before(until) {
		until = h.until
	}
	left := time.Until(until)
	u := h.ts.u
	h.ends = time.AfterFunc(left, func() { _ = h.Close() })
	// The last quarter is for what is under way: new requests take a new connection.
	h.ages = time.AfterFunc(left-left/4, func() { u.renew(h.ts) })
	h.mu.Unlock()
	h.ts.ageAt(until.Add(-left / 4)) // timers stand still while a machine sleeps
	u.holding.Lock()
	u.holds[h] = struct{}{}
	u.holding.Unlock()
	if !u.profile.bundled() {
		return nil
	}
	return h.recheck(u.identity.Load()) // whoever set another one may have come too early to see h
}

// recheck closes the connection if i does not verify its server.
func (h *heldConn) recheck(i *Identity) error {
	h.mu.Lock()
	same, chain := h.by == i, h.chain
	h.mu.Unlock()
	if same {
		return nil
	}
	if _, err := i.verify(chain, &h.ts.u.profile, time.Now()); err != nil {
		_ = h.Close()
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by = i
	return nil
}

// Close implements net.Conn.
func (h *heldConn) Close() error {
	h.mu.Lock()
	if h.ends != nil {
		h.ends.Stop()
		h.ages.Stop()
	}
	h.mu.Unlock()
	u := h.ts.u
	u.holding.Lock()
	delete(u.holds, h)
	u.holding.Unlock()
	return h.Conn.Close()
}

// heldConns are those that are open.
func (u *Upstream) heldConns() []*heldConn {
	u.holding.Lock()
	defer u.holding.Unlock()
	all := make([]*heldConn, 0, len(u.holds))
	for h := range u.holds {
		all = append(all, h)
	}
	return all
}

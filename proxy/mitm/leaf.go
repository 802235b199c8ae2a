package mitm

import (
	"container/list"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// cacheSize bounds the leaf certificates kept: about 6 KiB each.
const cacheSize = 1024

// NotPermittedError says that no live generation may sign for Host.
type NotPermittedError struct{ Host string }

func (e *NotPermittedError) Error() string {
	return fmt.Sprintf("host %q: not permitted by the CA", e.Host)
}

// Leaf returns the certificate for exactly host (a normalised name or IP
// literal), chain included, minting it if need be. A host that no live
// generation permits is a [*NotPermittedError].
func (a *Authority) Leaf(host string) (*tls.Certificate, error) {
	if c := a.leaves.get(host, a.now()); c != nil {
		return c, nil
	}
	return a.mintOnce(host)
}

// mintOnce mints for all who wait for the same host at once.
func (a *Authority) mintOnce(host string) (*tls.Certificate, error) {
	v, err, _ := a.flight.Do(host, func() (any, error) {
		now := a.now()
		if c := a.leaves.get(host, now); c != nil {
			return c, nil // minted between our look and our turn
		}
		e, err := a.mint(host, now)
		if err != nil {
			return nil, err
		}
		a.minted.Add(1)
		a.leaves.put(e)
		return e.cert, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*tls.Certificate), nil
}

func (a *Authority) mint(host string, now time.Time) (*leaf, error) {
	ip, err := netip.ParseAddr(host)
	isIP := err == nil && ip == ip.Unmap() && ip.Zone() == "" && ip.String() == host
	if !isIP && (err == nil || !isName(host)) {
		return nil, &NotPermittedError{Host: host[:min(len(host), 256)]}
	}
	for _, g := range *a.live.Load() { // oldest first: its root is in the most clients
		if g.signs(now) && g.covers(host) {
			return a.signLeaf(g, host, ip, now)
		}
	}
	return nil, &NotPermittedError{Host: host}
}

func (a *Authority) signLeaf(g *generation, host string, ip netip.Addr, now time.Time) (*leaf, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             later(now.Add(-backdate), g.issuer.NotBefore),
		NotAfter:              earlier(now.Add(leafLife), g.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	// The common name is for people, and at most 64 bytes (RFC 5280 appendix A.1). A
	// leaf without a DNS name must have none: OpenSSL and GnuTLS hold it to the
	// DNS constraints then. The subject is never empty, which some clients mistrust.
	t.Subject = pkix.Name{Organization: []string{"Attache"}}
	if ip.IsValid() {
		t.IPAddresses = []net.IP{ip.AsSlice()}
	} else {
		t.DNSNames = []string{host}
		if len(host) <= 64 {
			t.Subject.CommonName = host
		}
	}
	cert, err := sign(t, g.issuer, a.leafKey.Public(), g.key)
	if err != nil {
		return nil, fmt.Errorf("host %q: sign: %w", host, err)
	}
	if g.Given {
		if err := permitsLeaf(g, cert, now); err != nil {
			return nil, fmt.Errorf("%w: %w", &NotPermittedError{Host: host}, err)
		}
	}
	chain := make([][]byte, 0, 1+len(g.chain))
	chain = append(append(chain, cert.Raw), g.chain...)
	return &leaf{
		host:      host,
		cert:      &tls.Certificate{Certificate: chain, PrivateKey: a.leafKey, Leaf: cert},
		notBefore: cert.NotBefore,
		renew:     now.Add(cert.NotAfter.Sub(now) / 2),
	}, nil
}

// permitsLeaf: whatever constraints a given CA carries, clients will see them broken; we see it first.
func permitsLeaf(g *generation, cert *x509.Certificate, now time.Time) error {
	pool := x509.NewCertPool()
	pool.AddCert(g.issuer)
	_, err := cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now})
	return err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// leaf is a cached certificate. notBefore counts too: a clock may jump back.
type leaf struct {
	host             string
	cert             *tls.Certificate
	notBefore, renew time.Time
}

// leafCache keeps the cacheSize most recently used leaves. A handshake costs
// some hundred times what its lock does.
type leafCache struct {
	mu     sync.Mutex
	byHost map[string]*list.Element // of *leaf
	order  list.List                // most recently used first
}

func (c *leafCache) get(host string, now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byHost[host]
	if !ok {
		return nil
	}
	e := el.Value.(*leaf)
	if !now.Before(e.renew) || now.Before(e.notBefore) {
		return nil // put replaces it
	}
	c.order.MoveToFront(el)
	return e.cert
}

func (c *leafCache) put(e *leaf) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byHost == nil {
		c.byHost = make(map[string]*list.Element)
	}
	if el, ok := c.byHost[e.host]; ok {
		el.Value = e
		c.order.MoveToFront(el)
		return
	}
	c.byHost[e.host] = c.order.PushFront(e)
	for len(c.byHost) > cacheSize {
		oldest := c.order.Back()
		c.order.Remove(oldest)
		delete(c.byHost, oldest.Value.(*leaf).host)
	}
}

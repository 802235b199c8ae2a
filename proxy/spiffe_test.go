package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/identity/identitytest"
	"github.com/attache-proxy/attache/proxy/policy"
)

// The SPIFFE IDs and names of these tests.
const (
	ownID      = "spiffe://acme.example/ns/edge/sa/attache"
	checkoutID = "spiffe://acme.example/ns/shop/sa/checkout"
	partnerID  = "spiffe://partner.example/app"
	audienceID = "spiffe://acme.example/ns/edge/sa/attache"
)

// trust is what issues identities in a test: the authorities of two trust domains.
type trust struct {
	testing.TB
	api *identitytest.API
	own *x509svid.SVID
}

func newTrust(t testing.TB) *trust {
	t.Helper()
	api := identitytest.Start(t)
	return &trust{t, api, api.Issue(ownID, 24*time.Hour)}
}

// state is what the proxy knows while it trusts the named trust domains.
func (tr *trust) state(domains ...string) *identity.State {
	st := &identity.State{X509: x509bundle.NewSet(), JWT: jwtbundle.NewSet(), Updated: time.Now()}
	if tr.own != nil {
		st.SVIDs = []*x509svid.SVID{tr.own}
	}
	for _, d := range domains {
		st.X509.Add(tr.api.CA(d).Bundle())
		st.JWT.Add(tr.api.CA(d).JWTBundle())
	}
	return st
}

// identified is a stage whose proxy has an identity and a TLS listener beside the one in clear.
type identified struct {
	*stage
	trust  *trust
	secure string       // address of the TLS listener
	hits   atomic.Int64 // of the upstream
	last   atomic.Pointer[http.Request]
	ahead  atomic.Int64 // how far the proxy's clock is
	to     string
}

// newIdentified makes a stage where api.test gets a credential for the named callers and other.test is
// tunnelled for them.
func newIdentified(t testing.TB, specs []identity.Spec, callers ...string) *identified {
	t.Helper()
	s := &identified{trust: newTrust(t)}
	s.to = upstream(t, func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		s.last.Store(r.Clone(r.Context()))
		if r.Header.Get("Upgrade") != "" {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(io.Discard, rw)
			return
		}
		_, _ = io.WriteString(w, "paid")
	})
	o := Options{Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }}
	o.retireGrace = time.Millisecond
	s.stage = newStageTB(t, o, s.rules(callers...)...)
	s.stage.T, _ = t.(*testing.T)
	s.know(specs, "acme.example", "partner.example")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.secure = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.proxy.ServeTLS(l, "proxy") }()
	t.Cleanup(func() { l.Close(); <-done })
	return s
}

func (s *identified) rules(callers ...string) []rule {
	return []rule{
		{spec: policy.Spec{ID: "pass", Hosts: []string{"other.test"}, Action: policy.Tunnel, Callers: callers}, to: s.to},
		{spec: policy.Spec{ID: "api", Hosts: []string{"api.test"}, Callers: callers}, attach: bearer(), to: s.to},
		{spec: policy.Spec{ID: "clear", Hosts: []string{"http://plain.test"}, Callers: callers}, to: s.to, change: func(r *Rule) { r.AllowPlaintext = true }},
	}
}

// know puts callers and trusted domains in force.
func (s *identified) know(specs []identity.Spec, domains ...string) {
	s.trust.Helper()
	next := *s.live.Load()
	if specs != nil {
		for i := range specs {
			if specs[i].SPIFFE != "" && specs[i].Proof != identity.ProofPod && specs[i].Proof != identity.ProofMTLS {
				specs[i].Audience = audienceID
			}
		}
		a, errs := identity.New(specs)
		if errs != nil {
			s.trust.Fatal(errs)
		}
		next.Callers = a
	}
	next.Identity = s.trust.state(domains...)
	s.live.Publish(&next)
}

// clientTLS is the TLS of a client with the given SVID, or none, to the proxy.
func (s *identified) clientTLS(svid *x509svid.SVID, protos ...string) *tls.Config {
	roots := x509.NewCertPool()
	for _, c := range s.trust.api.CA("acme.example").Bundle().X509Authorities() {
		roots.AddCert(c)
	}
	cfg := &tls.Config{
		InsecureSkipVerify: true, NextProtos: protos,
		VerifyConnection: func(cs tls.ConnectionState) error { // the proxy's name is its SPIFFE ID
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	}
	if svid != nil {
		cert := tls.Certificate{PrivateKey: svid.PrivateKey}
		for _, c := range svid.Certificates {
			cert.Certificate = append(cert.Certificate, c.Raw)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg
}

// enter opens a TLS connection to the proxy. In TLS 1.3 a refusal of the client's certificate shows at the
// first read.
func (s *identified) enter(cfg *tls.Config) (*tls.Conn, error) {
	s.Helper()
	c, err := net.Dial("tcp", s.secure)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	tc := tls.Client(c, cfg)
	return tc, tc.HandshakeContext(s.Context())
}

// connectTo asks for authority on a connection to the proxy.
func connectTo(t testing.TB, c net.Conn, authority, proxyAuthorization string) (*http.Response, error) {
	t.Helper()
	head := "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n"
	if proxyAuthorization != "" {
		head += "Proxy-Authorization: " + proxyAuthorization + "\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
}

// tunnelBy opens api.test (or other.test) through c over HTTP/1.1.
func (s *identified) tunnelBy(c net.Conn, host, proxyAuthorization string) *tls.Conn {
	s.Helper()
	res, err := connectTo(s, c, host+":443", proxyAuthorization)
	if err != nil || res.StatusCode != 200 {
		s.Fatalf("CONNECT %s: %v, %v", host, res, err)
	}
	return s.inside(c, host)
}

// inside does the TLS of a tunnel.
func (s *identified) inside(c net.Conn, host string) *tls.Conn {
	s.Helper()
	roots := s.roots
	if host == "other.test" {
		roots = x509.NewCertPool()
		roots.AppendCertsFromPEM(testCA(s))
	}
	tc := tls.Client(c, &tls.Config{RootCAs: roots, ServerName: host})
	if err := tc.HandshakeContext(s.Context()); err != nil {
		s.Fatalf("TLS in the tunnel: %v", err)
	}
	return tc
}

// h2Tunnel is a CONNECT over HTTP/2 as a connection without deadlines.
type h2Tunnel struct {
	net.Conn // for addresses
	r        io.ReadCloser
	w        *io.PipeWriter
}

func (t *h2Tunnel) Read(b []byte) (int, error)  { return t.r.Read(b) }
func (t *h2Tunnel) Write(b []byte) (int, error) { return t.w.Write(b) }
func (t *h2Tunnel) Close() error                { t.w.Close(); return t.r.Close() }

func (*h2Tunnel) SetDeadline(time.Time) error      { return nil }
func (*h2Tunnel) SetReadDeadline(time.Time) error  { return nil }
func (*h2Tunnel) SetWriteDeadline(time.Time) error { return nil }

// overH2 speaks HTTP/2 on a connection to the proxy.
func (s *identified) overH2(c *tls.Conn) *http.ClientConn {
	s.Helper()
	tr := &http.Transport{DialTLSContext: dialOnce(c), Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP2(true)
	cc, err := tr.NewClientConn(s.Context(), "https", "attache.test:443")
	if err != nil {
		s.Fatal(err)
	}
	return cc
}

func (s *identified) connectH2(cc *http.ClientConn, c net.Conn, authority, proxyAuthorization string) (*http.Response, *h2Tunnel) {
	s.Helper()
	res, tunnel, err := s.tryH2(cc, c, authority, proxyAuthorization)
	if err != nil {
		s.Fatal(err)
	}
	return res, tunnel
}

func (s *identified) tryH2(cc *http.ClientConn, c net.Conn, authority, proxyAuthorization string) (*http.Response, *h2Tunnel, error) {
	r, w := io.Pipe()
	req := (&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: authority}, Host: authority, Header: http.Header{}, Body: r, ContentLength: -1}).WithContext(s.Context())
	if proxyAuthorization != "" {
		req.Header.Set("Proxy-Authorization", proxyAuthorization)
	}
	res, err := cc.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	return res, &h2Tunnel{c, res.Body, w}, nil
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: api.test\r\n\r\n" }

func (s *identified) checkout(ttl time.Duration) *x509svid.SVID {
	return s.trust.api.Issue(checkoutID, ttl)
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

// zeroes never ends.
type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// dialOnce gives c to the first who dials.
func dialOnce(c net.Conn) func(context.Context, string, string) (net.Conn, error) {
	given := false
	return func(context.Context, string, string) (net.Conn, error) {
		if given {
			return nil, net.ErrClosed
		}
		given = true
		return c, nil
	}
}

package dial

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// loopback excepts the addresses on which the tests' upstreams listen.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// names is a Resolver with fixed answers.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, s := range n[host] {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	if addrs == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

var hosts = names{"api.test": {"127.0.0.1"}, "other.test": {"127.0.0.1"}, "localhost": {"127.0.0.1"}}

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	a := &authority{key: newKey(t)}
	der := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, a.key, a.key)
	a.cert = must(x509.ParseCertificate(der))
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, tmpl, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// leaf signs a certificate for one name or address, which change may alter.
func (a *authority) leaf(t testing.TB, name string, change func(*x509.Certificate)) tls.Certificate {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{name}
	}
	if change != nil {
		change(tmpl)
	}
	key := newKey(t)
	return tls.Certificate{Certificate: [][]byte{sign(t, tmpl, a.cert, key, a.key)}, PrivateKey: key}
}

func uris(t testing.TB, ids ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.DNSNames, c.URIs = nil, nil
		for _, id := range ids {
			u, err := url.Parse(id)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

func pemPair(t testing.TB, c tls.Certificate) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// peer is a real upstream on loopback that counts what reaches it.
type peer struct {
	*httptest.Server
	port     string
	conns    atomic.Int64
	requests atomic.Int64
	gone     chan struct{} // a connection has closed
}

// serve starts a peer; conf nil is clear text. It speaks h2 where conf.NextProtos has it.
func serve(t testing.TB, conf *tls.Config, h http.HandlerFunc) *peer {
	p := &peer{gone: make(chan struct{}, 1024)}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		h(w, r)
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			p.conns.Add(1)
		case http.StateClosed:
			p.gone <- struct{}{}
		}
	}
	if conf == nil {
		p.Start()
	} else {
		p.TLS = conf
		p.EnableHTTP2 = slices.Contains(conf.NextProtos, "h2")
		p.StartTLS()
		p.TLS.NextProtos = conf.NextProtos // httptest adds http/1.1
	}
	t.Cleanup(p.Close)
	_, p.port, _ = net.SplitHostPort(p.Listener.Addr().String())
	return p
}

func ok(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }

func newPool(t testing.TB, opt Options) *Pool {
	if opt.Resolver == nil {
		opt.Resolver = hosts
	}
	p := NewPool(opt)
	t.Cleanup(p.Close)
	return p
}

func upstream(t testing.TB, p *Pool, profile Profile) *Upstream {
	t.Helper()
	u, err := p.Upstream(profile)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func request(t testing.TB, method, url, body string) *http.Request {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = struct{ io.Reader }{strings.NewReader(body)} // no GetBody
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.ContentLength = int64(len(body))
	}
	return req
}

// text sends req and reads the whole answer.
func text(t testing.TB, u *Upstream, req *http.Request) string {
	t.Helper()
	resp, err := u.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// refused sends req, which must fail for reason.
func refused(t testing.TB, u *Upstream, req *http.Request, reason Reason) *Error {
	t.Helper()
	resp, err := u.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
		t.Fatalf("answered %s, want %s", resp.Status, reason)
	}
	return because(t, err, reason)
}

func because(t testing.TB, err error, reason Reason) *Error {
	t.Helper()
	e, is := errors.AsType[*Error](err)
	if !is || e.Reason != reason {
		t.Fatalf("error %v, want %s", err, reason)
	}
	return e
}

func portOf(t testing.TB, s string) uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// listen runs serve for every connection until the test ends.
func listen(t testing.TB, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	acceptAll(t, l, serve)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// acceptAll serves each connection of l; all have ended before the test has.
func acceptAll(t testing.TB, l net.Listener, serve func(net.Conn)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	ended := false
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if ended {
				_ = c.Close()
			}
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		ended = true
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

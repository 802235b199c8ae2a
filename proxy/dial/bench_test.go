package dial

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// BenchmarkRoundTrip compares an Upstream with a bare transport to the same
// peer: "info" is with WithInfo, as the proxy asks.
func BenchmarkRoundTrip(b *testing.B) {
	ca := newAuthority(b, "root")
	srv := certified(b, ca.leaf(b, "127.0.0.1", nil), func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }, "h2", "http/1.1")
	u := upstream(b, newPool(b, Options{Roots: ca.pool()}), Profile{Allow: loopback})
	for _, major := range []int{1, 2} {
		var protos http.Protocols
		protos.SetHTTP1(major == 1)
		protos.SetHTTP2(major == 2)
		bare := &http.Transport{Protocols: &protos, TLSClientConfig: &tls.Config{RootCAs: ca.pool()}, MaxIdleConnsPerHost: 256, DisableCompression: true}
		b.Cleanup(bare.CloseIdleConnections)
		url := "https://" + srv.Listener.Addr().String() + "/"
		for _, c := range []struct {
			name string
			rt   http.RoundTripper
			info bool
		}{{"bare", bare, false}, {"upstream", u, false}, {"info", u, true}} {
			b.Run("h"+strconv.Itoa(major)+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					req := request(b, "GET", url, "")
					req.ProtoMajor = major
					if c.info {
						req = req.WithContext(WithInfo(req.Context(), nil, new(Info), nil))
					}
					drain(b, c.rt, req)
				}
			})
		}
	}
}

// BenchmarkOverhead is what an Upstream adds, with no peer in the way of the measurement.
func BenchmarkOverhead(b *testing.B) {
	u := upstream(b, newPool(b, Options{}), Profile{AnyClear: true})
	b.Run("context", func(b *testing.B) {
		proxy := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: none{}}
		for _, info := range []bool{false, true} {
			b.Run(strconv.FormatBool(info), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					req := httptest.NewRequest("GET", "http://api.test/", nil)
					if info {
						req = req.WithContext(WithInfo(req.Context(), nil, new(Info), nil))
					}
					proxy.ServeHTTP(httptest.NewRecorder(), req)
				}
			})
		}
	})
	b.Run("outgoing", func(b *testing.B) {
		req := request(b, "POST", "http://api.test/", "x")
		req.Header.Set("Idempotency-Key", "k")
		b.ReportAllocs()
		for b.Loop() {
			u.outgoing(req)
		}
	})
}

type none struct{}

func (none) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

func drain(b *testing.B, rt http.RoundTripper, req *http.Request) {
	resp, err := rt.RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// BenchmarkBulk moves bodies through one connection.
func BenchmarkBulk(b *testing.B) {
	const size = 8 << 20
	ca := newAuthority(b, "root")
	srv := certified(b, ca.leaf(b, "127.0.0.1", nil), func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		buf := make([]byte, 32<<10)
		for range size / len(buf) {
			_, _ = w.Write(buf)
		}
	}, "h2", "http/1.1")
	u := upstream(b, newPool(b, Options{Roots: ca.pool()}), Profile{Allow: loopback})
	for _, major := range []int{1, 2} {
		for _, upload := range []int64{0, size} {
			b.Run("h"+strconv.Itoa(major)+"/"+strconv.FormatInt(upload>>20, 10)+"MiB-up", func(b *testing.B) {
				b.SetBytes(size + upload)
				for b.Loop() {
					req := request(b, "GET", "https://"+srv.Listener.Addr().String()+"/", "")
					req.ProtoMajor = major
					if upload > 0 {
						req.Method, req.Body, req.ContentLength = "POST", io.NopCloser(io.LimitReader(zeros{}, upload)), -1
					}
					drain(b, u, req)
				}
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// BenchmarkHandshake opens connections with client certificates: by an Upstream that verifies a SPIFFE ID by
// trust bundles, and by crypto/tls alone, which verifies the same chain and a name.
func BenchmarkHandshake(b *testing.B) {
	api := identitytest.Start(b)
	ours, theirs := api.CA("acme.test"), api.CA("partner.test")
	mine, server := keyPair(ours.Issue(ourID, time.Hour)), keyPair(theirs.Issue(peerID, time.Hour))
	clients, servers := x509.NewCertPool(), x509.NewCertPool()
	clients.AddCert(ours.Bundle().X509Authorities()[0])
	servers.AddCert(theirs.Bundle().X509Authorities()[0])
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, SessionTicketsDisabled: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	acceptAll(b, l, func(c net.Conn) { _, _ = io.Copy(c, c) })
	addr := l.Addr().String()
	pool := newPool(b, Options{})
	pool.SetIdentity(identityOf(state(api.CA("acme.test").Issue(ourID, time.Hour), ours, theirs)))
	u := upstream(b, pool, Profile{ConnectTo: addr, Peer: peerID})
	plain := &tls.Config{
		Certificates: []tls.Certificate{mine}, InsecureSkipVerify: true, // the SVID has no name: the chain alone
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: servers, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	}
	for name, open := range map[string]func() (net.Conn, error){
		"plain": func() (net.Conn, error) { return tls.Dial("tcp", addr, plain) },
		"spiffe": func() (net.Conn, error) {
			return u.current().dialTLS(b.Context(), "api.test:443", []string{"http/1.1"})
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c, err := open()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := c.Write([]byte("x")); err != nil { // the server has verified ours
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					b.Fatal(err)
				}
				_ = c.Close()
			}
		})
	}
}

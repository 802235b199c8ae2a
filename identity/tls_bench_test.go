package identity

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// handshakes is a client and a server that shake hands over loopback for each byte sent to begin.
func handshakes(b *testing.B, server *tls.Config, client *tls.Config) (once func()) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := tls.Server(c, server)
			if s.Handshake() == nil {
				_, _ = s.Write([]byte("x"))
			}
			_ = c.Close()
		}
	}()
	b.Cleanup(func() { l.Close(); <-done })
	return func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		if _, err := io.ReadFull(tls.Client(c, client), make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMutualHandshake holds what mTLS by SPIFFE ID costs against the client authentication of crypto/tls, by the same
// certificates: at most 1.1 times as much. The two take turns, so that a busy machine slows both.
func BenchmarkMutualHandshake(b *testing.B) {
	api := identitytest.Start(b)
	st := stateOf(api, api.Issue(shop, time.Hour))
	cert, _, err := st.Certificate(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, c := range api.CA("acme.example").Bundle().X509Authorities() {
		roots.AddCert(c)
	}
	plain := &tls.Config{
		Certificates: []tls.Certificate{*cert}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, SessionTicketsDisabled: true,
	}
	client := &tls.Config{Certificates: []tls.Certificate{*cert}, InsecureSkipVerify: true}
	ours := handshakes(b, ServerTLS(func() *State { return st }, nil), client)
	theirs := handshakes(b, plain, client)
	var took [2]time.Duration
	for b.Loop() {
		for i, once := range []func(){ours, theirs} {
			began := time.Now()
			once()
			took[i] += time.Since(began)
		}
	}
	b.ReportMetric(float64(took[0].Microseconds())/float64(b.N), "spiffe-µs")
	b.ReportMetric(float64(took[1].Microseconds())/float64(b.N), "plain-µs")
	b.ReportMetric(float64(took[0])/float64(took[1]), "ratio")
}

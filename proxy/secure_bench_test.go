package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// BenchmarkCallerHandshake: what a caller's TLS with the proxy costs, beside the same handshake by plain
// crypto/tls: same keys, same chain, client certificate required and verified.
func BenchmarkCallerHandshake(b *testing.B) {
	s := newIdentified(b, callers(), "checkout")
	client := s.clientTLS(s.checkout(time.Hour))
	pool := x509.NewCertPool()
	for _, c := range s.trust.api.CA("acme.example").Bundle().X509Authorities() {
		pool.AddCert(c)
	}
	plain := &tls.Config{
		Certificates: []tls.Certificate{certificateOf(s.trust.own)}, SessionTicketsDisabled: true,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"h2", "http/1.1"},
	}
	run := func(b *testing.B, serve func(net.Conn)) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		b.ReportAllocs()
		for b.Loop() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				if err := tls.Client(c, client).HandshakeContext(b.Context()); err != nil {
					b.Error(err)
				}
				_, _ = c.Read(make([]byte, 1)) // until the server is done
			}()
			nc, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			serve(nc)
			<-done
		}
	}
	b.Run("crypto/tls", func(b *testing.B) {
		run(b, func(nc net.Conn) {
			c := tls.Server(nc, plain)
			if err := c.HandshakeContext(b.Context()); err != nil {
				b.Error(err)
			}
			_ = nc.Close()
		})
	})
	b.Run("attache", func(b *testing.B) {
		run(b, func(nc net.Conn) {
			c := &conn{Conn: nc, proxy: s.proxy, listener: "proxy", watch: new(watch)}
			c.secure = tls.Server(&underTLS{nc, c}, s.proxy.outerTLS)
			s.proxy.conns.admit(c, nil)
			given := false
			s.proxy.shake(c, func(accepted) bool { given = true; return true })
			if !given {
				b.Error("refused")
			}
			_ = nc.Close()
			s.proxy.conns.remove(c)
		})
	})
}

func certificateOf(svid *x509svid.SVID) tls.Certificate {
	cert := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert
}

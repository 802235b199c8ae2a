package identity

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// serveTLS answers every connection with one byte and returns its address.
func serveTLS(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// dialTLS connects, reads what the server sends, and reports whether a session was resumed.
func dialTLS(address string, config *tls.Config) (resumed bool, err error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return false, err
	}
	defer c.Close()
	tc := tls.Client(c, config)
	if _, err := io.ReadFull(tc, make([]byte, 1)); err != nil {
		return false, err
	}
	return tc.ConnectionState().DidResume, nil
}

// TestTLSResumptionAfterRevocation: no session of ours is resumed, on either side; and if one were, the trust bundle of
// the moment would still decide.
func TestTLSResumptionAfterRevocation(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		api := identitytest.Start(t)
		good := stateOf(api, api.Issue(shop, time.Hour))
		revoked := stateOf(api, api.Issue(shop, time.Hour))
		revoked.X509 = x509bundle.NewSet()
		var state atomic.Pointer[State]
		state.Store(good)
		cert, _, _ := good.Certificate(time.Now())

		// Our server, and a client that would resume.
		client := &tls.Config{
			InsecureSkipVerify: true, Certificates: []tls.Certificate{*cert}, MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(4), ServerName: "proxy.test",
		}
		server := ServerTLS(state.Load, nil)
		address := serveTLS(t, server)
		for range 3 {
			if resumed, err := dialTLS(address, client); err != nil || resumed {
				t.Errorf("version %x: resumed %v, %v", version, resumed, err)
			}
		}
		state.Store(revoked)
		if _, err := dialTLS(address, client); err == nil {
			t.Errorf("version %x: served after the revocation", version)
		}
		state.Store(good)
		tickets := server.Clone()
		tickets.SessionTicketsDisabled = false
		address = serveTLS(t, tickets)
		for range 3 {
			if _, err := dialTLS(address, client); err != nil {
				t.Error(err)
			}
		}
		state.Store(revoked)
		if _, err := dialTLS(address, client); err == nil {
			t.Errorf("version %x: a resumed session was served after the revocation", version)
		}

		// Our client, and a server that hands out tickets.
		state.Store(good)
		address = serveTLS(t, &tls.Config{Certificates: []tls.Certificate{*cert}, MaxVersion: version})
		own := ClientTLS(state.Load, pattern(t, shop), nil)
		for range 3 {
			if resumed, err := dialTLS(address, own); err != nil || resumed {
				t.Errorf("version %x: our client resumed %v, %v", version, resumed, err)
			}
		}
		cached := own.Clone()
		cached.ClientSessionCache, cached.ServerName = tls.NewLRUClientSessionCache(4), "upstream.test"
		_, _ = dialTLS(address, cached)
		state.Store(revoked)
		for _, config := range []*tls.Config{own, cached} {
			if _, err := dialTLS(address, config); err == nil {
				t.Errorf("version %x: our client accepts a server whose trust domain was revoked", version)
			}
		}
	}
}

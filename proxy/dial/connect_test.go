package dial

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// gateway is a proxy that takes CONNECT over HTTP/2 and echoes, or refuses.
type gateway struct {
	*peer
	mu      sync.Mutex
	headers []http.Header
}

func serveGateway(t testing.TB, by *identitytest.CA, id string) *gateway {
	g := &gateway{}
	g.peer = serveSVIDWith(t, keyPair(by.Issue(id, time.Hour)), func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.headers = append(g.headers, r.Header.Clone())
		g.mu.Unlock()
		switch {
		case r.Method != http.MethodConnect:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case r.Host == "no.test:443":
			w.Header().Set("Proxy-Status", `attache; error=http_request_denied; details="no_rule"`)
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "because")
		default:
			rc := http.NewResponseController(w)
			w.WriteHeader(http.StatusOK)
			_ = rc.Flush()
			buf := make([]byte, 1024)
			for {
				n, err := r.Body.Read(buf)
				if n > 0 {
					_, _ = w.Write(buf[:n])
					_ = rc.Flush()
				}
				if err != nil {
					return
				}
			}
		}
	}, "h2")
	return g
}

// throughGateway is a pool with an identity, and its way to g.
func throughGateway(t testing.TB) (*world, *gateway, *Upstream) {
	api := identitytest.Start(t)
	w := &world{ours: api.CA("acme.test"), theirs: api.CA("partner.test"), pool: newPool(t, Options{})}
	g := serveGateway(t, w.theirs, peerID)
	w.pool.SetIdentity(identityOf(state(w.ours.Issue(ourID, time.Hour), w.ours, w.theirs)))
	u := upstream(t, w.pool, Profile{ConnectTo: "127.0.0.1:" + g.port, Peer: peerID, Protocol: HTTP2})
	return w, g, u
}

func tunnelTo(t testing.TB, u *Upstream) Tunnel {
	t.Helper()
	c, err := u.Connect(t.Context(), "api.test:443", http.Header{"X-Proof": {"p"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// echo sends text and reads it back.
func echo(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != text {
		t.Fatalf("%q, %v", buf, err)
	}
}

func TestTunnelsShareOneConnection(t *testing.T) {
	_, g, u := throughGateway(t)
	for range 5 {
		c := tunnelTo(t, u)
		echo(t, c, "hello")
	}
	if n := g.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	c := tunnelTo(t, u)
	echo(t, c, "half")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || len(b) != 0 {
		t.Errorf("after half-close: %q, %v", b, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if h := g.headers[0]; h.Get("X-Proof") != "p" || h.Get("User-Agent") == "" && len(h) > 2 {
		t.Errorf("header %v", h)
	}
}

func TestTunnelRefused(t *testing.T) {
	_, _, u := throughGateway(t)
	_, err := u.Connect(t.Context(), "no.test:443", nil)
	e, ok := errors.AsType[*ConnectRefused](err)
	if !ok || e.Status != 403 || string(e.Body) != "because" || e.Header.Get("Proxy-Status") == "" {
		t.Fatalf("%v", err)
	}
	if n := u.requests.inUse(); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
	echo(t, tunnelTo(t, u), "others work")
}

// TestGatewayWrongPeerID, and one that is away: nothing is sent, and the error says which.
func TestGatewayAwayOrAnother(t *testing.T) {
	w, g, _ := throughGateway(t)
	wrong := upstream(t, w.pool, Profile{ConnectTo: "127.0.0.1:" + g.port, Peer: "spiffe://partner.test/ns/shop/sa/gateway", Protocol: HTTP2})
	_, err := wrong.Connect(t.Context(), "api.test:443", nil)
	because(t, err, TLSUnverified)
	if g.requests.Load() != 0 {
		t.Error("the CONNECT was sent")
	}
	away := upstream(t, w.pool, Profile{ConnectTo: "127.0.0.1:1", Peer: peerID, Protocol: HTTP2})
	_, err = away.Connect(t.Context(), "api.test:443", nil)
	because(t, err, ConnectFailed)
	w.pool.SetIdentity(nil)
	_, err = wrong.Connect(t.Context(), "api.test:443", nil)
	because(t, err, NoIdentity)
}

// TestGatewayConnectionLost: tunnels end, and the next one gets another connection.
func TestGatewayConnectionLost(t *testing.T) {
	_, g, u := throughGateway(t)
	c := tunnelTo(t, u)
	echo(t, c, "one")
	g.CloseClientConnections()
	if _, err := io.ReadAll(c); err == nil {
		t.Error("the tunnel ended as if it were complete")
	}
	echo(t, tunnelTo(t, u), "two")
	// net/http may have begun a dial for the attempt that still found the lost connection.
	if n := g.conns.Load(); n != 2 && n != 3 {
		t.Errorf("%d connections", n)
	}
}

// TestTunnelsThroughRotation: a tunnel goes on when our SVID is rotated, says that it should end, and new ones show the new SVID.
func TestTunnelsThroughRotation(t *testing.T) {
	w, g, u := throughGateway(t)
	old := tunnelTo(t, u)
	echo(t, old, "before")
	select {
	case <-old.Draining():
		t.Fatal("draining already")
	default:
	}
	w.pool.SetIdentity(identityOf(state(w.ours.Issue(ourID, time.Hour), w.ours, w.theirs)))
	<-old.Draining()
	echo(t, old, "after")
	echo(t, tunnelTo(t, u), "new")
	if n := g.conns.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	w.pool.SetIdentity(identityOf(state(w.ours.Issue(ourID, time.Hour), w.ours)))
	if _, err := io.ReadAll(old); err == nil {
		t.Error("the tunnel outlived the trust in the gateway")
	}
}

func TestTunnelOutlivesItsContext(t *testing.T) {
	_, _, u := throughGateway(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := u.Connect(ctx, "api.test:443", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	echo(t, c, "still there")
	_, err = u.Connect(ctx, "api.test:443", nil)
	because(t, err, Cancelled)
}

// TestColdBurstOpensOneConnection: tunnels that are wanted at once, when there is no connection yet, wait for
// one rather than each shake hands with the gateway that has just come back.
func TestColdBurstOpensOneConnection(t *testing.T) {
	_, g, u := throughGateway(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c, err := u.Connect(t.Context(), "api.test:443", nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			echo(t, c, "hello")
		})
	}
	wg.Wait()
	if n := g.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestBurstFailsTogether: nobody waits for the same failure again.
func TestBurstFailsTogether(t *testing.T) {
	w, _, _ := throughGateway(t)
	var dials atomic.Int64
	silent := listen(t, func(c net.Conn) { // accepts, and says nothing
		dials.Add(1)
		_, _ = io.Copy(io.Discard, c)
	})
	u := upstream(t, w.pool, Profile{ConnectTo: "127.0.0.1:" + silent, Peer: peerID, Protocol: HTTP2, Connect: time.Second})
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			<-start
			_, err := u.Connect(t.Context(), "api.test:443", nil)
			if e, ok := errors.AsType[*Error](err); !ok || e.Reason != ConnectTimeout {
				t.Errorf("%v", err)
			}
		})
	}
	close(start)
	wg.Wait()
	if n := dials.Load(); n > 4 { // who came later than a failure tries once more
		t.Errorf("%d dials for one silence", n)
	}
}

// TestServerStopsInTheHandshake: a connection that the server's system took and the server never saw costs no
// tunnel; a server that is never there costs a few dials.
func TestServerStopsInTheHandshake(t *testing.T) {
	w, g, _ := throughGateway(t)
	var dials, cut atomic.Int64
	cut.Store(2)
	front := listen(t, func(c net.Conn) {
		if n := dials.Add(1); n <= cut.Load() {
			_ = c.(*net.TCPConn).SetLinger(int(n) - 2) // 0 resets, -1 does not
			return
		}
		back, err := net.Dial("tcp", "127.0.0.1:"+g.port)
		if err != nil {
			t.Error(err)
			return
		}
		defer back.Close()
		go func() { _, _ = io.Copy(back, c); _ = back.Close() }() // ends with either
		_, _ = io.Copy(c, back)
	})
	u := upstream(t, w.pool, Profile{ConnectTo: "127.0.0.1:" + front, Peer: peerID, Protocol: HTTP2})
	echo(t, tunnelTo(t, u), "hello")
	if n := dials.Load(); n != 3 {
		t.Errorf("%d dials", n)
	}
	dials.Store(0)
	cut.Store(1000)
	away := upstream(t, w.pool, Profile{ConnectTo: "127.0.0.1:" + front, Peer: peerID, Protocol: HTTP2, Connect: time.Minute})
	_, err := away.Connect(t.Context(), "api.test:443", nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != TLSFailed && e.Reason != ConnectFailed {
		t.Error(err)
	}
	if n := dials.Load(); n != connectAttempts {
		t.Errorf("%d dials", n)
	}
}

// TestTunnelsAreShared: at the gateway too, a client leaves room for others.
func TestTunnelsAreShared(t *testing.T) {
	w, g, _ := throughGateway(t)
	u := upstream(t, w.pool, Profile{ConnectTo: "127.0.0.1:" + g.port, Peer: peerID, Protocol: HTTP2, MaxInFlight: 5})
	tunnel := func(client string) (Tunnel, error) {
		return u.Connect(WithInfo(t.Context(), client, new(Info), nil), "api.test:443", nil)
	}
	var held []Tunnel
	for range 4 {
		c, err := tunnel("one")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	_, err := tunnel("one")
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != ClientBusy {
		t.Errorf("more than its share: %v", err)
	}
	c, err := tunnel("another")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(held, c) {
		_ = c.Close()
	}
	if n := u.requests.inUse(); n != 0 || len(u.requests.held) != 0 {
		t.Errorf("%d places are still taken, by %v", n, u.requests.held)
	}
}

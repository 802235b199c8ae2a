package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/attache-proxy/attache/proxy/dial"
)

// fault is how a leg ends once it has passed what it was to pass.
type fault int

const (
	none  fault = iota
	reset       // RST both ways
	fin         // end of stream, on both sides
	stall       // nothing passes any more, both sides stay open
)

func (f fault) String() string { return [...]string{"none", "reset", "fin", "stall"}[f] }

// leg is one direction of a relay.
type leg struct {
	after int // bytes that pass before the fault
	fault fault
	piece int           // bytes at a time; 0: as they come
	pause time.Duration // before each piece: latency, and with piece bandwidth
}

// relay passes TCP connections on to an address, as badly as its legs say, and
// returns its own. It ends with the test.
func relay(t *testing.T, to string, up, down leg) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { relayOne(ctx, c.(*net.TCPConn), to, up, down) })
		}
	})
	t.Cleanup(func() { stop(); _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

func relayOne(ctx context.Context, client *net.TCPConn, to string, up, down leg) {
	defer client.Close()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	stopped := context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })
	defer stopped()
	var wg sync.WaitGroup
	wg.Go(func() { up.pass(ctx, server, client) })
	wg.Go(func() { down.pass(ctx, client, server) })
	wg.Wait()
}

// pass copies until the leg's fault, which it then commits.
func (g leg) pass(ctx context.Context, dst, src *net.TCPConn) {
	buf := make([]byte, 32<<10)
	if g.piece > 0 {
		buf = buf[:g.piece]
	}
	for passed := 0; g.fault == none || passed < g.after; {
		room := len(buf)
		if g.fault != none {
			room = min(room, g.after-passed)
		}
		n, err := src.Read(buf[:room])
		if n > 0 && g.pause > 0 {
			late := time.NewTimer(g.pause)
			select {
			case <-late.C:
			case <-ctx.Done():
				late.Stop()
			}
		}
		if _, werr := dst.Write(buf[:n]); werr != nil {
			_ = src.CloseRead()
			return
		}
		passed += n
		if err != nil {
			_ = dst.CloseWrite()
			return
		}
	}
	switch g.fault {
	case reset:
		_, _ = dst.SetLinger(0), src.SetLinger(0)
		_, _ = dst.Close(), src.Close()
	case fin:
		_, _ = dst.Close(), src.Close()
	case stall:
		<-ctx.Done()
	}
}

// leakless fails the test if, when all its cleanups are done, it leaves goroutines or
// descriptors behind. It is called first.
func leakless(t *testing.T) {
	t.Helper()
	before, files := goleak.IgnoreCurrent(), descriptors()
	t.Cleanup(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		limit := time.NewTimer(patience)
		defer limit.Stop()
		for err := goleak.Find(before); err != nil; err = goleak.Find(before) { // which itself waits a little
			select {
			case <-tick.C:
			case <-limit.C:
				t.Error(err)
				return
			}
		}
		for descriptors() > files {
			select {
			case <-tick.C:
			case <-limit.C:
				t.Errorf("%d descriptors, %d before", descriptors(), files)
				return
			}
		}
	})
}

// descriptors counts those that are open, where that can be told.
func descriptors() int {
	if runtime.GOOS != "linux" {
		return 0
	}
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

// brief makes a rule's upstream give up soon.
func brief(t *testing.T, to string) func(*Rule) {
	pool := dial.NewPool(dial.Options{})
	t.Cleanup(pool.Close)
	up, err := pool.Upstream(dial.Profile{
		ConnectTo: to, CA: testCA(t), Connect: time.Second, ResponseHeader: time.Second,
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(r *Rule) {
		r.Upstream = up
		r.Limits.Total = 3 * time.Second
	}
}

// handUpstream serves each TLS connection for api.test by hand. Serve ends when the
// test does: its connection is closed then.
func handUpstream(t *testing.T, serve func(c *tls.Conn, raw *net.TCPConn)) string {
	t.Helper()
	pki, err := testPKI()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{pki.leaf}, NextProtos: []string{"http/1.1"}}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				raw := c.(*net.TCPConn)
				defer raw.Close()
				defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
				serve(tls.Server(raw, conf), raw)
			})
		}
	})
	t.Cleanup(func() { stop(); _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// forget drops the events so far.
func (s *events) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

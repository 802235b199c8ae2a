package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// ends fails the test unless the other side ends the connection soon; whatever it
// sends before is its answer.
func ends(t *testing.T, c net.Conn, what string) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(soon))
	b, err := io.ReadAll(c)
	if n, ok := err.(net.Error); ok && n.Timeout() {
		t.Errorf("%s: the connection stays open", what)
	}
	return string(b)
}

// drip sends text byte by byte, one every pause, until the connection ends.
func drip(ctx context.Context, c net.Conn, text string, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// TestSlowloris: a header that comes byte by byte ends at the limit, at the
// front and inside a tunnel; it does not begin anew with each byte.
func TestSlowloris(t *testing.T) {
	to, served := counting(t)
	s := newStage(t, Options{Server: ServerLimits{HeaderRead: time.Second, Idle: time.Second}}, api(to))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	inside := s.open("api.test:443", "api.test")
	front := s.dial()
	half := s.rawH2() // its header block is not ended: no stream, so the idle limit
	_ = half.WriteHeaders(headersFrame(1, half.fields()))
	for _, c := range []net.Conn{front, inside} {
		wg.Go(func() { // for longer than ends waits
			drip(ctx, c, "GET /slow HTTP/1.1\r\nHost: api.test\r\nX-Slow: "+strings.Repeat("0", 2000), 20*time.Millisecond)
		})
	}
	s.unharmed()
	ends(t, front, "front")
	ends(t, inside, "inside")
	ends(t, half, "HTTP/2")
	if n := served.Load(); n != 2 { // of unharmed
		t.Errorf("the upstream got %d requests", n)
	}
	s.unharmed()
}

// TestSlowTLSHandshake: a handshake has to end in time, whether it stalls at
// once or in the middle, intercepted or passed on.
func TestSlowTLSHandshake(t *testing.T) {
	to, _ := counting(t)
	s := newStage(t, Options{Server: ServerLimits{Handshake: time.Second}},
		rule{spec: policy.Spec{ID: "pass", Hosts: []string{"other.test"}, Action: policy.Tunnel}, to: to}, api(to))
	var stalled []net.Conn
	hosts := []string{"api.test", "other.test"}
	for _, host := range hosts {
		for _, hello := range []string{"", "\x16\x03\x01\x01\x00\x01\x00"} {
			c := s.dial()
			stalled = append(stalled, c)
			fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n%s", host, host, hello)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("%s: %v, %v", host, res, err)
			}
		}
	}
	s.unharmed()
	for i, c := range stalled {
		ends(t, c, hosts[i/2])
	}
	for _, host := range hosts {
		e := s.events.wait(t, func(e audit.Event) bool { return e.Host == host && e.Method == http.MethodConnect && e.Reason != "" })
		if e.Reason != reasonHandshake || e.Fault != string(FaultCaller) {
			t.Errorf("%s: event %+v", host, e)
		}
	}
	s.settled()
}

// TestIdleTunnels: connections on which nothing happens are closed by their
// limits: between requests, and within a tunnel that is passed on.
func TestIdleTunnels(t *testing.T) {
	to, _ := counting(t)
	s := newStage(t, Options{Server: ServerLimits{Idle: time.Second}},
		rule{
			spec: policy.Spec{ID: "pass", Hosts: []string{"other.test"}, Action: policy.Tunnel}, to: to,
			change: func(r *Rule) { r.Limits.StreamIdle = time.Second },
		}, api(to))
	kept := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(kept, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
	h2 := s.rawH2()
	passed := s.dial()
	_, _ = io.WriteString(passed, "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(passed), nil); err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	tc := tlsFor(passed, "other.test")
	if err := tc.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	ends(t, tc, "tunnel")
	ends(t, kept, "HTTP/1")
	ends(t, h2, "HTTP/2")
	e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Host == "other.test" })
	if e.Reason != reasonIdle || e.Decision != audit.TunnelAllow {
		t.Errorf("event %+v", e)
	}
	s.settled()
}

// TestThousandHosts: names cost leaves, sessions and upstream connections; all
// of them are bounded, or end with their connections.
func TestThousandHosts(t *testing.T) {
	to, _ := counting(t)
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "api", Hosts: []string{"*.api.test"}}, attach: bearer(), to: to})
	one := func(i int) {
		host := fmt.Sprintf("h%d.api.test", i)
		c := s.open(host+":443", host)
		res, _ := s.say(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		if res.StatusCode != http.StatusOK {
			t.Fatal(host, res.Status)
		}
		_ = c.Close()
	}
	one(0)
	flat(t, func() {
		for i := range 50 { // both ends of the connections to the upstream, which stay, are in this process
			one(i)
		}
		// The rest only sign and shake hands: what an attacker would do.
		for i := range 950 {
			if _, err := s.ca.Leaf(fmt.Sprintf("l%d.api.test", i)); err != nil {
				t.Fatal(err)
			}
		}
		s.client(false, nil).CloseIdleConnections()
	})
	s.settled()
}

// TestAuditSinkBlocked: with on_full: refuse, nothing passes unrecorded: a CONNECT,
// a request inside a tunnel that was opened before and one in clear are
// refused with the reason; as soon as events are kept again, all goes on.
func TestAuditSinkBlocked(t *testing.T) {
	to, served := counting(t)
	var full atomic.Bool
	s := newStage(t, Options{AuditFull: full.Load}, api(to))
	tc := s.open("api.test:443", "api.test")
	if res, _ := s.say(tc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	full.Store(true)
	for _, ask := range []func() (*http.Response, string){
		func() (*http.Response, string) { return s.say(tc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n") },
		func() (*http.Response, string) {
			return s.say(s.dial(), "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
		},
		func() (*http.Response, string) {
			return s.say(s.dial(), "GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n")
		},
	} {
		res, body := ask()
		if res.StatusCode != http.StatusServiceUnavailable || reasonOf(t, body) != reasonAuditFull || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s", res.Status, body)
		}
	}
	if n := served.Load(); n != 1 {
		t.Errorf("the upstream got %d requests", n)
	}
	full.Store(false)
	s.unharmed()
}

func tlsFor(c net.Conn, name string) *tls.Conn {
	// The upstream's own certificate: nobody between opens the tunnel.
	return tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}) // its bytes do not matter
}

func headersFrame(stream uint32, block []byte) http2.HeadersFrameParam {
	return http2.HeadersFrameParam{StreamID: stream, BlockFragment: block}
}

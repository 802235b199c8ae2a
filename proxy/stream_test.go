package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// TestLargeBodiesOverHTTP2Tunnels: flow control, both ways at once.
func TestLargeBodiesOverHTTP2Tunnels(t *testing.T) {
	const size = 8 << 20
	s := newIdentified(t, callers(), "checkout")
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})
	s.to = to
	next := *s.live.Load()
	other := s.snapshot(t, s.rules("checkout")...)
	next.Policy, next.Rules = other.Policy, other.Rules
	s.live.Publish(&next)
	c, err := s.enter(s.clientTLS(s.checkout(time.Hour), "h2"))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	cc := s.overH2(c)
	for _, host := range []string{"api.test", "other.test"} {
		_, tunnel := s.connectH2(cc, c, host+":443", "")
		tc := s.inside(tunnel, host)
		tr := &http.Transport{DialTLSContext: dialOnce(tc)}
		res, err := (&http.Client{Transport: tr}).Post("https://"+host+"/", "text/plain", io.LimitReader(zeroes{}, size))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
			t.Fatalf("%s: %d bytes came back, %v", host, n, err)
		}
		_ = res.Body.Close()
		tr.CloseIdleConnections()
	}
}

// TestStreamToWhoReadsNothing: a client that takes nothing more does not hold its tunnel for ever, nor the end
// of the proxy up.
func TestStreamToWhoReadsNothing(t *testing.T) {
	leakless(t)
	s := newIdentified(t, callers(), "checkout")
	endless := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, zeroes{}) })
	next := *s.live.Load()
	tunnel := rule{spec: policy.Spec{ID: "pass", Hosts: []string{"other.test"}, Action: policy.Tunnel, Callers: []string{"checkout"}}, to: endless}
	tunnel.change = func(r *Rule) { r.Limits.StreamIdle = time.Second }
	other := s.snapshot(t, tunnel)
	next.Policy, next.Rules = other.Policy, other.Rules
	s.live.Publish(&next)
	open := func() {
		c, err := s.enter(s.clientTLS(s.checkout(time.Hour), "h2"))
		if err != nil {
			t.Fatal(err)
		}
		_, stream := s.connectH2(s.overH2(c), c, "other.test:443", "")
		_, _ = io.WriteString(s.inside(stream, "other.test"), "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")
	}
	open()
	s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Reason == reasonIdle && e.BytesOut > 0 })
	tunnel.change = func(r *Rule) {}
	other = s.snapshot(t, tunnel)
	next.Policy, next.Rules = other.Policy, other.Rules
	s.live.Publish(&next)
	open()
	begun := time.Now()
	s.stop()
	if took := time.Since(begun); took > soon {
		t.Errorf("the proxy took %v to end", took)
	}
}

// TestShutdownMeetsHandshakes: who has not come as far as a handshake holds nothing up, and a probe that only
// connects leaves no event.
func TestShutdownMeetsHandshakes(t *testing.T) {
	leakless(t)
	s := newIdentified(t, callers(), "checkout")
	for _, begun := range []string{"", "\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n"} {
		c, err := net.Dial("tcp", s.secure)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, begun)
		if begun == "" {
			_ = c.Close()
		}
	}
	e := s.events.wait(t, func(e audit.Event) bool { return e.Reason == reasonOuterHandshake }) // of the one in clear
	if e.Decision != audit.Refuse {
		t.Errorf("the audit says %+v", e)
	}
	begun := time.Now()
	s.stop()
	if took := time.Since(begun); took > soon {
		t.Errorf("the proxy took %v to end", took)
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if len(s.events.all) != 1 {
		t.Errorf("events: %+v", s.events.all)
	}
}

// TestClearRequestsOverHTTP2: http:// URLs sent whole, and only those.
func TestClearRequestsOverHTTP2(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	c, err := s.enter(s.clientTLS(s.checkout(time.Hour), "h2"))
	if err != nil {
		t.Fatal(err)
	}
	cc := s.overH2(c)
	req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
	res, err := cc.RoundTrip(req)
	if err != nil || res.StatusCode != 400 {
		t.Errorf("%v, %v; want 400", res, err)
	}
	if s.hits.Load() != 0 {
		t.Error("the upstream got something")
	}
}

// TestStreamsEndLikeConnections: a CONNECT over HTTP/2 ends with its client's stream, with its upstream, and
// with the proxy; each leaves its event, the other streams and no goroutine.
func TestStreamsEndLikeConnections(t *testing.T) {
	leakless(t)
	s := newIdentified(t, callers(), "checkout")
	c, err := s.enter(s.clientTLS(s.checkout(time.Hour), "h2"))
	if err != nil {
		t.Fatal(err)
	}
	cc := s.overH2(c)
	connect := func(host string) (*h2Tunnel, *tls.Conn) {
		res, tunnel := s.connectH2(cc, c, host+":443", "")
		if res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
		return tunnel, s.inside(tunnel, host)
	}
	_, stays := connect("api.test")
	gone, _ := connect("other.test")
	_ = gone.r.Close() // resets the stream
	s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Host == "other.test" })
	s.events.forget()
	_, last := connect("other.test")
	text := "GET / HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n"
	if res, body := s.say(last, text); res.StatusCode != 200 || body != "paid" {
		t.Fatal(res.Status, body)
	}
	hungUp(t, last) // its upstream has closed
	s.events.wait(t, func(e audit.Event) bool {
		return e.Type == audit.Request && e.Host == "other.test" && e.Protocol == "h2" && e.BytesOut > 0
	})
	for _, refused := range []string{"nobody.test:443", "api.test", "api.test:443:443"} {
		if res, _ := s.connectH2(cc, c, refused, ""); res.StatusCode/100 != 4 || res.Header.Get("Proxy-Status") == "" {
			t.Errorf("%s: %s", refused, res.Status)
		}
	}
	if res, body := s.say(stays, get("/")); res.StatusCode != 200 || body != "paid" {
		t.Fatal(res.Status, body)
	}
	for range 20 {
		tunnel, tc := connect("other.test")
		_ = tc.Close()
		_ = tunnel.Close()
	}
	limit := time.After(patience)
	for len(s.proxy.conns.slots) > 2 { // the connection, and the tunnel that stays
		select {
		case <-s.events.more:
		case <-limit:
			t.Fatalf("%d places are taken, want 2", len(s.proxy.conns.slots))
		case <-time.After(time.Millisecond):
		}
	}
	s.stop()
	hungUp(t, stays)
	_ = cc.Close()
}

// TestStalledTunnelStopsNoOther: an upstream that reads nothing takes its own stream's room, not that of the
// others on the connection.
func TestStalledTunnelStopsNoOther(t *testing.T) {
	s := newIdentified(t, callers(), "checkout")
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	next := *s.live.Load()
	other := s.snapshot(t, rule{spec: policy.Spec{ID: "pass", Hosts: []string{"other.test"}, Action: policy.Tunnel, Callers: []string{"checkout"}},
		to: upstream(t, func(_ http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-release
		})}, s.rules("checkout")[1])
	next.Policy, next.Rules = other.Policy, other.Rules
	s.live.Publish(&next)
	c, err := s.enter(s.clientTLS(s.checkout(time.Hour), "h2"))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	cc := s.overH2(c)
	_, works := s.connectH2(cc, c, "api.test:443", "")
	inside := s.inside(works, "api.test")
	_, stalled := s.connectH2(cc, c, "other.test:443", "")
	stuck := s.inside(stalled, "other.test")
	moving := make(telling, 1)
	go func() { // until the end of the stream: nobody takes it
		_, _ = io.WriteString(stuck, "POST / HTTP/1.1\r\nHost: other.test\r\nContent-Length: 1073741824\r\n\r\n")
		_, _ = io.CopyN(stuck, moving, 1<<30)
	}()
	<-arrived
	for stands := false; !stands; {
		select {
		case <-moving:
		case <-time.After(500 * time.Millisecond):
			stands = true
		}
	}
	answered := make(chan string, 1)
	go func() { _, body := s.say(inside, get("/")); answered <- body }()
	select {
	case body := <-answered:
		if body != "paid" {
			t.Error(body)
		}
	case <-time.After(patience):
		t.Error("another tunnel of the connection waits for the one that is stuck")
	}
	_ = stalled.Close()
}

// telling is zeroes, and tells when some are taken.
type telling chan struct{}

func (t telling) Read(b []byte) (int, error) {
	select {
	case t <- struct{}{}:
	default:
	}
	return zeroes{}.Read(b)
}

package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// evilUpstream is an upstream that tells whether it saw a request for /evil.
func evilUpstream(t *testing.T) (to string, evil *atomic.Bool) {
	evil = new(atomic.Bool)
	return upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/evil" {
			evil.Store(true)
		}
	}), evil
}

// closes fails the test unless the connection ends soon.
func closes(t *testing.T, c net.Conn, r *bufio.Reader) bool {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b, err := r.ReadByte()
	if err == nil {
		t.Errorf("the connection goes on with %q", b)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestRestOfBodyIsNoRequest: a request is answered before its body came; what
// comes later must not be taken for the next request, with our credential on it.
func TestRestOfBodyIsNoRequest(t *testing.T) {
	to, evil := evilUpstream(t)
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "no", Hosts: []string{"api.test"}, Paths: []string{"/no"}, Action: policy.Deny}}, api(to))
	for _, head := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked", "Content-Length: 1000\r\nExpect: 100-continue"} {
		for _, host := range []string{"api.test", "evil.test"} {
			tc := s.open("api.test:443", "api.test")
			_, _ = io.WriteString(tc, "POST /no HTTP/1.1\r\nHost: "+host+"\r\n"+head+"\r\n\r\n")
			if !strings.Contains(head, "Expect") {
				_, _ = io.WriteString(tc, "5\r\nbegin\r\n")
			}
			r := bufio.NewReader(tc)
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != 403 && res.StatusCode != 421 {
				t.Fatalf("%s, %s: %v, %v", head, host, res, err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			if !closes(t, tc, r) {
				_ = tc.SetDeadline(time.Now().Add(time.Second))
				_, _ = io.WriteString(tc, "GET /evil HTTP/1.1\r\nHost: api.test\r\n\r\n")
				if res, err := http.ReadResponse(r, nil); err == nil {
					t.Errorf("%s: the rest of the body was answered: %s", head, res.Status)
				}
			}
		}
	}
	if evil.Load() {
		t.Error("the upstream saw the body as a request")
	}
}

// TestSmugglingPastTheGuard: what follows a CONNECT or a request to upgrade is
// not checked as HTTP/1, so nothing that follows may be served.
func TestSmugglingPastTheGuard(t *testing.T) {
	to, evil := evilUpstream(t)
	s := newStage(t, Options{}, api(to))
	smuggle := "POST /evil HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	for name, first := range map[string]string{
		"connect":        "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n",
		"empty upgrade":  "GET / HTTP/1.1\r\nHost: api.test\r\nUpgrade:\r\n\r\n",
		"second upgrade": "GET / HTTP/1.1\r\nHost: api.test\r\nUpgrade:\r\nupgrade: x\r\n\r\n",
		"misdirected":    "GET / HTTP/1.1\r\nHost: evil.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
		"1.0 kept alive": "GET / HTTP/1.0\r\nHost: api.test\r\nUpgrade: x\r\nConnection: keep-alive\r\n\r\n",
	} {
		tc := s.open("api.test:443", "api.test")
		_, _ = io.WriteString(tc, first+smuggle)
		r := bufio.NewReader(tc)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		closes(t, tc, r)
	}
	if evil.Load() {
		t.Error("the upstream saw the request behind")
	}
}

// TestMisdirectedBeforeBody: refusals do not wait for a body.
func TestMisdirectedBeforeBody(t *testing.T) {
	to, _ := evilUpstream(t)
	s := newStage(t, Options{}, api(to))
	start := time.Now()
	tc := s.open("api.test:443", "api.test")
	if res, body := s.say(tc, "POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 10\r\n\r\nhalf"); res.StatusCode != 421 || reasonOf(t, body) != "misdirected" {
		t.Error(res.Status, body)
	}
	if res, body := s.say(s.dial(), "POST /x HTTP/1.1\r\nHost: proxy\r\nContent-Length: 10\r\n\r\nhalf"); reasonOf(t, body) != "not_a_proxy_request" {
		t.Error(res.Status, body)
	}
	if d := time.Since(start); d > soon {
		t.Errorf("answered after %v", d)
	}
}

// TestEarlyAnswerEndsWhileUploadStalls: an answer is whole though the client neither ends its
// upload nor goes away.
func TestEarlyAnswerEndsWhileUploadStalls(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_, _ = io.WriteString(w, "enough")
		_ = rc.Flush()
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
	res, err := http.ReadResponse(bufio.NewReader(tc), nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); string(b) != "enough" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestPanicBeforeBody: a panic is a 500 though the body was not read, never the 200 of a flush.
func TestPanicBeforeBody(t *testing.T) {
	to, _ := evilUpstream(t)
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "p", Hosts: []string{"api.test"}}, attach: []inject.Injector{panicking{}}, to: to})
	for _, h2 := range []bool{false, true} {
		res, err := s.client(h2, nil).Post("https://api.test/", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); res.StatusCode != 500 || strings.Contains(string(b), "7Qm2") {
			t.Errorf("h2 %v: %s %s", h2, res.Status, b)
		}
	}
}

// TestOneEventForABadBody: a body framed wrongly is its request's fault, told once.
func TestOneEventForABadBody(t *testing.T) {
	to := upstream(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	if res, body := s.say(tc, "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n"); reasonOf(t, body) != "bad_request" {
		t.Fatal(res.Status, body)
	}
	s.stop()
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if n := len(s.events.all); n != 1 {
		t.Errorf("%d events: %+v", n, s.events.all)
	}
}

// stop shuts the proxy down, so that every event is there.
func (s *stage) stop() {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = s.proxy.Shutdown(ctx)
	if n := s.proxy.InFlight(); n != 0 {
		s.Errorf("%d requests in flight", n)
	}
	if n := s.proxy.Tunnels(); n != 0 {
		s.Errorf("%d tunnels", n)
	}
}

// TestHandlersAfterShutdown: net/http would answer 200 for a handler that only returns.
func TestHandlersAfterShutdown(t *testing.T) {
	s := newStage(t, Options{})
	s.stop()
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("panicked with %v", v)
		}
	}()
	s.proxy.gated(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodConnect, "a.test:443", nil))
	t.Error("served")
}

// TestShutdownCutsWhatOutlivesIt: requests, upgrades, tunnels and handshakes end with their events.
func TestShutdownCutsWhatOutlivesIt(t *testing.T) {
	begun := make(chan struct{}, 8)
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.Copy(io.Discard, r.Body) // without it net/http does not see that the proxy is gone
			<-r.Context().Done()
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(io.Discard, rw)
	})
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "t", Hosts: []string{"other.test"}, Action: policy.Tunnel}, to: to}, api(to))
	for _, body := range []string{"\r\n", "Transfer-Encoding: chunked\r\n\r\n", "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n"} {
		_, _ = io.WriteString(s.open("api.test:443", "api.test"), "POST / HTTP/1.1\r\nHost: api.test\r\n"+body)
		<-begun
	}
	shaking := s.dial()
	_, _ = io.WriteString(shaking, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n\x16\x03")
	waiting := s.dial()
	_, _ = io.WriteString(waiting, "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n")
	for _, c := range []net.Conn{shaking, waiting} {
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
	}
	s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Opened })
	start := time.Now()
	s.stop()
	if d := time.Since(start); d > soon {
		t.Errorf("Shutdown took %v", d)
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	ends := map[string]int{}
	for _, e := range s.events.all {
		if e.Type == audit.Request {
			ends[e.RequestID]++
			if e.Reason != reasonShutdown {
				t.Errorf("%s %s ended for %q", e.Method, e.Host, e.Reason)
			}
		}
	}
	if len(ends) != 5 {
		t.Errorf("%d requests have an event, want 5", len(ends))
	}
	for id, n := range ends {
		if n != 1 {
			t.Errorf("%s has %d events", id, n)
		}
	}
}

// TestReloadMeetsTunnelBeingOpened: a tunnel decided on under the old rules and
// begun under the new ones is closed.
func TestReloadMeetsTunnelBeingOpened(t *testing.T) {
	to, _ := evilUpstream(t)
	tunnel := rule{spec: policy.Spec{ID: "t", Hosts: []string{"api.test"}, Action: policy.Tunnel}, to: to}
	s := newStage(t, Options{}, tunnel)
	c := s.dial()
	_, _ = io.WriteString(c, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	s.live.Publish(s.snapshot(t, rule{spec: policy.Spec{ID: "other", Hosts: []string{"other.test"}}, to: to}))
	tc := tlsClient(c, s.roots)
	if err := tc.HandshakeContext(t.Context()); err == nil || strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the tunnel was opened: %v", err)
	}
	s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Reason == reasonClosedByReload })
}

// TestProofAskedForLater: connections opened before every client had to prove
// who it is do not outlive that.
func TestProofAskedForLater(t *testing.T) {
	to, _ := evilUpstream(t)
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	if res, _ := s.say(tc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	next := *s.live.Load()
	next.Rules = slices.Clone(next.Rules)
	next.CallersOnly = true
	s.live.Publish(&next)
	if res, body := s.say(tc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"); res.StatusCode != 403 || reasonOf(t, body) != "caller_expired" || !res.Close {
		t.Error(res.Status, body, res.Close)
	}
}

// TestTotalLimit: it ends what no context ends, and is answered where an answer can still be given.
func TestTotalLimit(t *testing.T) {
	endless := make([]byte, 64<<10)
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/silent":
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		case "/endless":
			for _, err := w.Write(endless); err == nil; _, err = w.Write(endless) {
			}
		}
	})
	brief := func(r *Rule) { r.Limits.Total = time.Second }
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "sign", Hosts: []string{"other.test"}}, attach: []inject.Injector{&bodySigner{}}, to: to, change: brief},
		rule{spec: policy.Spec{ID: "api", Hosts: []string{"api.test"}}, attach: bearer(), to: to, change: brief})
	for _, h2 := range []bool{false, true} {
		res, err := s.client(h2, nil).Get("https://api.test/silent")
		if err != nil {
			t.Fatalf("h2 %v: %v", h2, err)
		}
		if b, _ := io.ReadAll(res.Body); res.StatusCode != 504 || reasonOf(t, string(b)) != "request_timeout" {
			t.Errorf("h2 %v: %s %s", h2, res.Status, b)
		}
	}
	tc := s.open("other.test:443", "other.test") // a signer waits for the body
	if res, body := s.say(tc, "POST / HTTP/1.1\r\nHost: other.test\r\nContent-Length: 9\r\n\r\nhalf"); res.StatusCode != 504 || reasonOf(t, body) != "request_timeout" {
		t.Error(res.Status, body)
	}
	tc = s.open("api.test:443", "api.test") // a client that does not read
	_, _ = io.WriteString(tc, "GET /endless HTTP/1.1\r\nHost: api.test\r\n\r\n")
	s.events.wait(t, func(e audit.Event) bool { return e.Status == 200 && e.Reason == "request_timeout" })
}

// bodySigner reads the whole body and notes what it finds set.
type bodySigner struct{ saw atomic.Value }

func (*bodySigner) Owns() inject.Owned    { return inject.Owned{Headers: []string{"X-Sum"}} }
func (*bodySigner) Secrets() []secret.Ref { return nil }
func (*bodySigner) Signs()                {}
func (b *bodySigner) Inject(_ context.Context, out *http.Request, _ *secret.Set) error {
	b.saw.Store(out.Header.Get("Authorization"))
	if out.Body == nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, out.Body); err != nil {
		return &inject.BodyError{Err: errors.New(canary)}
	}
	return &inject.BodyTooLargeError{Limit: 3}
}

// TestSignersRunLast: whatever the order in attach:, what signs sees what the others set.
func TestSignersRunLast(t *testing.T) {
	to, _ := evilUpstream(t)
	sign := &bodySigner{}
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "api", Hosts: []string{"api.test"}}, attach: append([]inject.Injector{sign}, bearer()...), to: to})
	res, err := s.client(true, nil).Get("https://api.test/")
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	if saw := sign.saw.Load(); saw != "Bearer "+canary {
		t.Errorf("the signer saw %q", saw)
	}
	// Its faults are the request's.
	res, err = s.client(true, nil).Post("https://api.test/", "text/plain", strings.NewReader("four"))
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(res.Body); res.StatusCode != 413 || reasonOf(t, string(b)) != "body_too_large" {
		t.Error(res.Status, string(b))
	}
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9\r\n\r\nhalf")
	_ = tc.CloseWrite()
	e := s.events.wait(t, func(e audit.Event) bool { return e.Reason == "body_aborted" || e.Reason == "client_cancelled" })
	if strings.Contains(e.Detail, "canary") {
		t.Errorf("detail %q", e.Detail)
	}
}

package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// answered is what a client made of an answer.
type answered struct {
	status int
	body   string
	whole  bool
}

func ask(c *http.Client, req *http.Request) answered {
	res, err := c.Do(req)
	if err != nil {
		return answered{}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answered{res.StatusCode, string(b), err == nil}
}

// upstreamBroke fails the test unless an answer that broke off ends as one: a
// 502 while nothing had been passed on, an abort after; by fault of the upstream.
func (s *stage) upstreamBroke(what string, a answered) {
	s.Helper()
	e := s.events.wait(s.T, func(e audit.Event) bool { return e.Type == audit.Request })
	switch {
	case e.Fault != string(FaultUpstream) || e.Decision != audit.Allow:
		s.Errorf("%s: event %+v", what, e)
	case a.status == http.StatusBadGateway && a.whole:
		// A reset right behind the accept may come before the dial has looked.
		broken := []string{"upstream_closed", "upstream_bad_response", "upstream_tls_failed", "connect_failed"}
		if got := reasonOf(s.T, a.body); !slices.Contains(broken, got) || e.Reason != got || e.Status != 502 {
			s.Errorf("%s: %s, event %+v", what, got, e)
		}
	case a.whole || a.status != http.StatusOK && a.status != 0:
		s.Errorf("%s: the client got %d %q, whole", what, a.status, a.body)
	case e.Reason != reasonUpstreamAborted:
		s.Errorf("%s: event %+v", what, e)
	}
}

// TestUpstreamGoneAtEveryByte: an answer that breaks off, wherever it does, never
// looks like a whole one.
func TestUpstreamGoneAtEveryByte(t *testing.T) {
	leakless(t)
	answers := map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
		"close":   "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello, world",
	}
	var next atomic.Pointer[string]
	var how atomic.Int64
	to := handUpstream(t, func(c *tls.Conn, raw *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, *next.Load())
		if fault(how.Load()) == reset {
			_ = raw.SetLinger(0)
		}
		_ = raw.Close() // no close_notify: TLS tells this from an end
	})
	s := newStage(t, Options{}, api(to))
	clients := []*http.Client{s.client(false, nil), s.client(true, nil)}
	for kind, whole := range answers {
		for n := range len(whole) + 1 {
			f := fin
			if n%4 == 3 {
				f = reset
			}
			what := fmt.Sprintf("%s, %v after %d bytes", kind, f, n)
			part := whole[:n]
			next.Store(&part)
			how.Store(int64(f))
			s.events.forget()
			req, _ := http.NewRequest(http.MethodPost, "https://api.test/", nil)
			a := ask(clients[n%2], req)
			if n == len(whole) && kind != "close" {
				if f == fin && (a.status != 200 || a.body != "hello, world" || !a.whole) {
					t.Errorf("%s: %+v", what, a)
				}
				continue
			}
			s.upstreamBroke(what, a)
		}
	}
	s.settled()
}

// TestUpstreamLegCut: the same below TLS: within a handshake, a record, between records.
func TestUpstreamLegCut(t *testing.T) {
	leakless(t)
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, 100<<10))
	})
	for _, f := range []fault{fin, reset} {
		for _, after := range []int{0, 1, 6, 300, 900, 1600, 3000, 20_000, 90_000} {
			s := newStage(t, Options{}, api(relay(t, behind, leg{}, leg{after: after, fault: f})))
			for _, h2 := range []bool{false, true} {
				s.events.forget()
				req, _ := http.NewRequest(http.MethodPost, "https://api.test/", strings.NewReader("body"))
				a := ask(s.client(h2, nil), req)
				s.upstreamBroke(fmt.Sprintf("%v after %d bytes, h2 %v", f, after, h2), a)
			}
		}
	}
}

// TestUpstreamStalls: an upstream that stays and says nothing more ends by the limit
// for what it owes.
func TestUpstreamStalls(t *testing.T) {
	leakless(t)
	silent := make([]byte, 0)
	half := []byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
	says := func(answer []byte) string {
		return handUpstream(t, func(c *tls.Conn, _ *net.TCPConn) {
			r := bufio.NewReader(c)
			if _, err := http.ReadRequest(r); err == nil {
				_, _ = c.Write(answer)
				_, _ = io.Copy(io.Discard, r)
			}
		})
	}
	for name, c := range map[string]struct {
		to     string
		status int
		reason string
	}{
		"no handshake":      {relay(t, says(silent), leg{}, leg{after: 0, fault: stall}), 504, "connect_timeout"},
		"half a handshake":  {relay(t, says(silent), leg{}, leg{after: 6, fault: stall}), 504, "connect_timeout"},
		"no header":         {says(silent), 504, "upstream_timeout"},
		"half a header":     {says(half[:20]), 504, "upstream_timeout"},
		"half of an answer": {says(half), 200, "request_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "api", Hosts: []string{"api.test"}}, attach: bearer(), change: brief(t, c.to)})
			req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
			a := ask(s.client(false, nil), req)
			e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request })
			if a.status != c.status || a.whole != (c.status == 504) || e.Reason != c.reason || e.Fault != string(FaultUpstream) {
				t.Errorf("%d, whole %v, event %+v; want %d %s", a.status, a.whole, e, c.status, c.reason)
			}
			s.settled()
		})
	}
}

// TestSlowLegs: bytes that come one by one, or late, are the same bytes.
func TestSlowLegs(t *testing.T) {
	leakless(t)
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})
	slow := leg{piece: 3}
	late := leg{pause: 2e6}
	body := strings.Repeat("0123456789abcdef", 512)
	for _, l := range []leg{slow, late} {
		s := newStage(t, Options{}, api(relay(t, behind, l, l)))
		s.addr = relay(t, s.addr, l, l)
		for _, h2 := range []bool{false, true} {
			req, _ := http.NewRequest(http.MethodPost, "https://api.test/", strings.NewReader(body))
			if a := ask(s.client(h2, nil), req); a.status != 200 || a.body != body || !a.whole {
				t.Errorf("%+v, h2 %v: %d, %d bytes, whole %v", l, h2, a.status, len(a.body), a.whole)
			}
		}
		s.settled()
	}
}

// TestSlowClose: an upstream that has answered and neither closes nor reads does not hold
// up the client, nor the end.
func TestSlowClose(t *testing.T) {
	leakless(t)
	to := handUpstream(t, func(c *tls.Conn, _ *net.TCPConn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		_, _ = io.Copy(io.Discard, r)
	})
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
		if a := ask(s.client(h2, nil), req); a != (answered{200, "ok", true}) {
			t.Errorf("h2 %v: %+v", h2, a)
		}
	}
	s.stop()
}

// TestUpstreamGoneMidDownload: the client learns that the answer is not whole.
func TestUpstreamGoneMidDownload(t *testing.T) {
	leakless(t)
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1<<20))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		s.events.forget()
		req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
		a := ask(s.client(h2, nil), req)
		s.upstreamBroke(fmt.Sprintf("h2 %v", h2), a)
		if a.status != 200 {
			t.Errorf("h2 %v: %d", h2, a.status)
		}
	}
	s.settled()
}

// TestStaleUpstreamConnectionThroughProxy: an upstream that closes as a POST is sent has
// it once, and the client a 502.
func TestStaleUpstreamConnectionThroughProxy(t *testing.T) {
	leakless(t)
	var posts atomic.Int64
	to := handUpstream(t, func(c *tls.Conn, raw *net.TCPConn) {
		r := bufio.NewReader(c)
		for first := true; ; first = false {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if !first {
				posts.Add(1)
				return // as servers do whose idle timeout comes now
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		posts.Store(0)
		s.events.forget()
		var got []int
		for range 2 {
			req, _ := http.NewRequest(http.MethodPost, "https://api.test/", strings.NewReader("once"))
			got = append(got, ask(s.client(h2, nil), req).status)
		}
		if !slices.Equal(got, []int{200, 502}) || posts.Load() != 1 {
			t.Errorf("h2 %v: %v, %d POSTs", h2, got, posts.Load())
		}
		s.events.wait(t, func(e audit.Event) bool { return e.Reason == "upstream_closed" && e.Attempts == 1 })
	}
}

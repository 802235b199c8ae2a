package proxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/proxy/audit"
)

// TestUnhandledRequestsSpeak: what net/http refuses by itself, or is not shown, is told as every refusal is, and leaves
// one event: over HTTP/1 outside a tunnel and inside, as a connection's first request and as a later one.
func TestUnhandledRequestsSpeak(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	s := newStage(t, Options{}, api(to))
	big := strings.Repeat("x", 1<<10)
	for name, c := range map[string]struct {
		text, reason string
		status       int
	}{
		"header too large": {"GET / HTTP/1.1\r\nHost: api.test\r\n" + strings.Repeat("X-Big: "+big+"\r\n", 70) + "\r\n", "header_too_large", 431},
		"expectation":      {"GET / HTTP/1.1\r\nHost: api.test\r\nExpect: tea\r\n\r\n", "expectation_unknown", 417},
		"no host":          {"GET / HTTP/1.1\r\n\r\n", "bad_request", 400},
		"header name":      {"GET / HTTP/1.1\r\nHost: api.test\r\nX Y: 1\r\n\r\n", "bad_request", 400},
		"version":          {"GET / HTTP/3.0\r\nHost: api.test\r\n\r\n", "bad_request", 400},
		"coding":           {"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: gzip\r\n\r\n", "bad_request", 400},
		"request line":     {"nonsense\r\n\r\n", "bad_request", 400},
		"framing":          {"GET / HTTP/1.1\r\nHost: api.test\r\n folded\r\n\r\n", "bad_request", 400},
		"CONNECT":          {"CONNECT api.test:443 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "bad_request", 400},
	} {
		for _, inside := range []bool{false, true} {
			for _, later := range []bool{false, true} {
				if later && !inside || inside && name == "CONNECT" {
					continue
				}
				what := fmt.Sprintf("%s, inside %v, later %v", name, inside, later)
				nc := net.Conn(nil)
				if inside {
					nc = s.open("api.test:443", "api.test")
				} else {
					nc = s.dial()
				}
				if later {
					if res, b := s.say(nc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"); b != "ok" {
						t.Fatal(what, res.Status, b)
					}
				}
				s.refusedUnhandled(what, nc, c.text, c.reason, c.status, inside)
			}
		}
	}
}

func (s *stage) refusedUnhandled(what string, nc net.Conn, text, reason string, status int, inside bool) {
	s.Helper()
	defer nc.Close()
	res, body := s.say(nc, text)
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		s.Errorf("%s: %s, %q", what, res.Status, body)
		return
	}
	if p.Reason != reason || p.Status != status || res.StatusCode != status || p.Hint == "" || !res.Close ||
		res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(res.Header.Get("Proxy-Status"), reason) {
		s.Errorf("%s: %s, %v, %s", what, res.Status, res.Header, body)
	}
	e := s.events.wait(s.T, func(e audit.Event) bool { return e.RequestID == p.RequestID })
	if e.Reason != reason || e.Status != status || e.Decision != audit.Refuse || e.Fault != "caller" || e.Listener != "proxy" || inside != (e.Host == "api.test") {
		s.Errorf("%s: event %+v", what, e)
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	for _, other := range s.events.all {
		if other.Reason == reason && other.RequestID != p.RequestID {
			s.Errorf("%s: another event %+v", what, other)
		}
	}
	s.events.all = nil
}

// TestAnswerThatLooksUnhandled: an upstream cannot make its answer count as net/http's own.
func TestAnswerThatLooksUnhandled(t *testing.T) {
	const fake = "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(2*len(fake))) // no chunks around it
		for range 2 {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, fake)
		}
	})
	for _, masked := range []bool{true, false} {
		r := api(to)
		if !masked {
			r.attach = nil
		}
		s := newStage(t, Options{}, r)
		tc := s.open("api.test:443", "api.test")
		br := bufio.NewReader(tc)
		for range 2 {
			_, _ = io.WriteString(tc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != fake+fake {
				t.Errorf("masked %v: %q, %v", masked, b, err)
			}
		}
	}
}

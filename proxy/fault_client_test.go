package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// watchedUpstream reads bodies to their end and tells how each request ended for it.
func watchedUpstream(t *testing.T) (to string, ended chan error) {
	ended = make(chan error, 64)
	return upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}), ended
}

// TestClientGoneMidUpload: the upstream learns that the body is not whole, whichever
// way the client goes, and the audit that it was the client.
func TestClientGoneMidUpload(t *testing.T) {
	leakless(t)
	to, ended := watchedUpstream(t)
	s := newStage(t, Options{}, api(to))
	for _, head := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
		for _, f := range []fault{fin, reset} {
			s.events.forget()
			tc := s.open("api.test:443", "api.test")
			fmt.Fprintf(tc, "POST / HTTP/1.1\r\nHost: api.test\r\n%s\r\n\r\n1000\r\n%s", head, make([]byte, 8000))
			raw := tc.NetConn().(*net.TCPConn)
			if f == reset {
				_ = raw.SetLinger(0)
			}
			_ = raw.Close()
			s.clientGone(fmt.Sprintf("%s, %v", head, f), ended)
		}
	}
	s.settled()
}

func (s *stage) clientGone(what string, ended chan error) {
	s.Helper()
	e := s.events.wait(s.T, func(e audit.Event) bool { return e.Type == audit.Request })
	if e.Fault != string(FaultCaller) || e.Reason != "client_cancelled" && e.Reason != reasonBodyAborted && e.Reason != reasonBadRequest {
		s.Errorf("%s: event %+v", what, e)
	}
	if e.ResolvedIP == "" {
		return // it was not asked
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case err := <-ended:
		if err == nil {
			s.Errorf("%s: the upstream got a whole body", what)
		}
	case <-limit.C:
		s.Errorf("%s: the upstream still waits", what)
	}
}

// TestClientGoneAtEveryByte: wherever a request breaks off, the upstream has either
// nothing, or what it knows not to be whole.
func TestClientGoneAtEveryByte(t *testing.T) {
	leakless(t)
	to, ended := watchedUpstream(t)
	s := newStage(t, Options{}, api(to))
	for _, request := range []string{
		"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\n\r\n0123456789",
		"POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
	} {
		for n := range len(request) {
			tc := s.open("api.test:443", "api.test")
			_, _ = io.WriteString(tc, request[:n])
			_ = tc.NetConn().Close()
		}
	}
	s.settled()
	s.stop() // all events are there, and no request is under way
	for {
		select {
		case err := <-ended:
			if err == nil {
				t.Error("the upstream got a whole body")
			}
			continue
		default:
		}
		break
	}
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	for _, e := range s.events.all {
		if e.Fault != string(FaultCaller) && e.Fault != string(FaultProxy) {
			t.Errorf("event %+v", e)
		}
	}
}

// TestClientLegCut: the client's leg breaks below TLS while an answer is on its way.
func TestClientLegCut(t *testing.T) {
	leakless(t)
	cancelled := make(chan struct{}, 64)
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				break
			}
		}
		<-r.Context().Done()
		cancelled <- struct{}{}
	})
	s := newStage(t, Options{}, api(to))
	direct := s.addr
	for _, f := range []fault{fin, reset} {
		for _, h2 := range []bool{false, true} {
			s.events.forget()
			s.addr = relay(t, direct, leg{}, leg{after: 150_000, fault: f})
			req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
			if a := ask(s.client(h2, nil), req); a.whole {
				t.Errorf("%v, h2 %v: whole", f, h2)
			}
			e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request })
			if e.Reason != "client_cancelled" || e.Fault != string(FaultCaller) {
				t.Errorf("%v, h2 %v: event %+v", f, h2, e)
			}
			<-cancelled
		}
	}
	s.settled()
}

// TestUploadEarlyResponse: an upstream that answers before it has read the body is heard
// at once; it is not kept by what the client still sends.
func TestUploadEarlyResponse(t *testing.T) {
	leakless(t)
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "too large")
	})
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		s.events.forget()
		body, writer := io.Pipe()
		req, _ := http.NewRequest(http.MethodPost, "https://api.test/", body)
		done := make(chan struct{})
		go func() {
			defer close(done)
			piece := bytes.Repeat([]byte("x"), 64<<10)
			for {
				if _, err := writer.Write(piece); err != nil {
					return
				}
			}
		}()
		a := ask(s.client(h2, nil), req)
		_ = body.Close()
		<-done
		if a.status != http.StatusRequestEntityTooLarge || a.body != "too large" {
			t.Errorf("h2 %v: %+v", h2, a)
		}
		s.events.wait(t, func(e audit.Event) bool { return e.Status == 413 && e.UpstreamStatus == 413 && e.Reason == "" })
	}
	s.settled()
}

// TestHalfClose: in a tunnel that is passed on, either side may end its half and still be
// answered.
func TestHalfClose(t *testing.T) {
	leakless(t)
	to := handUpstream(t, func(c *tls.Conn, raw *net.TCPConn) {
		if c.Handshake() != nil {
			return
		}
		got, err := io.ReadAll(c) // to the client's end
		if err == nil {
			_, _ = c.Write(append(got, " heard"...))
		}
		_ = c.CloseWrite()
		_ = raw.CloseWrite()
		_, _ = io.Copy(io.Discard, raw)
	})
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "pass", Hosts: []string{"other.test"}, Action: policy.Tunnel}, to: to})
	c := s.dial()
	_, _ = io.WriteString(c, "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	tc := tlsFor(c, "other.test")
	if _, err := io.WriteString(tc, "question"); err != nil {
		t.Fatal(err)
	}
	_ = tc.CloseWrite()
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(tc); string(b) != "question heard" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	_ = c.Close()
	e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request })
	if e.Reason != "" || e.Decision != audit.TunnelAllow || e.BytesIn == 0 || e.BytesOut == 0 {
		t.Errorf("event %+v", e)
	}
	s.settled()
}

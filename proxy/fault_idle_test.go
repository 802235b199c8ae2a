package proxy

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

// TestStreamIdleLimit: limits.stream_idle ends a request in which nothing moves, however
// short it is: before the answer with a 504, within it by breaking off.
func TestStreamIdleLimit(t *testing.T) {
	leakless(t)
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/half" {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	s := newStage(t, Options{}, rule{
		spec: policy.Spec{ID: "api", Hosts: []string{"api.test"}}, attach: bearer(), to: to,
		change: func(r *Rule) { r.Limits.StreamIdle = 500 * time.Millisecond },
	})
	start := time.Now()
	for _, h2 := range []bool{false, true} {
		for path, status := range map[string]int{"/silent": 504, "/half": 200} {
			s.events.forget()
			req, _ := http.NewRequest(http.MethodGet, "https://api.test"+path, nil)
			a := ask(s.client(h2, nil), req)
			e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request })
			if a.status != status || a.whole != (status == 504) || e.Reason != reasonIdle || e.Fault != string(FaultUpstream) {
				t.Errorf("%s, h2 %v: %+v, event %+v", path, h2, a, e)
			}
		}
	}
	if d := time.Since(start); d > 2*time.Second+soon {
		t.Errorf("four requests of an idle limit of 500 ms took %v", d)
	}
	s.settled()
}

// TestOpenedIsToldOnce: an upgraded connection has left its event when it is looked at for the
// first time.
func TestOpenedIsToldOnce(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw)
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello")
	r := bufio.NewReader(tc)
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	if _, err := io.ReadFull(r, make([]byte, 7)); err != nil { // so it is tracked
		t.Fatal(err)
	}
	all := s.proxy.raw.all()
	if len(all) != 1 {
		t.Fatalf("%d upgraded connections", len(all))
	}
	for _, raw := range all {
		raw.x.mu.Lock()
		raw.x.begun = raw.x.begun.Add(-2 * openedAfter)
		raw.x.mu.Unlock()
		raw.x.tick()
	}
	s.stop()
	opened := 0
	for _, e := range s.events.all {
		if e.Type == audit.Opened {
			opened++
		}
	}
	if opened != 1 {
		t.Errorf("%d opened events", opened)
	}
}

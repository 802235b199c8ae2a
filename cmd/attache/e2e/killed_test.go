package e2e

import (
	"io"
	"net/http"
	"syscall"
	"testing"
)

// TestKilledMidStream: a process that is killed leaves no word of what it was doing;
// for what lasts, the opened event is in the file already.
func TestKilledMidStream(t *testing.T) {
	t.Parallel()
	up := newSite(t, siteOptions{Names: []string{"api.test", "pass.test"}, Handler: func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw)
	}})
	s := serve(t, serveOptions{Vars: siteVars(up), Secrets: map[string]string{"key": newCanary()}, Config: oneRule + `
  - {id: pass, hosts: pass.test, tunnel: true, upstream: {connect_to: "@site"}}
`})
	upgraded := s.tunnel("api.test")
	a := upgraded.send(crlf("GET /ws HTTP/1.1", "Host: api.test", "Connection: Upgrade", "Upgrade: websocket")).response(http.MethodGet)
	if a.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(a.Status)
	}
	passed := s.dial()
	passed.connect("pass.test:443", "").fine(t)
	cfg := tlsFor("pass.test")
	cfg.RootCAs = newPool(t, up.ca)
	_, err := passed.over(cfg)
	ok(t, err)
	s.await("both opened events", func() bool { return s.auditCount("opened") == 2 })
	s.dirty = true
	s.signal(syscall.SIGKILL)
	<-s.exited
	if n := s.auditCount("opened"); n != 2 {
		t.Errorf("%d opened events", n)
	}
	if n := s.auditCount("request"); n != 0 {
		t.Errorf("%d events of the ends, which nobody saw", n)
	}
}

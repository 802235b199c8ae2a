package e2e

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// turncoat switches protocols whenever it is asked to, and then answers every
// line that it gets, whatever the line.
func turncoat(w http.ResponseWriter, r *http.Request) {
	protocol := r.Header.Get("Upgrade")
	if protocol == "" {
		who(w, r)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, crlf("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: "+protocol))
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "piped "+line)
	}
}

// notPiped sends an upgrade and fails the test if bytes after it reach the
// upstream as they are.
func notPiped(t *testing.T, protocol string) {
	t.Helper()
	s, up, key := serveOne(t, siteOptions{Handler: turncoat, H1: true})
	w := s.tunnel("api.test")
	w.send(crlf("GET /a HTTP/1.1", "Host: api.test", "Connection: Upgrade, HTTP2-Settings", "Upgrade: "+protocol, "HTTP2-Settings: AAMAAABkAAQAAP__"))
	a := w.response(http.MethodGet)
	if a.StatusCode == http.StatusSwitchingProtocols {
		t.Fatalf("Upgrade: %s was switched to", protocol)
	}
	if a.StatusCode == http.StatusOK {
		last := attached(t, up, key)
		for _, name := range []string{"Upgrade", "HTTP2-Settings"} {
			if got := last.Header.Get(name); got != "" {
				t.Errorf("the upstream got %s: %s", name, got)
			}
		}
	}
	// What follows is a request like any other, decided on like any other.
	if _, err := io.WriteString(w.conn, crlf("GET /b HTTP/1.1", "Host: evil.test")); err == nil {
		if b, err := w.tryResponse(http.MethodGet); err == nil {
			b.refused(t, http.StatusMisdirectedRequest, "misdirected")
		}
	}
}

func TestUpgradeH2C(t *testing.T)     { t.Parallel(); notPiped(t, "h2c") }
func TestUpgradeUnknown(t *testing.T) { t.Parallel(); notPiped(t, "carrier-pigeon/1.0") }

func TestHTTP2SettingsHeader(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{H1: true})
	for _, connection := range []string{"Connection: HTTP2-Settings", "Connection: keep-alive"} {
		s.raw("api.test", crlf("GET / HTTP/1.1", "Host: api.test", connection, "HTTP2-Settings: AAMAAABkAAQAAP__")).fine(t)
		if got := attached(t, up, key).Header.Get("HTTP2-Settings"); got != "" {
			t.Errorf("%s: the upstream got HTTP2-Settings: %s", connection, got)
		}
	}
}

func TestUpgradeListed(t *testing.T) {
	t.Parallel()
	s, up, key := serveRules(t, strings.Replace(oneRule, "attach:", "upgrades: [spdy/3.1], attach:", 1), siteOptions{Handler: turncoat, H1: true})
	w := s.tunnel("api.test")
	w.send(crlf("GET / HTTP/1.1", "Host: api.test", "Connection: Upgrade", "Upgrade: SPDY/3.1"))
	if a, err := http.ReadResponse(w.r, nil); err != nil || a.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %v, %v, want 101", a, err)
	}
	attached(t, up, key)
	w.send("hello\n")
	if line, err := w.r.ReadString('\n'); err != nil || line != "piped hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{H1: true, Streams: true, Handler: func(w http.ResponseWriter, r *http.Request) {
		websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }}.ServeHTTP(w, r)
	}})
	cfg, err := websocket.NewConfig("wss://api.test/socket", "https://app.test")
	ok(t, err)
	c, err := websocket.NewClient(cfg, s.tunnel("api.test").conn)
	ok(t, err)
	attached(t, up, key)
	for _, n := range []int{1, 125, 126, 70_000} {
		sent, got := pattern(n), make([]byte, n)
		_, err := c.Write(sent)
		ok(t, err)
		_, err = io.ReadFull(c, got)
		ok(t, err)
		equalBytes(t, "the echo", got, sent)
	}
	ok(t, c.Close())
	s.await("the audited end of the connection", func() bool { return s.auditCount("request") > 0 })
	if s.auditCount("opened") != 1 {
		t.Error("no opened event")
	}
}

// TestWebSocketFirstFramePipelined: a frame that comes right behind the
// request, before the 101, is not lost.
func TestWebSocketFirstFramePipelined(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{H1: true, Streams: true, Handler: func(w http.ResponseWriter, r *http.Request) {
		websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }}.ServeHTTP(w, r)
	}})
	w := s.tunnel("api.test")
	w.send(crlf("GET / HTTP/1.1", "Host: api.test", "Origin: https://app.test", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), "\x81\x82\x00\x00\x00\x00hi")
	if a, err := http.ReadResponse(w.r, nil); err != nil || a.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %v, %v, want 101", a, err)
	}
	echo := make([]byte, 4)
	if _, err := io.ReadFull(w.r, echo); err != nil || string(echo[2:]) != "hi" {
		t.Errorf("echo %q, %v", echo, err)
	}
}

// TestPipelinedAfterConnect: TLS that comes right behind the CONNECT, before
// its answer, is not lost.
func TestPipelinedAfterConnect(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	w := s.dial()
	early := &eager{wire: w, head: crlf("CONNECT api.test:443 HTTP/1.1", "Host: api.test:443")}
	c := tls.Client(early, &tls.Config{ServerName: "api.test", RootCAs: s.caPool()})
	ok(t, c.HandshakeContext(t.Context()))
	inner := s.newWire(c)
	inner.send(crlf("GET / HTTP/1.1", "Host: api.test")).response(http.MethodGet).fine(t)
	attached(t, up, key)
}

// eager sends head together with the first bytes, and takes the answer to
// head off what it reads.
type eager struct {
	*wire
	head string
	read bool
}

func (e *eager) Write(b []byte) (int, error) {
	n, err := e.conn.Write(append([]byte(e.head), b...))
	n -= len(e.head)
	e.head = ""
	return max(n, 0), err
}

func (e *eager) Read(b []byte) (int, error) {
	if !e.read {
		e.read = true
		if _, err := http.ReadResponse(e.r, &http.Request{Method: http.MethodConnect}); err != nil {
			return 0, err
		}
	}
	return e.r.Read(b)
}

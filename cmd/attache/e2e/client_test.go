package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. Nothing waits for its end but what fails, so that
// it is long enough for a machine that does other things.
const patience = time.Minute

type clientOptions struct {
	H1    bool          // offer HTTP/1.1 only
	User  *url.Userinfo // in the proxy's URL
	Proxy string        // default: the server's proxy address
	TLS   func(*tls.Config)
}

// client is Go's own, through the proxy.
func (s *server) client(o clientOptions) *http.Client {
	s.t.Helper()
	if o.Proxy == "" {
		o.Proxy = s.proxy
	}
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: o.Proxy, User: o.User}),
		TLSClientConfig:   &tls.Config{RootCAs: s.caPool()},
		ForceAttemptHTTP2: !o.H1,
	}
	if o.H1 {
		tr.Protocols = new(http.Protocols)
		tr.Protocols.SetHTTP1(true)
	}
	if o.TLS != nil {
		o.TLS(tr.TLSClientConfig)
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport: tr, Timeout: 60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is a whole response.
type answer struct {
	*http.Response
	body []byte
}

// reason is the code in a refusal's problem document, or empty.
func (a answer) reason() string {
	var p struct{ Reason string }
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(a.body, &p) == nil {
		return p.Reason
	}
	return ""
}

// refused fails the test unless the answer is the refusal with that status and reason.
func (a answer) refused(t *testing.T, status int, reason string) {
	t.Helper()
	if a.StatusCode != status || a.reason() != reason {
		t.Errorf("answer %s, reason %q (%s), want %d %s", a.Status, a.reason(), a.body, status, reason)
	}
}

// fine fails the test unless the answer has status 200.
func (a answer) fine(t *testing.T) answer {
	t.Helper()
	if a.StatusCode != http.StatusOK {
		t.Fatalf("answer %s: %s", a.Status, a.body)
	}
	return a
}

// do sends a request and reads the whole answer, which is searched for secrets later.
func (s *server) do(c *http.Client, r *http.Request) answer {
	s.t.Helper()
	a, err := s.try(c, r)
	ok(s.t, err)
	return a
}

func (s *server) try(c *http.Client, r *http.Request) (answer, error) {
	resp, err := c.Do(r)
	if err != nil {
		_, _ = io.WriteString(s.received, err.Error()+"\n")
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	s.keep(resp, body)
	return answer{resp, body}, err
}

// keep has a response searched for secrets when the test ends.
func (s *server) keep(resp *http.Response, body []byte) {
	head, _ := httputil.DumpResponse(resp, false)
	_, _ = s.received.Write(append(head, body...))
	_ = resp.Trailer.Write(s.received)
}

func (s *server) get(c *http.Client, url string) answer {
	s.t.Helper()
	return s.do(c, s.request(http.MethodGet, url, nil))
}

func (s *server) request(method, url string, body io.Reader) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, url, body)
	ok(s.t, err)
	return r
}

// wire is a connection on which a test writes bytes of its own making. What
// it reads is searched for secrets.
type wire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	s    *server
}

func (s *server) newWire(c net.Conn) *wire {
	ok(s.t, c.SetDeadline(time.Now().Add(patience)))
	s.t.Cleanup(func() { _ = c.Close() })
	return &wire{t: s.t, conn: c, r: bufio.NewReader(io.TeeReader(c, s.received)), s: s}
}

// dial connects to the proxy.
func (s *server) dial() *wire {
	s.t.Helper()
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.proxy)
	ok(s.t, err)
	return s.newWire(c)
}

// send writes bytes; lines ending in LF only are for the test to avoid.
func (w *wire) send(parts ...string) *wire {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, strings.Join(parts, "")); err != nil && !gone(err) {
		w.t.Fatal(err)
	}
	return w
}

// response reads one response to a request of that method.
func (w *wire) response(method string) answer {
	w.t.Helper()
	a, err := w.tryResponse(method)
	ok(w.t, err)
	return a
}

func (w *wire) tryResponse(method string) (answer, error) {
	resp, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	if method == http.MethodConnect && resp.StatusCode == http.StatusOK {
		return answer{Response: resp}, nil
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp, body}, err
}

// closed fails the test unless the peer closes without a further byte.
func (w *wire) closed() {
	w.t.Helper()
	b, err := io.ReadAll(w.r)
	if len(b) > 0 {
		w.t.Errorf("the connection gave %q, want its end", b)
	}
	if err != nil && !gone(err) {
		w.t.Errorf("the connection was not closed: %v", err)
	}
}

// gone reports an error that means that the peer closed.
func gone(err error) bool {
	var alert tls.AlertError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &alert) ||
		errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "connection reset") ||
		strings.Contains(err.Error(), "broken pipe") || strings.Contains(err.Error(), "remote error: tls")
}

// connect sends a CONNECT and returns its answer; further header lines end in CRLF.
func (w *wire) connect(authority, lines string) answer {
	w.t.Helper()
	return w.send("CONNECT ", authority, " HTTP/1.1\r\nHost: ", authority, "\r\n", lines, "\r\n").response(http.MethodConnect)
}

// over gives a tunnel's connection to TLS.
func (w *wire) over(cfg *tls.Config) (*wire, error) {
	w.t.Helper()
	if n := w.r.Buffered(); n > 0 {
		w.t.Fatalf("%d bytes came before the handshake", n)
	}
	if cfg.RootCAs == nil {
		cfg.RootCAs = w.s.caPool()
	}
	c := tls.Client(w.conn, cfg)
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return w.s.newWire(c), nil
}

// tunnel opens CONNECT host:443 and TLS in it, ready for HTTP/1.1.
func (s *server) tunnel(host string) *wire {
	s.t.Helper()
	w := s.dial()
	if a := w.connect(host+":443", ""); a.StatusCode != http.StatusOK {
		s.t.Fatalf("CONNECT %s: %s", host, a.Status)
	}
	inner, err := w.over(tlsFor(host))
	ok(s.t, err)
	return inner
}

// raw sends one request in a tunnel of its own and returns the answer.
func (s *server) raw(host, request string) answer {
	s.t.Helper()
	method, _, _ := strings.Cut(request, " ")
	return s.tunnel(host).send(request).response(method)
}

// crlf makes of lines of text the head of an HTTP/1.1 message.
func crlf(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// pattern is n bytes in which every position differs from its neighbours.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	return b
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	ok(t, err)
	return b
}

func equalBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes came, want %d, or they differ", what, len(got), len(want))
	}
}

// noise is n bytes that do not compress.
func noise(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	ok(t, err)
	return b
}

// tlsFor is a client's TLS for HTTP/1.1 with that SNI.
func tlsFor(host string) *tls.Config {
	return &tls.Config{ServerName: host, NextProtos: []string{"http/1.1"}}
}

// A wire is a net.Conn but for its reads, which go by its buffer.

func (w *wire) Close() error                       { return w.conn.Close() }
func (w *wire) LocalAddr() net.Addr                { return w.conn.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr               { return w.conn.RemoteAddr() }
func (w *wire) SetDeadline(t time.Time) error      { return w.conn.SetDeadline(t) }
func (w *wire) SetReadDeadline(t time.Time) error  { return w.conn.SetReadDeadline(t) }
func (w *wire) SetWriteDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }

// clientHello is the first flight of a TLS client that asks for host.
func clientHello(t *testing.T, host string) string {
	t.Helper()
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	go func() { // ends when the pipe is closed
		_ = tls.Client(theirs, &tls.Config{ServerName: host}).Handshake()
	}()
	head := make([]byte, 5)
	_, err := io.ReadFull(ours, head)
	ok(t, err)
	body := make([]byte, int(head[3])<<8|int(head[4]))
	_, err = io.ReadFull(ours, body)
	ok(t, err)
	return string(head) + string(body)
}

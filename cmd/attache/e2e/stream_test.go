package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
)

// bothVersions runs a test with a client of HTTP/1.1 and one of HTTP/2.
func bothVersions(t *testing.T, s *server, test func(t *testing.T, c *http.Client)) {
	t.Helper()
	t.Run("HTTP/1.1", func(t *testing.T) { test(t, s.client(clientOptions{H1: true})) })
	t.Run("HTTP/2", func(t *testing.T) { test(t, s.client(clientOptions{})) })
}

// TestServerSentEvents: each event arrives before the next one is sent.
func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	s, _, _ := serveOne(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w).Flush
		for i := range 5 {
			_, _ = io.WriteString(w, "data: "+strconv.Itoa(i)+"\n\n")
			_ = flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}})
	bothVersions(t, s, func(t *testing.T, c *http.Client) {
		resp, err := c.Do(s.request(http.MethodGet, "https://api.test/events", nil))
		ok(t, err)
		defer func() { _ = resp.Body.Close() }()
		lines := bufio.NewReader(resp.Body)
		for i := range 5 {
			line, err := lines.ReadString('\n')
			if err != nil || line != "data: "+strconv.Itoa(i)+"\n" {
				t.Fatalf("event %d: %q, %v", i, line, err)
			}
			_, _ = lines.ReadString('\n')
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
	})
}

// TestFullDuplex: upstream and client talk by turns in one request.
func TestFullDuplex(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{Streams: true, Handler: func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		_ = control.Flush()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, "got "+line)
			_ = control.Flush()
		}
	}})
	bothVersions(t, s, func(t *testing.T, c *http.Client) {
		body, in := io.Pipe()
		resp, err := c.Do(s.request(http.MethodPost, "https://api.test/", body))
		ok(t, err)
		defer func() { _ = resp.Body.Close() }()
		out := bufio.NewReader(resp.Body)
		for _, word := range []string{"one", "two", "three"} {
			_, err := io.WriteString(in, word+"\n")
			ok(t, err)
			if line, err := out.ReadString('\n'); err != nil || line != "got "+word+"\n" {
				t.Fatalf("got %q, %v", line, err)
			}
		}
		ok(t, in.Close())
		if rest, err := io.ReadAll(out); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
	})
}

// TestExpectContinue: the body is asked for by the upstream, not by the proxy.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{H1: true, Streams: true, Handler: func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}})
	w := s.tunnel("api.test")
	w.send(crlf("POST /yes HTTP/1.1", "Host: api.test", "Expect: 100-continue", "Content-Length: 5"))
	first, err := http.ReadResponse(w.r, nil)
	ok(t, err)
	if first.StatusCode != http.StatusContinue {
		t.Fatalf("answer %s, want 100", first.Status)
	}
	if a := w.send("hello").response(http.MethodPost).fine(t); string(a.body) != "hello" {
		t.Errorf("the upstream got the body %q", a.body)
	}
	attached(t, up, key)
	// Neither an upstream's refusal nor our own waits for a body that the
	// client sends only when it is asked to.
	s.raw("api.test", crlf("TRACE / HTTP/1.1", "Host: api.test", "Expect: 100-continue", "Content-Length: 5")).refused(t, http.StatusMethodNotAllowed, "method_unsupported")
	w = s.tunnel("api.test")
	a := w.send(crlf("POST /no HTTP/1.1", "Host: api.test", "Expect: 100-continue", "Content-Length: 5")).response(http.MethodPost)
	if a.StatusCode != http.StatusExpectationFailed {
		t.Errorf("answer %s, want 417 without a 100 before it", a.Status)
	}
}

func TestEarlyHints(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		who(w, r)
	}})
	bothVersions(t, s, func(t *testing.T, c *http.Client) {
		var hints []string
		req := s.request(http.MethodGet, "https://api.test/", nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints = append(hints, strconv.Itoa(code)+" "+h.Get("Link"))
				return nil
			},
		}))
		s.do(c, req).fine(t)
		if len(hints) != 1 || hints[0] != "103 </style.css>; rel=preload" {
			t.Errorf("1xx answers %q", hints)
		}
	})
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	s, up, _ := serveOne(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Declared")
		_, _ = io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Declared", "yes")
		w.Header().Set(http.TrailerPrefix+"X-Undeclared", "too")
	}})
	bothVersions(t, s, func(t *testing.T, c *http.Client) {
		req := s.request(http.MethodPost, "https://api.test/", io.NopCloser(strings.NewReader("hello")))
		req.Trailer = http.Header{"X-Sum": {"5"}}
		a := s.do(c, req).fine(t)
		if a.Trailer.Get("X-Declared") != "yes" || a.Trailer.Get("X-Undeclared") != "too" || string(a.body) != "body" {
			t.Errorf("body %q, trailers %v", a.body, a.Trailer)
		}
		if got := up.last(t); got.Trailer.Get("X-Sum") != "5" || string(got.Body) != "hello" {
			t.Errorf("the upstream got the body %q, trailers %v", got.Body, got.Trailer)
		}
	})
}

// TestBigBodies: sized and chunked, both ways, none of it changed.
func TestBigBodies(t *testing.T) {
	t.Parallel()
	const size = 24 << 20
	content := pattern(size)
	sum := sha256.Sum256(content)
	want := hex.EncodeToString(sum[:])
	s, _, _ := serveOne(t, siteOptions{Streams: true, Handler: func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		_, _ = io.Copy(h, r.Body)
		w.Header().Set("X-Sha256", hex.EncodeToString(h.Sum(nil)))
		w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		_, _ = w.Write(content)
	}})
	bothVersions(t, s, func(t *testing.T, c *http.Client) {
		for path, length := range map[string]int64{"/sized": size, "/chunked": -1} {
			req := s.request(http.MethodPost, "https://api.test"+path, io.NopCloser(strings.NewReader(string(content))))
			req.ContentLength = length
			resp, err := c.Do(req)
			ok(t, err)
			h := sha256.New()
			n, err := io.Copy(h, resp.Body)
			_ = resp.Body.Close()
			if err != nil || n != size || hex.EncodeToString(h.Sum(nil)) != want {
				t.Errorf("%s: %d bytes came back, %v, or they differ", path, n, err)
			}
			if got := resp.Header.Get("X-Sha256"); got != want {
				t.Errorf("%s: the upstream got another body", path)
			}
			if got := resp.Header.Get("X-Length"); got != strconv.FormatInt(length, 10) {
				t.Errorf("%s: the upstream was told the length %s", path, got)
			}
			if path == "/sized" && resp.ContentLength != size {
				t.Errorf("the client was told the length %d", resp.ContentLength)
			}
		}
	})
}

// TestClientGone: the upstream learns that nobody waits any more.
func TestClientGone(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	s, _, _ := serveOne(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}})
	for _, open := range []func() *wire{
		func() *wire { return s.tunnel("api.test").send(crlf("GET / HTTP/1.1", "Host: api.test")) },
		func() *wire {
			return s.tunnel("api.test").send(crlf("POST / HTTP/1.1", "Host: api.test", "Content-Length: 0"))
		},
	} {
		w := open()
		<-began
		ok(t, w.conn.Close())
		<-ended
	}
	s.refusal("client_cancelled")
}

// TestHalfClose: in a passed-through tunnel, the end of one direction leaves the other open.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { _ = l.Close() })
	s := serve(t, serveOptions{Vars: map[string]string{"site": l.Addr().String()}, Config: `
rules: [{id: pass, hosts: pass.test, tunnel: true, upstream: {connect_to: "@site"}}]
`})
	w := s.dial()
	w.connect("pass.test:443", "").fine(t)
	hello := clientHello(t, "pass.test")
	w.send(hello)
	up, err := l.Accept()
	ok(t, err)
	defer func() { _ = up.Close() }()
	got := make([]byte, len(hello))
	_, err = io.ReadFull(up, got)
	ok(t, err)
	equalBytes(t, "the hello", got, []byte(hello))
	ok(t, w.conn.(*net.TCPConn).CloseWrite())
	if rest, err := io.ReadAll(up); len(rest) > 0 || err != nil {
		t.Fatalf("the upstream read %q, %v, want the end", rest, err)
	}
	_, err = io.WriteString(up, "still here")
	ok(t, err)
	ok(t, up.Close())
	if rest, err := io.ReadAll(w.r); string(rest) != "still here" || err != nil {
		t.Errorf("the client read %q, %v", rest, err)
	}
}

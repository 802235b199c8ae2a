package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

func TestProtocols(t *testing.T) {
	ca := newAuthority(t, "root")
	leaf := ca.leaf(t, "api.test", nil)
	both, h1, h2 := []string{"h2", "http/1.1"}, []string{"http/1.1"}, []string{"h2"}
	for name, c := range map[string]struct {
		server  []string
		profile Protocol
		major   int
		want    string
		reason  Reason
	}{
		"h1 client":                 {both, Auto, 1, "HTTP/1.1", ""},
		"h2 client":                 {both, Auto, 2, "HTTP/2.0", ""},
		"h2 client, h1 server":      {h1, Auto, 2, "HTTP/1.1", ""},
		"h2 client, server without": {nil, Auto, 2, "HTTP/1.1", ""},
		"h1 client, server without": {nil, Auto, 1, "HTTP/1.1", ""},
		"no_application_protocol":   {h2, Auto, 1, "HTTP/2.0", ""},
		"http1":                     {both, HTTP1, 2, "HTTP/1.1", ""},
		"http1, h2 server":          {h2, HTTP1, 1, "", TLSFailed},
		"http2":                     {both, HTTP2, 1, "HTTP/2.0", ""},
		"http2, h1 server":          {h1, HTTP2, 2, "", TLSFailed},
		"http2, server without":     {nil, HTTP2, 2, "", TLSFailed},
	} {
		for _, body := range []string{"", "charge"} {
			t.Run(name+" "+body, func(t *testing.T) {
				conf := &tls.Config{Certificates: []tls.Certificate{leaf}, NextProtos: c.server}
				if slices.Equal(c.server, h2) { // crypto/tls itself would let HTTP/1.1 in without ALPN
					conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
						if slices.Contains(hello.SupportedProtos, "h2") {
							return nil, nil
						}
						return &tls.Config{Certificates: conf.Certificates, NextProtos: []string{"none"}}, nil
					}
				}
				srv := serve(t, conf, func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					_, _ = io.WriteString(w, r.Proto+" "+string(b))
				})
				u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback, Protocol: c.profile})
				for range 2 {
					req := request(t, "POST", "https://api.test:"+srv.port+"/", body)
					req.ProtoMajor = c.major
					closed := &closingBody{Reader: req.Body}
					if body != "" {
						req.Body = closed
					}
					if c.reason != "" {
						refused(t, u, req, c.reason)
						closed.check(t, body != "")
						continue
					}
					if got := text(t, u, req); got != c.want+" "+body {
						t.Errorf("got %q", got)
					}
					closed.check(t, body != "")
				}
				if name == "no_application_protocol" && srv.conns.Load() != 2 {
					t.Errorf("%d connections: the host was not remembered", srv.conns.Load())
				}
			})
		}
	}
}

// closingBody cannot be read once it is closed, as the server's bodies cannot.
type closingBody struct {
	io.Reader
	closed atomic.Bool
}

func (b *closingBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.Reader.Read(p)
}

func (b *closingBody) Close() error { b.closed.Store(true); return nil }

func (b *closingBody) check(t *testing.T, want bool) {
	t.Helper()
	if b.closed.Load() != want {
		t.Errorf("body closed: %v", !want)
	}
}

// TestCleartextHTTP2: gRPC to a sidecar, by prior knowledge.
func TestCleartextHTTP2(t *testing.T) {
	port := listen(t, func(conn net.Conn) {
		rawH2(conn, func(fr *http2.Framer, stream uint32) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: header(":status", "204"), EndHeaders: true, EndStream: true})
		})
	})
	u := upstream(t, newPool(t, Options{}), Profile{ConnectTo: "127.0.0.1:" + port, Plaintext: true, Protocol: HTTP2})
	resp, err := u.RoundTrip(request(t, "GET", "https://api.test/", ""))
	if err != nil || resp.StatusCode != 204 || resp.ProtoMajor != 2 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}

func TestUnixConnectTo(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skip("no unix sockets here:", err)
	}
	srv := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	p := newPool(t, Options{})
	u := upstream(t, p, Profile{ConnectTo: "unix:" + l.Addr().String(), Plaintext: true, Via: &Via{URL: parse(t, "http://127.0.0.1:1")}})
	var info Info
	req := request(t, "GET", "https://api.test/", "")
	if got := text(t, u, req.WithContext(WithInfo(t.Context(), nil, &info, nil))); got != "api.test" {
		t.Errorf("Host %q", got)
	}
	if info.IP() != "" || info.Proto != "HTTP/1.1" {
		t.Errorf("%+v", info)
	}
	absent := upstream(t, p, Profile{ConnectTo: "unix:/nonexistent/socket", Plaintext: true})
	refused(t, absent, request(t, "GET", "https://api.test/", ""), ConnectFailed)
}

// TestConnectToKeepsTheName: dialled elsewhere, verified and addressed as ever.
func TestConnectToKeepsTheName(t *testing.T) {
	ca := newAuthority(t, "root")
	srv := certified(t, ca.leaf(t, "api.example", nil), func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+" "+r.TLS.ServerName)
	}, "h2", "http/1.1")
	u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{ConnectTo: "localhost:" + srv.port})
	if got := text(t, u, request(t, "GET", "https://api.example/", "")); got != "api.example api.example" {
		t.Errorf("got %q", got)
	}
	refused(t, u, request(t, "GET", "https://evil.example/", ""), TLSUnverified)
}

func TestInformationalAndTrailers(t *testing.T) {
	ca := newAuthority(t, "root")
	srv := certified(t, ca.leaf(t, "api.test", nil), func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("Sum", "4 "+r.Trailer.Get("Mine"))
	}, "h2", "http/1.1")
	u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback})
	for _, major := range []int{1, 2} {
		req := request(t, "POST", "https://api.test:"+srv.port+"/", "x")
		req.ProtoMajor, req.ContentLength = major, -1
		req.Trailer = http.Header{"Mine": {"kept"}}
		var hints atomic.Int64
		var info Info
		ctx := WithInfo(t.Context(), nil, &info, nil)
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 && h.Get("Link") == "</a>" {
				hints.Add(1)
			}
			return nil
		}})
		resp, err := u.RoundTrip(req.WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "body" || resp.Trailer.Get("Sum") != "4 kept" || hints.Load() != 1 {
			t.Errorf("%s: %q, trailer %v, %d hints", resp.Proto, b, resp.Trailer, hints.Load())
		}
		if info.Proto != resp.Proto || info.IP() != "127.0.0.1" || info.Reused || info.TLS == 0 {
			t.Errorf("%+v", info)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	srv := serve(t, nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusExpectationFailed) })
	u := upstream(t, newPool(t, Options{}), Profile{Allow: loopback, AnyClear: true})
	req := request(t, "POST", "http://api.test:"+srv.port+"/", "never read")
	req.Header.Set("Expect", "100-continue")
	read := &countingBody{}
	req.Body = read
	resp, err := u.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusExpectationFailed || read.reads.Load() != 0 {
		t.Errorf("%s, %d reads", resp.Status, read.reads.Load())
	}
}

type countingBody struct{ reads, closes atomic.Int64 }

func (c *countingBody) Read([]byte) (int, error) { c.reads.Add(1); return 0, errors.New("broken off") }
func (c *countingBody) Close() error             { c.closes.Add(1); return nil }

func TestUpgrade(t *testing.T) {
	port := listen(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly ")
		_, _ = io.Copy(conn, br)
		_, _ = io.WriteString(conn, " end")
	})
	u := upstream(t, newPool(t, Options{}), Profile{Allow: loopback, AnyClear: true, MaxInFlight: 1})
	req := request(t, "GET", "http://api.test:"+port+"/", "")
	req.ProtoMajor = 2
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	resp, err := u.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	rw, is := resp.Body.(io.ReadWriteCloser)
	if !is || resp.StatusCode != 101 {
		t.Fatalf("%s, %T", resp.Status, resp.Body)
	}
	refused(t, u, request(t, "GET", "http://api.test:"+port+"/", ""), Busy)
	if _, err := io.WriteString(rw, "echo"); err != nil {
		t.Fatal(err)
	}
	if err := rw.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rw)
	if string(b) != "early echo end" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	_ = rw.Close()
	if n := u.requests.inUse(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestInFlight(t *testing.T) {
	release := make(chan struct{})
	srv := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-release
		_, _ = io.WriteString(w, "late")
	})
	u := upstream(t, newPool(t, Options{}), Profile{Allow: loopback, AnyClear: true, MaxInFlight: 2})
	send := func() *http.Request { return request(t, "GET", "http://api.test:"+srv.port+"/", "") }
	a, err := u.RoundTrip(send())
	if err != nil {
		t.Fatal(err)
	}
	b, err := u.RoundTrip(send())
	if err != nil {
		t.Fatal(err)
	}
	body := &countingBody{}
	full := send()
	full.Body = body
	refused(t, u, full, Busy)
	if body.closes.Load() != 1 {
		t.Error("the body was left open")
	}
	gone, takeBack := context.WithCancel(t.Context())
	takeBack() // which says so, and that there was no room does not matter any more
	refused(t, u, send().WithContext(gone), Cancelled)
	close(release)
	if got, err := io.ReadAll(a.Body); string(got) != "late" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if n := u.requests.inUse(); n != 1 {
		t.Errorf("%d in flight after an end of body", n)
	}
	_, _ = a.Body.Close(), b.Body.Close()
	_ = b.Body.Close()
	if n := u.requests.inUse(); n != 0 {
		t.Errorf("%d in flight", n)
	}
	text(t, u, send())
}

func TestRetain(t *testing.T) {
	ca := newAuthority(t, "root")
	for _, major := range []int{1, 2} {
		release := make(chan struct{})
		srv := certified(t, ca.leaf(t, "api.test", nil), func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			if r.URL.Path == "/slow" {
				<-release
			}
			_, _ = io.WriteString(w, "end")
		}, "h2", "http/1.1")
		p := newPool(t, Options{Roots: ca.pool()})
		u := upstream(t, p, Profile{Allow: loopback})
		req := request(t, "GET", "https://api.test:"+srv.port+"/slow", "")
		req.ProtoMajor = major
		resp, err := u.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		p.Retain([]*Upstream{u})
		if upstream(t, p, Profile{Allow: loopback}) != u {
			t.Error("a kept upstream was forgotten")
		}
		p.Retain(nil)
		if upstream(t, p, Profile{Allow: loopback}) == u {
			t.Error("a forgotten upstream came back")
		}
		close(release)
		if b, err := io.ReadAll(resp.Body); string(b) != "end" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		resp.Body.Close()
		<-srv.gone // of itself: its connection did not go back to a pool
	}
}

func TestDescribe(t *testing.T) {
	ca := newAuthority(t, "root")
	p := newPool(t, Options{})
	for want, prof := range map[string]Profile{
		"TLS by public roots, HTTP/2 or 1.1":                  {},
		"10.1.2.3:443, TLS by its own roots, HTTP/1.1":        {ConnectTo: "10.1.2.3:443", CA: ca.pem(), Protocol: HTTP1},
		"unix:/run/x, in clear, HTTP/1.1":                     {ConnectTo: "unix:/run/x", Plaintext: true},
		"TLS as spiffe://a.example/b, HTTP/2":                 {Peer: "spiffe://a.example/b", CA: ca.pem(), Protocol: HTTP2},
		"TLS by public roots, HTTP/2 or 1.1, via p.test:3128": {Via: &Via{URL: parse(t, "http://p.test:3128")}},
	} {
		if got := upstream(t, p, prof).Describe(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestRememberedHostsAreBounded: upstreams that speak HTTP/2 alone are remembered, but not without end: clients
// choose the names.
func TestRememberedHostsAreBounded(t *testing.T) {
	var s hostSet
	for i := range 3 * maxHosts {
		name := strconv.Itoa(i) + ".test:443"
		s.add(name)
		if !s.has(name) {
			t.Fatal("the newest is forgotten")
		}
	}
	if n := len(s.hosts); n > maxHosts {
		t.Errorf("%d hosts are remembered", n)
	}
}

// TestAnswerToWhatIsOver: what an upstream says when its request has been given up is no answer. Go's own says 200
// when it is told that nobody listens any more.
func TestAnswerToWhatIsOver(t *testing.T) {
	end := make(chan context.CancelCauseFunc, 1)
	srv := serve(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		(<-end)(errors.New("given up"))
	})
	u := upstream(t, newPool(t, Options{}), Profile{Allow: loopback, AnyClear: true})
	for i := range 100 {
		ctx, cancel := context.WithCancelCause(t.Context())
		end <- cancel
		req := request(t, []string{"GET", "POST"}[i%2], "http://api.test:"+srv.port+"/", "body"[:i%2*4])
		refused(t, u, req.WithContext(ctx), Cancelled)
	}
	if n := u.requests.inUse(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

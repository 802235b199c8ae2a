package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/policy"
)

// rawUpstream answers every connection's first request with text as it is.
func rawUpstream(t *testing.T, text string) string {
	pki, err := testPKI()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pki.leaf}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = l.Close() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					_, _ = io.WriteString(c, text)
					_, _ = io.Copy(io.Discard, c)
				}
			})
		}
	})
	return l.Addr().String()
}

// TestUpstreamAnswersThatAreNone: a 101 that nobody asked for would be a byte pipe past every
// decision; a status that cannot be written would be a panic.
func TestUpstreamAnswersThatAreNone(t *testing.T) {
	for name, text := range map[string]string{
		"101 unasked":          "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"101 to nothing":       "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"101 without protocol": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: \r\n\r\n",
		"status 099":           "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
		"status 000":           "HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n",
	} {
		s := newStage(t, Options{}, api(rawUpstream(t, text)))
		tc := s.open("api.test:443", "api.test")
		if res, body := s.say(tc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"); res.StatusCode != 502 || reasonOf(t, body) != "upstream_bad_response" {
			t.Errorf("%s: %s %s", name, res.Status, body)
		}
		s.stop()
		for _, e := range s.events.all {
			if e.Type == audit.Opened || e.Reason != "upstream_bad_response" {
				t.Errorf("%s: %+v", name, e)
			}
		}
	}
}

// TestAnswerSpeaksToProxies: nothing in an answer sends clients elsewhere, asks
// them for proxy credentials or speaks in our name, in 1xx neither.
func TestAnswerSpeaksToProxies(t *testing.T) {
	bad := "Alt-Svc: h3=\":443\"\r\nProxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\nProxy-Connection: keep-alive\r\n" +
		"Proxy-Status: attache; error=destination_ip_prohibited\r\nProxy-Status: cdn.test; error=dns_error\r\n"
	to := rawUpstream(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n"+bad+"\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n"+bad+"\r\n")
	s := newStage(t, Options{}, api(to))
	check := func(what string, h http.Header, status int) {
		for _, name := range []string{"Alt-Svc", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Connection"} {
			if h.Get(name) != "" {
				t.Errorf("%s has %s", what, name)
			}
		}
		if got := strings.Join(h.Values("Proxy-Status"), ", "); strings.Count(got, "attache") != status || !strings.Contains(got, "cdn.test") || strings.Contains(got, "prohibited") {
			t.Errorf("%s: Proxy-Status %q", what, got)
		}
	}
	hints := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		hints++
		check("103", http.Header(h), 0)
		return nil
	}})
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.test/", nil)
	res, err := s.client(false, nil).Do(req)
	if err != nil || hints != 1 {
		t.Fatal(err, hints)
	}
	check("403", res.Header, 1)
}

// stream opens an HTTP/2 connection through the proxy and sends one request of fields.
func (s *stage) stream(fields ...hpack.HeaderField) (status string) {
	s.Helper()
	tc := s.open("api.test:443", "api.test", "h2")
	_, _ = io.WriteString(tc, http2.ClientPreface)
	fr := http2.NewFramer(tc, tc)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = fr.WriteSettings()
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		_ = enc.WriteField(f)
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: true})
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			s.Fatal(err)
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return f.ErrCode.String()
		case *http2.GoAwayFrame:
			return f.ErrCode.String()
		}
	}
}

// TestStreamsOfAnotherAuthorityOrScheme: every HTTP/2 stream is held to the
// connection's target, whatever it says where.
func TestStreamsOfAnotherAuthorityOrScheme(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	to := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Host+r.URL.Path)
	})
	s := newStage(t, Options{}, api(to))
	f := func(authority, scheme, path string, more ...string) []hpack.HeaderField {
		all := []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: scheme}, {Name: ":path", Value: path}}
		if authority != "" {
			all = append(all, hpack.HeaderField{Name: ":authority", Value: authority})
		}
		for i := 0; i < len(more); i += 2 {
			all = append(all, hpack.HeaderField{Name: more[i], Value: more[i+1]})
		}
		return all
	}
	for name, c := range map[string]struct {
		fields []hpack.HeaderField
		want   string
	}{
		"plain":              {f("api.test", "https", "/ok"), "200"},
		"other":              {f("evil.test", "https", "/bad"), "421"},
		"host beside":        {f("api.test", "https", "/bad", "host", "evil.test"), "421"},
		"host alone":         {f("", "https", "/bad", "host", "evil.test"), "421"},
		"neither":            {f("", "https", "/bad"), "421"},
		"clear":              {f("api.test", "http", "/ok"), "200"}, // goes on over TLS: net/http does not show the scheme
		"port":               {f("api.test:8443", "https", "/bad"), "421"},
		"user":               {f("api.test@evil.test", "https", "/bad"), "421"},
		"absolute path":      {f("api.test", "https", "https://evil.test/bad"), "421"},
		"asterisk":           {f("api.test", "https", "*"), "405"},
		"underscored frames": {f("api.test", "https", "/framed", "content_length", "5", "transfer_encoding", "chunked"), "200"},
	} {
		if got := s.stream(c.fields...); got != c.want && !(c.want == "421" && strings.Contains(got, "PROTOCOL_ERROR")) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, p := range seen {
		if p != "api.test/ok" && p != "api.test/framed" {
			t.Errorf("the upstream saw %s", p)
		}
	}
}

// TestUnderscoredFraming: HTTP/2 lets content_length in, and a server that
// takes "_" for "-" would be smuggled to.
func TestUnderscoredFraming(t *testing.T) {
	got := make(chan http.Header, 1)
	to := upstream(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	s := newStage(t, Options{}, api(to))
	req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
	req.Header = http.Header{"Content_Length": {"5"}, "transfer_encoding": {"chunked"}, "X_Fine": {"1"}}
	if _, err := s.client(true, nil).Do(req); err != nil {
		t.Fatal(err)
	}
	for name := range <-got {
		if c := canonical(name); c == "Content-Length" || c == "Transfer-Encoding" {
			t.Errorf("the upstream saw %s", name)
		}
	}
}

// TestTargetSpellingsInside: absolute-form, opaque and odd targets inside a tunnel never lead elsewhere.
func TestTargetSpellingsInside(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	to := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Host)
	})
	s := newStage(t, Options{}, api(to))
	for target, want := range map[string]string{
		"https://api.test/":           "200",
		"https://API.test.:443/":      "200",
		"https://u:p@api.test/":       "200",
		"//evil.test/":                "200", // a path
		"https://evil.test/":          "421",
		"http://api.test/":            "421",
		"http:///":                    "421",
		"https:evil.test":             "400",
		"https://api.test@evil.test/": "421",
		"https://api.test:8443/":      "421",
		"ftp://api.test/":             "421",
	} {
		tc := s.open("api.test:443", "api.test")
		if res, body := s.say(tc, "GET "+target+" HTTP/1.1\r\nHost: api.test\r\n\r\n"); res.Status[:3] != want {
			t.Errorf("%s: %s, want %s: %s", target, res.Status, want, body)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, h := range seen {
		if h != "api.test" {
			t.Errorf("the upstream saw Host %q", h)
		}
	}
	for _, host := range []string{"", "evil.test", "api.test:80", "[::1]", "api.test@evil.test", "api.test,evil.test"} {
		tc := s.open("api.test:443", "api.test")
		if res, _ := s.say(tc, "GET / HTTP/1.0\r\nHost: "+host+"\r\n\r\n"); res.StatusCode != 421 && res.StatusCode != 400 {
			t.Errorf("Host %q: %s", host, res.Status)
		}
	}
}

// TestClientGone: wherever the client goes away, the request ends, is told of
// once, and leaves nothing.
func TestClientGone(t *testing.T) {
	begun := make(chan struct{}, 4)
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		begun <- struct{}{}
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "begin")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		for _, path := range []string{"/head", "/body"} {
			ctx, cancel := context.WithCancel(t.Context())
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.test"+path, strings.NewReader("x"))
			done := make(chan struct{})
			go func() {
				defer close(done)
				if res, err := s.client(h2, nil).Do(req); err == nil {
					_, _ = io.ReadAll(res.Body)
				}
			}()
			<-begun
			cancel()
			<-done
		}
	}
	c := s.dial()
	_, _ = io.WriteString(c, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
	_ = c.Close()
	tc := s.open("api.test:443", "api.test") // mid-upload
	_, _ = io.WriteString(tc, "POST /up HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
	_ = tc.NetConn().(*net.TCPConn).SetLinger(0)
	_ = tc.NetConn().Close()
	s.events.wait(t, func(audit.Event) bool { return len(s.events.all) >= 6 })
	s.stop()
	ids := map[string]bool{}
	for _, e := range s.events.all {
		if ids[e.RequestID] {
			t.Errorf("twice: %+v", e)
		}
		ids[e.RequestID] = true
		if e.Reason != "client_cancelled" && e.Reason != "client_handshake" && e.Reason != "body_aborted" {
			t.Errorf("%s %s: %s %d", e.Method, e.Protocol, e.Reason, e.Status)
		}
	}
}

// TestExpectContinueRefused: a client that waits for 100 gets its refusal at
// once, no 100 before it, and the connection closes.
func TestExpectContinueRefused(t *testing.T) {
	to := rawUpstream(t, "")
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "no", Hosts: []string{"api.test"}, Paths: []string{"/no"}, Action: policy.Deny}}, api(to))
	for target, want := range map[string]int{"/no": 403, "https://evil.test/": 421, "https:x": 400} {
		start := time.Now()
		tc := s.open("api.test:443", "api.test")
		res, _ := s.say(tc, "POST "+target+" HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		if res.StatusCode != want || !res.Close {
			t.Errorf("%s: %s, close %v", target, res.Status, res.Close)
		}
		if d := time.Since(start); d > soon {
			t.Errorf("%s: answered after %v", target, d)
		}
	}
}

// TestInformationalAnswersOfOneHop: what a 1xx says of its own connection stays there (RFC 9113 §8.2.2 has
// clients reject it).
func TestInformationalAnswersOfOneHop(t *testing.T) {
	to := rawUpstream(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		var hints int
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			if hints++; h.Get("Link") == "" || h.Get("Connection") != "" || h.Get("X-Hop") != "" || h.Get("Keep-Alive") != "" {
				t.Errorf("h2 %v: the 103 has %v", h2, h)
			}
			return nil
		}})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.test/", nil)
		if res, err := s.client(h2, nil).Do(req); err != nil || res.StatusCode != 204 || hints != 1 {
			t.Errorf("h2 %v: %v, %v, %d hints", h2, res, err, hints)
		}
	}
}

// TestAnswersOfOneHop: what the upstream says to its neighbour, and what it lists
// in Connection, goes no further (RFC 9110 §7.6.1); the rest does.
func TestAnswersOfOneHop(t *testing.T) {
	to := rawUpstream(t, "HTTP/1.1 204 No Content\r\nX-End: 1\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\n")
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		res, err := s.client(h2, nil).Get("https://api.test/")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if h := res.Header; h.Get("X-End") == "" || h.Get("X-Hop") != "" || h.Get("Keep-Alive") != "" {
			t.Errorf("h2 %v: the answer has %v", h2, h)
		}
	}
}

// TestSwitchOfProtocolsOverHTTP2: HTTP/2 has no 101 (RFC 9113 §8.6), and none reaches the client.
func TestSwitchOfProtocolsOverHTTP2(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusSwitchingProtocols)
		w.WriteHeader(http.StatusNoContent)
	})
	pool := dial.NewPool(dial.Options{})
	defer pool.Close()
	up, err := pool.Upstream(dial.Profile{ConnectTo: to, CA: testCA(t), Protocol: dial.HTTP2, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	r := api(to)
	r.change = func(r *Rule) { r.Upstream = up }
	s := newStage(t, Options{}, r)
	for _, h2 := range []bool{false, true} {
		res, err := s.client(h2, nil).Get("https://api.test/")
		if err != nil || res.StatusCode != http.StatusBadGateway {
			t.Errorf("h2 %v: %v, %v; want 502", h2, res, err)
		}
	}
}

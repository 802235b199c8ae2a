package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

func api(to string) rule {
	return rule{spec: policy.Spec{ID: "api", Hosts: []string{"api.test"}}, attach: bearer(), to: to}
}

func TestCredentialArrivesOverBothProtocols(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %v", r.Proto, slices.Equal(r.Header["Authorization"], []string{"Bearer " + canary}))
	})
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		res, err := s.client(h2, nil).Get("https://api.test/x?y=1")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2] + " true"
		if string(b) != want || (res.ProtoMajor == 2) != h2 {
			t.Errorf("h2 %v: got %s over %s, want %s", h2, b, res.Proto, want)
		}
	}
	e := s.events.wait(t, func(e audit.Event) bool { return e.Protocol == "h2" })
	if e.Rule != "api" || e.Status != 200 || e.UpstreamStatus != 200 || e.Decision != audit.Allow || e.Credentials[0].Outcome != "attached" || e.Credentials[0].Generation != 1 {
		t.Errorf("event %+v", e)
	}
}

func TestPipelinedAfterConnect(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	s := newStage(t, Options{}, api(to))
	c := &pipelining{Conn: s.dial(), head: "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n"}
	tc := tlsClient(c, s.roots)
	res, body := s.say(tc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
	if res.StatusCode != 200 || body != "ok" {
		t.Fatal(res.Status, body)
	}
}

// pipelining sends its CONNECT and the first bytes of TLS in one write, and
// takes the CONNECT's answer off what comes back.
type pipelining struct {
	net.Conn
	head     string
	answered bool
}

func (p *pipelining) Write(b []byte) (int, error) {
	if p.head != "" {
		_, err := p.Conn.Write(append([]byte(p.head), b...))
		p.head = ""
		return len(b), err
	}
	return p.Conn.Write(b)
}

func (p *pipelining) Read(b []byte) (int, error) {
	if !p.answered {
		p.answered = true
		var head []byte
		for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			var one [1]byte
			if _, err := p.Conn.Read(one[:]); err != nil {
				return 0, err
			}
			head = append(head, one[0])
		}
	}
	return p.Conn.Read(b)
}

func TestRequestSmuggling(t *testing.T) {
	var served sync.Map // path → *atomic.Int64
	to := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or its answer may come before the fault in the body
		n, _ := served.LoadOrStore(r.URL.Path, &atomic.Int64{})
		n.(*atomic.Int64).Add(1)
	})
	s := newStage(t, Options{}, api(to))
	for name, text := range smuggling() {
		t.Run(name, func(t *testing.T) {
			tc := s.open("api.test:443", "api.test")
			if _, err := io.WriteString(tc, strings.NewReplacer("Host: a\r\n", "Host: api.test\r\n", "Host: a\n", "Host: api.test\n", " / ", " /"+name+" ").Replace(text)); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(tc)
			last := 0
			for {
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					break // closed
				}
				_, _ = io.Copy(io.Discard, res.Body)
				last = res.StatusCode
			}
			// A fault behind a whole request breaks that one off with the connection.
			if last != 400 && name != "SecondRequestBareLF" {
				t.Errorf("last status %d, want 400", last)
			}
			if n, ok := served.Load("/" + name); ok && n.(*atomic.Int64).Load() > 1 {
				t.Error("the upstream saw more than one request")
			}
			if _, ok := served.Load("/evil"); ok {
				t.Error("the upstream saw the smuggled request")
			}
		})
	}
}

func TestRefusalsSpeak(t *testing.T) {
	to := upstream(t, func(http.ResponseWriter, *http.Request) {})
	s := newStage(t, Options{},
		rule{spec: policy.Spec{ID: "no-refunds", Hosts: []string{"api.test"}, Paths: []string{"/refunds"}, Action: policy.Deny, Hint: "Ask #payments."}},
		rule{spec: policy.Spec{ID: "api", Owner: "payments", Hosts: []string{"api.test"}, Paths: []string{"/v1/**"}}, attach: bearer(), to: to},
		rule{spec: policy.Spec{ID: "gone", Hosts: []string{"gone.test"}}, attach: []inject.Injector{header{"X-Key", "", "gone"}}, to: to},
		rule{spec: policy.Spec{ID: "mine", Hosts: []string{"mine.test"}, Callers: []string{"app"}}, attach: bearer(), to: to},
	)
	for _, c := range []struct {
		url, reason, hint string
		status            int
	}{
		{"https://api.test/refunds", "denied_by_rule", "Ask #payments.", 403},
		{"https://api.test/v2", "path_not_allowed", "path", 403},
		{"https://api.test/v1//x", "path_ambiguous", "plain form", 400},
		{"https://gone.test/", "credential_missing", "secret", 503},
	} {
		res, err := s.client(true, nil).Get(c.url)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode != c.status || reasonOf(t, string(b)) != c.reason || !strings.Contains(string(b), c.hint) {
			t.Errorf("%s: %s %s", c.url, res.Status, b)
		}
		if got := res.Header.Get("Proxy-Status"); !strings.Contains(got, `details="`+c.reason+`"`) {
			t.Errorf("%s: Proxy-Status %q", c.url, got)
		}
	}
	res, body := s.say(s.dial(), "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")
	if res.Status != "403 attache no_rule" || reasonOf(t, body) != "no_rule" {
		t.Errorf("CONNECT to an unknown host: %s %s", res.Status, body)
	}
	res, _ = s.say(s.dial(), "CONNECT mine.test:443 HTTP/1.1\r\nHost: mine.test:443\r\nProxy-Authorization: Basic eDp5\r\n\r\n")
	if res.StatusCode != 407 || res.Header.Get("Proxy-Authenticate") == "" {
		t.Errorf("a wrong token: %s", res.Status)
	}
	if res, err := s.client(false, url.UserPassword("app", "open-sesame")).Get("https://mine.test/"); err != nil || res.StatusCode != 502 {
		t.Errorf("a right token: %v, %v (want 502: the upstream's certificate is for another name)", res, err)
	}
}

type panicking struct{ header }

func (panicking) Inject(context.Context, *http.Request, *secret.Set) error { panic(canary) }

func TestPanicInInjector(t *testing.T) {
	to := upstream(t, func(http.ResponseWriter, *http.Request) {})
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "p", Hosts: []string{"api.test"}}, attach: []inject.Injector{panicking{}}, to: to})
	for range 2 { // the process lives
		res, err := s.client(false, nil).Get("https://api.test/")
		if err != nil || res.StatusCode != 500 {
			t.Fatal(res, err)
		}
		b, _ := io.ReadAll(res.Body)
		if reasonOf(t, string(b)) != "internal" {
			t.Errorf("%s", b)
		}
	}
	e := s.events.wait(t, func(e audit.Event) bool { return e.Reason == "internal" })
	if e.Fault != "proxy" || e.Rule != "p" {
		t.Errorf("event %+v", e)
	}
}

type failingInjector struct{ header }

func (failingInjector) Inject(context.Context, *http.Request, *secret.Set) error {
	return errors.New("no key")
}

// TestFailingInjectorSendsNothing: promise 1 holds for errors of any kind, and whatever another credential did.
func TestFailingInjectorSendsNothing(t *testing.T) {
	var calls atomic.Int64
	to := upstream(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	s := newStage(t, Options{}, rule{spec: policy.Spec{ID: "f", Hosts: []string{"api.test"}}, to: to,
		attach: []inject.Injector{header{"X-Api-Key", "", "key"}, failingInjector{header{"Authorization", "", "key"}}}})
	s.both(func(s *stage, h2 bool) {
		res, body := s.get(h2, "/")
		if res.StatusCode < 500 || reasonOf(s.T, body) != reasonCredentialError {
			s.Errorf("%s %s", res.Status, body)
		}
	})
	if n := calls.Load(); n > 0 {
		t.Errorf("%d calls left", n)
	}
}

func TestTrailersBothWays(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum, X-Got")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
		w.Header().Set("X-Got", strings.Join(r.Trailer["X-Api-Key"], ","))
	})
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		req, _ := http.NewRequest(http.MethodPost, "https://api.test/", io.MultiReader(strings.NewReader("x")))
		req.Trailer = http.Header{"X-Sum": {"42"}, "X-Api-Key": {"mine"}}
		res, err := s.client(h2, nil).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.Trailer.Get("X-Sum") != "42" {
			t.Errorf("h2 %v: trailers %v", h2, res.Trailer)
		}
		if got := res.Trailer.Get("X-Got"); got != "" {
			t.Errorf("h2 %v: the client's credential trailer arrived: %q", h2, got)
		}
	}
}

func TestInformationalAnswersPass(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "ok")
	})
	s := newStage(t, Options{}, api(to))
	for _, h2 := range []bool{false, true} {
		var hints atomic.Int64
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 && h.Get("Link") != "" {
				hints.Add(1)
			}
			return nil
		}})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.test/", nil)
		if res, err := s.client(h2, nil).Do(req); err != nil || res.StatusCode != 200 || hints.Load() != 1 {
			t.Errorf("h2 %v: %v, %v, %d hints", h2, res, err, hints.Load())
		}
	}
}

func TestWebSocketFirstFramePipelined(t *testing.T) {
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
	frame := "\x81\x05hello\x81\x0bnot a\nhead\n"
	_, _ = io.WriteString(tc, "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+frame)
	r := bufio.NewReader(tc)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	got := make([]byte, len(frame))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != frame {
		t.Fatalf("%q, %v", got, err)
	}
	s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Opened })
	if n := s.proxy.Tunnels(); n != 1 {
		t.Errorf("%d tunnels", n)
	}
	// A reload that no longer allows it closes it.
	s.live.Publish(s.snapshot(t, rule{spec: policy.Spec{ID: "other", Hosts: []string{"other.test"}}, to: to}))
	if _, err := r.ReadByte(); err == nil {
		t.Error("the upgraded connection outlived its rule")
	}
	s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Status == 101 })
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		_, _ = io.WriteString(w, "whole")
	})
	s := newStage(t, Options{}, api(to))
	type answer struct {
		body string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		res, err := s.client(true, nil).Get("https://api.test/")
		if err != nil {
			got <- answer{"", err}
			return
		}
		b, err := io.ReadAll(res.Body)
		got <- answer{string(b), err}
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- s.proxy.Shutdown(ctx)
	}()
	<-s.proxy.closing
	close(finish)
	if a := <-got; a.err != nil || a.body != "whole" {
		t.Errorf("%q, %v", a.body, a.err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := net.DialTimeout("tcp", s.addr, time.Second); err == nil {
		t.Error("still accepting")
	}
}

// TestShutdownLosesNoRequestThatIsComing: who had a connection, or an answer to his CONNECT, when Shutdown began gets an answer
// to the request that he then sends, over either protocol. Who sends none is not waited for.
func TestShutdownLosesNoRequestThatIsComing(t *testing.T) {
	leakless(t)
	for _, proto := range []string{"http/1.1", "h2"} {
		for _, opened := range []bool{false, true} {
			to := upstream(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "whole") })
			s := newStage(t, Options{freshTime: patience}, api(to))
			c := s.dial()
			connect := func() {
				_, _ = io.WriteString(c, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
				if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusOK {
					t.Fatal(proto, opened, res, err)
				}
			}
			if opened { // after a request, with which it was fresh no more
				s.say(c, "GET http://unknown.test/ HTTP/1.1\r\nHost: unknown.test\r\n\r\n")
				connect()
			}
			s.freshen(1)
			stopped := make(chan error, 1)
			go func() { stopped <- s.proxy.Shutdown(t.Context()) }()
			<-s.proxy.closing
			if !opened {
				connect()
			}
			tr := &http.Transport{ForceAttemptHTTP2: proto == "h2", DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				tc := tls.Client(c, &tls.Config{RootCAs: s.roots, ServerName: "api.test", NextProtos: []string{proto}})
				return tc, tc.HandshakeContext(ctx)
			}}
			res, err := (&http.Client{Transport: tr, Timeout: patience}).Get("https://api.test/")
			if err != nil {
				t.Fatalf("%s, opened %v: %v", proto, opened, err)
			}
			if b, err := io.ReadAll(res.Body); err != nil || string(b) != "whole" {
				t.Errorf("%s, opened %v: %q, %v", proto, opened, b, err)
			}
			tr.CloseIdleConnections()
			if err := <-stopped; err != nil {
				t.Errorf("%s, opened %v: %v", proto, opened, err)
			}
		}
	}
	s := newStage(t, Options{freshTime: patience}, api("127.0.0.1:1"))
	_ = s.dial()
	s.freshen(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = s.proxy.Shutdown(ctx)
	s.freshen(0)
}

// freshen waits until n connections are fresh.
func (s *stage) freshen(n int) {
	s.Helper()
	f := &s.proxy.fresh
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		f.mu.Lock()
		now := f.n
		f.mu.Unlock()
		if now == n {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%d fresh, want %d", now, n)
		}
	}
}

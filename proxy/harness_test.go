package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/mitm"
	"github.com/attache-proxy/attache/proxy/policy"
)

const canary = `canary/+=%&<"\7Qm2xV9t`

const (
	// patience is how long a test waits for what must come: only what fails waits for its end.
	patience = 15 * time.Second
	// soon is how long what must not wait may take on a machine that does other things. Any default limit that
	// could end the wait instead is longer.
	soon = 5 * time.Second
)

// stage is a proxy with a real listener, a real CA, and real upstreams on loopback.
type stage struct {
	*testing.T
	proxy  *Proxy
	live   *Live
	events *events
	addr   string // of the proxy
	roots  *x509.CertPool
	pool   *dial.Pool
	ca     *mitm.Authority
}

// events is a sink that keeps copies.
type events struct {
	mu   sync.Mutex
	all  []audit.Event
	more chan struct{}
}

func (s *events) Record(e *audit.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *e
	c.Credentials = slices.Clone(e.Credentials)
	s.all = append(s.all, c)
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// wait returns the first event that ok accepts.
func (s *events) wait(t testing.TB, ok func(audit.Event) bool) audit.Event {
	t.Helper()
	limit := time.After(patience)
	for {
		s.mu.Lock()
		for _, e := range s.all {
			if ok(e) {
				s.mu.Unlock()
				return e
			}
		}
		s.mu.Unlock()
		select {
		case <-s.more:
		case <-limit:
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("no such event among %+v", s.all)
		}
	}
}

// rule is one rule of a stage: policy, what it attaches, where it connects.
type rule struct {
	spec   policy.Spec
	attach []inject.Injector
	to     string // connect_to
	most   int    // requests at once; 0: the default
	change func(*Rule)
}

func newStage(t *testing.T, o Options, rules ...rule) *stage {
	t.Helper()
	s := newStageTB(t, o, rules...)
	s.T = t
	return s
}

func newStageTB(t testing.TB, o Options, rules ...rule) *stage {
	t.Helper()
	s := &stage{live: &Live{}, events: &events{more: make(chan struct{}, 1)}, pool: dial.NewPool(dial.Options{})}
	snap := s.snapshot(t, rules...)
	ca, err := mitm.New(mitm.Options{}, snap.Policy.InterceptedHosts())
	if err != nil {
		t.Fatal(err)
	}
	s.ca = ca
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(ca.CAPEM())
	o.Leaf = ca.Leaf
	if o.Sinks == nil {
		o.Sinks = s.events
	}
	o.Log = slog.New(slog.DiscardHandler)
	if o.freshTime == 0 {
		o.freshTime = 20 * time.Millisecond // tests' clients leave connections open
	}
	s.live.Publish(snap)
	s.proxy = New(s.live, o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.proxy.Serve(l, "proxy") }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = s.proxy.Shutdown(ctx)
		s.pool.Close()
		<-done
		if n := s.proxy.fresh.n; n != 0 {
			s.Errorf("%d connections are still fresh", n)
		}
	})
	return s
}

func (s *stage) snapshot(t testing.TB, rules ...rule) *Snapshot {
	t.Helper()
	var specs []policy.Spec
	snap := &Snapshot{Generation: 1, Secrets: secret.NewSet(map[string]secret.Entry{
		"key":   {Current: secret.New("key", 1, time.Now(), []byte(canary))},
		"plain": {Current: secret.New("plain", 1, time.Now(), []byte("plain-key-000000"))},
		"gone":  {Problem: "not found"},
		"token": {Current: secret.New("token", 1, time.Now(), []byte("open-sesame"))},
	})}
	for _, r := range rules {
		specs = append(specs, r.spec)
		up, err := s.pool.Upstream(dial.Profile{ConnectTo: r.to, CA: testCA(t), MaxInFlight: r.most, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
		if err != nil {
			t.Fatal(err)
		}
		rt := Rule{Upstream: up}
		for _, i := range r.attach {
			rt.Attach = append(rt.Attach, Credential{Name: "cred", Kind: "test", Injector: i})
		}
		if r.change != nil {
			r.change(&rt)
		}
		snap.Rules = append(snap.Rules, rt)
	}
	p, errs := policy.New(specs)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	a, errs2 := identity.New([]identity.Spec{{Name: "app", Token: "token"}})
	if len(errs2) > 0 {
		t.Fatal(errs2)
	}
	snap.Policy, snap.Callers = p, a
	direct, err := s.pool.Upstream(dial.Profile{})
	if err != nil {
		t.Fatal(err)
	}
	snap.Direct = direct
	return snap
}

// header is an injector of one header, without the kinds' own care.
type header struct {
	name, prefix string
	secret       secret.Ref
}

func (h header) Owns() inject.Owned    { return inject.Owned{Headers: []string{h.name}} }
func (h header) Secrets() []secret.Ref { return []secret.Ref{h.secret} }
func (h header) Inject(_ context.Context, out *http.Request, set *secret.Set) error {
	v, err := set.Lookup(h.secret)
	if err != nil {
		return err
	}
	out.Header.Set(h.name, h.prefix+v.Reveal())
	return nil
}

func bearer() []inject.Injector { return []inject.Injector{header{"Authorization", "Bearer ", "key"}} }

// client returns an HTTP client that goes through the proxy.
func (s *stage) client(h2 bool, user *url.Userinfo) *http.Client {
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: s.addr, User: user}),
		TLSClientConfig:   &tls.Config{RootCAs: s.roots},
		ForceAttemptHTTP2: h2,
	}
	if s.T != nil {
		s.Cleanup(tr.CloseIdleConnections)
	}
	return &http.Client{Transport: tr, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// dial opens a raw connection to the proxy.
func (s *stage) dial() net.Conn {
	s.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// open CONNECTs to authority and ends up inside TLS.
func (s *stage) open(authority, sni string, protos ...string) *tls.Conn {
	s.Helper()
	c := s.dial()
	_, _ = io.WriteString(c, "CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 200 {
		s.Fatalf("CONNECT %s: %v, %v", authority, res, err)
	}
	tc := tls.Client(c, &tls.Config{RootCAs: s.roots, ServerName: sni, NextProtos: protos})
	if err := tc.HandshakeContext(s.Context()); err != nil {
		s.Fatalf("handshake: %v", err)
	}
	return tc
}

// say writes raw bytes and reads one answer.
func (s *stage) say(c net.Conn, text string) (*http.Response, string) {
	s.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		s.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		s.Fatalf("answer to %.60q: %v", text, err)
	}
	b, _ := io.ReadAll(res.Body)
	return res, string(b)
}

func reasonOf(t testing.TB, body string) string {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return p.Reason
}

func tlsClient(c net.Conn, roots *x509.CertPool) *tls.Conn {
	return tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "api.test"})
}

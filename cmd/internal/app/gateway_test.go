package app

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity/identitytest"
	"github.com/attache-proxy/attache/proxy/audit"
)

const (
	gatewayID = "spiffe://acme.example/ns/attache/sa/gateway"
	edgeID    = "spiffe://acme.example/ns/shop/sa/edge"
)

const gatewayConfig = `version: 1
identity: {spiffe: "@agent"}
listen: {proxy: {address: "@listen", tls: spiffe, audience: attache}, admin: "127.0.0.1:0"}
ca: {state: @dir/ca}
callers: {edge: {spiffe: "` + edgeID + `"}, checkout: {spiffe: "` + shop + `"}}
secrets: {key: {file: @dir/key}}
audit: {file: none}
limits: {shutdown_grace: 5s}
rules:
  - {id: site, hosts: example.com, callers: [checkout, edge], attach: {bearer: key}, upstream: {connect_to: "@site", ca: @dir/site.pem}}
`

const edgeConfig = `version: 1
identity: {files: @dir/svid.pem}
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0"}
gateway: {address: "@gateway", peer: "` + gatewayID + `", audience: attache}
audit: {file: none}
`

// mesh is an agent, gateways and an edge.
type mesh struct {
	*testing.T
	agent *identitytest.API // of the gateways; the edge's SVID is a file
	site  *site
	edge  *running
}

func newMesh(t *testing.T) *mesh {
	return &mesh{T: t, agent: identitytest.Start(t, gatewayID), site: newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "paid")
	})}
}

// gateway starts one on an address, with a directory of its own.
func (m *mesh) gateway(listen string) *running {
	m.Helper()
	config := strings.NewReplacer("@agent", m.agent.Addr(), "@listen", listen).Replace(gatewayConfig)
	g := launch(m.T, m.site, config, map[string]string{"key": "made-up-key-one"})
	return g
}

// again starts a stopped gateway where it was: same address, same CA.
func (m *mesh) again(g *running) *running {
	m.Helper()
	config := strings.NewReplacer("@agent", m.agent.Addr(), "@listen", g.Addr("proxy").String(), "@dir/ca", g.dir+"/ca").Replace(gatewayConfig)
	return launch(m.T, m.site, config, map[string]string{"key": "made-up-key-one"})
}

// start starts the edge.
func (m *mesh) start(gateway string) {
	m.Helper()
	m.edge = launch(m.T, nil, strings.ReplaceAll(edgeConfig, "@gateway", gateway), map[string]string{"svid.pem": m.svid()})
	await(m.T, "the edge has its identity", m.edge.Started)
}

// svid is a new one of the edge's, as one PEM file.
func (m *mesh) svid() string {
	var b bytes.Buffer
	s := m.agent.Issue(edgeID, time.Hour)
	writePEM(m.T, &b, s)
	for _, root := range m.agent.CA("acme.example").Bundle().X509Authorities() {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	}
	return b.String()
}

func writePEM(t *testing.T, w io.Writer, s *x509svid.SVID) {
	t.Helper()
	certs, key, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(certs)
	_, _ = w.Write(key)
}

// client calls through the edge, and trusts the gateways' CAs.
func (m *mesh) client(user *url.Userinfo, gateways ...*running) *http.Client {
	roots := x509.NewCertPool()
	for _, g := range gateways {
		roots.AppendCertsFromPEM(g.CAPEM())
	}
	tr := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", User: user, Host: m.edge.Addr("proxy").String()}),
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}
	m.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// ask is one call, and how it ended.
func ask(c *http.Client) error {
	res, err := c.Get("https://example.com/v1")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != 200 || string(body) != "paid") {
		err = fmt.Errorf("%d %s", res.StatusCode, body)
	}
	return err
}

// TestEdgeToGateway: an app behind an edge that holds no credential gets its call paid for by the
// gateway, known by the edge's SVID, or by its own JWT-SVID; when the gateway is away nothing is sent, and
// when it is back, all is well.
func TestEdgeToGateway(t *testing.T) {
	m := newMesh(t)
	g := m.gateway("127.0.0.1:0")
	m.start(g.Addr("proxy").String())
	if err := ask(m.client(nil, g)); err != nil {
		t.Fatal(err)
	}
	if got := m.site.received(); len(got) != 1 || got[0] != "Bearer made-up-key-one" {
		t.Errorf("upstream got %q", got)
	}
	if err := ask(m.client(url.UserPassword("jwt", m.agent.Token(shop, "attache", time.Minute)), g)); err != nil {
		t.Fatal(err)
	}
	var callers []string
	for _, e := range g.events.calls() {
		if e.Type == audit.Request && e.Rule == "site" {
			callers = append(callers, e.Caller+" by "+e.Proof)
		}
	}
	if got := strings.Join(callers, ", "); got != "edge by mtls, checkout by jwt" {
		t.Errorf("the gateway saw %s", got)
	}
	if err := g.end(); err != nil {
		t.Fatal(err)
	}
	c := m.client(nil, g)
	if err := ask(c); err == nil || !strings.Contains(err.Error(), "gateway_unavailable") {
		t.Errorf("while the gateway is away: %v", err)
	}
	m.again(g)
	if err := ask(c); err != nil {
		t.Errorf("after its return: %v", err)
	}
	if n := len(m.site.received()); n != 3 {
		t.Errorf("%d calls reached the upstream, want 3", n)
	}
}

// load calls without pause from several clients until the end, and tells how many calls there were and which failed.
type load struct {
	calls  atomic.Int64
	mu     sync.Mutex
	failed []error
	stop   chan struct{}
	wg     sync.WaitGroup
}

func startLoad(n int, client func() *http.Client) *load {
	return startCalls(n, func() func() error {
		c := client()
		return func() error { return ask(c) }
	})
}

// startCalls is startLoad for calls of any sort.
func startCalls(n int, caller func() func() error) *load {
	l := &load{stop: make(chan struct{})}
	for range n {
		call := caller()
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				if err := call(); err != nil {
					l.mu.Lock()
					l.failed = append(l.failed, err)
					l.mu.Unlock()
				}
				l.calls.Add(1)
			}
		})
	}
	return l
}

// more waits for n more calls.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	to := l.calls.Load() + n
	await(t, "more calls", func() bool { return l.calls.Load() >= to })
}

func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	if len(l.failed) > 0 {
		t.Errorf("%d of %d calls failed, the first with: %v", len(l.failed), l.calls.Load(), l.failed[0])
	}
}

// TestGatewayRotatesUnderLoad: neither SVID's rotation fails a call.
func TestGatewayRotatesUnderLoad(t *testing.T) {
	m := newMesh(t)
	g := m.gateway("127.0.0.1:0")
	m.start(g.Addr("proxy").String())
	l := startLoad(4, func() *http.Client { return m.client(nil, g) })
	for range 5 {
		l.more(t, 50)
		before := g.live.Load().Identity.Generation
		m.agent.Rotate()
		await(t, "the gateway's SVID", func() bool { return g.live.Load().Identity.Generation > before })
		l.more(t, 50)
		before = m.edge.live.Load().Identity.Generation
		m.edge.replace("svid.pem", m.svid())
		await(t, "the edge's SVID", func() bool { return m.edge.live.Load().Identity.Generation > before })
	}
	l.more(t, 50)
	l.end(t)
}

// balancer passes TCP connections on to its backends in turn, leaving out those that do not answer.
type balancer struct {
	addr string
	next atomic.Int64
}

func newBalancer(t *testing.T, backends ...string) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{addr: l.Addr().String()}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var up net.Conn
			for range backends {
				if up, err = net.Dial("tcp", backends[int(b.next.Add(1))%len(backends)]); err == nil {
					break
				}
			}
			if err != nil {
				_ = c.Close()
				continue
			}
			mu.Lock()
			open = append(open, c, up)
			mu.Unlock()
			for _, way := range [][2]net.Conn{{up, c}, {c, up}} {
				serving.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].(*net.TCPConn).CloseWrite()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return b
}

// TestGatewayReplicasBehindBalancer: a replica that is stopped in order, and one that comes, cost no call.
func TestGatewayReplicasBehindBalancer(t *testing.T) {
	m := newMesh(t)
	one, two := m.gateway("127.0.0.1:0"), m.gateway("127.0.0.1:0")
	b := newBalancer(t, one.Addr("proxy").String(), two.Addr("proxy").String())
	m.start(b.addr)
	l := startLoad(4, func() *http.Client { return m.client(nil, one, two) })
	l.more(t, 100)
	used, spare := one, two
	if len(two.events.calls()) > len(one.events.calls()) {
		used, spare = two, one
	}
	before := len(spare.events.calls())
	if err := used.end(); err != nil {
		t.Errorf("the replica stopped with %v", err)
	}
	l.more(t, 100)
	if len(spare.events.calls()) == before {
		t.Error("the other replica was not used")
	}
	m.again(used)
	l.more(t, 100)
	l.end(t)
}

// TestLargeBodiesThroughEdge: both ways at once, whole, over the one connection that others use too.
func TestLargeBodiesThroughEdge(t *testing.T) {
	const size = 8 << 20
	m := newMesh(t)
	m.site = newSite(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		h := sha256.New()
		_, _ = io.Copy(io.MultiWriter(w, h), r.Body)
		w.Header().Set(http.TrailerPrefix+"X-Sum", fmt.Sprintf("%x", h.Sum(nil)))
	})
	g := m.gateway("127.0.0.1:0")
	m.start(g.Addr("proxy").String())
	var wg sync.WaitGroup
	for range 3 {
		c := m.client(nil, g)
		c.Timeout = 5 * time.Minute
		wg.Go(func() {
			sent, got := sha256.New(), sha256.New()
			body := io.TeeReader(io.LimitReader(rand.Reader, size), sent)
			res, err := c.Post("https://example.com/", "application/octet-stream", body)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			n, err := io.Copy(got, res.Body)
			if err != nil || n != size || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) || res.Trailer.Get("X-Sum") != fmt.Sprintf("%x", sent.Sum(nil)) {
				t.Errorf("%d bytes came back, %v", n, err)
			}
		})
	}
	wg.Wait()
}

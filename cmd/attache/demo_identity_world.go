package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/identity/identitytest"
)

// The SPIFFE IDs of the demo; .test is nobody's (RFC 6761).
const (
	demoAttache  = "spiffe://shop.test/attache"
	demoCheckout = "spiffe://shop.test/ns/shop/sa/checkout"
	demoReports  = "spiffe://shop.test/ns/shop/sa/reports"
	demoPartner  = "spiffe://partner.test/app"
	demoStranger = "spiffe://evil.test/ns/shop/sa/checkout"
)

// identityWorld is a demoWorld in which callers are known by SPIFFE ID.
type identityWorld struct {
	demoWorld
	agent *identitytest.API
}

func newIdentityWorld(ctx context.Context) (_ *identityWorld, err error) {
	w := &identityWorld{}
	if w.agent, err = identitytest.New(identitytest.Options{}); err != nil {
		return nil, err
	}
	w.agent.RegisterEntries(identitytest.Entry{ID: demoAttache, DNS: []string{"localhost"}})
	w.agent.Federate("partner.test")
	if err := w.open(ctx, w.files); err != nil {
		w.agent.Close()
		return nil, err
	}
	return w, nil
}

func (w *identityWorld) close() error {
	defer w.agent.Close()
	return w.demoWorld.close()
}

func (w *identityWorld) files() map[string]string {
	files := map[string]string{
		"pay-key": w.keys[0], "read-key": w.keys[1], "upstream.pem": string(w.api.pem), "bundle.pem": "",
		"attache.yaml": fmt.Sprintf(`version: 1
identity: {spiffe: %q}
listen: {proxy: {address: "127.0.0.1:0", tls: spiffe, audience: %q}, admin: none}
callers:
  checkout: {spiffe: %q}
  reports: {spiffe: %q}
  partner: {spiffe: %q, proof: mtls}
ca: {publish: %q}
secrets:
  pay-key: {file: %q}
  read-key: {file: %q}
credentials:
  pay-key: {bearer: pay-key}
  read-key: {bearer: read-key}
rules:
  - id: pay
    hosts: api.pay.test
    methods: POST
    callers: checkout
    attach: pay-key
    upstream: {connect_to: %q, ca: %q}
  - id: read
    hosts: api.pay.test
    methods: GET
    callers: [reports, partner]
    attach: read-key
    upstream: {connect_to: %q, ca: %q}
audit: {file: %q}
`, w.agent.Addr(), demoAttache, demoCheckout, demoReports, demoPartner, w.path("trust"), w.path("pay-key"), w.path("read-key"),
			w.api.addr, w.path("upstream.pem"), w.api.addr, w.path("upstream.pem"), w.path("audit.jsonl")),
	}
	for _, c := range w.agent.CA("shop.test").Bundle().X509Authorities() {
		files["bundle.pem"] += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	for name, id := range map[string]string{"checkout": demoCheckout, "reports": demoReports} {
		if cert, key, err := w.agent.Issue(id, time.Hour).Marshal(); err == nil {
			maps.Copy(files, map[string]string{name + ".pem": string(cert), name + ".key": string(key)})
		}
	}
	return files
}

// byName is the proxy's address by the name that its SVID has for clients that want one.
func (w *identityWorld) byName() string {
	_, port, _ := net.SplitHostPort(w.proxy)
	return "localhost:" + port
}

// shown is what an application shows of itself.
type shown struct {
	id, as string
	svid   *x509svid.SVID
	token  string
}

func (w *identityWorld) svid(id string) shown {
	return shown{id: id, as: "X509-SVID", svid: w.agent.Issue(id, time.Hour)}
}

func (w *identityWorld) jwt(id, audience string) shown {
	return shown{id: id, as: "JWT-SVID", token: w.agent.Token(id, audience, time.Minute)}
}

// clientAs is how an application calls that shows s. It verifies the proxy by its SPIFFE ID.
func (w *identityWorld) clientAs(s shown, connected func(*http.Response)) (*http.Client, error) {
	peer, err := identity.ParsePattern(demoAttache)
	if err != nil {
		return nil, err
	}
	state := &identity.State{X509: x509bundle.NewSet(w.agent.CA("shop.test").Bundle())}
	if s.svid != nil {
		state.SVIDs = []*x509svid.SVID{s.svid}
	}
	cfg := identity.ClientTLS(func() *identity.State { return state }, peer, nil)
	if s.svid == nil {
		cfg.GetClientCertificate = nil
	}
	proxy := &url.URL{Scheme: "http", Host: w.proxy} // the TLS with it is ours
	if s.token != "" {
		proxy.User = url.UserPassword("jwt", s.token)
	}
	return &http.Client{Timeout: demoPatience, Transport: &http.Transport{
		Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: w.roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, addr)
		},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
			connected(res)
			return nil
		},
	}}, nil
}

// callAs calls once as s.
func (w *identityWorld) callAs(s shown, method, path string) (identityStep, error) {
	target := "https://" + demoHost + path
	step := identityStep{Showed: s.id, As: s.as, demoStep: demoStep{Sent: method + " " + target, Caller: s.id}}
	client, err := w.clientAs(s, func(res *http.Response) {
		if step.Status = res.StatusCode; res.StatusCode != http.StatusOK {
			_, step.Reason, _ = strings.Cut(res.Status, "attache ")
		}
	})
	if err != nil {
		return step, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(method, target, strings.NewReader("amount=5"))
	if err != nil {
		return step, err
	}
	step.CarriedKey = w.holdsKey(fmt.Sprint(req.Header, "amount=5"))
	calls, conns := w.api.mark()
	began := time.Now()
	res, err := client.Do(req)
	if err == nil {
		var body bytes.Buffer
		_, err = io.Copy(&body, io.LimitReader(res.Body, 64<<10))
		_ = res.Body.Close()
		step.Status, step.GotBack = res.StatusCode, body.String()
		if res.StatusCode != http.StatusOK {
			step.Reason = reasonOf(body.Bytes())
		}
		step.KeyEchoed = w.holdsKey(w.api.answered())
		step.KeyCameBack = w.holdsKey(fmt.Sprint(res.Header, body.String(), res.Trailer))
		if err != nil {
			return step, err
		}
	} // else the CONNECT was refused, or the handshake before it
	step.Millis = millis(time.Since(began))
	step.APIReceived = w.api.since(calls, conns)
	return step, nil
}

// endFederation calls as the partner, on one connection, until the proxy lets go of its trust domain.
func (w *identityWorld) endFederation() (identityEnd, error) {
	end := identityEnd{Showed: demoPartner}
	client, err := w.clientAs(w.svid(demoPartner), func(*http.Response) {})
	if err != nil {
		return end, err
	}
	defer client.CloseIdleConnections()
	const before = 50
	var ended time.Time
	for limit := time.Now().Add(demoPatience); time.Now().Before(limit); {
		if end.Answered == before {
			w.agent.Unfederate("partner.test")
			ended = time.Now()
		}
		calls, _ := w.api.mark()
		res, err := client.Get("https://" + demoHost + "/v1/balance")
		if err != nil {
			return end, err
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		_ = res.Body.Close()
		if err != nil {
			return end, err
		}
		if res.StatusCode == http.StatusOK {
			end.Answered++
			continue
		}
		end.Status, end.Reason, end.Millis = res.StatusCode, reasonOf(body), millis(time.Since(ended))
		after, _ := w.api.mark()
		end.Leaked = after - calls
		break
	}
	return end, nil
}

package e2e

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
)

// twoRules attach on api.test only; evil.test is another server that the
// proxy could well reach.
const twoRules = `
secrets: {key: {file: @dir/key}}
rules:
  - {id: api, hosts: api.test, attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
  - {id: evil, hosts: evil.test, upstream: {connect_to: "@evil", ca: @evilca}}
`

func serveTwo(t *testing.T) (s *server, up, evil *site, key string) {
	t.Helper()
	up, evil, key = newSite(t, siteOptions{}), newSite(t, siteOptions{Names: []string{"evil.test"}}), newCanary()
	vars := siteVars(up)
	vars["evil"], vars["evilca"] = evil.addr, evil.ca
	s = serve(t, serveOptions{Config: twoRules, Vars: vars, Secrets: map[string]string{"key": key}})
	return s, up, evil, key
}

func TestInnerHostDiffersFromConnect(t *testing.T) {
	t.Parallel()
	s, up, evil, _ := serveTwo(t)
	for _, host := range []string{"evil.test", "evil.test:443", "api.test.evil.test", "api.test@evil.test", ""} {
		s.raw("api.test", crlf("GET / HTTP/1.1", "Host: "+host)).not2xx(t, host)
	}
	s.raw("api.test", crlf("GET / HTTP/1.1", "Host: evil.test")).refused(t, http.StatusMisdirectedRequest, "misdirected")
	// The other way round, too: a host without credentials is no way to one with.
	s.raw("evil.test", crlf("GET / HTTP/1.1", "Host: api.test")).refused(t, http.StatusMisdirectedRequest, "misdirected")
	evil.untouched(t)
	up.untouched(t)
	if e := s.refusal("misdirected"); e.str("fault") != "caller" || e.str("decision") != "refuse" {
		t.Errorf("audited as %v", e)
	}
}

func (a answer) not2xx(t *testing.T, what string) {
	t.Helper()
	if a.StatusCode < 400 {
		t.Errorf("%q: answer %s", what, a.Status)
	}
}

func TestAbsoluteFormInsideTunnel(t *testing.T) {
	t.Parallel()
	s, up, evil, key := serveTwo(t)
	for _, target := range []string{"https://evil.test/", "https://evil.test:443/", "http://evil.test/"} {
		s.raw("api.test", crlf("GET "+target+" HTTP/1.1", "Host: api.test")).refused(t, http.StatusMisdirectedRequest, "misdirected")
		s.raw("api.test", crlf("GET "+target+" HTTP/1.1", "Host: evil.test")).refused(t, http.StatusMisdirectedRequest, "misdirected")
	}
	up.untouched(t)
	s.raw("api.test", crlf("GET https://api.test/x HTTP/1.1", "Host: api.test")).fine(t)
	if last := attached(t, up, key); last.URI != "/x" || last.Host != "api.test" {
		t.Errorf("the upstream got %q on %q", last.URI, last.Host)
	}
	evil.untouched(t)
}

func TestSNIDiffersFromConnect(t *testing.T) {
	t.Parallel()
	s, up, evil, _ := serveTwo(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := s.dial()
		w.connect("api.test:443", "").fine(t)
		inner, err := w.over(&tls.Config{ServerName: "evil.test", MinVersion: version, MaxVersion: version})
		if err == nil {
			inner.send(crlf("GET / HTTP/1.1", "Host: evil.test"))
			if a, err := inner.tryResponse(http.MethodGet); err == nil {
				a.refused(t, http.StatusMisdirectedRequest, "misdirected")
			}
		}
	}
	s.refusal("sni_mismatch")
	evil.untouched(t)
	up.untouched(t)
}

func TestHTTP2AuthorityCoalescing(t *testing.T) {
	t.Parallel()
	s, up, evil, key := serveTwo(t)
	h := s.h2("api.test")
	get := []string{":method: GET", ":scheme: https", ":path: /"}
	misdirected := func(what string, a h2answer) {
		t.Helper()
		if a.status != "421" || !strings.Contains(a.body, `"misdirected"`) {
			t.Errorf("%s: %v, want 421 misdirected", what, a)
		}
	}
	fine := func() {
		t.Helper()
		if a := h.ask(append(get, ":authority: api.test")...); a.status != "200" {
			t.Fatalf("the host itself: %v", a)
		}
		attached(t, up, key)
	}
	fine()
	misdirected("another authority", h.ask(append(get, ":authority: evil.test")...))
	misdirected("another port", h.ask(append(get, ":authority: api.test:444")...))
	misdirected("a Host beside", h.ask(append(get, ":authority: api.test", "host: evil.test")...))
	misdirected("only a Host", h.ask(append(get, "host: evil.test")...))
	fine() // the connection goes on: 421 is the stream's alone
	if n := len(up.requests()); n != 2 {
		t.Errorf("the upstream got %d requests, want 2", n)
	}
	evil.untouched(t)
}

func TestSNIDiffersOnResumption(t *testing.T) {
	t.Parallel()
	s, _, evil, _ := serveTwo(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := &oneSession{}
		open := func(authority, sni string) (*wire, error) {
			w := s.dial()
			w.connect(authority+":443", "").fine(t)
			// The client's own check of the name would keep it from resuming.
			return w.over(&tls.Config{
				ServerName: sni, ClientSessionCache: cache, InsecureSkipVerify: true,
				MinVersion: version, MaxVersion: version,
			})
		}
		for i := range 2 { // the second resumes: so tickets work at all
			w, err := open("api.test", "api.test")
			ok(t, err)
			w.send(crlf("GET / HTTP/1.1", "Host: api.test")).response(http.MethodGet).fine(t)
			if resumed := w.conn.(*tls.Conn).ConnectionState().DidResume; resumed != (i == 1) {
				t.Errorf("TLS %x, connection %d: resumed is %v", version, i, resumed)
			}
		}
		if w, err := open("api.test", "evil.test"); err == nil {
			w.send(crlf("GET / HTTP/1.1", "Host: evil.test"))
			if a, err := w.tryResponse(http.MethodGet); err == nil {
				t.Errorf("TLS %x: a ticket of api.test, resumed as evil.test, got %s", version, a.Status)
			}
		}
	}
	evil.untouched(t)
}

// oneSession is a session cache that keeps one session for every name.
type oneSession struct{ state *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool)  { return o.state, o.state != nil }
func (o *oneSession) Put(_ string, state *tls.ClientSessionState) { o.state = state }

func TestPlaintextInsideTunnel(t *testing.T) {
	t.Parallel()
	s, up, _ := serveOne(t, siteOptions{})
	w := s.dial()
	w.connect("api.test:443", "").fine(t)
	w.send(crlf("GET / HTTP/1.1", "Host: api.test")).closed()
	s.refusal("not_tls")
	up.untouched(t)
}

func TestPlainHTTPUpgradeOfRule(t *testing.T) {
	t.Parallel()
	s, up, _ := serveOne(t, siteOptions{})
	for _, target := range []string{"http://api.test/", "http://api.test:443/", "http://api.test:80/"} {
		a := s.dial().send(crlf("GET "+target+" HTTP/1.1", "Host: api.test")).response(http.MethodGet)
		a.refused(t, http.StatusForbidden, "no_rule")
	}
	// A URL of https, asked for in clear.
	s.dial().send(crlf("GET https://api.test/ HTTP/1.1", "Host: api.test")).response(http.MethodGet).not2xx(t, "https in clear")
	up.untouched(t)
}

func TestNestedConnect(t *testing.T) {
	t.Parallel()
	s, up, evil, _ := serveTwo(t)
	for _, to := range []string{"evil.test:443", "api.test:443"} {
		a := s.raw("api.test", crlf("CONNECT "+to+" HTTP/1.1", "Host: "+to))
		if a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("CONNECT %s inside a tunnel: %s", to, a.Status)
		}
	}
	if a := s.h2("api.test").ask(":method: CONNECT", ":authority: evil.test:443"); a.status != "405" {
		t.Errorf("CONNECT on HTTP/2: %v", a)
	}
	s.refusal("method_unsupported")
	evil.untouched(t)
	up.untouched(t)
}

func TestExtendedConnect(t *testing.T) {
	t.Parallel()
	s, up, evil, _ := serveTwo(t)
	// RFC 8441: the proxy does not offer it, so that a stream reset is right, too.
	for _, authority := range []string{"evil.test", "api.test"} {
		a := s.h2("api.test").ask(":method: CONNECT", ":protocol: websocket", ":scheme: https", ":path: /", ":authority: "+authority)
		if a.status != "405" && a.status != "421" && (a.status != "" || a.reset == 0) {
			t.Errorf("extended CONNECT to %s: %v", authority, a)
		}
	}
	evil.untouched(t)
	up.untouched(t)
}

func TestOptionsStar(t *testing.T) {
	t.Parallel()
	s, up, _ := serveOne(t, siteOptions{})
	s.raw("api.test", crlf("OPTIONS * HTTP/1.1", "Host: api.test")).refused(t, http.StatusMethodNotAllowed, "method_unsupported")
	if a := s.h2("api.test").ask(":method: OPTIONS", ":scheme: https", ":path: *", ":authority: api.test"); a.status != "405" {
		t.Errorf("on HTTP/2: %v", a)
	}
	s.dial().send(crlf("OPTIONS * HTTP/1.1", "Host: api.test")).response(http.MethodOptions).not2xx(t, "outside a tunnel")
	s.refusal("method_unsupported")
	up.untouched(t)
}

func TestConnectWithBody(t *testing.T) {
	t.Parallel()
	s, up, _ := serveOne(t, siteOptions{})
	for _, framing := range []string{"Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"} {
		w := s.dial()
		if a := w.connect("api.test:443", framing); a.StatusCode != http.StatusBadRequest {
			t.Errorf("CONNECT with %q: %s", framing, a.Status)
		}
	}
	up.untouched(t)
}

func TestTunnelFronting(t *testing.T) {
	t.Parallel()
	up := newSite(t, siteOptions{Names: []string{"packages.test", "evil.test"}})
	s := serve(t, serveOptions{Vars: siteVars(up), Config: `
rules: [{id: packages, hosts: packages.test, tunnel: true, upstream: {connect_to: "@site"}}]
`})
	pool := newPool(t, up.ca)
	open := func(sni string) (*wire, error) {
		w := s.dial()
		w.connect("packages.test:443", "").fine(t)
		return w.over(&tls.Config{ServerName: sni, RootCAs: pool, InsecureSkipVerify: sni == ""})
	}
	w, err := open("packages.test")
	ok(t, err)
	w.send(crlf("GET / HTTP/1.1", "Host: packages.test")).response(http.MethodGet).fine(t)
	for _, sni := range []string{"evil.test", ""} {
		if _, err := open(sni); err == nil {
			t.Errorf("SNI %q passed the tunnel for packages.test", sni)
		}
	}
	clear := s.dial()
	clear.connect("packages.test:443", "").fine(t)
	clear.send(crlf("GET / HTTP/1.1", "Host: packages.test")).closed()
	if n := len(up.requests()); n != 1 {
		t.Errorf("the upstream got %d requests, want 1", n)
	}
	s.refusal("sni_mismatch")
	s.refusal("not_tls")
}

package dial

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func parse(t testing.TB, s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// certified serves TLS with one certificate.
func certified(t testing.TB, c tls.Certificate, h http.HandlerFunc, protos ...string) *peer {
	return serve(t, &tls.Config{Certificates: []tls.Certificate{c}, NextProtos: protos}, h)
}

func TestUpstreamWrongCertificate(t *testing.T) {
	ca, stranger := newAuthority(t, "root"), newAuthority(t, "stranger")
	for name, c := range map[string]struct {
		leaf    tls.Certificate
		profile Profile
		host    string
		wrong   bool
	}{
		"right":                     {leaf: ca.leaf(t, "api.test", nil)},
		"right, trailing dot":       {leaf: ca.leaf(t, "api.test", nil), host: "api.test."},
		"other name":                {leaf: ca.leaf(t, "evil.test", nil), wrong: true},
		"unknown authority":         {leaf: stranger.leaf(t, "api.test", nil), wrong: true},
		"common name only":          {leaf: ca.leaf(t, "api.test", func(c *x509.Certificate) { c.DNSNames = nil }), wrong: true},
		"for clients":               {leaf: ca.leaf(t, "api.test", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), wrong: true},
		"own roots":                 {leaf: stranger.leaf(t, "api.test", nil), profile: Profile{CA: stranger.pem()}},
		"own roots replace":         {leaf: ca.leaf(t, "api.test", nil), profile: Profile{CA: stranger.pem()}, wrong: true},
		"server_name":               {leaf: ca.leaf(t, "internal.test", nil), profile: Profile{ServerName: "internal.test"}},
		"server_name replaces":      {leaf: ca.leaf(t, "api.test", nil), profile: Profile{ServerName: "internal.test"}, wrong: true},
		"address":                   {leaf: ca.leaf(t, "127.0.0.1", nil), host: "127.0.0.1"},
		"address, name in its leaf": {leaf: ca.leaf(t, "api.test", nil), host: "127.0.0.1", wrong: true},
	} {
		for _, major := range []int{1, 2} {
			t.Run(name, func(t *testing.T) {
				srv := certified(t, c.leaf, ok, "h2", "http/1.1")
				c.profile.Allow = loopback
				u := upstream(t, newPool(t, Options{Roots: ca.pool(), Resolver: names{"api.test": {"127.0.0.1"}, "api.test.": {"127.0.0.1"}}}), c.profile)
				host := c.host
				if host == "" {
					host = "api.test"
				}
				req := request(t, "GET", "https://"+host+":"+srv.port+"/", "")
				req.ProtoMajor = major
				if !c.wrong {
					text(t, u, req)
					return
				}
				refused(t, u, req, TLSUnverified)
				if srv.requests.Load() != 0 {
					t.Error("the request was sent")
				}
			})
		}
	}
}

// TestUpstreamOfOldTLS: what is older than TLS 1.2 does not count as verified.
func TestUpstreamOfOldTLS(t *testing.T) {
	ca := newAuthority(t, "root")
	srv := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "api.test", nil)}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, ok)
	u := upstream(t, newPool(t, Options{Roots: ca.pool(), Resolver: names{"api.test": {"127.0.0.1"}}}), Profile{Allow: loopback})
	refused(t, u, request(t, "GET", "https://api.test:"+srv.port+"/", ""), TLSFailed)
	if srv.requests.Load() != 0 {
		t.Error("the request was sent")
	}
}

func TestUpstreamExpired(t *testing.T) {
	ca := newAuthority(t, "root")
	for name, change := range map[string]func(*x509.Certificate){
		"expired": func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
		"not yet": func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := certified(t, ca.leaf(t, "api.test", change), ok)
			u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback})
			refused(t, u, request(t, "POST", "https://api.test:"+srv.port+"/", "secret"), TLSUnverified)
			if srv.requests.Load() != 0 {
				t.Error("the request was sent")
			}
		})
	}
}

func TestUpstreamWrongPeerID(t *testing.T) {
	const id = "spiffe://acme.example/ns/shop/sa/api"
	ca, stranger := newAuthority(t, "domain"), newAuthority(t, "other domain")
	for name, c := range map[string]struct {
		by     *authority
		change func(*x509.Certificate)
		right  bool
	}{
		"right":        {ca, uris(t, id), true},
		"prefix":       {ca, uris(t, id+"-admin"), false},
		"shorter":      {ca, uris(t, "spiffe://acme.example/ns/shop/sa"), false},
		"other domain": {ca, uris(t, "spiffe://evil.example/ns/shop/sa/api"), false},
		"two":          {ca, uris(t, id, "spiffe://acme.example/x"), false},
		"none":         {ca, nil, false},
		"other CA":     {stranger, uris(t, id), false},
		"may sign":     {ca, func(c *x509.Certificate) { uris(t, id)(c); c.KeyUsage |= x509.KeyUsageCertSign }, false},
		"a CA":         {ca, func(c *x509.Certificate) { uris(t, id)(c); c.BasicConstraintsValid, c.IsCA = true, true }, false},
		"expired":      {ca, func(c *x509.Certificate) { uris(t, id)(c); c.NotAfter = time.Now().Add(-time.Minute) }, false},
		"not a server": {ca, func(c *x509.Certificate) {
			uris(t, id)(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}, false},
		"name and URI":   {ca, func(c *x509.Certificate) { uris(t, id)(c); c.DNSNames = []string{"whatever.test"} }, true},
		"case of the ID": {ca, uris(t, "spiffe://acme.example/ns/shop/sa/API"), false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := certified(t, c.by.leaf(t, "api.test", c.change), ok, "h2", "http/1.1")
			u := upstream(t, newPool(t, Options{}), Profile{Allow: loopback, Peer: id, CA: ca.pem()})
			for range 2 { // nothing resumes past the check
				req := request(t, "GET", "https://api.test:"+srv.port+"/", "")
				if c.right {
					text(t, u, req)
					u.closeIdle()
					continue
				}
				refused(t, u, req, TLSUnverified)
			}
			if !c.right && srv.requests.Load() != 0 {
				t.Error("the request was sent")
			}
		})
	}
}

func TestPoolCrossesRules(t *testing.T) {
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	var resumed atomic.Int64
	srv := certified(t, ca.leaf(t, "api.test", nil), func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.DidResume {
			resumed.Add(1)
		}
	}, "h2", "http/1.1")
	p := newPool(t, Options{Roots: ca.pool()})
	first := Profile{Allow: loopback}
	u := upstream(t, p, first)
	send := func() *http.Request { return request(t, "GET", "https://api.test:"+srv.port+"/", "") }
	text(t, u, send())
	if same := upstream(t, p, Profile{Allow: append(loopback[1:2:2], loopback[0])}); same != u {
		t.Error("an equal profile has another upstream")
	}
	client := pemPair(t, ca.leaf(t, "me", nil))
	text(t, upstream(t, p, Profile{Allow: loopback, CA: ca.pem()}), send())
	for name, c := range map[string]struct {
		profile Profile
		reason  Reason
	}{
		"ca":          {Profile{Allow: loopback, CA: other.pem()}, TLSUnverified},
		"peer":        {Profile{Allow: loopback, CA: ca.pem(), Peer: "spiffe://acme.example/api"}, TLSUnverified},
		"server_name": {Profile{Allow: loopback, ServerName: "other.test"}, TLSUnverified},
		"allow":       {Profile{}, AddressForbidden},
		"via":         {Profile{Allow: loopback, Via: &Via{URL: parse(t, "http://127.0.0.1:1")}}, ConnectFailed},
		"client":      {Profile{Allow: loopback, Client: client, ClientName: "me@1"}, ""},
		"client name": {Profile{Allow: loopback, Client: client, ClientName: "me@2"}, ""},
		"in_flight":   {Profile{Allow: loopback, MaxInFlight: 3}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := srv.conns.Load()
			u := upstream(t, p, c.profile)
			if c.reason != "" {
				refused(t, u, send(), c.reason)
				return
			}
			text(t, u, send())
			if srv.conns.Load() != before+1 {
				t.Error("it used another profile's connection")
			}
		})
	}
	if resumed.Load() != 0 {
		t.Error("a profile resumed another's session")
	}
}

func TestClientCertRotatedResumption(t *testing.T) {
	ca := newAuthority(t, "root")
	var last atomic.Pointer[tls.ConnectionState]
	srv := serve(t, &tls.Config{
		Certificates: []tls.Certificate{ca.leaf(t, "api.test", nil)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	}, func(_ http.ResponseWriter, r *http.Request) { last.Store(r.TLS) })
	p := newPool(t, Options{Roots: ca.pool()})
	see := func(u *Upstream) *tls.ConnectionState {
		text(t, u, request(t, "GET", "https://api.test:"+srv.port+"/", ""))
		u.closeIdle()
		return last.Load()
	}
	old := upstream(t, p, Profile{Allow: loopback, Client: pemPair(t, ca.leaf(t, "old", nil)), ClientName: "id@1"})
	see(old)
	if !see(old).DidResume {
		t.Fatal("sessions do not resume: this test proves nothing")
	}
	rotated := upstream(t, p, Profile{Allow: loopback, Client: pemPair(t, ca.leaf(t, "new", nil)), ClientName: "id@2"})
	p.Retain([]*Upstream{rotated})
	if cs := see(rotated); cs.DidResume || cs.PeerCertificates[0].Subject.CommonName != "new" {
		t.Errorf("resumed %v as %s", cs.DidResume, cs.PeerCertificates[0].Subject.CommonName)
	}
	without := upstream(t, p, Profile{Allow: loopback})
	refused(t, without, request(t, "GET", "https://api.test:"+srv.port+"/", ""), TLSFailed)
}

// TestClientCertAlwaysPresented: a server whose list of authorities omits ours still gets it.
func TestClientCertAlwaysPresented(t *testing.T) {
	ca, mine := newAuthority(t, "root"), newAuthority(t, "mine")
	srv := serve(t, &tls.Config{
		Certificates: []tls.Certificate{ca.leaf(t, "api.test", nil)},
		ClientAuth:   tls.RequireAnyClientCert, ClientCAs: ca.pool(),
	}, ok)
	u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback, Client: pemPair(t, mine.leaf(t, "me", nil))})
	text(t, u, request(t, "GET", "https://api.test:"+srv.port+"/", ""))
}

func TestProfileErrors(t *testing.T) {
	ca := newAuthority(t, "root")
	const canary = "c4n4ry/+=%&<"
	p := newPool(t, Options{})
	for name, c := range map[string]struct {
		profile Profile
		want    string
	}{
		"client not PEM":      {Profile{Client: []byte(canary), ClientName: "id"}, `upstream client certificate "id"`},
		"client other PEM":    {Profile{Client: []byte("-----BEGIN " + canary + "-----\nAAAA\n-----END " + canary + "-----\n"), ClientName: "id"}, `"id"`},
		"client without key":  {Profile{Client: ca.pem(), ClientName: "id"}, `"id"`},
		"client empty":        {Profile{Client: []byte{}, ClientName: "id"}, `"id"`},
		"ca not PEM":          {Profile{CA: []byte(canary)}, "upstream ca: no PEM"},
		"ca empty":            {Profile{CA: []byte{}}, "upstream ca: no PEM"},
		"ca broken":           {Profile{CA: append(ca.pem(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...)}, "certificate 2: unreadable"},
		"peer":                {Profile{Peer: "https://acme.example/x", CA: ca.pem()}, "not a SPIFFE ID"},
		"pattern and ca":      {Profile{Peer: "spiffe://acme.example/x/*", PeerIs: func(string) bool { return true }, CA: ca.pem()}, "excludes ca"},
		"client and svid":     {Profile{SVID: true, Client: []byte("x")}, "already"},
		"plaintext and svid":  {Profile{SVID: true, Plaintext: true}, "plaintext"},
		"plaintext and peer":  {Profile{Peer: "spiffe://acme.example/x", CA: ca.pem(), Plaintext: true}, "plaintext"},
		"connect_to":          {Profile{ConnectTo: "10.0.0.1"}, "connect_to"},
		"connect_to no host":  {Profile{ConnectTo: ":443"}, "not a host"},
		"connect_to port":     {Profile{ConnectTo: "a:99999"}, "not a port"},
		"connect_to abstract": {Profile{ConnectTo: "unix:@x"}, "not an absolute path"},
		"protocol":            {Profile{Protocol: "http3"}, "protocol"},
		"via scheme":          {Profile{Via: &Via{URL: parse(t, "socks5://a:1")}}, "via"},
		"via user":            {Profile{Via: &Via{URL: parse(t, "http://u:"+url.QueryEscape(canary)+"@a:1")}}, "via"},
		"via no host":         {Profile{Via: &Via{URL: parse(t, "http:///")}}, "via"},
	} {
		_, err := p.Upstream(c.profile)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

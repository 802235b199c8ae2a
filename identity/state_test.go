package identity

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// raw is an SVID as TLS shows it.
func raw(s *x509svid.SVID) [][]byte {
	var all [][]byte
	for _, c := range s.Certificates {
		all = append(all, c.Raw)
	}
	return all
}

// stateOf is a State of an SVID that trusts its own trust domain.
func stateOf(api *identitytest.API, svid *x509svid.SVID) *State {
	ca := api.CA("acme.example")
	return &State{
		Generation: 1, SVIDs: []*x509svid.SVID{svid},
		X509: x509bundle.NewSet(ca.Bundle()), JWT: jwtbundle.NewSet(ca.JWTBundle()),
	}
}

func pattern(t testing.TB, s string) Pattern {
	t.Helper()
	p, err := ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// handshake runs one TLS handshake over loopback and returns both sides' errors.
func handshake(t testing.TB, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			c := tls.Server(c, server)
			if err = c.Handshake(); err == nil {
				_, err = c.Write([]byte("x"))
			}
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tc := tls.Client(c, client)
	if clientErr = tc.Handshake(); clientErr == nil {
		// A TLS 1.3 server refuses a client certificate after the client's handshake.
		_, clientErr = tc.Read(make([]byte, 1))
	}
	c.Close()
	return <-done, clientErr
}

func TestMutualTLS(t *testing.T) {
	api := identitytest.Start(t)
	server := stateOf(api, api.Issue(shop, time.Hour))
	client := stateOf(api, api.Issue("spiffe://acme.example/ns/shop/sa/web", time.Hour))
	serve := ServerTLS(func() *State { return server }, nil)
	for peer, want := range map[string]bool{
		shop:                                        true,
		"spiffe://acme.example/ns/shop/sa/*":        true,
		"spiffe://acme.example/ns/shop/**":          true,
		"spiffe://acme.example/ns/shop/sa/check":    false,
		"spiffe://bank.example/ns/shop/sa/checkout": false,
	} {
		serverErr, clientErr := handshake(t, serve, ClientTLS(func() *State { return client }, pattern(t, peer), nil))
		if got := serverErr == nil && clientErr == nil; got != want {
			t.Errorf("peer %s: %v, %v", peer, serverErr, clientErr)
		}
	}
	if serverErr, _ := handshake(t, serve, &tls.Config{InsecureSkipVerify: true}); serverErr == nil {
		t.Error("a client without an SVID is served")
	}
}

// TestExpiredSVID: of a peer, refused on either side; our own, never presented.
func TestExpiredSVID(t *testing.T) {
	api := identitytest.Start(t)
	good, bad := stateOf(api, api.Issue(shop, time.Hour)), stateOf(api, api.Issue(shop, -time.Minute))
	for _, tc := range []struct{ server, client *State }{{good, bad}, {bad, good}, {bad, bad}} {
		serverErr, clientErr := handshake(t, ServerTLS(func() *State { return tc.server }, nil),
			ClientTLS(func() *State { return tc.client }, pattern(t, shop), nil))
		if serverErr == nil || clientErr == nil {
			t.Errorf("expired server %v, client %v: %v, %v", tc.server == bad, tc.client == bad, serverErr, clientErr)
		}
	}
	// A peer whose own side does not look.
	cert := tls.Certificate{PrivateKey: bad.SVIDs[0].PrivateKey, Certificate: raw(bad.SVIDs[0])}
	plain := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
	if serverErr, _ := handshake(t, ServerTLS(func() *State { return good }, nil), plain); serverErr == nil || !strings.Contains(serverErr.Error(), "expired") {
		t.Errorf("expired client: %v", serverErr)
	}
	if _, clientErr := handshake(t, plain, ClientTLS(func() *State { return good }, pattern(t, shop), nil)); clientErr == nil || !strings.Contains(clientErr.Error(), "expired") {
		t.Errorf("expired server: %v", clientErr)
	}
	if bad.Has(pattern(t, shop), time.Now()) || !good.Has(pattern(t, shop), time.Now()) {
		t.Error("Has does not look at expiry")
	}
}

// TestClockJump: expiry is judged when a thing is used, not when it came or by a timer.
func TestClockJump(t *testing.T) {
	api := identitytest.Start(t, shop)
	var jump time.Duration
	now := func() time.Time { return time.Now().Add(jump) }
	s := readySource(t, api, SourceOptions{})
	try := func() error {
		serverErr, clientErr := handshake(t, ServerTLS(s.State, now), ClientTLS(s.State, pattern(t, shop), now))
		if (serverErr == nil) != (clientErr == nil) {
			t.Errorf("%v, %v", serverErr, clientErr)
		}
		return serverErr
	}
	for _, jump = range []time.Duration{0, 2 * time.Hour, 0, 48 * time.Hour, -5 * time.Second} {
		if err := try(); (err == nil) != (jump <= 0) {
			t.Errorf("clock %v off: %v", jump, err)
		}
		_, _, err := s.State().Certificate(now())
		if (err == nil) != (jump <= 0) {
			t.Errorf("clock %v off: certificate: %v", jump, err)
		}
	}
}

func TestWrongTrustDomain(t *testing.T) {
	api := identitytest.Start(t)
	st := stateOf(api, api.Issue(shop, time.Hour))
	now := time.Now()
	if _, _, err := st.VerifyX509(raw(api.Issue(bank, time.Hour)), now); err == nil {
		t.Error("an SVID of a trust domain without a bundle is trusted")
	}
	// A CA that signs for a trust domain that is not its own, both being known.
	st.X509.Add(api.CA("bank.example").Bundle())
	st.JWT.Add(api.CA("bank.example").JWTBundle())
	if _, _, err := st.VerifyX509(raw(api.CA("bank.example").Issue(shop, time.Hour)), now); err == nil {
		t.Error("bank.example's CA may sign for acme.example")
	}
	if _, _, err := st.VerifyJWT(api.CA("bank.example").Token(shop, "a", time.Hour), "a", now); err == nil {
		t.Error("bank.example's key may sign for acme.example")
	}
}

func TestRootPathID(t *testing.T) {
	api := identitytest.Start(t)
	st := stateOf(api, api.Issue(shop, time.Hour))
	if _, _, err := st.VerifyX509(raw(api.Issue("spiffe://acme.example", time.Hour)), time.Now()); err == nil {
		t.Error("an ID without a path is trusted")
	}
	if _, _, err := st.VerifyJWT(api.Token("spiffe://acme.example", "a", time.Hour), "a", time.Now()); err == nil {
		t.Error("a subject without a path is trusted")
	}
	ca := api.CA("acme.example").Bundle().X509Authorities()[0]
	if _, _, err := st.VerifyX509([][]byte{ca.Raw}, time.Now()); err == nil {
		t.Error("the CA itself is taken for a workload")
	}
}

func TestJWTSVIDWrongAudienceExpiredAlgNone(t *testing.T) {
	api := identitytest.Start(t)
	st := stateOf(api, api.Issue(shop, time.Hour))
	good := api.Token(shop, "attache", time.Minute)
	now := time.Now()
	if _, end, err := st.VerifyJWT(good, "attache", now); err != nil || end.Before(now) {
		t.Fatalf("%v, %v", end, err)
	}
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	pieces := strings.Split(good, ".")
	none := part(`{"alg":"none"}`) + "." + pieces[1] + "."
	for name, token := range map[string]string{
		"wrong audience":   api.Token(shop, "other", time.Minute),
		"empty audience":   api.Token(shop, "", time.Minute),
		"expired":          api.Token(shop, "attache", -2*time.Minute),
		"just expired":     api.Token(shop, "attache", -time.Second),
		"alg none":         none,
		"alg none, signed": none + pieces[2],
		"other payload":    pieces[0] + "." + part(fmt.Sprintf(`{"sub":%q,"aud":["attache"],"exp":%d}`, shop, now.Add(time.Hour).Unix())) + "." + pieces[2],
		"no signature":     pieces[0] + "." + pieces[1] + ".",
		"empty":            "",
		"long":             good + strings.Repeat("A", maxToken),
		"not SPIFFE":       api.CA("acme.example").Token("https://acme.example/x", "attache", time.Minute),
	} {
		_, _, err := st.VerifyJWT(token, "attache", now)
		if err == nil {
			t.Errorf("%s: verified", name)
		} else if token != "" && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), pieces[2])) {
			t.Errorf("%s: the token is in %q", name, err)
		}
	}
	if _, _, err := st.VerifyJWT(good, "", now); err == nil {
		t.Error("verified for no audience")
	}
	if _, _, err := st.VerifyJWT(good, "attache", now.Add(2*time.Minute)); err == nil {
		t.Error("verified after its end")
	}
}

func TestJWTKeysRotate(t *testing.T) {
	api := identitytest.Start(t, shop)
	s := readySource(t, api, SourceOptions{})
	verified := func(token string) bool {
		_, _, err := s.State().VerifyJWT(token, "a", time.Now())
		return err == nil
	}
	tokens := []string{api.Token(shop, "a", time.Hour)}
	for range 3 {
		api.RotateJWTKeys()
		tokens = append(tokens, api.Token(shop, "a", time.Hour))
		await(t, "the new key is known", func() bool { return verified(tokens[len(tokens)-1]) })
		for i, token := range tokens {
			if !verified(token) {
				t.Errorf("token %d of %d is no longer good", i, len(tokens))
			}
		}
	}
	api.Forget("acme.example")
	await(t, "the old keys are forgotten", func() bool { return !verified(tokens[0]) })
	if !verified(tokens[3]) {
		t.Error("the newest key is forgotten too")
	}
}

func TestNilStateTrustsNobody(t *testing.T) {
	var st *State
	api := identitytest.Start(t)
	_, _, cert := st.Certificate(time.Now())
	_, _, x509 := st.VerifyX509(raw(api.Issue(shop, time.Hour)), time.Now())
	_, _, jwt := st.VerifyJWT(api.Token(shop, "a", time.Hour), "a", time.Now())
	if cert == nil || x509 == nil || jwt == nil || !st.ID().IsZero() || st.Has(pattern(t, shop), time.Now()) || st.Bundles() != nil {
		t.Errorf("%v, %v, %v", cert, x509, jwt)
	}
}

package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/identity/identitytest"
)

const (
	shopID   = "spiffe://acme.example/ns/shop/sa/checkout"
	audience = "spiffe://acme.example/attache"
)

// knownBy is what is known while the trust domain is trusted and own is our SVID.
func knownBy(api *identitytest.API, own *x509svid.SVID) Known {
	ca := api.CA("acme.example")
	st := &State{X509: x509bundle.NewSet(ca.Bundle()), JWT: jwtbundle.NewSet(ca.JWTBundle())}
	if own != nil {
		st.SVIDs = []*x509svid.SVID{own}
	}
	return Known{State: st, Now: time.Now()}
}

func TestSPIFFESpecFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec Spec
		want string
	}{
		{"no ID", Spec{Name: "a", Token: "t", Proof: ProofPod}, `caller "a": proof: says how a SPIFFE ID is proven, and there is none`},
		{"too wide", Spec{Name: "a", SPIFFE: "spiffe://acme.example/**"}, `caller "a": spiffe: SPIFFE ID "spiffe://acme.example/**": too wide: name at least one segment of the path`},
		{"any domain", Spec{Name: "a", SPIFFE: "spiffe://*/x"}, `caller "a": spiffe: SPIFFE ID "spiffe://*/x": the trust domain has to be named, without *`},
		{"no audience", Spec{Name: "a", SPIFFE: shopID, Proof: ProofJWT}, `caller "a": proof: jwt needs the audience that JWT-SVIDs have to be for`},
		{"no such proof", Spec{Name: "a", SPIFFE: shopID, Proof: "header"}, `caller "a": proof: "header" is not mtls, jwt or pod`},
		{"two", Spec{Name: "a", SPIFFE: shopID, Token: "t"}, `caller "a": needs exactly one of token, uid, network and spiffe`},
		{"the JWT's user", Spec{Name: "jwt", Token: "t"}, `caller "jwt": token: the name jwt is how clients present a JWT-SVID`},
	} {
		if _, errs := New([]Spec{tc.spec}); len(errs) != 1 || errs[0].Error() != tc.want {
			t.Errorf("%s: %q; want %q", tc.name, errs, tc.want)
		}
	}
}

// TestWhichProofsAreTaken: proof says which; without it an X509-SVID or a JWT-SVID will do, and of a peer
// that shows both the former counts.
func TestWhichProofsAreTaken(t *testing.T) {
	api := identitytest.Start(t)
	own := api.Issue("spiffe://acme.example/attache", time.Hour)
	k := knownBy(api, own)
	a := mustNew(t,
		Spec{Name: "either", SPIFFE: shopID, Audience: audience},
		Spec{Name: "mtls", SPIFFE: shopID, Proof: ProofMTLS},
		Spec{Name: "jwt", SPIFFE: shopID, Proof: ProofJWT, Audience: audience},
		Spec{Name: "x509 only", SPIFFE: shopID},
		Spec{Name: "pod", SPIFFE: "spiffe://acme.example/attache", Proof: ProofPod},
		Spec{Name: "other pod", SPIFFE: shopID, Proof: ProofPod},
		Spec{Name: "tree", SPIFFE: "spiffe://acme.example/ns/shop/**", Proof: ProofMTLS})
	chain := api.Issue(shopID, time.Hour).Certificates
	bearer := "Bearer " + api.Token(shopID, audience, time.Minute)
	far, near := tcpAddr("192.0.2.1|9"), tcpAddr("127.0.0.1|9")
	for _, tc := range []struct {
		name           string
		remote         net.Addr
		chain          []*x509.Certificate
		header         string
		want           []string
		either         Proof
		expires, timed bool
	}{
		{name: "nothing", remote: far},
		{name: "near", remote: near, want: []string{"pod"}, timed: true},
		{name: "unix", remote: &net.UnixAddr{Net: "unix"}, want: []string{"pod"}, timed: true},
		{name: "X.509", remote: far, chain: chain, want: []string{"either", "mtls", "x509 only", "tree"}, either: ProofMTLS, timed: true},
		{name: "JWT", remote: far, header: bearer, want: []string{"either", "jwt"}, either: ProofJWT, timed: true},
		{name: "both", remote: near, chain: chain, header: bearer, want: []string{"either", "mtls", "jwt", "x509 only", "pod", "tree"}, either: ProofMTLS, timed: true},
	} {
		local := net.Addr(tcpAddr("127.0.0.1|15001"))
		if _, unix := tc.remote.(*net.UnixAddr); unix {
			local = tc.remote
		}
		p, err := a.Authenticate(a.Observe(Conn{Local: local, Remote: tc.remote, Certificates: tc.chain}), tc.header, k)
		if err != nil || !slices.Equal(p.Names(), tc.want) || p.Timed() != tc.timed {
			t.Errorf("%s: %v, %v, timed %v; want %v", tc.name, p.Names(), err, p.Timed(), tc.want)
			continue
		}
		for _, c := range p.Callers {
			switch {
			case c.Name == "either" && (c.Proof != tc.either || c.ID != shopID || c.Expires.IsZero()):
				t.Errorf("%s: %+v", tc.name, c)
			case c.Name == "pod" && c.ID != "spiffe://acme.example/attache":
				t.Errorf("%s: %+v", tc.name, c)
			}
		}
		if !a.Recheck(p, k) {
			t.Errorf("%s: not the same a moment later", tc.name)
		}
		until := a.Until(p, k)
		if until.IsZero() == tc.timed {
			t.Errorf("%s: until %v", tc.name, until)
		}
		k := k
		if k.Now = until; tc.timed && a.Recheck(p, k) {
			t.Errorf("%s: still the same when its time is over", tc.name)
		}
	}
}

// TestShownIsNotKept: of a JWT-SVID nothing stays in the Peer by which it could be shown again.
func TestShownIsNotKept(t *testing.T) {
	api := identitytest.Start(t)
	a := mustNew(t, Spec{Name: "a", SPIFFE: shopID, Proof: ProofJWT, Audience: audience})
	token := api.Token(shopID, audience, time.Minute)
	p, err := a.Authenticate(Observed{}, "Bearer "+token, knownBy(api, nil))
	if err != nil || p.jwt == nil {
		t.Fatal(p, err)
	}
	for part := range strings.SplitSeq(token, ".") {
		for _, text := range []string{fmt.Sprintf("%+v %#v", p, *p), fmt.Sprintf("%+v %#v", p.jwt, *p.jwt)} {
			if strings.Contains(text, part) {
				t.Errorf("a part of the token is in %s", text)
			}
		}
	}
}

// TestVerifiedAgainOnlyForOtherBundles: a State that brings the same bundle costs no verification, one that
// brings another does.
func TestVerifiedAgainOnlyForOtherBundles(t *testing.T) {
	api := identitytest.Start(t)
	s := &shownSVID{chain: api.Issue(shopID, time.Hour).Certificates}
	now := time.Now()
	if _, _, ok := s.verify(knownBy(api, nil).State, now); !ok {
		t.Fatal("refused")
	}
	s.chain = nil // a verification would fail from now on
	if _, _, ok := s.verify(knownBy(api, nil).State, now); !ok {
		t.Error("verified again for the same bundle")
	}
	api.RotateRoot("acme.example")
	if _, _, ok := s.verify(knownBy(api, nil).State, now); ok {
		t.Error("not verified again for another bundle")
	}
	if _, _, ok := s.verify(nil, now); ok {
		t.Error("proven to a proxy that knows nothing")
	}
}

// TestCertificateOnly: whether a client without a certificate can be anybody.
func TestCertificateOnly(t *testing.T) {
	mtls := Spec{Name: "m", SPIFFE: shopID, Proof: ProofMTLS}
	for _, tc := range []struct {
		specs []Spec
		want  bool
	}{
		{nil, true},
		{[]Spec{mtls}, true},
		{[]Spec{mtls, {Name: "x", SPIFFE: shopID}}, true},
		{[]Spec{mtls, {Name: "x", SPIFFE: shopID, Audience: audience}}, false},
		{[]Spec{mtls, {Name: "x", SPIFFE: shopID, Proof: ProofJWT, Audience: audience}}, false},
		{[]Spec{mtls, {Name: "x", SPIFFE: shopID, Proof: ProofPod}}, false},
		{[]Spec{mtls, {Name: "x", Token: "t"}}, false},
		{[]Spec{mtls, {Name: "x", Network: "10.0.0.0/8"}}, false},
	} {
		if got := mustNew(t, tc.specs...).CertificateOnly(); got != tc.want {
			t.Errorf("%+v: %v", tc.specs, got)
		}
	}
	if !(*Authenticator)(nil).CertificateOnly() {
		t.Error("where nobody is known, one without a certificate might be somebody")
	}
}

func FuzzParseAuthorization(f *testing.F) {
	for _, s := range []string{"", "Bearer a.b.c", "bearer  a.b.c", "Bearer a.b", "Bearer a.b.c ", basic("jwt", "a.b.c"), basic("jwt", "x"), basic("ci", "a.b.c"), "Basic Y2k6\neA=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := parseAuthorization(value)
		if err != nil {
			if _, ok := errors.AsType[*AuthError](err); !ok {
				t.Fatalf("%T", err)
			}
			return
		}
		switch {
		case (got.jwt == "") == (got.user == ""):
			t.Fatalf("%q is %+v", value, got)
		case got.jwt != "" && (strings.Count(got.jwt, ".") != 2 || strings.Trim(got.jwt, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != ""):
			t.Fatalf("%q gave the token %q", value, got.jwt)
		}
	})
}

func BenchmarkRecheckSPIFFE(b *testing.B) {
	api, err := identitytest.New(identitytest.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer api.Close()
	a, _ := New([]Spec{{Name: "a", SPIFFE: shopID}})
	k := knownBy(api, nil)
	p, err := a.Authenticate(a.Observe(Conn{Certificates: api.Issue(shopID, time.Hour).Certificates}), "", k)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !a.Recheck(p, k) {
			b.Fatal("refused")
		}
	}
}

package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// verifier holds tokens by the name of their secret and notes what it is asked.
type verifier struct {
	tokens map[string]string
	asked  []string
}

func (v *verifier) VerifyTokenDigest(secret string, digest [32]byte) bool {
	v.asked = append(v.asked, secret)
	token, ok := v.tokens[secret]
	want := sha256.Sum256([]byte(token))
	return ok && subtle.ConstantTimeCompare(want[:], digest[:]) == 1
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func mustNew(t *testing.T, specs ...Spec) *Authenticator {
	t.Helper()
	a, errs := New(specs)
	if errs != nil {
		t.Fatal(errs)
	}
	return a
}

func tcpAddr(s string) net.Addr {
	host, port, _ := strings.Cut(s, "|")
	ip, zone, _ := strings.Cut(host, "%")
	var n int
	fmt.Sscan(port, &n)
	return &net.TCPAddr{IP: net.ParseIP(ip), Port: n, Zone: zone}
}

const canary = `tok/+=%&<"\:canary`

func TestTokenAuthenticates(t *testing.T) {
	a := mustNew(t, Spec{Name: "ci", Token: "ci-token"}, Spec{Name: "build", Token: "build-token"})
	v := &verifier{tokens: map[string]string{"ci-token": canary, "build-token": "other"}}
	p, err := a.Authenticate(Observed{}, basic("ci", canary), Known{Tokens: v})
	if err != nil {
		t.Fatal(err)
	}
	if want := []Caller{{Name: "ci", Proof: ProofToken}}; !slices.Equal(p.Callers, want) || !slices.Equal(p.Names(), []string{"ci"}) {
		t.Fatalf("got %v, want %v", p.Callers, want)
	}
	if p, err := a.Authenticate(Observed{}, "", Known{Tokens: v}); err != nil || len(p.Names()) != 0 {
		t.Fatalf("no header: %v, %v; want nobody and no error", p, err)
	}
}

// A wrong token, a right token under a wrong name, an unknown name and a missing
// secret are refused alike: same error, same comparisons made. What was presented
// is nowhere in the error or in a printed Peer.
func TestProxyTokenTimingAndLeak(t *testing.T) {
	a := mustNew(t,
		Spec{Name: "net", Network: "10.0.0.0/8"},
		Spec{Name: "ci", Token: "ci-token"},
		Spec{Name: "build", Token: "build-token"},
		Spec{Name: "gone", Token: "gone-token"})
	tokens := map[string]string{"ci-token": canary, "build-token": "other-token"}
	for _, tc := range []struct{ user, token string }{
		{"ci", "wrong"},
		{"ci", canary[:len(canary)-1]},
		{"ci", "other-token"},
		{"build", canary},
		{"gone", canary},
		{"CI", canary},
		{"net", canary},
		{"nobody", canary},
	} {
		v := &verifier{tokens: tokens}
		p, err := a.Authenticate(Observed{}, basic(tc.user, tc.token), Known{Tokens: v})
		ae, ok := errors.AsType[*AuthError](err)
		if !ok || p != nil {
			t.Fatalf("%s: got %v, %v; want an AuthError", tc.user, p, err)
		}
		if len(v.asked) != 1 {
			t.Errorf("%s: %d comparisons, want one whatever the name", tc.user, len(v.asked))
		}
		if want := "no caller has this name and token"; ae.Problem != want {
			t.Errorf("%s: problem %q tells more than %q", tc.user, ae.Problem, want)
		}
	}

	p, err := a.Authenticate(Observed{}, basic("ci", canary), Known{Tokens: &verifier{tokens: tokens}})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte(canary))
	asJSON, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprintf("%v %+v %#v", p, p, p), fmt.Sprintf("%v %+v %#v", *p, *p, *p), string(asJSON)} {
		for _, leak := range []string{canary, fmt.Sprint(digest[:]), fmt.Sprintf("%x", digest), fmt.Sprintf("%#v", digest)} {
			if strings.Contains(s, leak) {
				t.Errorf("%q is in %q", leak, s)
			}
		}
	}
}

func TestMalformedProxyAuthorizationIsRefused(t *testing.T) {
	a := mustNew(t, Spec{Name: "ci", Token: "t"}, Spec{Name: "all", Network: "127.0.0.0/8"})
	v := &verifier{tokens: map[string]string{"t": "x"}}
	o := a.Observe(Conn{Remote: tcpAddr("127.0.0.1|9")})
	for _, value := range []string{
		" ", "Basic", "Basic ", "Bearer x", "Basic !", "Basicxx", "Basic" + "\t" + basic("ci", "x")[6:],
		basic("ci", "x") + "=", basic("ci", "x") + " ", basic("ci", "x") + ", " + basic("ci", "x"),
		basic("ci", ""), basic("", "x"), "Basic " + base64.StdEncoding.EncodeToString([]byte("ci")),
		basic("ci", "x\n"), basic("ci\x00", "x"),
		"Basic " + base64.RawStdEncoding.EncodeToString([]byte("ci:x")),
		"Basic Y2k6\r\neA==",
		"Basic Y2k6eB==", // bits behind the end: another spelling of the same
		"Basic " + strings.Repeat("A", maxAuthorization),
	} {
		p, err := a.Authenticate(o, value, Known{Tokens: v})
		if _, ok := errors.AsType[*AuthError](err); !ok || p != nil {
			t.Errorf("%q: got %v, %v; want an AuthError whatever else the peer has proven", value, p, err)
		}
	}
	for _, value := range []string{basic("ci", "x"), "bAsIc   " + basic("ci", "x")[6:]} {
		if _, err := a.Authenticate(o, value, Known{Tokens: v}); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestHeaderWhereNoCallerHasATokenIsRefused(t *testing.T) {
	for _, a := range []*Authenticator{nil, mustNew(t), mustNew(t, Spec{Name: "n", Network: "10.0.0.0/8"})} {
		if _, err := a.Authenticate(Observed{}, basic("n", "x"), Known{Tokens: &verifier{}}); err == nil {
			t.Error("an Authorization that nothing can prove was accepted")
		}
		if a.AcceptsAuthorization(nil) {
			t.Error("AcceptsAuthorization without a token")
		}
	}
}

func TestSeveralCallersInConfiguredOrder(t *testing.T) {
	a := mustNew(t,
		Spec{Name: "wide", Network: "10.0.0.0/8"},
		Spec{Name: "ci", Token: "t"},
		Spec{Name: "six", Network: "fd00::/8"},
		Spec{Name: "narrow", Network: "10.1.0.0/16"})
	v := &verifier{tokens: map[string]string{"t": "x"}}
	for _, tc := range []struct {
		remote, header string
		want           []string
	}{
		{"10.1.2.3|5", "", []string{"wide", "narrow"}},
		{"10.1.2.3|5", basic("ci", "x"), []string{"wide", "ci", "narrow"}},
		{"::ffff:10.2.2.3|5", "", []string{"wide"}},
		{"fd00::1%eth0|5", "", []string{"six"}},
		{"192.0.2.1|5", "", nil},
	} {
		p, err := a.Authenticate(a.Observe(Conn{Remote: tcpAddr(tc.remote)}), tc.header, Known{Tokens: v})
		if err != nil || !slices.Equal(p.Names(), tc.want) {
			t.Errorf("%s %q: %v, %v; want %v", tc.remote, tc.header, p.Names(), err, tc.want)
		}
	}
	p, err := a.Authenticate(a.Observe(Conn{Remote: &net.UnixAddr{Name: "10.1.2.3", Net: "unix"}}), "", Known{Tokens: v})
	if err != nil || len(p.Names()) != 0 {
		t.Errorf("a unix socket has a network: %v, %v", p.Names(), err)
	}
}

func TestRecheck(t *testing.T) {
	specs := []Spec{{Name: "ci", Token: "t"}, {Name: "lan", Network: "10.0.0.0/8"}}
	v := &verifier{tokens: map[string]string{"t": "x"}}
	a := mustNew(t, specs...)
	p, err := a.Authenticate(a.Observe(Conn{Remote: tcpAddr("10.1.1.1|5")}), basic("ci", "x"), Known{Tokens: v})
	if err != nil || len(p.Callers) != 2 {
		t.Fatal(p, err)
	}
	expired := *p
	expired.Callers = slices.Clone(p.Callers)
	expired.Callers[1].Expires = time.Unix(1000, 0)
	now := time.Unix(1000, 0)
	rotated := &verifier{tokens: map[string]string{"t": "y"}}
	for _, tc := range []struct {
		name string
		a    *Authenticator
		p    *Peer
		v    *verifier
		want bool
	}{
		{"unchanged", a, p, v, true},
		{"reloaded unchanged, reordered, one more", mustNew(t, specs[1], Spec{Name: "new", Token: "n"}, specs[0]), p, v, true},
		{"caller removed", mustNew(t, specs[0]), p, v, false},
		{"network changed", mustNew(t, specs[0], Spec{Name: "lan", Network: "10.0.0.0/16"}), p, v, false},
		{"token's secret changed", mustNew(t, Spec{Name: "ci", Token: "t2"}, specs[1]), p, &verifier{tokens: map[string]string{"t2": "x"}}, false},
		{"proof changed", mustNew(t, Spec{Name: "ci", Network: "10.0.0.0/8"}, specs[1]), p, v, false},
		{"token rotated", a, p, rotated, false},
		{"token's secret gone", a, p, &verifier{}, false},
		{"expired", a, &expired, v, false},
		{"no callers any more", nil, p, v, false},
		{"no peer", a, nil, v, false},
		{"nobody stays nobody", nil, &Peer{}, v, true},
		{"a peer made by hand", a, &Peer{Callers: p.Callers}, v, false},
	} {
		if got := tc.a.Recheck(tc.p, Known{Tokens: tc.v, Now: now}); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	if !a.Recheck(&expired, Known{Tokens: v, Now: now.Add(-time.Nanosecond)}) {
		t.Error("expired before its time")
	}
}

func TestAcceptsAuthorization(t *testing.T) {
	a := mustNew(t, Spec{Name: "lan", Network: "10.0.0.0/8"}, Spec{Name: "ci", Token: "t"})
	for _, tc := range []struct {
		names []string
		want  bool
	}{{nil, true}, {[]string{"lan"}, false}, {[]string{"lan", "ci"}, true}, {[]string{"unknown"}, false}} {
		if got := a.AcceptsAuthorization(tc.names); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.names, got, tc.want)
		}
	}
}

func FuzzParseBasic(f *testing.F) {
	for _, s := range []string{"", "Basic", basic("ci", "x"), basic("ci", "a:b"), "basic  Y2k6eA==", "Bearer x", "Basic Y2k6\neA==", "Basic Y2k6eB=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		user, password, err := parseBasic(value)
		if err != nil {
			if _, ok := errors.AsType[*AuthError](err); !ok {
				t.Fatalf("%T", err)
			}
			return
		}
		// One spelling only, but for the scheme's case and the spaces behind it.
		encoded := strings.TrimLeft(value[len("Basic"):], " ")
		text, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || base64.StdEncoding.EncodeToString(text) != encoded {
			t.Fatalf("%q was accepted", value)
		}
		u, p, _ := strings.Cut(string(text), ":")
		if u != user || user == "" || p != password {
			t.Fatalf("%q read as user %q", value, user)
		}
	})
}

func BenchmarkAuthenticateToken(b *testing.B) {
	a, _ := New([]Spec{{Name: "ci", Token: "t"}})
	v := digestVerifier(sha256.Sum256([]byte("x")))
	header := basic("ci", "x")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(Observed{}, header, Known{Tokens: v}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecheck(b *testing.B) {
	a, _ := New([]Spec{{Name: "ci", Token: "t"}})
	v := digestVerifier(sha256.Sum256([]byte("x")))
	p, err := a.Authenticate(Observed{}, basic("ci", "x"), Known{Tokens: v})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if !a.Recheck(p, Known{Tokens: v, Now: now}) {
			b.Fatal("refused")
		}
	}
}

type digestVerifier [32]byte

func (v digestVerifier) VerifyTokenDigest(_ string, d [32]byte) bool {
	return subtle.ConstantTimeCompare(v[:], d[:]) == 1
}

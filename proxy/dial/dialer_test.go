package dial

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// clearUpstream may send clear text anywhere that is admitted.
func clearUpstream(t testing.TB, p *Pool, allow ...string) *Upstream {
	prof := Profile{AnyClear: true}
	for _, s := range allow {
		prof.Allow = append(prof.Allow, netip.MustParsePrefix(s))
	}
	return upstream(t, p, prof)
}

func TestDNSRebinding(t *testing.T) {
	srv := serve(t, nil, ok)
	for _, addr := range []string{
		"127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1",
		"::127.0.0.1", "::1", "0.0.0.0", "::", "2002:7f00:1::", "10.0.0.1", "fe80::1", "fd00:ec2::254", "168.63.129.16",
	} {
		t.Run(addr, func(t *testing.T) {
			u := clearUpstream(t, newPool(t, Options{Resolver: names{"evil.test": {addr, addr}}}))
			e := refused(t, u, request(t, "GET", "http://evil.test:"+srv.port+"/", ""), AddressForbidden)
			if !strings.Contains(e.Addr, srv.port) {
				t.Errorf("the error does not name the address: %v", e)
			}
			literal := addr
			if strings.Contains(addr, ":") {
				literal = "[" + addr + "]"
			}
			refused(t, u, request(t, "GET", "http://"+literal+":"+srv.port+"/", ""), AddressForbidden)
			refused(t, u, request(t, "GET", "https://evil.test:"+srv.port+"/", ""), AddressForbidden)
			_, err := u.DialTunnel(t.Context(), "evil.test", portOf(t, srv.port))
			because(t, err, AddressForbidden)
		})
	}
	if n := srv.conns.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestDNSRebindingAtConnect: even past the filter, the socket is judged.
func TestDNSRebindingAtConnect(t *testing.T) {
	srv := serve(t, nil, ok)
	d := dialer{resolver: hosts}
	_, err := d.connect(t.Context(), netip.MustParseAddrPort("127.0.0.1:"+srv.port), terms{})
	because(t, err, AddressForbidden)
	if srv.conns.Load() != 0 {
		t.Error("connected")
	}
}

func TestMixedAnswers(t *testing.T) {
	srv := serve(t, nil, ok)
	r := names{"api.test": {"10.0.0.1", "169.254.169.254", "127.0.0.1", "fe80::1"}}
	u := clearUpstream(t, newPool(t, Options{Resolver: r}), "127.0.0.0/8")
	if got := text(t, u, request(t, "GET", "http://api.test:"+srv.port+"/", "")); got != "HTTP/1.1" {
		t.Errorf("got %q", got)
	}
}

// TestSecondAddress: a family that does not answer costs nothing but the attempt.
func TestSecondAddress(t *testing.T) {
	srv := serve(t, nil, ok)
	r := names{"api.test": {"::1", "127.0.0.2", "127.0.0.1"}, "down.test": {"127.0.0.2", "127.0.0.3"}}
	u := clearUpstream(t, newPool(t, Options{Resolver: r}), "127.0.0.0/8", "::1/128")
	var info Info
	req := request(t, "GET", "http://api.test:"+srv.port+"/", "")
	text(t, u, req.WithContext(WithInfo(t.Context(), nil, &info, nil)))
	if info.IP() != "127.0.0.1" {
		t.Errorf("dialled %s", info.IP())
	}
	refused(t, u, request(t, "GET", "http://down.test:"+srv.port+"/", ""), ConnectFailed)
}

func TestInterleave(t *testing.T) {
	var in, want []netip.AddrPort
	for _, s := range []string{"[2a00::1]:1", "[2a00::2]:1", "8.8.8.8:1", "1.1.1.1:1", "[2a00::3]:1"} {
		in = append(in, netip.MustParseAddrPort(s))
	}
	for _, s := range []string{"[2a00::1]:1", "8.8.8.8:1", "[2a00::2]:1", "1.1.1.1:1", "[2a00::3]:1"} {
		want = append(want, netip.MustParseAddrPort(s))
	}
	for i, got := range interleave(in) {
		if got != want[i] {
			t.Errorf("%d: %s, want %s", i, got, want[i])
		}
	}
	if n := len(interleave(append(in, in...))); n != maxAttempts {
		t.Errorf("%d attempts, want %d", n, maxAttempts)
	}
}

func TestProxyLoop(t *testing.T) {
	srv := serve(t, nil, ok)
	own := netip.MustParseAddrPort("127.0.0.1:" + srv.port)
	p := newPool(t, Options{
		Own:      func(a netip.AddrPort) bool { return a == own },
		Resolver: names{"api.test": {"127.0.0.1"}, "any.test": {"0.0.0.0"}, "mapped.test": {"::ffff:127.0.0.1"}, "nat64.test": {"64:ff9b::7f00:1"}},
	})
	for _, host := range []string{"api.test", "any.test", "mapped.test", "nat64.test", "127.0.0.1", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]"} {
		for _, u := range []*Upstream{clearUpstream(t, p), clearUpstream(t, p, "0.0.0.0/0", "::/0")} {
			refused(t, u, request(t, "GET", "http://"+host+":"+srv.port+"/", ""), Loop)
		}
	}
	direct := upstream(t, p, Profile{ConnectTo: own.String(), AnyClear: true})
	refused(t, direct, request(t, "GET", "http://elsewhere.test/", ""), Loop)
	via := upstream(t, p, Profile{Via: &Via{URL: parse(t, "http://"+own.String())}, AnyClear: true})
	refused(t, via, request(t, "GET", "http://elsewhere.test/", ""), Loop)
	if n := srv.conns.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestProxyLoopByEnvironment: HTTPS_PROXY is for programs that use us.
func TestProxyLoopByEnvironment(t *testing.T) {
	srv := serve(t, nil, ok)
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(v, "http://127.0.0.1:1")
	}
	u := clearUpstream(t, newPool(t, Options{}), "127.0.0.1/32")
	text(t, u, request(t, "GET", "http://api.test:"+srv.port+"/", ""))
	if ts := u.current(); ts.h1.Proxy != nil || ts.h2.Proxy != nil {
		t.Error("a transport has a Proxy")
	}
}

func TestNameFailures(t *testing.T) {
	p := newPool(t, Options{})
	refused(t, clearUpstream(t, p), request(t, "GET", "http://absent.test/", ""), DNSFailed)
	silent := newPool(t, Options{Resolver: silence(nil)})
	u := upstream(t, silent, Profile{AnyClear: true, Connect: 20 * time.Millisecond})
	refused(t, u, request(t, "GET", "http://api.test/", ""), DNSFailed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	refused(t, u, request(t, "GET", "http://api.test/", "").WithContext(ctx), Cancelled)
}

// silence is a Resolver that never answers. It says when it was asked, unless nil.
type silence chan struct{}

func (s silence) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	if s != nil {
		s <- struct{}{}
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestConnectFailures(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	p := newPool(t, Options{})
	refused(t, clearUpstream(t, p, "127.0.0.1/32"), request(t, "GET", "http://"+closed+"/", ""), ConnectFailed)

	mute := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	u := upstream(t, p, Profile{Allow: loopback, Connect: 30 * time.Millisecond})
	refused(t, u, request(t, "GET", "https://api.test:"+mute+"/", ""), ConnectTimeout)
}

// TestPlaintextOnlyToLoopback: promise 4, by the address that is dialled.
func TestPlaintextOnlyToLoopback(t *testing.T) {
	p := newPool(t, Options{Resolver: names{"far.test": {"8.8.8.8"}, "api.test": {"127.0.0.1"}}})
	for _, prof := range []Profile{{}, {Plaintext: true}, {ConnectTo: "8.8.8.8:80"}, {Via: &Via{URL: parse(t, "http://127.0.0.1:1")}}} {
		refused(t, upstream(t, p, prof), request(t, "GET", "http://far.test/", ""), PlaintextRefused)
	}
	refused(t, upstream(t, p, Profile{Plaintext: true}), request(t, "GET", "https://far.test/", ""), PlaintextRefused)
	ca := newAuthority(t, "root")
	withClient := upstream(t, p, Profile{Client: pemPair(t, ca.leaf(t, "me", nil)), AnyClear: true})
	refused(t, withClient, request(t, "GET", "http://far.test/", ""), PlaintextRefused)

	srv := serve(t, nil, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	local := upstream(t, p, Profile{Plaintext: true, Allow: loopback})
	if got := text(t, local, request(t, "POST", "https://api.test:"+srv.port+"/", "x")); got != "api.test:"+srv.port {
		t.Errorf("Host %q", got)
	}
	refused(t, upstream(t, p, Profile{}), request(t, "GET", "http://api.test:"+srv.port+"/", ""), AddressForbidden)
}

// TestPlaintextKeepsThePort: what was https stays at 443 in clear.
func TestPlaintextKeepsThePort(t *testing.T) {
	u := upstream(t, newPool(t, Options{Own: func(netip.AddrPort) bool { return true }}), Profile{Plaintext: true})
	if e := refused(t, u, request(t, "GET", "https://api.test/", ""), Loop); e.Addr != "127.0.0.1:443" {
		t.Errorf("dialled %s", e.Addr)
	}
}

// TestDialsAreBounded: requests that give up leave their dials behind.
func TestDialsAreBounded(t *testing.T) {
	asked := make(silence)
	p := newPool(t, Options{Resolver: asked})
	u := upstream(t, p, Profile{AnyClear: true, MaxInFlight: 2, Connect: 5 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _, _ = u.DialTunnel(ctx, "api.test", 80) })
	}
	for range 4 {
		<-asked
	}
	refused(t, u, request(t, "GET", "http://api.test/", ""), Busy)
	cancel()
	wg.Wait()
}

// TestDialsAreShared: a client's dials, which its requests leave behind, leave room for another's.
func TestDialsAreShared(t *testing.T) {
	asked := make(silence, 16)
	u := upstream(t, newPool(t, Options{Resolver: asked}), Profile{AnyClear: true, MaxInFlight: 5, Connect: 5 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	dial := func(client string) {
		wg.Go(func() { _, _ = u.DialTunnel(WithInfo(ctx, client, new(Info), nil), "api.test", 80) })
		select {
		case <-asked:
		case <-time.After(5 * time.Second):
			t.Fatalf("%s may not dial", client)
		}
	}
	for range 8 { // four fifths of twice as many
		dial("one")
	}
	_, err := u.DialTunnel(WithInfo(ctx, "one", new(Info), nil), "api.test", 80)
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason != ClientBusy {
		t.Errorf("more than its share: %v", err)
	}
	dial("another")
	cancel()
	wg.Wait()
}

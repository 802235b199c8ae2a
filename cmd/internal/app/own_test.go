package app

import (
	"net"
	"net/netip"
	"testing"
)

// fakeListener is a listener at an address that nothing listens on.
type fakeListener struct{ addr net.Addr }

func (f fakeListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (f fakeListener) Close() error              { return nil }
func (f fakeListener) Addr() net.Addr            { return f.addr }

func TestProxyLoopOwnAddresses(t *testing.T) {
	at := func(ap string) *listener {
		return &listener{Listener: fakeListener{net.TCPAddrFromAddrPort(netip.MustParseAddrPort(ap))}}
	}
	a := &App{}
	if a.isOwn(netip.MustParseAddrPort("127.0.0.1:15001")) {
		t.Error("own before anything listens")
	}
	a.own.Store(newOwnAddrs([]*listener{at("127.0.0.1:15001"), at("[::]:15090"), {Listener: fakeListener{&net.UnixAddr{Name: "x", Net: "unix"}}}}))
	for ap, want := range map[string]bool{
		"127.0.0.1:15001":          true,
		"[::ffff:127.0.0.1]:15001": true,
		"0.0.0.0:15001":            true, // dialled, it is this host
		"127.0.0.1:15002":          false,
		"10.9.8.7:15001":           false,
		"127.0.0.1:15090":          true, // bound on every address
		"127.0.0.2:15090":          true,
		"[::1]:15090":              true,
		"0.0.0.0:15090":            true,
		"192.0.2.1:15090":          false, // TEST-NET-1: not this host's
	} {
		if got := a.isOwn(netip.MustParseAddrPort(ap)); got != want {
			t.Errorf("isOwn(%s) = %v, want %v", ap, got, want)
		}
	}
}

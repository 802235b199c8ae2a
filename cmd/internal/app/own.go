package app

import (
	"net"
	"net/netip"
)

// ownAddrs are the addresses of the proxy's own TCP listeners, which it must never dial.
type ownAddrs struct {
	exact map[netip.AddrPort]bool
	any   map[uint16]bool // ports bound on every address
}

func newOwnAddrs(ls []*listener) *ownAddrs {
	o := &ownAddrs{exact: map[netip.AddrPort]bool{}, any: map[uint16]bool{}}
	for _, l := range ls {
		tcp, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			continue
		}
		ap := plain(tcp.AddrPort())
		if ap.Addr().IsUnspecified() {
			o.any[ap.Port()] = true
		} else {
			o.exact[ap] = true
		}
	}
	return o
}

// isOwn reports whether dialling ap would reach one of the proxy's own listeners.
func (a *App) isOwn(ap netip.AddrPort) bool {
	o := a.own.Load()
	if o == nil {
		return false
	}
	ap = plain(ap)
	switch {
	case o.exact[ap]:
		return true
	case ap.Addr().IsUnspecified(): // dialled, it means this host
		for e := range o.exact {
			if e.Port() == ap.Port() {
				return true
			}
		}
		return o.any[ap.Port()]
	}
	return o.any[ap.Port()] && isLocal(ap.Addr())
}

// isLocal reports whether addr is one of this host's. It asks the system each time, since addresses
// come and go; it is asked only for a port that is ours.
func isLocal(addr netip.Addr) bool {
	if addr.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // refuse rather than loop
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == addr {
				return true
			}
		}
	}
	return false
}

// plain unmaps ap and drops its zone.
func plain(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

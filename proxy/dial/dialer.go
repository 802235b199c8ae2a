package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	stagger     = 250 * time.Millisecond // before the next address is tried as well, RFC 8305 §5
	maxAttempts = 8                      // addresses of one name that are tried
)

// dialer connects to judged addresses.
type dialer struct {
	resolver Resolver
	own      func(netip.AddrPort) bool
}

// terms say which addresses one dial may reach.
type terms struct {
	allow      []netip.Prefix
	configured bool // the operator wrote the address: it is not judged
	loopback   bool // nothing but loopback (promise 4)
}

// admit says why ap may not be dialled, nil if it may.
func (d *dialer) admit(ap netip.AddrPort, t terms) *Error {
	if d.isOwn(ap) {
		return &Error{Loop, ap.String(), nil}
	}
	if !t.configured {
		if why, forbidden := judge(ap.Addr(), t.allow); forbidden {
			return &Error{AddressForbidden, ap.String(), errors.New(why)}
		}
	}
	if t.loopback && !ap.Addr().Unmap().IsLoopback() {
		return &Error{PlaintextRefused, ap.String(), nil}
	}
	return nil
}

// isOwn asks for ap as written and for what it embeds; the unspecified address reaches loopback on Linux.
func (d *dialer) isOwn(ap netip.AddrPort) bool {
	if d.own == nil {
		return false
	}
	addr := ap.Addr().WithZone("")
	is := func(a netip.Addr) bool { return d.own(netip.AddrPortFrom(a, ap.Port())) }
	if is(addr) || is(addr.Unmap()) {
		return true
	}
	if addr.Unmap().IsUnspecified() {
		return is(netip.AddrFrom4([4]byte{127, 0, 0, 1})) || is(netip.IPv6Loopback())
	}
	if addr.Is6() {
		inner, n, _ := embedded(addr)
		for _, a := range inner[:n] {
			if is(a) {
				return true
			}
		}
	}
	return false
}

// dial connects to host, a name or an address. Its errors are *Error.
func (d *dialer) dial(ctx context.Context, host string, port uint16, t terms) (net.Conn, error) {
	trip := tripOf(ctx)
	start := time.Now()
	addrs, err := d.resolve(ctx, host)
	looked := time.Since(start)
	if err != nil {
		return nil, err
	}
	var admitted []netip.AddrPort
	var refused *Error
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a, port)
		if e := d.admit(ap, t); e == nil {
			admitted = append(admitted, ap)
		} else if refused == nil || e.Reason == Loop {
			refused = e
		}
	}
	trip.note(func(i *Info) {
		i.DNS, i.Addr = looked, netip.AddrPortFrom(addrs[0], port)
		if len(admitted) > 0 {
			i.Addr = admitted[0]
		}
	})
	if len(admitted) == 0 {
		return nil, refused
	}
	start = time.Now()
	conn, err := d.race(ctx, interleave(admitted), t)
	trip.note(func(i *Info) {
		i.Connect = time.Since(start)
		if conn != nil {
			i.Addr = addrPort(conn.RemoteAddr())
		}
	})
	return conn, err
}

// resolve returns at least one address. A literal is an address already.
func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	addrs, err := d.resolver.LookupNetIP(ctx, "ip", host)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, &Error{Cancelled, host, context.Cause(ctx)}
	case err != nil:
		return nil, &Error{DNSFailed, host, err}
	case len(addrs) == 0:
		return nil, &Error{DNSFailed, host, errors.New("no addresses")}
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap() // the system's resolver maps IPv4
	}
	return addrs, nil
}

// interleave alternates between the families, the first address's first (RFC 8305 §4).
func interleave(in []netip.AddrPort) []netip.AddrPort {
	var first, second, out []netip.AddrPort
	for _, ap := range in {
		if ap.Addr().Is4() == in[0].Addr().Is4() {
			first = append(first, ap)
		} else {
			second = append(second, ap)
		}
	}
	for i := range max(len(first), len(second)) {
		if i < len(first) {
			out = append(out, first[i])
		}
		if i < len(second) {
			out = append(out, second[i])
		}
	}
	return out[:min(len(out), maxAttempts)]
}

// race connects to the first address that answers, beginning another attempt
// whenever one fails or has taken stagger. All attempts have ended on return.
func (d *dialer) race(ctx context.Context, addrs []netip.AddrPort, t terms) (net.Conn, error) {
	if len(addrs) == 1 {
		return d.connect(ctx, addrs[0], t)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	attempts, cancel := context.WithCancel(ctx)
	results := make(chan result, len(addrs))
	timer := time.NewTimer(0)
	defer timer.Stop()
	var won net.Conn
	var failed error
	for begun, ended := 0, 0; ended < begun || begun < len(addrs) && won == nil; {
		select {
		case <-timer.C:
			if begun == len(addrs) || won != nil {
				continue
			}
			ap := addrs[begun]
			begun++
			go func() {
				conn, err := d.connect(attempts, ap, t)
				results <- result{conn, err}
			}()
			timer.Reset(stagger)
		case r := <-results:
			ended++
			switch {
			case r.err == nil && won == nil:
				won = r.conn
				cancel()
			case r.err == nil:
				_ = r.conn.Close()
			case won == nil:
				failed = first(failed, r.err)
				timer.Reset(0)
			}
		}
	}
	cancel()
	if won != nil {
		return won, nil
	}
	return nil, failed
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// connect judges the address again in the moment of connecting: whatever came
// before, this is the address that the socket gets.
func (d *dialer) connect(ctx context.Context, ap netip.AddrPort, t terms) (net.Conn, error) {
	nd := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		actual, err := netip.ParseAddrPort(address)
		if err != nil {
			return &Error{AddressForbidden, address, errors.New("not an address")}
		}
		if e := d.admit(actual, t); e != nil {
			return e
		}
		return nil
	}}
	conn, err := nd.DialContext(ctx, "tcp", ap.String())
	if err != nil {
		return nil, dialError(ctx, ConnectFailed, ap.String(), err)
	}
	return conn, nil
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	trip := tripOf(ctx)
	start := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, dialError(ctx, ConnectFailed, "unix:"+path, err)
	}
	trip.note(func(i *Info) { i.Connect = time.Since(start) })
	return conn, nil
}

// splitAddr takes "host:port" apart; "[::1]:443" gives "::1".
func splitAddr(addr string) (host string, port uint16, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, errors.New("not host:port")
	}
	n, err := strconv.ParseUint(p, 10, 16)
	switch {
	case err != nil || n == 0:
		return "", 0, errors.New("not a port from 1 to 65535")
	case host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\@%"<>?#`, r) }):
		return "", 0, errors.New("not a host")
	}
	return host, uint16(n), nil
}

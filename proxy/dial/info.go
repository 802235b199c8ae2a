package dial

import (
	"context"
	"net"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"sync"
	"time"
)

// Info is what one request's round trip learnt of its connection. The
// durations are zero where the request found a connection ready.
type Info struct {
	DNS, Connect, TLS time.Duration
	Addr              netip.AddrPort // dialled, or that could not be dialled; zero for unix sockets
	Reused            bool           // the connection had carried a request before
	Proto             string         // "HTTP/1.1", "HTTP/2.0"; empty without an answer
}

// IP is the dialled IP address, empty where there was none.
func (i *Info) IP() string {
	if !i.Addr.IsValid() {
		return ""
	}
	return i.Addr.Addr().String()
}

// trip gathers a request's Info. A dial goes on after its request has ended,
// so it writes here and never to the caller's Info.
type trip struct {
	context.Context

	client any

	mu    sync.Mutex
	info  Info
	dst   *Info
	trace httptrace.ClientTrace
}

type tripKey struct{}

// WithInfo returns a context whose RoundTrip or DialTunnel fills info before it
// returns, and leaves it alone afterwards. got1xx, if not nil, hears of interim
// answers, from another goroutine. client, comparable or nil, is whom the request is counted for where clients
// share an upstream's MaxInFlight.
func WithInfo(ctx context.Context, client any, info *Info, got1xx func(code int, header textproto.MIMEHeader) error) context.Context {
	t := &trip{Context: ctx, client: client, dst: info}
	t.trace.GotConn, t.trace.Got1xxResponse = t.gotConn, got1xx
	return httptrace.WithClientTrace(t, &t.trace)
}

// Value implements [context.Context].
func (t *trip) Value(key any) any {
	if _, ok := key.(tripKey); ok {
		return t
	}
	return t.Context.Value(key)
}

func tripOf(ctx context.Context) *trip {
	t, _ := ctx.Value(tripKey{}).(*trip)
	return t
}

// whose is the client's request that t is for.
func (t *trip) whose() any {
	if t == nil {
		return nil
	}
	return t.client
}

// note changes the record. A nil trip records nothing.
func (t *trip) note(change func(*Info)) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.info)
}

// deliver hands the record to whoever asked for it.
func (t *trip) deliver(proto string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.info.Proto = proto
	*t.dst = t.info
}

func (t *trip) gotConn(g httptrace.GotConnInfo) {
	addr := addrPort(g.Conn.RemoteAddr())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.info.Reused, t.info.Addr = g.Reused, addr
	if g.Reused { // a dial begun for this request came second
		t.info.DNS, t.info.Connect, t.info.TLS = 0, 0, 0
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

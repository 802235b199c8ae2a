package dial

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

const hardlyIdle = time.Millisecond

// probe reads from a socket what has come, without waiting.
type probe struct {
	raw syscall.RawConn
	by  func(fd uintptr) bool // made once: read is called with every request

	here bool // only what is here already, in TLS's buffer: nothing is asked of the kernel
	into []byte
	n    int
	err  error
	one  [1]byte
}

// newProbe returns the probe of a socket, nil where there can be none.
func newProbe(nc net.Conn) *probe {
	s, ok := nc.(syscall.Conn)
	if !ok || !canProbe {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	p := &probe{raw: raw}
	p.by = p.readNow
	return p
}

// read is [io.Reader]'s Read, or gives errNothing.
func (p *probe) read(b []byte) (int, error) {
	if p.here {
		return 0, errNothing
	}
	p.into = b
	if err := p.raw.Read(p.by); err != nil {
		return 0, err
	}
	return p.n, p.err
}

// quiet reports whether nc is open and nothing has come that nobody asked for: a 408, what an
// attacker smuggled in for the next request to take as its answer, the server's farewell. What TLS says to
// itself is heard meanwhile. Where nc has been idle for next to no time the kernel is not asked, which costs
// as much as all else: what is there might as well come a moment later.
func (p *probe) quiet(nc net.Conn, idle time.Duration) bool {
	if p == nil {
		return false
	}
	p.here = idle < hardlyIdle
	if t, ok := nc.(*tls.Conn); ok {
		under := t.NetConn().(*underTLS)
		under.now = true
		_, err := t.Read(p.one[:])
		under.now = false
		return err == errNothing
	}
	_, err := p.read(p.one[:])
	return err == errNothing
}

// errNothing says that nothing has come yet. To crypto/tls it is a time-out, after which reading goes on.
var errNothing error = nothing{} // a constant: never assigned again

type nothing struct{}

func (nothing) Error() string   { return "nothing yet" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

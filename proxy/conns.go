package proxy

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// conns is the set of open client connections. Its number is bounded, and no
// client can hold all of it:
//
//   - Where all are taken, a new connection takes the place of the one that has
//     been spare for longest: on which no request is under way, or which has not
//     come as far as its first. Only where none is spare do clients wait, and
//     until one has been for [spareTime].
//   - One address beyond this machine gets half of them, so that another always
//     finds room. Loopback and unix sockets are one address for many clients,
//     and have no such share.
type conns struct {
	mu    sync.Mutex
	open  map[*conn]struct{}
	from  map[netip.Addr]int // those that count against a share
	spare list.List          // of *conn, the one that was in use last at the end
	share int                // of one address
	slots chan struct{}      // as many as may be open
	freed chan struct{}      // a slot was given back, or a connection became spare

	waiting atomic.Int32 // for a slot
}

// spareTime is how long a connection has to be spare before it is closed. A client may be
// about to use it; and net/http calls an HTTP/2 connection idle when the end of its last answer is
// still to be written.
const spareTime = 100 * time.Millisecond

func newConns(most int) *conns {
	return &conns{
		open: map[*conn]struct{}{}, from: map[netip.Addr]int{}, share: max(1, most/2),
		slots: make(chan struct{}, most), freed: make(chan struct{}, 1),
	}
}

// admit waits until there is room for c. It reports whether c may go on: not
// when its address has its share, nor once closing is closed.
func (s *conns) admit(c *conn, closing <-chan struct{}) bool {
	if !s.add(c) {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		return true
	default:
	}
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for {
		var later <-chan time.Time
		if early := s.evict(); early > 0 {
			later = time.After(early)
		}
		select {
		case s.slots <- struct{}{}:
			if s.waiting.Load() > 1 {
				s.wake() // who made this room may be waiting still
			}
			return true
		case <-later:
		case <-s.freed:
		case <-closing:
			s.drop(c)
			return false
		}
	}
}

// add counts c, unless its address has its share.
func (s *conns) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := shared(c); a.IsValid() {
		if s.from[a] >= s.share {
			return false
		}
		s.from[a]++
	}
	s.open[c] = struct{}{}
	return true
}

// drop forgets c and reports whether it was there.
func (s *conns) drop(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.open[c]; !there {
		return false
	}
	delete(s.open, c)
	s.unspare(c)
	if c.expiry != nil {
		c.expiry.Stop()
	}
	if a := shared(c); a.IsValid() {
		if s.from[a]--; s.from[a] == 0 {
			delete(s.from, a)
		}
	}
	return true
}

// remove forgets c and gives its slot back.
func (s *conns) remove(c *conn) {
	if s.drop(c) {
		<-s.slots
		s.wake()
	}
}

func (s *conns) wake() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// evict closes the connection that has been spare for longest. If that is not long enough, it
// returns when it will be.
func (s *conns) evict() (early time.Duration) {
	s.mu.Lock()
	oldest := s.spare.Front()
	if oldest == nil {
		s.mu.Unlock()
		return 0
	}
	c := oldest.Value.(*conn)
	if early = spareTime - time.Since(c.spareSince); early > 0 {
		s.mu.Unlock()
		return early
	}
	s.unspare(c)
	s.mu.Unlock()
	_ = c.Conn.Close() // whoever reads from it ends it
	return 0
}

// end closes c when it has been spare for long enough, unless it comes into use before.
func (s *conns) end(c *conn) {
	s.mu.Lock()
	early := spareTime - time.Since(c.spareSince)
	is := c.spare != nil
	s.mu.Unlock()
	switch {
	case !is: // it is closed when it is spare again
	case early > 0:
		time.AfterFunc(early, func() { s.end(c) })
	default:
		_ = c.Conn.Close() // whoever reads from it ends it
	}
}

// idle marks c as spare, or as in use.
func (s *conns) idle(c *conn, spare bool) {
	s.mu.Lock()
	s.unspare(c)
	if _, there := s.open[c]; there && spare {
		c.spare, c.spareSince = s.spare.PushBack(c), time.Now()
	}
	s.mu.Unlock()
	if spare && c.whole().retired.Load() {
		s.end(c)
	}
	if spare && len(s.slots) == cap(s.slots) {
		s.wake()
	}
}

func (s *conns) unspare(c *conn) {
	if c.spare != nil {
		s.spare.Remove(c.spare)
		c.spare = nil
	}
}

// state is the [http.Server.ConnState] of all servers. What is hijacked says
// itself when it is spare.
func (s *conns) state(nc net.Conn, state http.ConnState) {
	if c := owner(nc); c != nil {
		spare := state == http.StateNew || state == http.StateIdle
		if spare {
			c.answering.Store(false)
		}
		s.idle(c, spare)
	}
}

// expire retires c after d.
func (s *conns) expire(c *conn, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.open[c]; there {
		c.expiry = time.AfterFunc(d, func() { s.retire(c) })
	}
}

// retire has c closed, and what is a part of it, as soon as no request is under way on it.
func (s *conns) retire(c *conn) {
	c.retired.Store(true)
	var idle []*conn
	s.mu.Lock()
	for e := s.spare.Front(); e != nil; e = e.Next() {
		if o := e.Value.(*conn); o.whole() == c {
			idle = append(idle, o)
		}
	}
	s.mu.Unlock()
	for _, o := range idle {
		s.end(o)
	}
}

func (s *conns) closeAll() {
	s.mu.Lock()
	all := make([]*conn, 0, len(s.open))
	for c := range s.open {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		_ = c.Conn.Close() // first, so that nothing lingers
		_ = c.Close()
	}
}

// shared is the address that c counts against, invalid for none.
func shared(c *conn) netip.Addr {
	t, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(t.IP)
	if a = a.Unmap(); !ok || a.IsLoopback() {
		return netip.Addr{}
	}
	return a
}

// listener turns accepted connections into conns and bounds their number: past
// the bound new clients wait in the kernel's queue.
type listener struct {
	net.Listener
	proxy  *Proxy
	name   string
	secure bool // clients speak TLS with us; whoever accepts shakes hands

	closed  chan struct{} // by Close
	closing sync.Once
	drained chan struct{} // closed when all that was accepted before stop is counted
	drain   sync.Once
}

func (p *Proxy) newListener(l net.Listener, name string, secure bool) *listener {
	return &listener{Listener: l, proxy: p, name: name, secure: secure, closed: make(chan struct{}), drained: make(chan struct{})}
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.stop()
}

// stop accepts no more connections. Accept waits for Close, so that the server goes on with those it has.
func (l *listener) stop() error {
	if err := l.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil // for the second time
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			select {
			case <-l.proxy.closing:
				l.drain.Do(func() { close(l.drained) })
				<-l.closed
			default:
			}
			return nil, err
		}
		c := &conn{Conn: nc, proxy: l.proxy, listener: l.name, watch: new(watch)}
		if l.secure { // before anybody else knows of it
			c.secure = tls.Server(&underTLS{nc, c}, l.proxy.outerTLS)
		} else {
			c.guard = newFraming()
		}
		if l.proxy.conns.admit(c, l.proxy.closing) {
			c.expectRequest()
			return c, nil
		}
		_ = nc.Close()
	}
}

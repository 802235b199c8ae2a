package proxy

import (
	"sync"
	"time"

	"github.com/attache-proxy/attache/proxy/policy"
)

// rawConn is a connection whose bytes we no longer look at: a tunnel or an
// upgraded connection.
type rawConn struct {
	x       *exchange
	request policy.Request // that was upgraded; empty for a tunnel
	rule    string
	cut     func(reason string) // closes both sides

	mu    sync.Mutex
	timer *time.Timer // looks at it again when something that allows it may end; nil: nothing does
	gone  bool
}

// rawConns are those that are open.
type rawConns struct {
	mu   sync.Mutex
	open map[*rawConn]struct{}

	tally tally // of open
}

func (s *rawConns) add(c *rawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*rawConn]struct{}{}
	}
	s.open[c] = struct{}{}
	s.tally.add(1)
}

func (s *rawConns) remove(c *rawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.tally.add(-1)
}

func (s *rawConns) count() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.open))
}

func (s *rawConns) all() []*rawConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*rawConn, 0, len(s.open))
	for c := range s.open {
		all = append(all, c)
	}
	return all
}

func (s *rawConns) closeAll(reason string) {
	for _, c := range s.all() {
		c.cut(reason)
	}
}

// reconsider closes what a new Snapshot does not allow.
func (s *rawConns) reconsider(snap *Snapshot) {
	for _, c := range s.all() {
		c.look(snap)
	}
}

// track adds c, and closes it if a Snapshot that came since does not allow it.
func (p *Proxy) track(c *rawConn) {
	p.raw.add(c)
	c.look(p.live.Load())
}

func (p *Proxy) untrack(c *rawConn) {
	c.mu.Lock()
	c.gone = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	p.raw.remove(c)
}

// lookAgain is when, at the latest, a connection is looked at again that is allowed for a time only: a
// timer does not notice that the clock was put forward.
const lookAgain = time.Minute

// look closes c if s does not allow it, and otherwise looks again when that may change.
func (c *rawConn) look(s *Snapshot) {
	reason, until := c.allowed(s)
	if reason != "" {
		c.cut(reason)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.gone:
	case until.IsZero():
		if c.timer != nil {
			c.timer.Stop()
			c.timer = nil
		}
	default:
		wait := max(time.Millisecond, min(lookAgain, until.Sub(c.x.p.now())))
		if c.timer == nil {
			c.timer = time.AfterFunc(wait, func() { c.look(c.x.p.live.Load()) })
		} else {
			c.timer.Reset(wait)
		}
	}
}

// allowed tells why s does not allow c, or, where reason is empty, until when it does; zero: for good.
func (c *rawConn) allowed(s *Snapshot) (reason string, until time.Time) {
	x := c.x
	if !x.conn.stillWho(s) {
		return reasonCallerExpired, until
	}
	until = s.Callers.Until(x.conn.peer, x.p.known(s))
	if c.allows(s) {
		return "", until
	}
	switch {
	case c.rule == "" && s.observes(x.target, x.p.now()):
		return "", earlier(until, s.ObserveUntil)
	case x.gateway != nil && s.leaves(x.target) && s.Gateway.Upstream == x.gateway.Upstream:
		return "", until
	case c.rule == "" && !s.Policy.Named(x.target.host, x.target.port):
		return string(policy.NoRule), until // it was only observed, and that has ended
	}
	return reasonClosedByReload, until
}

// allows reports whether a rule of s allows c.
func (c *rawConn) allows(s *Snapshot) bool {
	x := c.x
	if c.request.Host == "" {
		return s.Policy.DecideConnect(x.target.host, x.target.port, x.conn.peer.Names()).Verdict == policy.ConnectTunnel
	}
	d := s.Policy.Decide(&c.request)
	return d.Allowed && s.Policy.Rules()[d.Rule].ID == c.rule
}

// earlier is the earlier of two moments of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

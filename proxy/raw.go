package proxy

import (
	"context"
	"sync"

	"github.com/attache-proxy/attache/proxy/policy"
)

// rawConn is a connection whose bytes we no longer look at: a tunnel or an
// upgraded connection.
type rawConn struct {
	x       *exchange
	request policy.Request // that was upgraded; empty for a tunnel
	rule    string
	cut     func(reason string) // closes both sides
}

// rawConns are those that are open.
type rawConns struct {
	mu   sync.Mutex
	open map[*rawConn]struct{}
	idle chan struct{} // closed when the last one goes; nil while nobody waits
}

func (s *rawConns) add(c *rawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*rawConn]struct{}{}
	}
	s.open[c] = struct{}{}
}

func (s *rawConns) remove(c *rawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	if len(s.open) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
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

// wait returns when none is open, or with the error of ctx.
func (s *rawConns) wait(ctx context.Context) error {
	s.mu.Lock()
	if len(s.open) == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *rawConns) closeAll(reason string) {
	for _, c := range s.all() {
		c.cut(reason)
	}
}

// reconsider closes what a new Snapshot does not allow.
func (s *rawConns) reconsider(snap *Snapshot) {
	for _, c := range s.all() {
		if !c.allowed(snap) {
			c.cut(reasonClosedByReload)
		}
	}
}

func (c *rawConn) allowed(s *Snapshot) bool {
	x := c.x
	peer := x.conn.peer
	if peer != nil && len(peer.Callers) > 0 && (s.Callers == nil || !s.Callers.Recheck(peer, x.p.now(), tokens{s.Secrets})) {
		return false
	}
	if c.request.Host == "" {
		d := s.Policy.DecideConnect(x.target.host, x.target.port, peer.Names())
		return d.Verdict == policy.ConnectTunnel || c.rule == "" && s.observes(x.target, x.p.now())
	}
	if c.rule == "" {
		return s.observes(x.target, x.p.now())
	}
	d := s.Policy.Decide(&c.request)
	return d.Allowed && s.Policy.Rules()[d.Rule].ID == c.rule
}

package watcher

import (
	"context"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
)

const (
	rereadEvery = 10 * time.Second // at most, of one secret
	rereadWait  = time.Second      // for the new version
)

// reread is a look that an upstream's refusal asked for.
type reread struct {
	began time.Time
	done  chan struct{} // closed when the look has ended
}

// Reread looks at one secret now, because an upstream refused the version
// that than is, and reports whether another is in force. It looks at most once
// in 10 s; who asks while it looks waits with it, for 1 s at most, and who asks
// later is told what is in force.
func (s *Store) Reread(ctx context.Context, than secret.Value) bool {
	newer := func() bool {
		e, ok := s.Set().Entry(secret.Ref(than.Name()))
		if !ok || e.Current.IsZero() || e.Current.Same(than) {
			return false
		}
		s.taking.Lock() // until it has been told of, nobody uses it
		defer s.taking.Unlock()
		return true
	}
	if newer() {
		return true
	}
	s.mu.Lock()
	k := s.kept[than.Name()]
	if k == nil || s.closed {
		s.mu.Unlock()
		return false
	}
	now := time.Now()
	if k.reread.began.IsZero() || now.Sub(k.reread.began) >= rereadEvery {
		done := make(chan struct{})
		k.reread = reread{now, done}
		ks := []*kept{k}
		for _, other := range s.kept {
			if g := k.group(); other != k && g != "" && other.group() == g {
				ks = append(ks, other)
			}
		}
		s.wg.Go(func() {
			defer close(done)
			s.take(ks, s.look(s.ctx, ks))
		})
	}
	wait := k.reread
	s.mu.Unlock()
	limit := time.NewTimer(rereadWait - now.Sub(wait.began))
	defer limit.Stop()
	select {
	case <-wait.done:
	case <-limit.C:
	case <-ctx.Done():
	}
	return newer()
}

package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject/secret"
)

// Live is the Snapshot in force. The zero Live holds none: until the first
// Publish every request is refused.
type Live struct {
	p  atomic.Pointer[Snapshot]
	mu sync.Mutex // held by writers
	on []func(*Snapshot)
}

// Load returns the Snapshot in force, nil before the first Publish.
func (l *Live) Load() *Snapshot { return l.p.Load() }

// Publish puts s in force. Requests under way keep the one they began with;
// tunnels and upgraded connections that s does not allow are closed.
func (l *Live) Publish(s *Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.compile()
	l.store(s)
}

// SetSecrets puts the Snapshot in force again with other secrets. Before the
// first Publish it does nothing.
func (l *Live) SetSecrets(set *secret.Set) {
	l.with(func(s *Snapshot) { s.Secrets = set })
}

// SetIdentity puts the Snapshot in force again with another identity, so that
// what was admitted by the one before is looked at again. Before the first Publish it does nothing.
func (l *Live) SetIdentity(state *identity.State) {
	l.with(func(s *Snapshot) { s.Identity = state })
}

// with puts a changed copy of the Snapshot in force.
func (l *Live) with(change func(*Snapshot)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.p.Load()
	if old == nil {
		return
	}
	s := *old
	change(&s)
	l.store(&s)
}

func (l *Live) store(s *Snapshot) {
	s.compileMasks(l.p.Load())
	l.p.Store(s)
	for _, f := range l.on {
		f(s)
	}
}

// subscribe calls f with every Snapshot put in force from now on.
func (l *Live) subscribe(f func(*Snapshot)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = append(l.on, f)
}

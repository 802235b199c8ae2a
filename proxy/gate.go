package proxy

import "sync"

// gate counts who is inside and, once waited on, lets nobody in any more.
// Unlike a sync.WaitGroup it may be entered while it is waited on.
type gate struct {
	mu     sync.Mutex
	inside int
	shut   bool
	empty  *sync.Cond
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.empty != nil && g.inside == 0 {
		g.empty.Broadcast()
	}
}

// wait shuts the gate and returns when nobody is inside.
func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	if g.empty == nil {
		g.empty = sync.NewCond(&g.mu)
	}
	for g.inside > 0 {
		g.empty.Wait()
	}
}

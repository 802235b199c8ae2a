package proxy

import (
	"context"
	"sync"
)

// fresh counts the connections that have been accepted, and the tunnels that are being opened, on which no request has
// come yet: their clients are about to send one, and would not try again. net/http's Shutdown drops such a
// connection when the request comes.
type fresh struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n becomes 0; nil: nobody waits
}

func (f *fresh) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n += n; f.n == 0 && f.none != nil {
		close(f.none)
		f.none = nil
	}
}

// wait waits until there are none, or ctx ends.
func (f *fresh) wait(ctx context.Context) {
	f.mu.Lock()
	if f.n == 0 {
		f.mu.Unlock()
		return
	}
	if f.none == nil {
		f.none = make(chan struct{})
	}
	none := f.none
	f.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}

// expectRequest counts c as fresh.
func (c *conn) expectRequest() {
	if c.fresh.CompareAndSwap(false, true) {
		c.proxy.fresh.add(1)
	}
}

// requestCame is called when a request has come on c, or none will.
func (c *conn) requestCame() {
	if c.fresh.Load() && c.fresh.CompareAndSwap(true, false) {
		c.proxy.fresh.add(-1)
	}
}

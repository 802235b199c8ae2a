package dial

import (
	"context"
	"errors"
	"net/http/httptrace"
	"sync"
)

// opening has tunnels find their connection one after the other, which takes no time where there is one:
// net/http begins a dial for every request that finds none ready, so a gateway that comes back would get as
// many handshakes as tunnels wait for it. The zero opening is ready for use.
type opening struct {
	mu  sync.Mutex
	now *turn // nil: nobody's
}

// turn is one tunnel's to find a connection.
type turn struct {
	done chan struct{}
	once sync.Once
	err  *Error // why it found none: nobody else would
}

// take waits for a turn, which the caller has to end. Who waited for one that found that no
// connection is to be had fails with it, rather than after as long again.
func (o *opening) take(ctx context.Context, addr string) (*turn, *Error) {
	for {
		o.mu.Lock()
		t := o.now
		if t == nil {
			t = &turn{done: make(chan struct{})}
			o.now = t
			o.mu.Unlock()
			return t, nil
		}
		o.mu.Unlock()
		select {
		case <-t.done:
			if t.err != nil {
				return nil, t.err
			}
		case <-ctx.Done():
			return nil, &Error{Cancelled, addr, context.Cause(ctx)}
		}
	}
}

// trace ends t when its request has a connection.
func (o *opening) trace(ctx context.Context, t *turn) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { o.end(t, nil) }})
}

// end ends t, if it has not ended, with what became of its request.
func (o *opening) end(t *turn, err error) {
	t.once.Do(func() {
		if e, ok := errors.AsType[*Error](err); ok && e.Reason != Cancelled && e.Reason != Closed {
			t.err = e
		}
		o.mu.Lock()
		o.now = nil
		o.mu.Unlock()
		close(t.done)
	})
}

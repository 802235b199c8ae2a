package dial

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// requestBody remembers why the request's body broke off, and stays open until
// it is known whether a second protocol is tried: http.Transport closes the body
// when a dial fails.
type requestBody struct {
	io.ReadCloser
	mu      sync.Mutex
	err     error // of Read, but io.EOF
	held    bool
	closing bool // asked to close while held
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
}

func (b *requestBody) Close() error {
	b.mu.Lock()
	held := b.held
	b.closing = true
	b.mu.Unlock()
	if held {
		return nil
	}
	return b.ReadCloser.Close()
}

// release lets Close through from now on. A nil body has nothing to release.
func (b *requestBody) release() {
	if b == nil {
		return
	}
	b.mu.Lock()
	due := b.held && b.closing
	b.held = false
	b.mu.Unlock()
	if due {
		_ = b.ReadCloser.Close()
	}
}

func (b *requestBody) broken() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// responseBody gives the request's place back at its end, and keeps what the
// upstream sent out of errors.
type responseBody struct {
	io.ReadCloser
	ctx  context.Context
	ts   *transports
	done atomic.Bool

	client any // whose place it is
}

func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.end()
	if err != io.EOF {
		err = bodyError(b.ctx, err)
	}
	return n, err
}

func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	b.ts.swept()
	return err
}

func (b *responseBody) end() {
	if b.done.CompareAndSwap(false, true) {
		b.ts.u.requests.leave(b.client)
	}
}

// bodyError keeps the context's own error: httputil.ReverseProxy compares it.
func bodyError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return tripError(ctx, "", err)
}

// duplexBody is the body of a 101, which is written to as well.
type duplexBody struct {
	responseBody
	rw io.ReadWriteCloser
}

func (b *duplexBody) Write(p []byte) (int, error) { return b.rw.Write(p) }

// CloseWrite ends our half. Where the connection has no halves, all of it ends.
func (b *duplexBody) CloseWrite() error {
	if h, ok := b.rw.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return b.Close()
}

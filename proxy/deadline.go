package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// readDeadline is the read deadline of a connection. net/http moves it four
// times a request, and each move is a timer of the runtime: here a later
// deadline, or none, only takes note of itself, and the read that the earlier one
// wakes goes on waiting.
type readDeadline struct {
	mu    sync.Mutex
	want  time.Time // zero: none
	armed time.Time // of the socket, where that is not want; never later. Zero: none
	ended bool      // the socket's is in the past, to end a read
}

// set makes t the deadline of c.
func (d *readDeadline) set(c net.Conn, t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want = t
	switch {
	case !t.IsZero() && t.Unix() <= 1: // how net/http ends a read
		d.ended = true
		return c.SetReadDeadline(t)
	case d.ended:
		d.ended = false
		if d.armed.IsZero() || !t.IsZero() && t.Before(d.armed) {
			d.armed = t
		}
	case t.IsZero(), !d.armed.IsZero() && !t.Before(d.armed):
		return nil
	default:
		d.armed = t
	}
	return c.SetReadDeadline(d.armed)
}

// read reads from c until the deadline.
func (d *readDeadline) read(c net.Conn, b []byte) (int, error) {
	for {
		n, err := c.Read(b)
		if err == nil || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !d.early(c) {
			return n, err
		}
	}
}

// early reports whether the socket's deadline was not the one that is wanted,
// and makes it so.
func (d *readDeadline) early(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended || !d.want.IsZero() && !time.Now().Before(d.want) {
		return false
	}
	d.armed = d.want
	return c.SetReadDeadline(d.want) == nil
}

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(t time.Time) error { return c.deadline.set(c.Conn, t) }

// SetDeadline implements [net.Conn].
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// socket reads from the connection itself, unchecked.
type socket struct{ c *conn }

func (s socket) Read(b []byte) (int, error) { return s.c.deadline.read(s.c.Conn, b) }

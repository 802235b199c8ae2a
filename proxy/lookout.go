package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// lookAfter is how long a request without a body is under way before its client is looked for.
const lookAfter = 50 * time.Millisecond

// lookout reads from an HTTP/1 connection and finds out that the client of a request without a body has gone.
// net/http finds out by reading one byte while the request lasts: a goroutine that waits, a read of the
// kernel and two moves of the deadline for every request. Here that read comes to nothing at once, and
// where the request lasts longer than lookAfter, its watch makes up for it.
type lookout struct {
	src net.Conn

	mu     sync.Mutex
	putOff bool          // net/http's read came to nothing, and it has not read again since
	look   chan struct{} // closed when the look is over; nil: none was begun since net/http last read

	// What the look read, once it is over.
	ahead [1]byte
	n     int
	err   error
}

// Read reads what the client sends: what a look has read, first.
func (l *lookout) Read(b []byte) (int, error) {
	l.mu.Lock()
	look := l.look
	l.putOff, l.look = false, nil
	l.mu.Unlock()
	if look != nil {
		<-look
		if l.n > 0 || l.err != nil {
			return copy(b, l.ahead[:l.n]), l.err
		}
	}
	return l.src.Read(b)
}

// putOffLook notes that net/http's read for the end of the client comes to nothing.
func (l *lookout) putOffLook() {
	l.mu.Lock()
	l.putOff = true
	l.mu.Unlock()
}

// begin looks for the client's end, and calls gone if it comes. It reports whether it does: not before net/http's read
// was put off, nor where that goes on.
func (l *lookout) begin(gone func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.putOff || l.look != nil {
		return false
	}
	look := make(chan struct{})
	l.look = look
	go func() {
		defer close(look)
		l.n, l.err = l.src.Read(l.ahead[:])
		if errors.Is(l.err, os.ErrDeadlineExceeded) {
			l.err = nil // ended from here
		}
		if l.err != nil {
			gone()
		}
	}()
	return true
}

// end ends the look, with the request.
func (l *lookout) end() {
	l.mu.Lock()
	look := l.look
	l.mu.Unlock()
	if look == nil {
		return
	}
	select {
	case <-look:
	default:
		_ = l.src.SetReadDeadline(time.Unix(1, 0))
		<-look
		_ = l.src.SetReadDeadline(time.Time{})
	}
}

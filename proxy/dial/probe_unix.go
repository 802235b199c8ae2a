//go:build unix

package dial

import (
	"io"

	"golang.org/x/sys/unix"
)

const canProbe = true

// readNow reads once. Go's sockets do not block.
func (p *probe) readNow(fd uintptr) bool {
	for {
		p.n, p.err = unix.Read(int(fd), p.into)
		switch {
		case p.err == unix.EINTR:
			continue
		case p.err == unix.EAGAIN:
			p.err = errNothing
		case p.err == nil && p.n == 0:
			p.err = io.EOF
		}
		p.n = max(0, p.n)
		return true
	}
}

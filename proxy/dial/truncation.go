package dial

import (
	"io"
	"net"
)

// untruncated is a connection under TLS whose end is an error. TLS says itself
// when a stream ends (close_notify); crypto/tls takes the end of the connection for
// it, and an answer that has neither length nor chunks could be cut short by anyone on
// the way, or by a crash, and would be passed on as whole (RFC 9112 §9.8).
type untruncated struct{ net.Conn }

func (c untruncated) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF {
		err = errTruncated{}
	}
	return n, err
}

type errTruncated struct{}

func (errTruncated) Error() string { return "the connection ended without close_notify" }

// Unwrap makes it what it would be in clear. crypto/tls compares, and does not look.
func (errTruncated) Unwrap() error { return io.ErrUnexpectedEOF }

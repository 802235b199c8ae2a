package dial

import (
	"io"
	"net"
)

// underTLS is a connection under TLS whose end is an error. TLS says itself
// when a stream ends (close_notify); crypto/tls takes the end of the connection for
// it, and an answer that has neither length nor chunks could be cut short by anyone on
// the way, or by a crash, and would be passed on as whole (RFC 9112 §9.8).
type underTLS struct {
	net.Conn
	probe *probe // nil: there is no looking without waiting
	now   bool   // reads do not wait
}

func (c *underTLS) Read(b []byte) (int, error) {
	n, err := 0, error(nil)
	if c.now {
		n, err = c.probe.read(b)
	} else {
		n, err = c.Conn.Read(b)
	}
	if err == io.EOF {
		err = errTruncated{}
	}
	return n, err
}

type errTruncated struct{}

func (errTruncated) Error() string { return "the connection ended without close_notify" }

// Unwrap makes it what it would be in clear. crypto/tls compares, and does not look.
func (errTruncated) Unwrap() error { return io.ErrUnexpectedEOF }

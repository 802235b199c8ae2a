package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const maxViaHeader = 64 << 10 // bytes of all that the upstream proxy answers to CONNECT

// dialVia connects to the upstream proxy, whose address the operator wrote, and
// has it connect to target. It does so for clear text too: a request in
// absolute form would let the proxy answer in the upstream's place.
func (u *Upstream) dialVia(ctx context.Context, target string) (net.Conn, error) {
	via := u.via
	conn, err := u.dialer.dial(ctx, via.host, via.port, terms{configured: true})
	if err != nil {
		return nil, err
	}
	if via.tls != nil {
		secured := tls.Client(conn, via.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, tlsError(ctx, via.addr(), err)
		}
		conn = secured
	}
	tunnel, err := via.connect(ctx, conn, target)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return tunnel, nil
}

// viaPoint is a Via taken apart.
type viaPoint struct {
	host          string
	port          uint16
	tls           *tls.Config // nil: http
	authorization func() (string, error)
}

func (v *viaPoint) addr() string { return net.JoinHostPort(v.host, strconv.Itoa(int(v.port))) }

// connect asks for target and reads the answer, RFC 9110 §9.3.6. A refusal
// carries the status alone: the text may repeat what was sent.
func (v *viaPoint) connect(ctx context.Context, conn net.Conn, target string) (net.Conn, error) {
	head := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if v.authorization != nil {
		value, err := v.authorization()
		if err != nil {
			return nil, &Error{ViaRefused, v.addr(), fmt.Errorf("its credential: %w", err)}
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, &Error{ViaRefused, v.addr(), errors.New("its credential holds control characters")}
		}
		head += "Proxy-Authorization: " + value + "\r\n"
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return nil, v.broken(ctx, err)
	}
	br := bufio.NewReader(&io.LimitedReader{R: conn, N: maxViaHeader})
	status := http.StatusContinue
	for status < 200 { // 1xx may precede any answer, RFC 9110 §15.2
		resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
		if err != nil {
			return nil, v.broken(ctx, err)
		}
		status = resp.StatusCode
		if status == http.StatusSwitchingProtocols {
			break
		}
	}
	if status != http.StatusOK {
		return nil, &Error{ViaRefused, v.addr(), fmt.Errorf("it answered %d", status)}
	}
	if !stop() {
		return nil, v.broken(ctx, ctx.Err())
	}
	if br.Buffered() == 0 {
		return conn, nil
	}
	early, err := br.Peek(br.Buffered()) // a server that speaks first
	return &resumed{Conn: conn, early: early}, err
}

func (v *viaPoint) broken(ctx context.Context, err error) *Error {
	if e := tripError(ctx, v.addr(), err); e.Reason == BadResponse {
		return &Error{ViaRefused, v.addr(), e.Err}
	}
	return dialError(ctx, ViaRefused, v.addr(), errEnded)
}

// resumed is a connection of which some bytes were read already. One side reads it at a time.
type resumed struct {
	net.Conn
	early []byte
}

func (c *resumed) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

// CloseWrite keeps half-close working.
func (c *resumed) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return c.Conn.Close()
}

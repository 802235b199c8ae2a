package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// streamConn is the HTTP/2 stream of a CONNECT (RFC 9113 §8.5) as a connection. Two things it cannot do that a
// socket can: end one direction, since net/http ends a stream only when its handler returns; and live on
// after a write deadline has passed.
type streamConn struct {
	of   *conn // the connection
	w    http.ResponseWriter
	rc   *http.ResponseController
	body io.ReadCloser
	in   net.Conn // what the client sends, with deadlines that can be taken back
	far  net.Conn // where it comes from

	pumping sync.WaitGroup
	failed  atomic.Pointer[error] // why the client's side broke off

	answered bool // of the goroutine that serves the CONNECT

	closed  atomic.Bool
	once    sync.Once
	done    chan struct{}
	writing atomic.Int32
	turn    sync.Mutex   // one write at a time
	use     sync.RWMutex // held for writing once w is no longer to be used
	gone    bool

	mu      sync.Mutex
	writeBy time.Time
	late    *time.Timer // breaks off what is being written at writeBy; nil: nothing does
}

func newStream(of *conn, w http.ResponseWriter, r *http.Request) *streamConn {
	s := &streamConn{of: of, w: w, rc: http.NewResponseController(w), body: r.Body, done: make(chan struct{})}
	s.in, s.far = net.Pipe()
	return s
}

// serveStream serves a CONNECT that came over HTTP/2, until its tunnel has ended.
func (p *Proxy) serveStream(w http.ResponseWriter, r *http.Request, parent *conn) {
	s := newStream(parent, w, r)
	defer func() {
		if s.leave(); !s.answered {
			panic(http.ErrAbortHandler) // returning would answer 200
		}
	}()
	c := parent.part(s)
	c.expectRequest()
	parent.requestCame()
	x := p.newExchange(nil, r, c)
	c.opening = x
	defer p.recoverConnect(c)
	if r.Header.Get(":protocol") != "" { // RFC 8441, which net/http has off
		x.turnAway(&refusal{reasonMethodUnsupported, ""})
		return
	}
	then, no := x.openTunnel()
	if no != nil {
		x.turnAway(no)
		return
	}
	// A tunnel takes as much as a connection does, and counts as one.
	room, cancel := context.WithTimeout(r.Context(), p.opts.Server.Handshake)
	admitted := p.conns.admit(c, room.Done())
	cancel()
	if !admitted {
		x.turnAway(&refusal{reasonProxyBusy, ""})
		return
	}
	then()
	<-s.done
}

// turnAway refuses a CONNECT that came over HTTP/2.
func (x *exchange) turnAway(no *refusal) {
	x.conn.requestCame()
	x.reject(no.reason, no.detail)
	_ = x.conn.answer(x.rejection())
	x.end()
}

// establish answers 200; from then on the stream is the tunnel.
func (s *streamConn) establish() error {
	err := s.do(func() error {
		s.answered = true
		s.w.WriteHeader(http.StatusOK)
		return s.rc.Flush()
	})
	if err == nil {
		s.pumping.Go(s.pump)
	}
	return err
}

// answer answers with anything but a tunnel.
func (s *streamConn) answer(res *http.Response) error {
	return s.do(func() error {
		h := s.w.Header()
		for k, v := range res.Header {
			h[k] = v
		}
		s.answered = true
		s.w.WriteHeader(res.StatusCode)
		_, err := io.Copy(s.w, res.Body)
		return err
	})
}

// pump copies what the client sends, so that reading it can have deadlines: net/http's own end the stream.
func (s *streamConn) pump() {
	defer s.far.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := s.body.Read(buf)
		if n > 0 {
			if _, werr := s.far.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.failed.Store(&err)
			}
			return
		}
	}
}

func (s *streamConn) Read(b []byte) (int, error) {
	n, err := s.in.Read(b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		if broken := s.failed.Load(); broken != nil {
			return n, *broken
		}
		if s.closed.Load() {
			return n, net.ErrClosed
		}
	}
	return n, err
}

func (s *streamConn) Write(b []byte) (n int, err error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	late := !s.writeBy.IsZero() && !time.Now().Before(s.writeBy)
	s.mu.Unlock()
	if late {
		return 0, os.ErrDeadlineExceeded
	}
	err = s.do(func() error {
		if n, err = s.w.Write(b); err != nil {
			return err
		}
		return s.rc.Flush()
	})
	return n, err
}

// do does something with w, unless the stream is closed. breakOff breaks it off.
func (s *streamConn) do(f func() error) error {
	s.use.RLock()
	defer s.use.RUnlock()
	s.writing.Add(1)
	defer s.writing.Add(-1)
	if s.gone || s.closed.Load() {
		return net.ErrClosed
	}
	return f()
}

// breakOff ends a write to a client that takes nothing, and the stream with it.
func (s *streamConn) breakOff() {
	s.use.RLock()
	defer s.use.RUnlock()
	if !s.gone && s.writing.Load() > 0 {
		_ = s.rc.SetWriteDeadline(time.Unix(1, 0))
	}
}

// Close ends the tunnel.
func (s *streamConn) Close() error {
	s.closed.Store(true)
	s.once.Do(func() {
		_ = s.in.Close()
		_ = s.body.Close()
		s.breakOff()
		_ = s.SetWriteDeadline(time.Time{})
		close(s.done)
	})
	return nil
}

// leave ends the tunnel, and all use of what the handler was given.
func (s *streamConn) leave() {
	_ = s.Close()
	s.pumping.Wait()
	s.use.Lock()
	s.gone = true
	s.use.Unlock()
}

// CloseWrite implements half-closing, which streams cannot.
func (s *streamConn) CloseWrite() error { return errors.ErrUnsupported }

func (s *streamConn) LocalAddr() net.Addr  { return s.of.LocalAddr() }
func (s *streamConn) RemoteAddr() net.Addr { return s.of.RemoteAddr() }

func (s *streamConn) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *streamConn) SetReadDeadline(t time.Time) error { return s.in.SetReadDeadline(t) }

// SetWriteDeadline implements [net.Conn]. net/http's own would reset the stream at its time whether or not
// anything is being written, and TLS sets one that has passed when it says farewell.
func (s *streamConn) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeBy = t
	if s.late != nil {
		s.late.Stop()
		s.late = nil
	}
	if !t.IsZero() && !s.closed.Load() {
		s.late = time.AfterFunc(time.Until(t), s.breakOff)
	}
	return nil
}

var _ net.Conn = (*streamConn)(nil)

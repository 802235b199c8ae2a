package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
)

// tunnel passes on a CONNECT unopened: it dials first, so that the client
// hears of a failure, then answers.
func (x *exchange) tunnel() {
	up, err := x.dialTunnel()
	if err != nil {
		f := x.classify(err)
		x.reject(f.reason, f.detail)
		if x.p.reasons[f.reason].Status != 0 {
			x.conn.linger.Store(true)
			_ = x.conn.answer(x.rejection())
		}
		_ = x.conn.Close()
		x.end()
		return
	}
	if !x.established() {
		_ = up.Close()
		return
	}
	x.relayTLS(up)
}

// tunnelEstablished is tunnel for a client that has had its answer.
func (x *exchange) tunnelEstablished() {
	up, err := x.dialTunnel()
	if err != nil {
		f := x.classify(err)
		x.close(f.reason, f.detail)
		return
	}
	x.relayTLS(up)
}

func (x *exchange) dialTunnel() (net.Conn, error) {
	if x.gateway != nil {
		return x.dialGateway()
	}
	up := x.snap.Direct
	if x.rule != nil {
		up = x.rule.Upstream
	}
	if up == nil {
		return nil, &refusal{reasonInternal, "no upstream"}
	}
	ctx := dial.WithInfo(x.in.Context(), x.conn.client, &x.info, nil)
	c, err := up.DialTunnel(ctx, x.target.host, x.target.port)
	x.event.ResolvedIP = x.info.IP()
	return c, err
}

// relayTLS holds the client to TLS for the target before anything passes, or
// a rule for one host of a shared front would open all of them.
func (x *exchange) relayTLS(up net.Conn) {
	x.conn.requestCame() // its own
	defer up.Close()
	name, err := x.conn.peekSNI()
	_, ipErr := netip.ParseAddr(x.target.host)
	switch {
	case err != nil:
		x.close(peekReason(err), "")
		return
	case name == "" && ipErr != nil, name != "" && checkSNI(name, x.target) != nil:
		x.close(reasonSNIMismatch, "")
		return
	}
	_ = x.conn.SetDeadline(time.Time{})
	x.p.conns.idle(x.conn, false)
	x.relay(up)
}

// relay copies both ways until both sides have ended, keeping half-closes.
func (x *exchange) relay(up net.Conn) {
	if x.event.Decision == "" {
		x.event.Decision = audit.TunnelAllow
	}
	x.admitted = x.event.Decision
	x.opened()
	var in, out atomic.Int64
	raw := &rawConn{x: x, rule: x.event.Rule, cut: func(reason string) {
		x.cutFor.CompareAndSwap(nil, &reason)
		_ = up.Close()
		_ = x.conn.Conn.Close()
	}}
	x.p.track(raw)
	defer x.p.untrack(raw)
	idle := newIdleCut(x.idleLimit(), func() { raw.cut(reasonIdle) })
	defer idle.stop()
	defer whenDraining(up, func() {
		idle.replace(drainQuiet, func() { _ = up.Close(); _ = x.conn.Conn.Close() })
	})()
	var wg sync.WaitGroup
	wg.Go(func() { copyHalf(up, x.conn, &in, idle) })
	wg.Go(func() { copyHalf(x.conn, up, &out, idle) })
	wg.Wait()
	x.event.BytesIn, x.event.BytesOut = in.Load(), out.Load()
	x.cutBefore()
	_ = x.conn.Close()
	x.end()
}

// copyHalf copies one direction and passes its end on. After an error it ends
// both, since a half that is broken cannot be told from one that is done.
func copyHalf(dst, src net.Conn, n *atomic.Int64, idle *idleCut) {
	buf := make([]byte, 16<<10)
	for {
		r, err := src.Read(buf)
		if r > 0 {
			idle.touch()
			if _, werr := dst.Write(buf[:r]); werr != nil {
				_ = src.Close()
				_ = dst.Close()
				return
			}
			n.Add(int64(r))
		}
		if err != nil {
			half, ok := dst.(interface{ CloseWrite() error })
			if !errors.Is(err, io.EOF) || !ok || half.CloseWrite() != nil {
				_ = src.Close()
				_ = dst.Close()
			}
			return
		}
	}
}

// drainQuiet is the silence in which a tunnel ends whose carrier is about to end: between
// two requests of what it carries, most likely, which clients take for an idle connection's end.
const drainQuiet = time.Second

// whenDraining calls f when up says that it is about to end. The function that
// it returns waits for f, and keeps it from being called.
func whenDraining(up net.Conn, f func()) (stop func()) {
	t, ok := up.(dial.Tunnel)
	if !ok {
		return func() {}
	}
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-t.Draining():
			f()
		case <-done:
		}
	})
	return func() {
		close(done)
		waiting.Wait()
	}
}

// idleCut calls cut when nothing touches it for the limit.
type idleCut struct {
	mu    sync.Mutex
	limit time.Duration
	timer *time.Timer // nil: no limit
}

func newIdleCut(limit time.Duration, cut func()) *idleCut {
	i := &idleCut{}
	if limit > 0 {
		i.replace(limit, cut)
	}
	return i
}

// replace puts another limit, and what becomes of it, in force.
func (i *idleCut) replace(limit time.Duration, cut func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.timer != nil {
		i.timer.Stop()
	}
	i.limit, i.timer = limit, time.AfterFunc(limit, cut)
}

func (i *idleCut) touch() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.timer != nil {
		i.timer.Reset(i.limit)
	}
}

func (i *idleCut) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.timer != nil {
		i.timer.Stop()
	}
}

// upgraded notes that the upstream switches protocols.
func (x *exchange) upgraded(*http.Response) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ended {
		x.opened()
	}
}

// trackUpgrade lets reloads, and the end, reach an upgraded connection.
func (x *exchange) trackUpgrade() {
	raw := &rawConn{x: x, request: x.request(), rule: x.event.Rule, cut: func(reason string) {
		x.cutFor.CompareAndSwap(nil, &reason)
		x.cancel(context.Canceled)
		_ = x.conn.Conn.Close() // not c's: TLS would wait for the client to read its farewell
	}}
	x.release = func() { x.p.untrack(raw) }
	x.p.track(raw)
}

// cutBefore notes why a tunnel or an upgraded connection was closed from here,
// and reports whether it was.
func (x *exchange) cutBefore() bool {
	reason := x.cutFor.Load()
	if reason == nil {
		return false
	}
	x.reject(*reason, "")
	x.event.Decision = x.admitted
	return true
}

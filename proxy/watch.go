package proxy

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// openedAfter is when a request that goes on leaves an "opened" event, so that
// a process killed in the middle of it leaves a trace.
const openedAfter = 5 * time.Second

// idleTicks is how often, at least, a long request is looked at in its idle limit.
const idleTicks = 4

// watch begins to look after a request that may take long.
func (x *exchange) watch() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.watched = &watched{}
	x.watched.Store(x)
	x.begun = time.Now()
	x.movedAt = x.begun
	x.ticker = time.AfterFunc(x.untilTick(), x.watched.tick)
}

// watched is what a timer holds of an exchange: nothing once that has ended. A
// stopped timer stays in the runtime's heap for a while, and with it all that its
// function reaches.
type watched struct{ atomic.Pointer[exchange] }

func (w *watched) tick() {
	if x := w.Load(); x != nil {
		x.tick()
	}
}

// stopWatch ends looking after the exchange and reports whether this call did so.
func (x *exchange) stopWatch() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return false
	}
	x.ended = true
	if x.ticker != nil {
		x.ticker.Stop()
		x.watched.Store(nil)
	}
	return true
}

// untilTick is when to look again, 0 for never. The caller holds x.mu.
func (x *exchange) untilTick() time.Duration {
	idle := max(0, x.idleLimit()) / idleTicks
	if x.told {
		return idle
	}
	first := max(time.Millisecond, openedAfter-time.Since(x.begun))
	if idle > 0 {
		return min(idle, first)
	}
	return first
}

// tick leaves the opened event when it is due, and ends a request in which nothing
// has moved for the idle limit. Bytes are counted anyway, so that streams pay
// nothing for it.
func (x *exchange) tick() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	if !x.told && time.Since(x.begun) >= openedAfter {
		x.opened()
	}
	if idle := x.idleLimit(); idle > 0 {
		if n := x.progress(); n != x.moved {
			x.moved, x.movedAt = n, time.Now()
		} else if time.Since(x.movedAt) >= idle {
			x.breakOff(errIdle) // and again, should an answer have begun meanwhile
		}
	}
	if next := x.untilTick(); next > 0 {
		x.ticker.Reset(next)
	}
}

// breakOff ends the request. No context ends a Read of the client's body, nor a
// Write to a client that does not read. The caller holds x.mu.
func (x *exchange) breakOff(why error) {
	begun := x.out.begun.Load() // before cancel, which lets the refusal be written
	x.cancel(why)
	rc := http.NewResponseController(x.out.ResponseWriter)
	_ = rc.SetReadDeadline(time.Now())
	switch {
	case !begun: // there is a refusal to be written
	case x.in.ProtoMajor == 2:
		_ = rc.SetWriteDeadline(time.Now())
	default:
		_ = x.conn.Conn.Close() // TLS, closing, would wait 5 s for the client to read its farewell
	}
}

// total ends a request that takes longer than limits.total.
func (x *exchange) total() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ended {
		x.breakOff(errTotal)
	}
}

func (x *exchange) idleLimit() time.Duration {
	if x.rule != nil {
		return x.rule.Limits.StreamIdle
	}
	return x.snap.Limits.StreamIdle
}

// progress counts the bytes that have moved either way.
func (x *exchange) progress() int64 { return x.body.bytes.Load() + x.out.bytes.Load() }

// opened leaves the event that something long began. It reads only what no
// longer changes once the request is on its way.
func (x *exchange) opened() {
	x.told = true
	e := &x.event
	x.p.record(&audit.Event{
		Type: audit.Opened, Time: x.p.now(), RequestID: e.RequestID, TraceID: e.TraceID,
		Decision: x.admitted, Rule: e.Rule, Owner: e.Owner,
		Caller: e.Caller, CallerID: e.CallerID, Proof: e.Proof, Listener: e.Listener,
		Method: e.Method, Host: e.Host, Port: e.Port, Path: e.Path, Protocol: e.Protocol,
		ConfigGeneration: e.ConfigGeneration,
	})
}

package proxy

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// openedAfter is when a request that goes on leaves an "opened" event, so that
// a process killed in the middle of it leaves a trace.
const openedAfter = 5 * time.Second

// idleTicks is how often, at least, a long request is looked at in its idle limit.
const idleTicks = 4

// watch looks after the requests under way on one connection, by one timer that
// outlives them: one of its own for each would cost more than everything it looks
// at. It does not hold the connection, since a stopped timer stays in the
// runtime's heap for a while and holds what its function reaches.
type watch struct {
	mu    sync.Mutex
	under []*exchange
	timer *time.Timer
	due   time.Time // of the timer; zero: it does not run
}

// add begins to look after x, first in wait.
func (w *watch) add(x *exchange, now time.Time, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.under = append(w.under, x)
	w.arm(now, wait)
}

// arm makes the timer fire in wait, if not earlier. The caller holds w.mu.
func (w *watch) arm(now time.Time, wait time.Duration) {
	due := now.Add(wait)
	if !w.due.IsZero() && !due.Before(w.due) {
		return
	}
	w.due = due
	if w.timer == nil {
		w.timer = time.AfterFunc(wait, w.tick)
		return
	}
	w.timer.Reset(wait)
}

func (w *watch) remove(x *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.under, x); i >= 0 {
		w.under = slices.Delete(w.under, i, i+1)
	}
}

// end stops the timer for good: the connection is closed.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.due = time.Time{}
	}
}

func (w *watch) tick() {
	w.mu.Lock()
	w.due = time.Time{}
	under := slices.Clone(w.under)
	w.mu.Unlock()
	for _, x := range under {
		if next := x.tick(); next > 0 {
			w.again(x, next)
		}
	}
}

// again looks at x once more, unless it has ended meanwhile.
func (w *watch) again(x *exchange, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.under, x) {
		w.arm(time.Now(), wait)
	}
}

// beWatched begins to look after a request that may take long.
func (x *exchange) beWatched() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begun = time.Now()
	x.movedAt, x.looked = x.begun, true
	x.conn.watch.add(x, x.begun, x.untilTick(x.begun))
}

// stopWatch ends looking after the exchange and reports whether this call did so.
func (x *exchange) stopWatch() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return false
	}
	x.ended = true
	if x.looked {
		x.conn.watch.remove(x)
	}
	if x.looksOut {
		x.conn.lookout.end()
	}
	return true
}

// untilTick is when to look again, 0 for never. The caller holds x.mu.
func (x *exchange) untilTick(now time.Time) time.Duration {
	var next time.Duration
	sooner := func(d time.Duration) {
		if next == 0 || d < next {
			next = d
		}
	}
	if idle := x.idleLimit(); idle > 0 {
		sooner(idle / idleTicks)
	}
	if !x.told {
		sooner(max(time.Millisecond, openedAfter-now.Sub(x.begun)))
	}
	if x.lookoutDue() {
		if d := lookAfter - now.Sub(x.begun); d > 0 {
			sooner(d)
		} else { // it could not begin, since net/http itself is reading, or about to
			sooner(lookAfter)
		}
	}
	return next
}

// lookoutDue reports that nobody looks for the client's end yet, nor will by themselves. The caller holds x.mu.
func (x *exchange) lookoutDue() bool {
	return !x.looksOut && x.conn.lookout != nil && x.in.Body == http.NoBody && len(x.in.Header["Upgrade"]) == 0
}

// tick leaves the opened event when it is due, and ends a request in which nothing
// has moved for the idle limit. Bytes are counted anyway, so that streams pay
// nothing for it. It returns when to look again, 0 for never.
func (x *exchange) tick() time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return 0
	}
	now := time.Now()
	if x.lookoutDue() && now.Sub(x.begun) >= lookAfter {
		x.looksOut = x.conn.lookout.begin(func() { x.cancel(context.Canceled) })
	}
	if !x.told && now.Sub(x.begun) >= openedAfter {
		x.opened()
	}
	if idle := x.idleLimit(); idle > 0 {
		if n := x.progress(); n != x.moved {
			x.moved, x.movedAt = n, now
		} else if now.Sub(x.movedAt) >= idle {
			x.breakOff(errIdle) // and again, should an answer have begun meanwhile
		}
	}
	return x.untilTick(now)
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

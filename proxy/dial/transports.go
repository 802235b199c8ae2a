package dial

import (
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"time"
)

// transports are what an Upstream sends with. Where it shows our SVID it gets
// new ones with every other SVID, and when connections come near their end, so that what is
// under way can finish on the old ones. Otherwise they are its only ones.
type transports struct {
	u      *Upstream
	h1, h2 *http.Transport // h2 falls back to h1 by ALPN
	gets   fetcher         // of h1 what it can take

	cert  *tls.Certificate // our SVID; nil: none is shown
	until time.Time        // it expires
	why   error            // there is none to show

	opening opening       // of tunnels
	ages    atomic.Int64  // when new requests need others, in Unix nanoseconds; 0: never
	retired atomic.Bool   // connections close when they are idle
	old     chan struct{} // closed then
}

func (u *Upstream) newTransports() *transports {
	ts := &transports{u: u, old: make(chan struct{})}
	ts.gets.ts = ts
	if u.profile.shows() {
		ts.cert, ts.until, ts.why = u.identity.Load().certificate(time.Now())
	}
	ts.h1 = ts.newTransport("http/1.1")
	if u.profile.Protocol == HTTP2 {
		ts.h2 = ts.newTransport("h2")
	} else {
		ts.h2 = ts.newTransport("h2", "http/1.1")
	}
	return ts
}

// current are the transports for a request that begins now.
func (u *Upstream) current() *transports {
	ts := u.now.Load()
	if ages := ts.ages.Load(); ages != 0 && time.Now().UnixNano() >= ages {
		return u.renew(ts)
	}
	return ts
}

// renew replaces old, unless that was done already, and returns those in force.
func (u *Upstream) renew(old *transports) *transports {
	u.renewing.Lock()
	defer u.renewing.Unlock()
	now := u.now.Load()
	if now != old {
		return now
	}
	next := u.newTransports()
	u.now.Store(next)
	old.retire()
	if u.retired.Load() {
		next.retire()
	}
	return next
}

// ageAt makes new requests take others from t on.
func (ts *transports) ageAt(t time.Time) {
	for at := t.UnixNano(); ; {
		before := ts.ages.Load()
		if before != 0 && before <= at || ts.ages.CompareAndSwap(before, at) {
			return
		}
	}
}

// retire closes what is idle, now and whenever a request ends.
func (ts *transports) retire() {
	if ts.retired.CompareAndSwap(false, true) {
		close(ts.old)
	}
	ts.closeIdle()
}

// swept closes connections that came back to retired transports. One of HTTP/2
// may still count its last stream for a moment; idleTimeout ends it then.
func (ts *transports) swept() {
	if ts.retired.Load() {
		ts.closeIdle()
	}
}

func (ts *transports) closeIdle() {
	ts.h1.CloseIdleConnections()
	ts.h2.CloseIdleConnections()
	ts.gets.CloseIdleConnections()
}

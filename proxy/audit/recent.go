package audit

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Recent keeps the last events in memory for the admin API: refusals apart
// from the rest, so that a busy proxy does not push them out.
type Recent struct {
	mu       sync.Mutex
	all      ring
	refusals ring
}

// NewRecent keeps n of each.
func NewRecent(n int) *Recent { return &Recent{all: ring{limit: n}, refusals: ring{limit: n}} }

// Record implements [Sink].
func (r *Recent) Record(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all.put(e)
	if e.Decision == Refuse {
		r.refusals.put(e)
	}
}

// Refusals returns copies of the last refusals, newest first.
func (r *Recent) Refusals() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refusals.newest()
}

// All returns copies of the last events of every type and decision, newest first.
func (r *Recent) All() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all.newest()
}

// Find returns copies of the events of one call, newest first.
func (r *Recent) Find(requestID string) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.all.find(requestID)
	if len(found) == 0 { // a refusal is remembered for longer
		found = r.refusals.find(requestID)
	}
	return found
}

// Memory is how far back events are kept.
type Memory struct {
	Events, Refusals           int       // kept
	EventsSince, RefusalsSince time.Time // the oldest of them, zero if there are none
}

// Memory tells how far back events are kept.
func (r *Recent) Memory() Memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Memory{len(r.all.events), len(r.refusals.events), r.all.oldest(), r.refusals.oldest()}
}

// ring keeps the last limit events. It grows to that as they come.
type ring struct {
	limit  int
	events []Event
	next   int // where the next event goes, once the ring is full
}

func (r *ring) put(e *Event) {
	if r.limit <= 0 {
		return
	}
	if len(r.events) < r.limit {
		r.events = append(r.events, Event{})
		r.next = len(r.events) - 1
	}
	slot := &r.events[r.next]
	r.next = (r.next + 1) % r.limit
	credentials := append(slot.Credentials[:0], e.Credentials...)
	method, host, path := own(slot.Method, e.Method), own(slot.Host, e.Host), own(slot.Path, e.Path)
	*slot = *e
	slot.Credentials = credentials
	slot.Method, slot.Host, slot.Path = method, host, path
}

// own is s, capped, in memory of its own. What a client sent is a part of its request line or
// header, which would be kept whole, its query too. It is old, if that says the same.
func own(old, s string) string {
	if s = capped(s, maxString); s == old {
		return old
	}
	return strings.Clone(s)
}

func (r *ring) find(requestID string) []Event {
	var found []Event
	n := len(r.events)
	for i := range n {
		if e := &r.events[((r.next-1-i)%n+n)%n]; e.RequestID == requestID {
			c := *e
			c.Credentials = slices.Clone(e.Credentials)
			found = append(found, c)
		}
	}
	return found
}

func (r *ring) oldest() time.Time {
	if len(r.events) == 0 {
		return time.Time{}
	}
	return r.events[r.next%len(r.events)].Time
}

func (r *ring) newest() []Event {
	n := len(r.events)
	out := make([]Event, n)
	for i := range out {
		out[i] = r.events[((r.next-1-i)%n+n)%n]
		out[i].Credentials = slices.Clone(out[i].Credentials)
	}
	return out
}

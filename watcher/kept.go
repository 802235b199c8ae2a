package watcher

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

const (
	firstRetry = time.Second     // after an error; doubled up to the poll
	emptyHold  = time.Second     // how long a file may be empty before that is an error
	pollOther  = 5 * time.Minute // of what gives no notices
	pollFile   = 10 * time.Second
	pollSpread = 20 * time.Second
)

// kept is one secret and where it stands. What follows the first block is
// guarded by Store.mu.
type kept struct {
	source source.Source
	field  string
	paths  []string
	gate   chan struct{} // held by the one look under way
	looks  uint64        // counted while holding gate

	spec        Spec
	current     secret.Value
	previous    secret.Value
	generation  uint64
	state       State
	reason      string
	since       time.Time
	lastSuccess time.Time
	staleSince  time.Time
	emptySince  time.Time
	next        time.Time // when to look again
	fails       int       // in a row
	taken       uint64    // the look whose outcome was taken in last
	busy        bool      // a look by the time keeper is under way
	noticed     bool      // look at once, or once more where busy
}

func newKept(spec Spec) *kept {
	return &kept{
		source: spec.Source,
		field:  spec.Field,
		paths:  spec.Source.Paths(),
		gate:   make(chan struct{}, 1),
		spec:   spec,
		state:  Loading,
		reason: "not read yet",
	}
}

// outcome is what one look gave.
type outcome struct {
	look uint64 // counts the looks at a secret; 0: it could not begin
	text []byte
	err  error
}

// interval is the time to the next look without a notice.
func (k *kept) interval() time.Duration {
	switch {
	case k.spec.Poll > 0:
		return k.spec.Poll*9/10 + rand.N(k.spec.Poll/5+1)
	case len(k.paths) > 0:
		return pollFile + rand.N(pollSpread)
	}
	return pollOther*9/10 + rand.N(pollOther/5)
}

// follow makes k the successor of what the name stood for before. The old
// version may still come back in answers, so it stays known as the previous one.
func (k *kept) follow(old *kept, o outcome) {
	k.generation = old.generation
	switch {
	case old.current.IsZero():
		k.previous = old.previous
	case o.err == nil && old.current.Reveal() == string(o.text):
		k.current, k.previous, k.since = old.current, old.previous, old.since
		k.lastSuccess = old.lastSuccess
		k.state, k.reason = Ready, ""
	default:
		k.previous = old.current
	}
}

// settle takes in an outcome and returns the Result to report, "" for none.
func (k *kept) settle(o outcome, now time.Time) string {
	if o.look != 0 && o.look <= k.taken {
		return "" // a later look was quicker
	}
	k.taken = max(k.taken, o.look)
	if o.err == nil {
		return k.accept(o.text, now)
	}
	if _, empty := errors.AsType[emptyError](o.err); !empty {
		k.emptySince = time.Time{}
	} else if !k.current.IsZero() {
		// Whoever writes in place empties the file first.
		if k.emptySince.IsZero() {
			k.emptySince = now
		}
		if end := k.emptySince.Add(emptyHold); now.Before(end) {
			k.next = end
			return ""
		}
	}
	if k.staleSince.IsZero() {
		k.staleSince = now
	}
	k.state, k.reason = Loading, o.err.Error()
	if !k.current.IsZero() {
		k.state = Stale
	}
	k.next = now.Add(min(firstRetry<<min(k.fails, 12), k.interval()))
	k.fails++
	return "error"
}

// accept takes in usable content.
func (k *kept) accept(text []byte, now time.Time) string {
	result := ""
	if k.state != Ready {
		result = "unchanged"
	}
	k.fails, k.emptySince, k.staleSince = 0, time.Time{}, time.Time{}
	k.state, k.reason, k.lastSuccess = Ready, "", now
	k.next = now.Add(k.interval())
	if !k.current.IsZero() && k.current.Reveal() == string(text) {
		return result
	}
	if !k.current.IsZero() {
		k.previous = k.current
	}
	k.generation++
	k.since = now
	k.current = secret.New(k.spec.Name, k.generation, now, text)
	return "rotated"
}

func (k *kept) entry() secret.Entry {
	e := secret.Entry{Current: k.current, Previous: k.previous}
	if k.current.IsZero() {
		e.Problem = k.reason
	}
	return e
}

func (k *kept) status() Status {
	return Status{
		Name:        k.spec.Name,
		Source:      k.source.Describe(),
		Owner:       k.spec.Owner,
		State:       k.state,
		Reason:      k.reason,
		Generation:  k.generation,
		Since:       k.since,
		LastSuccess: k.lastSuccess,
		StaleSince:  k.staleSince,
		NextLook:    k.next,
		Optional:    k.spec.Optional,
	}
}

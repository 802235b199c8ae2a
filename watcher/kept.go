package watcher

import (
	"math/rand/v2"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

const (
	firstRetry  = time.Second      // after an error; doubled up to the poll
	emptyHold   = time.Second      // how long a file may be empty before that is an error
	invalidHold = time.Second      // how long content must be invalid before the former version is withdrawn
	deletedHold = 10 * time.Second // how long a secret must be gone before it is withdrawn
	writeHold   = 10 * time.Second // how long to wait for a writer to close the file
	writeLook   = 100 * time.Millisecond
	missedAfter = 3 * time.Second // a notice that comes no later than this after a poll was not missed
	renewBefore = time.Minute     // before a version expires, look for another
	maxStale    = 24 * time.Hour
	pollOther   = 5 * time.Minute // of what gives no notices
	pollFile    = 10 * time.Second
	pollSpread  = 20 * time.Second
)

// kept is one secret and where it stands. What follows the first block is
// guarded by Store.mu.
type kept struct {
	source source.Source
	field  string
	expect Expect
	paths  []string
	gate   chan struct{} // held by the one look under way
	looks  uint64        // counted while holding gate

	spec        Spec
	current     secret.Value
	previous    secret.Value // before current; or, while there is none, what was withdrawn last
	generation  uint64
	state       State // never Settling or Validating: phase tells
	phase       State // Settling, Validating or empty
	reason      string
	since       time.Time
	lastSuccess time.Time
	staleSince  time.Time
	next        time.Time // when to look again
	fails       int       // in a row
	taken       uint64    // the look whose outcome was taken in last
	busy        bool      // a look by the time keeper is under way
	noticed     bool      // look at once, or once more where busy
	polled      bool      // the look under way had no notice
	warnings    []string

	// When what is held against the newest look began; zero: it is not.
	empty, writing, deleted, invalid, pinned time.Time
	// When a poll found what no notice had told of, until one does.
	unannounced time.Time
	reread      reread
}

func newKept(spec Spec) *kept {
	return &kept{
		source: spec.Source,
		field:  spec.Field,
		expect: spec.Expect,
		paths:  spec.Source.Paths(),
		gate:   make(chan struct{}, 1),
		spec:   spec,
		state:  Init,
		reason: "not read yet",
	}
}

// outcome is what one look gave.
type outcome struct {
	look     uint64 // counts the looks at a secret; 0: it could not begin
	text     []byte
	err      error // beside text: an *source.UnsettledError, the text may not be whole
	expires  time.Time
	raw      [32]byte // hash of all that was read, of which text may be a field
	troubles []source.Trouble
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

func (k *kept) maxStale() time.Duration {
	if k.spec.MaxStale > 0 {
		return k.spec.MaxStale
	}
	return maxStale
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

func (k *kept) entry() secret.Entry {
	e := secret.Entry{Current: k.current, Previous: k.previous}
	if k.current.IsZero() {
		e.Problem = k.reason
	}
	return e
}

func (k *kept) status() Status {
	s := Status{
		Name:        k.spec.Name,
		Source:      k.source.Describe(),
		Owner:       k.spec.Owner,
		State:       k.state,
		Reason:      k.reason,
		Generation:  k.generation,
		Since:       k.since,
		LastSuccess: k.lastSuccess,
		StaleSince:  k.staleSince,
		Expires:     k.current.Expires(),
		NextLook:    k.next,
		Optional:    k.spec.Optional,
		Warnings:    k.warnings,
	}
	switch {
	case k.state == Ready && k.phase != "":
		s.State = k.phase
	case k.state == Stale:
		s.ServedUntil = k.deadline()
	}
	return s
}

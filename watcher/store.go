package watcher

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/dirwatch"
	"github.com/attache-proxy/attache/watcher/source"
)

// Spec is one secret to keep.
type Spec struct {
	Name      string
	Source    source.Source
	Field     string // a member of a JSON or YAML document: "api_key" or a JSON pointer "/a/b"; empty: the whole content
	Optional  bool   // readiness does not wait for it
	Owner     string
	Poll      time.Duration // between looks without notice, ± 10 %; 0: 10 to 30 s for files, 5 min for the rest
	MaxStale  time.Duration // how long the last good version survives a failing source; 0: 24 h
	OnDeleted Policy        // where it is kept no longer: Keep, or Withdraw after 10 s
	OnInvalid Policy        // it is there, and no usable content: Keep, or Withdraw after 1 s
	Expect    Expect        // what its content must be
	Key       string        // equal Keys mean that nothing that matters changed over a reload; empty: it is read anew
}

// Policy is what becomes of the last good version.
type Policy uint8

// The policies.
const (
	Keep     Policy = iota // it is served, for MaxStale at most
	Withdraw               // it is no longer served
)

// State is where a secret stands.
type State string

// The states a secret passes through.
const (
	Init       State = "INIT"    // nobody has looked yet
	Loading    State = "LOADING" // never had a usable version
	Ready      State = "READY"
	Settling   State = "SETTLING"   // a change was noticed, or is being written; the former version is served
	Validating State = "VALIDATING" // a new version was read and is being checked; the former is served
	Stale      State = "STALE"      // the last good version is served, a newer look gave an error
	Expired    State = "EXPIRED"    // there is none to serve: it expired, or was stale for too long
	Revoked    State = "REVOKED"    // there is none to serve: it was deleted, or replaced by what is invalid
)

// Usable reports whether requests are served with the secret.
func (s State) Usable() bool {
	switch s {
	case Ready, Settling, Validating, Stale:
		return true
	}
	return false
}

// Healthy reports whether the newest content is in use, or about to be.
func (s State) Healthy() bool { return s.Usable() && s != Stale }

// Status is what may be told of a secret. It holds no secret byte.
type Status struct {
	Name        string    `json:"name"`
	Source      string    `json:"source"`
	Owner       string    `json:"owner,omitempty"`
	State       State     `json:"state"`
	Reason      string    `json:"reason,omitempty"`
	Generation  uint64    `json:"generation"`
	Since       time.Time `json:"since,omitzero"`        // when this generation was first used
	LastSuccess time.Time `json:"last_success,omitzero"` // when a look last gave a usable value
	StaleSince  time.Time `json:"stale_since,omitzero"`  // when looks began to fail
	Expires     time.Time `json:"expires,omitzero"`      // of the version in use, if it says so
	ServedUntil time.Time `json:"served_until,omitzero"` // while it is stale: at the latest
	NextLook    time.Time `json:"next_look,omitzero"`    // at the latest; a notice brings it forward
	Optional    bool      `json:"optional,omitempty"`
	Warnings    []string  `json:"warnings,omitempty"` // of where it is kept
}

// Change tells of one step of one secret.
type Change struct {
	Status
	// "rotated" (generation 1 is the first), "unchanged" (well again, the content as before), "error",
	// and without a look: "expired", "revoked".
	Result string
}

// Notices tells of changes to files; a *[dirwatch.Watcher] does.
type Notices interface {
	Watch(paths []string, notify func()) (stop func())
}

// Options of a Store. The zero value is safe. The callbacks are called one at
// a time and may use Set, Status and Warm, not Apply, Refresh or Close.
type Options struct {
	Log      *slog.Logger      // nil: none
	OnSet    func(*secret.Set) // called with every new Set, in order; before Apply returns for the first reads
	OnChange func(Change)      // called for every look that changed something or gave an error, and when a version is withdrawn; after OnSet
	OnMissed func(name string) // called for a change of a file that no notice told of and a poll found
	Notices  Notices           // nil: the Store has a dirwatch.Watcher of its own
}

// Store keeps the last good version of every secret.
type Store struct {
	opt    Options
	log    *slog.Logger
	set    atomic.Pointer[secret.Set]
	wake   chan struct{}
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	applying sync.Mutex // one Apply at a time; guards own and stopWatch
	own      *dirwatch.Watcher
	stop     func() // ends the present watch

	taking sync.Mutex // while results are taken in and callbacks run; before mu

	mu      sync.Mutex // guards what follows and the state of each secret
	kept    map[string]*kept
	noticed uint64 // notices so far
	running bool
	closed  bool
}

// New returns a Store that holds nothing and runs nothing.
func New(o Options) *Store {
	s := &Store{opt: o, log: o.Log, wake: make(chan struct{}, 1), stop: func() {}, kept: map[string]*kept{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.set.Store(secret.NewSet(nil))
	return s
}

// Refresh looks at every secret now and returns when done, or when ctx ends.
func (s *Store) Refresh(ctx context.Context) {
	s.mu.Lock()
	all := make([]*kept, 0, len(s.kept))
	for _, k := range s.kept {
		all = append(all, k)
	}
	s.mu.Unlock()
	s.take(all, s.look(ctx, all))
}

// Set is the present Set.
func (s *Store) Set() *secret.Set { return s.set.Load() }

// Warm reports whether every secret that is not optional has a usable version,
// and names those that have none. A version is not lost to a later error.
func (s *Store) Warm() (bool, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cold []string
	for name, k := range s.kept {
		if !k.spec.Optional && k.current.IsZero() {
			cold = append(cold, name)
		}
	}
	slices.Sort(cold)
	return len(cold) == 0, cold
}

// Status lists the secrets by name.
func (s *Store) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, 0, len(s.kept))
	for _, k := range s.kept {
		all = append(all, k.status())
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Close stops watching and waits for what runs. It may be called twice. The
// Set stays what it was.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.applying.Lock()
	defer s.applying.Unlock()
	s.stop()
	s.stop = func() {}
	var err error
	if s.own != nil {
		err = s.own.Close()
		s.own = nil
	}
	s.wg.Wait()
	return err
}

// start runs f, unless the Store is closed.
func (s *Store) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

// poke makes the time keeper count anew.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

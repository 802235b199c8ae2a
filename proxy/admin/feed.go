package admin

import (
	"sync"
	"sync/atomic"

	"github.com/attache-proxy/attache/proxy/audit"
)

const (
	feedSubscribers = 16  // more are refused
	feedQueue       = 256 // lines that wait for a slow one, who is then let go
)

// Feed gives events to those who watch them as they come. It is an [audit.Sink], which costs
// next to nothing while nobody watches.
type Feed struct {
	watching atomic.Int32

	mu     sync.Mutex
	all    map[*subscriber]struct{}
	closed bool
}

// subscriber is one who watches.
type subscriber struct {
	lines   chan []byte   // events as JSON; nil for who asks only whether there are any
	changed chan struct{} // something came
	gone    chan struct{} // closed when the feed lets it go
}

// NewFeed returns a Feed that nobody watches.
func NewFeed() *Feed { return &Feed{all: map[*subscriber]struct{}{}} }

// Record implements [audit.Sink].
func (f *Feed) Record(e *audit.Event) {
	if f.watching.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var line []byte
	for s := range f.all {
		select {
		case s.changed <- struct{}{}:
		default:
		}
		if s.lines == nil {
			continue
		}
		if line == nil { // which they share, and only read
			line = audit.AppendJSON(nil, e)
		}
		select {
		case s.lines <- line:
		default:
			f.dropLocked(s)
		}
	}
}

// subscribe adds one who watches, nil if there are too many.
func (f *Feed) subscribe(lines bool) *subscriber {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.all) >= feedSubscribers {
		return nil
	}
	s := &subscriber{changed: make(chan struct{}, 1), gone: make(chan struct{})}
	if lines {
		s.lines = make(chan []byte, feedQueue)
	}
	f.all[s] = struct{}{}
	f.watching.Store(int32(len(f.all)))
	return s
}

// drop lets s go. It may be gone already.
func (f *Feed) drop(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropLocked(s)
}

func (f *Feed) dropLocked(s *subscriber) {
	if _, there := f.all[s]; !there {
		return
	}
	delete(f.all, s)
	f.watching.Store(int32(len(f.all)))
	close(s.gone)
}

// Close lets everyone go and takes nobody any more, so that a server can shut down.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for s := range f.all {
		f.dropLocked(s)
	}
}

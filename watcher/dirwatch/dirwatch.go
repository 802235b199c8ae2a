package dirwatch

import (
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// Watcher tells of changes to files by watching the directories that lead to
// them. One Watcher serves the whole process: the system has few to give.
type Watcher struct {
	log       *slog.Logger
	notices   notices
	ancestors bool // watch every directory up to the root
	mounted   func(file string) bool

	arming sync.Mutex             // held while watches are set; guards armed
	armed  map[string]fs.FileInfo // directories under watch, as they were when it was set

	mu       sync.Mutex // guards what follows; held for moments only
	watches  map[*watch]bool
	interest map[string][]*watch // by full path of an entry
	reason   string              // why there is polling, "" if there is none
	closed   bool

	wake chan struct{} // something is due
	done chan struct{}
	wg   sync.WaitGroup
}

type watch struct {
	paths  []string
	notify func()
	due    bool // guarded by Watcher.mu
}

// notices is the system's side: fsnotify, or a test.
type notices struct {
	events      <-chan fsnotify.Event
	errors      <-chan error
	add, remove func(dir string) error
	close       func() error
}

// Options of a Watcher. The zero value is safe.
type Options struct {
	Log *slog.Logger // nil: none

	newWatcher func() (*fsnotify.Watcher, error) // nil: fsnotify's own; tests exhaust it
}

// New returns a running Watcher. Where the system has no notices left, it
// polls and warns: New does not fail for that.
func New(o Options) *Watcher {
	if o.newWatcher == nil {
		o.newWatcher = fsnotify.NewWatcher
	}
	fsw, err := o.newWatcher()
	if err != nil {
		w := newWatcher(o, notices{})
		w.setReason(err.Error())
		return w
	}
	return newWatcher(o, notices{fsw.Events, fsw.Errors, fsw.Add, fsw.Remove, fsw.Close})
}

func newWatcher(o Options, n notices) *Watcher {
	w := &Watcher{
		log:       o.Log,
		notices:   n,
		ancestors: watchAncestors,
		mounted:   isMountPoint,
		armed:     map[string]fs.FileInfo{},
		watches:   map[*watch]bool{},
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if n.add != nil {
		w.wg.Go(w.drain)
	}
	w.wg.Go(w.run)
	return w
}

// Watch calls notify, from one goroutine, soon after any directory entry on
// the way to one of paths (symlinks followed) may have changed. Notices may be
// spurious and are coalesced: they come when 100 ms passed without another,
// after 2 s at most. The caller reads to find out. notify must not block; it
// may call stop. A call that stop overtakes may still be running when it returns.
func (w *Watcher) Watch(paths []string, notify func()) (stop func()) {
	entry := &watch{notify: notify}
	for _, p := range paths {
		if abs, err := filepath.Abs(p); err == nil {
			entry.paths = append(entry.paths, abs)
		}
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return func() {}
	}
	w.watches[entry] = true
	w.mu.Unlock()
	w.arm()
	w.poke() // the poll may have to start
	return func() {
		w.mu.Lock()
		known := w.watches[entry]
		delete(w.watches, entry)
		w.mu.Unlock()
		if known {
			w.arm()
		}
	}
}

// Polling reports whether any path is watched by polling alone, and why.
func (w *Watcher) Polling() (bool, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason != "", w.reason
}

// Close stops everything and waits. It may be called twice, but not from a
// notify function.
func (w *Watcher) Close() error {
	w.mu.Lock()
	again := w.closed
	w.closed = true
	clear(w.watches)
	w.mu.Unlock()
	var err error
	if !again {
		close(w.done)
		// Waits for an arm that is under way: it must not add to what is closed.
		w.arming.Lock()
		if w.notices.close != nil {
			err = w.notices.close()
		}
		w.arming.Unlock()
	}
	w.wg.Wait()
	return err
}

// setReason records why there is polling and warns when that changes.
func (w *Watcher) setReason(reason string) {
	w.mu.Lock()
	changed := w.reason != reason
	w.reason = reason
	w.mu.Unlock()
	switch {
	case !changed:
	case reason == "":
		w.log.Info("file changes are noticed by the system again")
	default:
		w.log.Warn("file changes are found by polling", "interval", pollEvery, "reason", reason)
	}
}

// poke makes run look at what is due.
func (w *Watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

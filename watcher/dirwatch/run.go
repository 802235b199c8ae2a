package dirwatch

import (
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settle     = 100 * time.Millisecond // without a further notice
	settleMost = 2 * time.Second        // however many follow
	pollEvery  = 5 * time.Second        // where the system gives no notices; ± 20 %
)

// drain takes the system's notices as they come, until its channels close. It
// takes no lock that is held while watches are set, and goes on while Close
// waits for that: some systems set none while a notice waits.
func (w *Watcher) drain() {
	for {
		select {
		case ev, ok := <-w.notices.events:
			if !ok {
				return
			}
			if w.concerns(ev) {
				w.poke()
			}
		case err, ok := <-w.notices.errors:
			if !ok {
				return
			}
			// Above all fsnotify.ErrEventOverflow: anything may have changed.
			w.log.Debug("notices of file changes were lost", "error", err)
			w.allDue()
			w.poke()
		}
	}
}

// concerns marks the watches that an event is of interest to as due.
func (w *Watcher) concerns(ev fsnotify.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	entry := w.interest[filepath.Clean(ev.Name)] // fsnotify says "//tmp" for what is in the root
	for _, e := range entry {
		e.due = true
	}
	return len(entry) > 0
}

func (w *Watcher) allDue() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for e := range w.watches {
		e.due = true
	}
}

// run waits until notices have settled and passes them on.
func (w *Watcher) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var first time.Time // of the notices not yet passed on
	for {
		select {
		case <-w.done:
			return
		case <-w.wake:
			now := time.Now()
			if !w.anyDue() {
				break
			}
			if first.IsZero() {
				first = now
			}
			timer.Reset(min(settle, first.Add(settleMost).Sub(now)))
			continue
		case <-timer.C:
			if first.IsZero() { // a poll
				w.allDue()
			}
			first = time.Time{}
			w.arm()
			w.pass()
		}
		if polling, _ := w.Polling(); polling && first.IsZero() {
			timer.Reset(pollEvery*8/10 + rand.N(pollEvery*4/10))
		}
	}
}

func (w *Watcher) anyDue() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for e := range w.watches {
		if e.due {
			return true
		}
	}
	return false
}

// pass calls back for every watch that is due, once the new watches are set:
// what changes from here on makes another notice.
func (w *Watcher) pass() {
	w.mu.Lock()
	var due []*watch
	for e := range w.watches {
		if e.due {
			e.due = false
			due = append(due, e)
		}
	}
	w.mu.Unlock()
	for _, e := range due {
		e.notify()
	}
}

package dirwatch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// watchAncestors is whether directories above the needed ones are watched as
// well. With kqueue a watch of a directory opens every file in it, and on
// Windows it keeps the directory from being renamed.
const watchAncestors = runtime.GOOS == "linux"

// arm makes the system's watches those that the chains of all paths ask for
// now. It follows the chains again until nothing was added: what changed
// between looking and watching would go unnoticed.
func (w *Watcher) arm() {
	w.arming.Lock()
	defer w.arming.Unlock()
	if w.notices.add == nil {
		return // polling, for the reason that New found
	}
	for range 8 {
		wanted, ok := w.follow()
		if !ok {
			return
		}
		again, reason := w.arrange(wanted)
		w.setReason(reason)
		if !again {
			return
		}
	}
}

// follow walks all chains and records whose interest each entry is. It returns
// the directories to watch, and whether each is needed.
func (w *Watcher) follow() (map[string]bool, bool) {
	w.mu.Lock()
	watches := make([]*watch, 0, len(w.watches))
	for e := range w.watches {
		watches = append(watches, e)
	}
	closed := w.closed
	w.mu.Unlock()
	if closed {
		return nil, false
	}
	wanted := map[string]bool{}
	interest := map[string][]*watch{}
	add := func(path string, e *watch) {
		if l := interest[path]; len(l) == 0 || l[len(l)-1] != e {
			interest[path] = append(l, e)
		}
	}
	for _, e := range watches {
		for _, path := range e.paths {
			for _, s := range chain(path) {
				if !s.needed && !w.ancestors {
					continue
				}
				wanted[s.dir] = wanted[s.dir] || s.needed
				add(s.dir, e)
				full := filepath.Join(s.dir, s.name)
				add(full, e)
				if s.leaf && w.mounted(full) {
					// Its directory tells nothing of what is mounted on it.
					wanted[full] = false
				}
			}
		}
	}
	w.mu.Lock()
	w.interest = interest
	w.mu.Unlock()
	return wanted, true
}

// arrange sets the watches. It reports whether the chains must be followed
// again, and why polling is necessary, if it is.
func (w *Watcher) arrange(wanted map[string]bool) (again bool, reason string) {
	for dir := range w.armed {
		if _, ok := wanted[dir]; !ok {
			_ = w.notices.remove(dir) // gone already, if the directory is
			delete(w.armed, dir)
		}
	}
	for dir, needed := range wanted {
		info, err := os.Lstat(dir)
		old, had := w.armed[dir]
		if had && (err != nil || !os.SameFile(old, info)) {
			// Another directory by the same name: the old watch hangs on to
			// the old one.
			_ = w.notices.remove(dir)
			delete(w.armed, dir)
			had = false
		}
		if err == nil {
			// Always, because a directory that was moved away and back lost
			// its watch meanwhile.
			err = w.notices.add(dir)
		}
		switch {
		case err == nil:
			w.armed[dir] = info
			again = again || !had
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			again = true
		case needed:
			reason = fmt.Sprintf("watch of %s: %v", dir, errnoOf(err))
		}
	}
	return again, reason
}

// errnoOf drops the path that some errors carry and others do not.
func errnoOf(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

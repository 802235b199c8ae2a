package dirwatch

import "log/slog"

// Watcher tells of changes to files by watching the directories that lead to
// them. One Watcher serves the whole process.
type Watcher struct{}

// Options of a Watcher. The zero value is safe.
type Options struct {
	Log *slog.Logger
}

// New returns a running Watcher. Where the system has no notices left, it
// polls and warns: New does not fail for that.
func New(Options) *Watcher { panic("unbuilt") }

// Watch calls notify, from one goroutine, soon after any directory entry on
// the way to one of paths (symlinks followed) may have changed. Notices may be
// spurious and are coalesced; the caller reads to find out. stop ends it.
func (w *Watcher) Watch(paths []string, notify func()) (stop func()) { panic("unbuilt") }

// Polling reports whether any path is watched by polling alone, and why.
func (w *Watcher) Polling() (bool, string) { panic("unbuilt") }

// Close stops everything and waits. It may be called twice.
func (w *Watcher) Close() error { panic("unbuilt") }

// Package dirwatch owns notices of changes to files: it watches the
// directories on the way to a file, symlinks included, and not the file, because
// a watch of a file dies with the first rename over it. A file that something is
// mounted on is watched as well: its directory tells nothing of it.
//
// It is a leaf: it knows no secrets or sources, reads no content, and imports
// nothing of Attaché. A notice says "look again", never what changed.
//
// A Watcher may be used from many goroutines. It runs two of its own until
// Close: one drains the system's notices and never blocks, the other waits for
// them to settle and calls back.
package dirwatch

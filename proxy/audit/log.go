package audit

import (
	"io"
	"log/slog"
)

// LogOptions of a Log. The zero value drops what does not fit.
type LogOptions struct {
	Refuse bool // on_full: refuse
	Queue  int  // events; 0: 8192
	Log    *slog.Logger
}

// Log writes events as JSON lines to a file from a queue, one write a line.
type Log struct{}

// NewLog opens path for appending; "-" is w (standard output, by its descriptor).
func NewLog(path string, w io.Writer, opts LogOptions) (*Log, error) { panic("unbuilt") }

// Record queues the event's line. A full queue drops it and counts.
func (l *Log) Record(e *Event) { panic("unbuilt") }

// Full reports whether requests must be refused because events can no longer be kept:
// only ever true with Refuse.
func (l *Log) Full() bool { panic("unbuilt") }

// Dropped counts the events lost.
func (l *Log) Dropped() uint64 { panic("unbuilt") }

// Reopen opens the file anew, for log rotation.
func (l *Log) Reopen() error { panic("unbuilt") }

// Close writes what is queued (for at most a few seconds) and closes the file.
func (l *Log) Close() error { panic("unbuilt") }

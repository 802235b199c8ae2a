package audit

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultQueue = 8192            // events
	drainTime    = 3 * time.Second // of Close
)

// LogOptions of a Log. The zero value drops what does not fit.
type LogOptions struct {
	Refuse bool // on_full: refuse
	Queue  int  // events; 0: 8192
	Log    *slog.Logger
}

// Log writes events as JSON lines to a file from a queue, in writes of whole lines.
type Log struct {
	path   string // empty: the given writer, which is not ours to close
	refuse bool
	high   int // lines in the queue from which on requests are refused
	log    *slog.Logger

	lines   chan *[]byte
	buffers sync.Pool
	wake    chan struct{}           // a file waits in next
	hurry   chan struct{}           // the queue is half full
	next    atomic.Pointer[os.File] // to write to from now on
	stop    chan struct{}           // closed by Close
	done    chan struct{}           // closed when the writer has ended
	cur     atomic.Pointer[output]
	held    atomic.Int64 // lines taken from the queue and not yet written
	text    []byte       // the writer's
	batch   []*[]byte    // the writer's

	closed  atomic.Bool
	failing atomic.Bool // the last write failed
	dropped atomic.Uint64

	closing  sync.Once
	closeErr error
}

// output is what lines are written to.
type output struct {
	w    io.Writer
	most int  // bytes in one write
	torn bool // the last line was written in part: begin on a new one
}

func newOutput(w io.Writer) *output {
	o := &output{w: w, most: batchSize}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			o.most = batchSizeFile
		}
	}
	return o
}

// NewLog opens path for appending, with mode 0600 if it makes it; "-" is w (standard output, by its descriptor).
func NewLog(path string, w io.Writer, opts LogOptions) (*Log, error) {
	size := opts.Queue
	if size <= 0 {
		size = defaultQueue
	}
	l := &Log{
		path: path, refuse: opts.Refuse, log: opts.Log,
		// The last eighth is for requests under way when refusing begins.
		high:  size - size/8,
		lines: make(chan *[]byte, size),
		wake:  make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.buffers.New = func() any { b := make([]byte, 0, 768); return &b }
	if path == "-" {
		if w == nil {
			return nil, errors.New("audit \"-\": nothing to write to")
		}
		l.path = ""
	} else {
		f, err := openLog(path)
		if err != nil {
			return nil, err
		}
		w = f
	}
	l.cur.Store(newOutput(w))
	go l.write() // Close waits for it
	return l, nil
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|nonblock, 0o600)
	if err != nil {
		// A *PathError would say the path twice.
		if pe, ok := errors.AsType[*os.PathError](err); ok {
			err = pe.Err
		}
		return nil, fmt.Errorf("audit file %q: %w", path, err)
	}
	return f, nil
}

// Record queues the event's line. A full queue drops it and counts. With Refuse, the last
// part of the queue is kept for what is not a refusal.
func (l *Log) Record(e *Event) {
	if l.closed.Load() || l.refuse && e.Decision == Refuse && len(l.lines) >= l.high {
		l.dropped.Add(1)
		return
	}
	b := l.buffers.Get().(*[]byte)
	*b = AppendJSON((*b)[:0], e)
	select {
	case l.lines <- b:
		if len(l.lines) > cap(l.lines)/2 {
			select {
			case l.hurry <- struct{}{}:
			default:
			}
		}
	default:
		l.buffers.Put(b)
		l.dropped.Add(1)
	}
}

// Full reports whether requests must be refused because events can no longer be kept:
// the queue is nearly full or the last write failed. It is only ever true with Refuse, and ends
// by itself when lines can be written again.
func (l *Log) Full() bool {
	return l.refuse && (len(l.lines) >= l.high || l.failing.Load())
}

// Dropped counts the events lost.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Reopen opens the file anew, for log rotation. If that fails, the former file is
// written on. It does nothing where the log is a writer.
func (l *Log) Reopen() error {
	if l.path == "" || l.closed.Load() {
		return nil
	}
	f, err := openLog(l.path)
	if err != nil {
		return err
	}
	if former := l.next.Swap(f); former != nil {
		_ = former.Close() // not in use yet
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// Close writes what is queued (for at most 3 s) and closes the file. Its error says how many
// events it could not write. It may be called twice.
func (l *Log) Close() error {
	l.closing.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	l.closed.Store(true)
	before := l.dropped.Load()
	close(l.stop)
	timeout := time.NewTimer(drainTime)
	defer timeout.Stop()
	select {
	case <-l.done:
	case <-timeout.C:
		// What stalls is a pipe or a terminal: closing ends the write, unless it is not ours to
		// close or in a call that nothing ends. That one ends with the process.
		if l.path == "" {
			return fmt.Errorf("audit log: %d events not written: what takes them stalls", len(l.lines)+int(l.held.Load()))
		}
		if f, ok := l.cur.Load().w.(*os.File); ok {
			_ = f.Close()
		}
		timeout.Reset(drainTime / 3)
		select {
		case <-l.done:
		case <-timeout.C:
			return fmt.Errorf("audit log: %d events not written: the file system stalls", len(l.lines)+int(l.held.Load()))
		}
	}
	if f := l.next.Swap(nil); f != nil {
		_ = f.Close()
	}
	var err error
	if f, ok := l.cur.Load().w.(*os.File); ok && l.path != "" {
		if err = f.Close(); errors.Is(err, os.ErrClosed) {
			err = nil
		}
	}
	if n := l.dropped.Load() - before; n > 0 {
		return fmt.Errorf("audit log: %d events not written", n)
	}
	return err
}

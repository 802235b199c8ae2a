package stream

import (
	"errors"
	"io"
	"sync"
	"time"
)

// Silence is how long after the last write a [Writer] releases what it holds
// back.
const Silence = 100 * time.Millisecond

// A Transformer masks values in one stream: [Scrubber], [GRPC] and [WebSocket].
// It is used by one goroutine at a time.
type Transformer interface {
	// Append takes the next bytes of the stream and appends to dst those that
	// are ready, masked. After an error, which means that the stream cannot be
	// followed, what dst then holds may still be sent, and nothing after it.
	Append(dst, p []byte) ([]byte, error)
	// Release appends what is held back to dst.
	Release(dst []byte) []byte
	// Held returns the number of bytes that Release would append.
	Held() int
	// Count returns the number of stretches masked so far.
	Count() int
}

var (
	_ Transformer = (*Scrubber)(nil)
	_ Transformer = (*GRPC)(nil)
	_ Transformer = (*WebSocket)(nil)
)

// A Writer hands what is written to it to another writer, masked, and what is
// held back after [Silence] or when it is closed. Its methods may be called by
// several goroutines; the writer behind it is then called by one at a time, and
// never after Close returned.
type Writer struct {
	patterns *Patterns // for their buffers
	w        io.Writer
	flush    func()

	timers sync.WaitGroup // the callback, from when it is set until it ran or was stopped

	mu     sync.Mutex
	t      Transformer
	timer  *time.Timer
	armed  bool
	last   time.Time // of the last write
	err    error
	closed bool
}

// NewWriter returns a writer before w that masks with t, which no one else may
// use from now on. flush, if not nil, is called after a release because of
// silence and by [Writer.Flush]. Without [Writer.Close] what is held back may
// be lost and a timer is left.
func (p *Patterns) NewWriter(w io.Writer, t Transformer, flush func()) *Writer {
	if p == nil {
		p = new(Patterns)
	}
	return &Writer{patterns: p, w: w, t: t, flush: flush}
}

// pieceSize bounds a writer's buffer.
const pieceSize = 32 << 10

// Write masks p. It reports p as written once it is held or handed on.
func (w *Writer) Write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, io.ErrClosedPipe
	}
	for n < len(p) && w.err == nil {
		piece := p[n:min(len(p), n+pieceSize)]
		w.send(func(buf []byte) ([]byte, error) { return w.t.Append(buf, piece) })
		n += len(piece)
	}
	if w.err == nil && w.t.Held() > 0 {
		w.last = time.Now()
		w.arm()
	}
	if w.err != nil {
		return 0, w.err
	}
	return n, nil
}

// Flush calls the flush function. It does not release what is held back: a
// flush after every write, as proxies do, would undo the hold-back.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flush != nil && !w.closed {
		w.flush()
	}
}

// Release hands on what is held back, for owners who know that a message has
// ended.
func (w *Writer) Release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release()
	return w.err
}

// Close hands on what is held back and waits for the timer. It does not close
// the writer behind. It returns the first error of the stream.
func (w *Writer) Close() error {
	w.mu.Lock()
	if !w.closed {
		w.release()
		w.closed = true
		if w.armed && w.timer.Stop() {
			w.armed = false
			w.timers.Done()
		}
	}
	err := w.err
	w.mu.Unlock()
	w.timers.Wait()
	return err
}

// Count returns the number of stretches masked so far.
func (w *Writer) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.t.Count()
}

func (w *Writer) release() {
	if w.err == nil && !w.closed && w.t.Held() > 0 {
		w.send(func(buf []byte) ([]byte, error) { return w.t.Release(buf), nil })
	}
}

// send writes what fill appends to a buffer.
func (w *Writer) send(fill func(buf []byte) ([]byte, error)) {
	buf, _ := w.patterns.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	out, err := fill((*buf)[:0])
	if len(out) > 0 {
		_, werr := w.w.Write(out)
		err = errors.Join(werr, err)
	}
	w.err = err
	*buf = out
	w.patterns.buffers.Put(buf)
}

// arm sets the timer unless it is running: it is not moved with every write,
// but finds out when it fires how long the silence has lasted.
func (w *Writer) arm() {
	if w.armed {
		return
	}
	w.armed = true
	w.timers.Add(1)
	if w.timer == nil {
		w.timer = time.AfterFunc(Silence, w.silent)
	} else {
		w.timer.Reset(Silence)
	}
}

func (w *Writer) silent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rest := Silence - time.Since(w.last); rest > 0 && !w.closed && w.t.Held() > 0 {
		w.timer.Reset(rest)
		return
	}
	w.armed = false
	defer w.timers.Done()
	if w.closed || w.err != nil || w.t.Held() == 0 {
		return
	}
	w.release()
	if w.err == nil && w.flush != nil {
		w.flush()
	}
}

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

// steps are what silence is counted in. A process that stood still, as one in a
// container does whose share of the CPU is used up, finds that the time is over
// before it has read what came meanwhile: however long that was, it is one step.
const steps = 4

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
	// Unit, if not 0, is what the writer behind takes best: writes of more than so
	// many bytes are multiples of it, and the rest waits for more or a flush. It is
	// set before the first write and not heeded for framed messages.
	Unit int

	patterns *Patterns // for their buffers
	w        io.Writer
	flush    func()
	plain    *Scrubber // t, if it is one: then what is in its buffer is written, not copied

	timers sync.WaitGroup // the callback, from when it is set until it ran or was stopped

	mu     sync.Mutex
	t      Transformer
	timer  *time.Timer
	armed  bool
	last   time.Time // of the last write
	looks  int       // steps since then
	ending bool      // the next write is the last
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
	s, _ := t.(*Scrubber)
	return &Writer{patterns: p, w: w, t: t, flush: flush, plain: s}
}

const (
	// pieceSize bounds what is added to a writer's buffer at a time.
	pieceSize = 32 << 10
	// roomSize is how much can be read into a writer's buffer at least: a TLS record.
	roomSize = 16 << 10
)

// AvailableBuffer returns memory to read into what Write is then given, which
// saves copying it. It is valid until the next call of Write or Close. Nil means
// that the writer has none to lend.
func (w *Writer) AvailableBuffer() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.plain == nil || w.closed || w.err != nil {
		return nil
	}
	return w.plain.room(roomSize)
}

// Ending says that nothing will follow what is written next: nothing of it needs
// to be held back.
func (w *Writer) Ending() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ending = true
}

// Write masks p. It reports p as written once it is held or handed on. It does
// not change p, unless p is what AvailableBuffer has lent.
func (w *Writer) Write(p []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, io.ErrClosedPipe
	}
	for n < len(p) && w.err == nil {
		piece := p[n:min(len(p), n+pieceSize)]
		n += len(piece)
		w.write(piece, w.ending && n == len(p))
	}
	if w.err == nil && w.pending() {
		w.last, w.looks = time.Now(), 0
		w.arm()
	}
	if w.err != nil {
		return 0, w.err
	}
	return n, nil
}

// Flush hands on what waits for a whole Unit and calls the flush function. It does
// not release what is held back: a flush after every write, as proxies do, would
// undo the hold-back.
func (w *Writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sendReady(1)
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
		if w.plain != nil && w.err == nil { // after an error the writer behind may still be reading the buffer
			w.plain.free()
		}
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

// pending reports whether something waits that silence releases.
func (w *Writer) pending() bool {
	return w.t.Held() > 0 || w.plain != nil && w.plain.sent < w.plain.ready
}

func (w *Writer) release() {
	if w.err != nil || w.closed || !w.pending() {
		return
	}
	if w.plain == nil {
		w.send(func(buf []byte) ([]byte, error) { return w.t.Release(buf), nil })
		return
	}
	w.plain.advance(len(w.plain.buf))
	w.sendReady(1)
}

// write masks the next piece and sends what is ready. All is, if it is the end.
func (w *Writer) write(piece []byte, end bool) {
	s := w.plain
	if s == nil {
		w.send(func(buf []byte) ([]byte, error) { return w.t.Append(buf, piece) })
		return
	}
	s.add(piece)
	ready := len(s.buf)
	if !end {
		ready = s.holdFrom()
	}
	s.advance(ready)
	if end {
		w.sendReady(1)
	} else {
		w.sendReady(w.Unit)
	}
}

// sendReady writes what of the buffer is ready, of more than unit bytes only a
// multiple.
func (w *Writer) sendReady(unit int) {
	if w.plain == nil || w.err != nil || w.closed {
		return
	}
	if p := w.plain.take(max(unit, 1)); len(p) > 0 {
		_, w.err = w.w.Write(p)
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
	if w.err = err; err != nil {
		return // the writer behind may still be reading the buffer
	}
	*buf = out
	w.patterns.buffers.Put(buf)
}

// arm sets the timer unless it is running: it is not moved with every write,
// but finds out when it fires how long the silence has lasted, and in how many
// steps.
func (w *Writer) arm() {
	if w.armed {
		return
	}
	w.armed = true
	w.timers.Add(1)
	if w.timer == nil {
		w.timer = time.AfterFunc(Silence/steps, w.silent)
	} else {
		w.timer.Reset(Silence / steps)
	}
}

func (w *Writer) silent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	rest := Silence - time.Since(w.last)
	if rest <= 0 && w.looks < steps {
		rest = Silence / steps
	}
	if rest > 0 && !w.closed && w.pending() {
		w.timer.Reset(min(rest, Silence/steps))
		return
	}
	w.armed = false
	defer w.timers.Done()
	if w.closed || w.err != nil || !w.pending() {
		return
	}
	w.release()
	if w.err == nil && w.flush != nil {
		w.flush()
	}
}

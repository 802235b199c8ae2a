package audit

import (
	"os"
	"time"
)

// Between tries to write a line that must not be lost.
const (
	retryMin = 50 * time.Millisecond
	retryMax = time.Second
)

// batchSize bounds one write, in bytes: pipes take as much whole (PIPE_BUF of POSIX write).
// A file takes any write whole.
const (
	batchSize     = 4096
	batchSizeFile = 64 << 10
)

// gather is how long lines gather behind a write before the next one: under load one write then
// takes dozens, which costs a tenth.
const gather = 5 * time.Millisecond

// write is the goroutine that writes lines, those that wait together in one write: with O_APPEND
// lines stay whole whoever else writes to the file, and a crash loses at most the queue.
func (l *Log) write() {
	defer close(l.done)
	var reported uint64
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case b := <-l.lines:
			l.batches(b)
			l.rest(rest)
			if n := l.dropped.Load(); n > reported && len(l.lines) == 0 {
				l.log.Warn("audit events were lost", "events", n-reported)
				reported = n
			}
		case <-l.wake:
			l.turn()
		case <-l.stop:
			l.drain()
			return
		}
	}
}

// rest lets lines gather, unless the queue fills.
func (l *Log) rest(t *time.Timer) {
	if len(l.lines) > cap(l.lines)/2 {
		return
	}
	t.Reset(gather)
	select {
	case <-t.C:
	case <-l.hurry:
	case <-l.stop:
	}
}

func (l *Log) drain() {
	for {
		select {
		case b := <-l.lines:
			l.batches(b)
		default:
			return
		}
	}
}

// batches writes a line and those that have gathered behind it.
func (l *Log) batches(b *[]byte) {
	for b != nil {
		text, lines := append(l.text[:0], *b...), append(l.batch[:0], b)
		most := l.cur.Load().most
		b = nil
		for b == nil {
			next := l.waiting()
			if next == nil {
				break
			}
			if len(text)+len(*next) > most {
				b = next
				break
			}
			text, lines = append(text, *next...), append(lines, next)
		}
		l.text, l.batch = text, lines
		l.held.Store(int64(len(lines)))
		l.together(text, lines)
		l.held.Store(0)
	}
}

// waiting takes a line from the queue, nil if there is none.
func (l *Log) waiting() *[]byte {
	select {
	case b := <-l.lines:
		return b
	default:
		return nil
	}
}

// together writes text, which is lines, at once. What a write does not take goes line by line.
func (l *Log) together(text []byte, lines []*[]byte) {
	out := l.cur.Load()
	if len(lines) > 1 && !out.torn && !l.failing.Load() {
		n, _ := out.w.Write(text)
		for len(lines) > 0 && n >= len(*lines[0])-1 { // a newline that is missing comes with the next line
			n -= len(*lines[0])
			l.buffers.Put(lines[0])
			l.held.Add(-1)
			lines = lines[1:]
		}
		out.torn = n != 0
	}
	for _, b := range lines {
		l.line(b)
		l.held.Add(-1)
	}
}

// turn goes over to the file that Reopen opened.
func (l *Log) turn() {
	f := l.next.Swap(nil)
	if f == nil {
		return
	}
	former := l.cur.Swap(newOutput(f))
	if old, ok := former.w.(*os.File); ok {
		_ = old.Close()
	}
}

// line writes one line. With Refuse it is tried until it is written or the Log closes;
// otherwise a failure loses it.
func (l *Log) line(b *[]byte) {
	defer l.buffers.Put(b)
	var wait time.Duration
	for !l.try(*b) {
		if !l.refuse {
			l.dropped.Add(1)
			return
		}
		wait = min(max(2*wait, retryMin), retryMax)
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-l.wake:
			again.Stop()
			l.turn()
		case <-l.stop:
			again.Stop()
			if !l.try(*b) {
				l.dropped.Add(1)
			}
			return
		}
	}
}

// try writes one line, and reports whether it is written.
func (l *Log) try(text []byte) bool {
	out := l.cur.Load()
	before := 0
	if out.torn {
		text, before = append([]byte{'\n'}, text...), 1
	}
	n, err := out.w.Write(text)
	if err == nil {
		out.torn = false
		if l.failing.CompareAndSwap(true, false) {
			l.log.Info("audit log is written again")
		}
		return true
	}
	switch n -= before; {
	case n > 0:
		out.torn = true
	case n == 0:
		out.torn = false // it ended in the newline, or never was
	}
	if l.failing.CompareAndSwap(false, true) {
		l.log.Error("audit log cannot be written", "error", err)
	}
	return n == len(text)-before-1 // only its newline is missing, and comes with the next line
}

package audit

import "os"

// write is the goroutine that writes lines, one write each: with O_APPEND a line then
// stays whole whoever else writes to the file, and a crash loses at most the queue.
func (l *Log) write() {
	defer close(l.done)
	var reported uint64
	for {
		select {
		case b := <-l.lines:
			l.line(b)
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

func (l *Log) drain() {
	for {
		select {
		case b := <-l.lines:
			l.line(b)
		default:
			return
		}
	}
}

// turn goes over to the file that Reopen opened.
func (l *Log) turn() {
	f := l.next.Swap(nil)
	if f == nil {
		return
	}
	former := l.cur.Swap(&output{w: f})
	if old, ok := former.w.(*os.File); ok {
		_ = old.Close()
	}
}

func (l *Log) line(b *[]byte) {
	out := l.cur.Load()
	text := *b
	if out.torn {
		text = append([]byte{'\n'}, text...)
	}
	n, err := out.w.Write(text)
	l.buffers.Put(b)
	if err == nil {
		out.torn = false
		if l.failing.CompareAndSwap(true, false) {
			l.log.Info("audit log is written again")
		}
		return
	}
	l.dropped.Add(1)
	// Nothing written keeps the state; the whole line but no more is as good as torn.
	out.torn = out.torn && n == 0 || n > 0
	if l.failing.CompareAndSwap(false, true) {
		l.log.Error("audit log cannot be written", "error", err)
	}
}

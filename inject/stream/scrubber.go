package stream

import (
	"encoding/binary"
	"fmt"
	"sync"
)

// A Scrubber masks values in one stream of bytes, however it is cut.
type Scrubber struct {
	m    *matcher
	pool *sync.Pool // of *[]byte, where buf comes from; nil: from nowhere
	lent *[]byte    // from pool

	// What was handed out, what may be, and what is held back as it came, unmasked:
	// a later match may overlap an earlier one.
	buf         []byte
	sent, ready int

	search search
	carry  int // the bytes of what is held back that a match begun before them covers
	count  int
}

// NewScrubber returns a scrubber for one stream.
func (p *Patterns) NewScrubber() *Scrubber {
	if p.Empty() {
		return &Scrubber{m: newMatcher(nil)}
	}
	return &Scrubber{m: p.body, pool: &p.buffers}
}

// Append takes the next bytes of the stream and appends to dst those that are
// ready, masked. It leaves p as it is. The error is always nil.
func (s *Scrubber) Append(dst, p []byte) ([]byte, error) {
	s.add(p)
	s.advance(s.holdFrom())
	return append(dst, s.take(1)...), nil
}

// Release appends what is held back to dst, masked as far as it is known: at the
// end of a message or of the stream, and after [Silence].
func (s *Scrubber) Release(dst []byte) []byte {
	s.advance(len(s.buf))
	return append(dst, s.take(1)...)
}

// Held returns the number of bytes held back.
func (s *Scrubber) Held() int { return len(s.buf) - s.ready }

// Count returns the number of stretches masked in what was handed out.
func (s *Scrubber) Count() int { return s.count }

// room returns the free part of buf, at least n bytes, to read into what add is
// then given.
func (s *Scrubber) room(n int) []byte {
	switch {
	case s.buf == nil && s.pool != nil:
		if s.lent, _ = s.pool.Get().(*[]byte); s.lent == nil {
			s.lent = new([]byte)
		}
		s.buf = (*s.lent)[:0]
	case s.sent == len(s.buf), s.sent > len(s.buf)/2:
		s.buf = s.buf[:copy(s.buf, s.buf[s.sent:])]
		s.ready -= s.sent
		s.sent = 0
	}
	if free := cap(s.buf) - len(s.buf); free < n {
		s.buf = append(make([]byte, 0, len(s.buf)+2*n+s.m.longest), s.buf...)
	}
	return s.buf[len(s.buf):cap(s.buf)]
}

// add takes the next bytes of the stream.
func (s *Scrubber) add(p []byte) {
	free := s.buf[len(s.buf):cap(s.buf)]
	if len(p) == 0 || len(p) <= len(free) && &p[0] == &free[0] { // read into room
		s.buf = s.buf[:len(s.buf)+len(p)]
		return
	}
	s.room(len(p))
	s.buf = append(s.buf, p...)
}

// take hands out what is ready, where that is unit or more a multiple of it. It
// is true until the next call of another method.
func (s *Scrubber) take(unit int) []byte {
	n := s.ready - s.sent
	if n > unit {
		n -= n % unit
	}
	s.sent += n
	return s.buf[s.sent-n : s.sent]
}

// free gives buf up. Nothing may be using it.
func (s *Scrubber) free() {
	if s.lent != nil {
		*s.lent = s.buf
		s.pool.Put(s.lent)
	}
	s.lent, s.buf, s.sent, s.ready = nil, nil, 0, 0
}

// holdFrom returns where in buf what must be held back begins.
func (s *Scrubber) holdFrom() int {
	if s.m.longest == 0 {
		return len(s.buf)
	}
	held := s.buf[s.ready:]
	return len(s.buf) - sinceControl(held[max(0, len(held)-s.m.longest+1):])
}

// advance masks what is held back up to the place ready in buf.
//
// A match that begins before ready is whole in buf, because what is held is
// shorter by one than the longest: it is masked here as far as it reaches, and
// carry remembers how much of what is kept it covers. Of matches that begin
// later the search reminds us when their turn comes.
func (s *Scrubber) advance(ready int) {
	text := s.buf[s.ready:]
	ready -= s.ready
	found := s.m.next(&s.search, text, ready) // before anything is masked that it overlaps
	end := s.carry
	mask(text[:min(end, ready)])
	for _, f := range found {
		if f.start >= end {
			s.count++
		}
		mask(text[f.start:min(f.end, ready)])
		end = max(end, f.end)
	}
	s.carry = max(0, end-ready)
	s.ready += ready
}

func mask(b []byte) {
	for i := range b {
		b[i] = '*'
	}
}

// sinceControl returns how many bytes follow the last control byte.
func sinceControl(b []byte) int {
	end := len(b)
	for ; end >= 8; end -= 8 { // eight at a time while none is there
		x := binary.LittleEndian.Uint64(b[end-8:])
		del := x ^ 0x7F*ones
		if ((x-0x20*ones)&^x|(del-ones)&^del)&highs != 0 {
			break
		}
	}
	for ; end > 0; end-- {
		if c := b[end-1]; c < 0x20 || c == 0x7F {
			break
		}
	}
	return len(b) - end
}

// Format prints nothing of the stream, whatever the verb.
func (s *Scrubber) Format(f fmt.State, _ rune) { fmt.Fprint(f, "stream.Scrubber") }

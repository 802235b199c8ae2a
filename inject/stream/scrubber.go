package stream

import (
	"encoding/binary"
	"fmt"
)

// A Scrubber masks values in one stream of bytes, however it is cut.
type Scrubber struct {
	m     *matcher
	held  []byte // as it came, unmasked: a later match may overlap an earlier one
	carry int    // the bytes of held that a match begun before them covers
	count int
	spans []span // scratch
}

// NewScrubber returns a scrubber for one stream.
func (p *Patterns) NewScrubber() *Scrubber {
	if p.Empty() {
		return &Scrubber{m: newMatcher(nil)}
	}
	return &Scrubber{m: p.body}
}

// Append takes the next bytes of the stream and appends to dst those that are
// ready, masked. It leaves p as it is. The error is always nil.
func (s *Scrubber) Append(dst, p []byte) ([]byte, error) {
	base := len(dst)
	dst = append(append(dst, s.held...), p...)
	text := dst[base:]
	hold := 0
	if s.m.longest > 0 {
		hold = sinceControl(text[max(0, len(text)-s.m.longest+1):])
	}
	return dst[:base+s.advance(text, len(text)-hold)], nil
}

// Release appends what is held back to dst, masked as far as it is known: at the
// end of a message or of the stream, and after [Silence].
func (s *Scrubber) Release(dst []byte) []byte {
	base := len(dst)
	dst = append(dst, s.held...)
	s.advance(dst[base:], len(dst)-base)
	return dst
}

// Held returns the number of bytes held back.
func (s *Scrubber) Held() int { return len(s.held) }

// Count returns the number of stretches masked in what was handed out.
func (s *Scrubber) Count() int { return s.count }

// advance masks the first ready bytes of text, keeps the others, and returns
// ready.
//
// A match that begins before ready is whole in text, because what is held is
// shorter by one than the longest: it is masked here as far as it reaches, and
// carry remembers how much of what is kept it covers. Matches that begin later
// are found again when their turn comes.
func (s *Scrubber) advance(text []byte, ready int) int {
	s.spans = s.m.find(text, s.spans[:0])
	s.held = append(s.held[:0], text[ready:]...)
	end := s.carry
	mask(text[:min(end, ready)])
	for _, f := range union(s.spans) {
		if f.start >= ready {
			break
		}
		if f.start >= end {
			s.count++
		}
		mask(text[f.start:min(f.end, ready)])
		end = max(end, f.end)
	}
	s.carry = max(0, end-ready)
	return ready
}

func mask(b []byte) {
	for i := range b {
		b[i] = '*'
	}
}

// sinceControl returns how many bytes follow the last control byte.
func sinceControl(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
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

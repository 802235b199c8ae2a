package stream

import "encoding/binary"

const ones, highs = 0x0101010101010101, 0x8080808080808080

// Where a sample is text, what follows is taken for text unlooked at, the longer
// the longer the text has been.
const minLeap, maxLeap = 512, 8 << 10

// sample looks at every stride bytes of text and finds the forms of which the
// first head bytes are literal and, where that is text, those that escapes lead to.
func (m *matcher) sample(text []byte, s *search) {
	at, done, leap := 0, 0, minLeap
	for {
		ended := at
		if at = m.sampleBinary(text, at, s); at+m.width > len(text) {
			return
		}
		from := at
		if leap = min(2*leap, maxLeap); from > ended {
			leap = minLeap
		}
		at = m.sampleText(text, at, min(at+leap, len(text)-m.width+1), s)
		// An escape stands in the first head bytes of its form, and the form's first
		// sample in the first stride.
		r := span{max(done, from-m.stride), min(len(text), at+m.width)}
		if m.ascii {
			m.findEscapes(text, r, s)
		}
		done = r.end
	}
}

// sampleBinary looks at samples from at on, up to the first that lies in text
// that may hold an escaped form, and returns its place.
func (m *matcher) sampleBinary(text []byte, at int, s *search) int {
	stride, bits, block, high := m.stride, m.bitmap, m.block, m.block&highs
	for ; at <= len(text)-8; at += stride {
		x := binary.LittleEndian.Uint64(text[at:])
		if x&high == 0 && m.inText(text, at) {
			return at
		}
		if x &= block; bits.maybe(x) {
			m.verifyBlock(text, at, x, s)
		}
	}
	for ; at+m.width <= len(text); at += stride {
		x := load(text, at)
		if x&high == 0 && m.inText(text, at) {
			break
		}
		m.verifyBlock(text, at, x&block, s)
	}
	return at
}

// sampleText looks at samples from at to end and returns the place of the next.
func (m *matcher) sampleText(text []byte, at, end int, s *search) int {
	stride, bits, block := m.stride, m.bitmap, m.block
	for last := min(end, len(text)-7); at < last; at += stride {
		if x := binary.LittleEndian.Uint64(text[at:]) & block; bits.maybe(x) {
			m.verifyBlock(text, at, x, s)
		}
	}
	for ; at < end; at += stride {
		m.verifyBlock(text, at, load(text, at)&block, s)
	}
	return at
}

// load returns the eight bytes of text from at on, those behind its end as 0.
func load(text []byte, at int) uint64 {
	var eight [8]byte
	copy(eight[:], text[at:])
	return binary.LittleEndian.Uint64(eight[:])
}

// inText reports whether the block at is in ASCII that is long enough for the head
// of a form: only such may be an escaped form, if no form has other bytes. None has
// line breaks either, but there is no gain in telling lines from longer text.
func (m *matcher) inText(text []byte, at int) bool {
	n := m.head
	for i := at; i < len(text) && n > 0 && isText(text[i]); i++ {
		n--
	}
	for i := at; i > 0 && n > 0 && isText(text[i-1]); i-- {
		n--
	}
	return n == 0
}

func isText(c byte) bool { return c-0x20 < 0x60 || c == '\n' || c == '\r' || c == '\t' }

func (m *matcher) verifyBlock(text []byte, at int, block uint64, s *search) {
	if !m.bitmap.maybe(block) {
		return
	}
	for e := m.blocks.first(block); e != nil; e = m.blocks.next(e) {
		start := at - int(e.at)
		s.steps++
		if start >= 0 && hasPrefix(text[start:], m.forms[e.form].text[:m.head]) {
			m.literal(s, text, start, e.form)
		}
	}
}

func hasPrefix(text []byte, prefix string) bool {
	return len(text) >= len(prefix) && string(text[:len(prefix)]) == prefix
}

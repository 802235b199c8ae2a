package stream

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"
)

// A span is a half-open range of a text.
type span struct{ start, end int }

// A matcher finds forms. It is built to cost little where none is there:
//
// A form that begins with at least head literal bytes has a block of width among
// them that stands at a multiple of stride in the text, wherever it stands. So
// only those blocks are looked at, each against a small bitmap, and none
// depends on the one before it.
//
// A form of which one of the first head bytes is escaped is found at the first
// escape: introducers are searched for, and what the escape decodes to, together
// with the byte before it, leads to the few forms and places it may belong to.
// In binary data one byte in 85 is an introducer, and stopping at each would cost
// more than all else. Where all forms are ASCII, so are their escaped spellings,
// which are longer than shortest: one of the blocks lies within, and only around
// blocks that are ASCII are introducers searched for.
type matcher struct {
	forms    []form
	shortest int // the shortest form's length
	longest  int // the largest limit
	head     int // the bytes of a form that candidates come from
	stride   int
	width    int    // of a block: 4 or 8
	block    uint64 // the bits of a block in the eight bytes it begins
	bitmap   *bitmap
	blocks   index     // by block
	escapes  index     // by the byte before and the byte escaped
	needed   [256]bool // what an escape of interest may decode to
	follows  [256]byte // as followers returns it
	ascii    bool      // no form has other bytes
}

const (
	maxStride = 64 // more gains little and fills the bitmap
	wide      = 20 // from this shortest form on, larger blocks, which less text resembles, are worth the shorter stride
)

func newMatcher(forms []form) *matcher {
	m := &matcher{forms: forms, ascii: true}
	if len(forms) == 0 {
		return m
	}
	m.shortest = len(forms[0].text)
	for _, f := range forms {
		m.shortest = min(m.shortest, len(f.text))
		m.longest = max(m.longest, f.limit)
		m.ascii = m.ascii && !strings.ContainsFunc(f.text, func(r rune) bool { return r >= utf8.RuneSelf })
	}
	m.width = 4
	if m.shortest >= wide {
		m.width = 8
	}
	m.block = 1<<(8*m.width) - 1
	m.stride = min(m.shortest-m.width+1, maxStride)
	m.head = m.stride + m.width - 1

	n := len(forms) * m.stride
	m.bitmap = new(bitmap)
	m.blocks = newIndex(n)
	m.escapes = newIndex(len(forms) * m.head)
	for i, f := range forms {
		for at := range m.stride {
			var eight [8]byte
			copy(eight[:], f.text[at:at+m.width])
			block := binary.LittleEndian.Uint64(eight[:])
			m.bitmap.add(block)
			m.blocks.add(block, i, at)
		}
		before := byte(0) // no value contains it
		for at := range m.head {
			m.escapes.add(escapeKey(before, f.text[at]), i, at)
			before = f.text[at]
			m.needed[before] = true
		}
	}
	m.follows = followers(&m.needed)
	return m
}

func escapeKey(before, c byte) uint64 { return uint64(before)<<8 | uint64(c) }

// find finds the forms in text.
func (m *matcher) find(text []byte, s *search) {
	if len(m.forms) == 0 || len(text) < m.head {
		return
	}
	if !m.ascii {
		m.findEscapes(text, span{0, len(text)}, s)
	}
	m.sample(text, s)
}

// all returns the forms in text, in order and joined where they overlap.
func (m *matcher) all(text []byte) []span {
	s := search{final: true}
	m.find(text, &s)
	return union(s.spans)
}

// appendSpan adds s; a text that is one long chain of matches stays few spans.
func appendSpan(spans []span, s span) []span {
	if n := len(spans); n > 0 && spans[n-1].start <= s.start && s.start < spans[n-1].end {
		spans[n-1].end = max(spans[n-1].end, s.end)
		return spans
	}
	return append(spans, s)
}

// union sorts spans and joins those that overlap.
func union(spans []span) []span {
	if len(spans) < 2 {
		return spans
	}
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	joined := spans[:0]
	for _, s := range spans {
		joined = appendSpan(joined, s)
	}
	return joined
}

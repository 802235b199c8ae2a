package stream

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// A span is a half-open range of a text.
type span struct{ start, end int }

// A matcher finds forms. It is built to cost little where none is there:
//
// A form that begins with at least head literal bytes has a block of four among
// them that stands at a multiple of stride in the text, wherever it stands. So
// only those blocks are looked at, each against a small bitmap, and none
// depends on the one before it.
//
// A form of which one of the first head bytes is escaped is found at the first
// escape: introducers are searched for, and what the escape decodes to, together
// with the byte before it, leads to the few forms and places it may belong to.
type matcher struct {
	forms    []form
	shortest int // the shortest form's length
	longest  int // the largest limit
	head     int // the bytes of a form that candidates come from
	stride   int
	shift    uint
	bitmap   []uint64  // by hash of block
	blocks   index     // by block
	escapes  index     // by the byte before and the byte escaped
	needed   [256]bool // what an escape of interest may decode to
	follow   [256]byte
	ascii    bool // no form has other bytes
}

const (
	blockSize = 4
	maxStride = 64 // more gains little and fills the bitmap
	hashFunc  = 0x9E3779B1
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
	m.stride = min(m.shortest-blockSize+1, maxStride)
	m.head = m.stride + blockSize - 1

	n := len(forms) * m.stride
	width := min(max(bits.Len(uint(n))+7, 12), 18) // at least 64 bits a block, up to 32 KiB
	m.shift = uint(32 - width)
	m.bitmap = make([]uint64, 1<<(width-6))
	m.blocks = newIndex(n)
	m.escapes = newIndex(len(forms) * m.head)
	for i, f := range forms {
		for at := range m.stride {
			block := binary.LittleEndian.Uint32([]byte(f.text[at : at+blockSize]))
			h := block * hashFunc >> m.shift
			m.bitmap[h>>6] |= 1 << (h & 63)
			m.blocks.add(block, i, at)
		}
		before := byte(0) // no value contains it
		for at := range m.head {
			m.escapes.add(escapeKey(before, f.text[at]), i, at)
			before = f.text[at]
			m.needed[before] = true
		}
	}
	m.follow = followers(&m.needed)
	return m
}

func escapeKey(before, c byte) uint32 { return uint32(before)<<8 | uint32(c) }

// find appends to spans those of text that are forms, in no order.
func (m *matcher) find(text []byte, spans []span) []span {
	if len(m.forms) == 0 || len(text) < m.shortest {
		return spans
	}
	spans = m.findBlocks(text, spans)
	return m.findEscapes(text, spans)
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
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	joined := spans[:0]
	for _, s := range spans {
		joined = appendSpan(joined, s)
	}
	return joined
}

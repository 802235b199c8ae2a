package stream

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
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
// A form of which one of the first head bytes is escaped is found at that
// escape: introducers are searched for, and what the first escape decodes to,
// together with the byte before it, leads to the few forms and places it may
// belong to.
type matcher struct {
	forms    []form
	shortest int // the shortest form's length
	longest  int // the largest limit
	head     int // the bytes of a form that candidates come from
	stride   int
	shift    uint
	bitmap   []uint64 // by hash of block
	blocks   index    // by block
	escapes  index    // by the byte before and the byte escaped
	needed   [256]bool
	follow   [256]byte
}

const (
	blockSize = 4
	maxStride = 24 // longer gains little and fills the bitmap
	hashFunc  = 0x9E3779B1
)

func newMatcher(forms []form) *matcher {
	m := &matcher{forms: forms}
	if len(forms) == 0 {
		return m
	}
	m.shortest = len(forms[0].text)
	for _, f := range forms {
		m.shortest = min(m.shortest, len(f.text))
		m.longest = max(m.longest, f.limit)
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
	for i := range len(introducers) {
		spans = m.findEscapes(text, introducers[i], 1<<i, spans)
	}
	return spans
}

func (m *matcher) findBlocks(text []byte, spans []span) []span {
	stride, at := m.stride, 0
	for last := len(text) - blockSize; at+3*stride <= last; at += 4 * stride {
		// Four at a time: one branch, and four loads under way at once.
		four := text[at : at+3*stride+blockSize]
		a := m.maybe(binary.LittleEndian.Uint32(four))
		b := m.maybe(binary.LittleEndian.Uint32(four[stride:]))
		c := m.maybe(binary.LittleEndian.Uint32(four[2*stride:]))
		d := m.maybe(binary.LittleEndian.Uint32(four[3*stride:]))
		if (a|b|c|d)&1 == 0 {
			continue
		}
		for i := range 4 {
			spans = m.verifyBlock(text, at+i*stride, spans)
		}
	}
	for ; at+blockSize <= len(text); at += stride {
		spans = m.verifyBlock(text, at, spans)
	}
	return spans
}

// maybe returns a word whose lowest bit is set if block may be one of m.blocks.
func (m *matcher) maybe(block uint32) uint64 {
	h := block * hashFunc >> (m.shift & 31)
	return m.bitmap[h>>6] >> (h & 63)
}

func (m *matcher) verifyBlock(text []byte, at int, spans []span) []span {
	block := binary.LittleEndian.Uint32(text[at:])
	for e := m.blocks.first(block); e != nil; e = m.blocks.next(e) {
		start, f := at-int(e.at), &m.forms[e.form]
		if start < 0 || !hasPrefix(text[start:], f.text[:m.head]) {
			continue
		}
		if hasPrefix(text[start:], f.text) {
			spans = appendSpan(spans, span{start, start + len(f.text)})
			continue
		}
		for i := range len(introducers) {
			if n := match(text[start:], f.text, introducers[i]); n > 0 && n <= f.limit {
				spans = appendSpan(spans, span{start, start + n})
			}
		}
	}
	return spans
}

func (m *matcher) findEscapes(text []byte, introducer, bit byte, spans []span) []span {
	for at := 0; ; at++ {
		next := bytes.IndexByte(text[at:], introducer)
		if next < 0 || at+next+1 == len(text) {
			return spans
		}
		at += next
		if m.follow[text[at+1]]&bit == 0 {
			continue
		}
		u := unescape(text[at:])
		if u.size == 0 || !m.needed[u.bytes[0]] {
			continue
		}
		spans = m.verifyEscape(text, at, escapeKey(0, u.bytes[0]), spans)
		if at > 0 && text[at-1] != 0 {
			spans = m.verifyEscape(text, at, escapeKey(text[at-1], u.bytes[0]), spans)
		}
	}
}

func (m *matcher) verifyEscape(text []byte, at int, key uint32, spans []span) []span {
	for e := m.escapes.first(key); e != nil; e = m.escapes.next(e) {
		start, f := at-int(e.at), &m.forms[e.form]
		if start < 0 || string(text[start:at]) != f.text[:e.at] {
			continue
		}
		if n := match(text[at:], f.text[e.at:], text[at]); n > 0 && int(e.at)+n <= f.limit {
			spans = appendSpan(spans, span{start, at + n})
		}
	}
	return spans
}

// match returns the length of the prefix of text that is want with some of its
// bytes escaped in introducer's scheme, 0 if there is none. An introducer that
// begins no escape of the wanted bytes may stand for itself.
func match(text []byte, want string, introducer byte) int {
	at := 0
	for len(want) > 0 {
		if at == len(text) {
			return 0
		}
		if text[at] == introducer {
			if u := unescape(text[at:]); u.size > 0 && u.n <= len(want) && string(u.bytes[:u.n]) == want[:u.n] {
				at += u.size
				want = want[u.n:]
				continue
			}
		}
		if text[at] != want[0] {
			return 0
		}
		at++
		want = want[1:]
	}
	return at
}

func hasPrefix(text []byte, prefix string) bool {
	return len(text) >= len(prefix) && string(text[:len(prefix)]) == prefix
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

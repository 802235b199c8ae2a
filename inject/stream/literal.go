package stream

import "encoding/binary"

// findBlocks appends to spans the forms of which the first head bytes are
// literal.
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

func hasPrefix(text []byte, prefix string) bool {
	return len(text) >= len(prefix) && string(text[:len(prefix)]) == prefix
}

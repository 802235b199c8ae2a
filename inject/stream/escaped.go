package stream

import (
	"bytes"
	"encoding/binary"
)

// findEscapes appends to spans the forms of which one of the first head bytes
// is escaped.
//
// In binary data one byte in 85 is an introducer, and stopping at each would cost
// more than all else. Where all forms are ASCII, so are their escaped spellings,
// which are longer than shortest. Fours of bytes are sampled so that one lies
// within any shortest bytes, and only where one is ASCII, and around it, are
// escapes searched for. After such a four the next is a leap away, all between
// being searched: text costs few samples.
func (m *matcher) findEscapes(text []byte, spans []span) []span {
	if !m.ascii {
		return m.findEscapesIn(text, span{0, len(text)}, spans)
	}
	step := m.shortest - 4 + 1
	leap := max(m.shortest, 128) // from one four to the next in text
	var r span                   // what is to be searched
	for at := 0; at+4 <= len(text); at += step {
		x := binary.LittleEndian.Uint32(text[at:])
		if ((x-0x20202020)|x)&0x80808080 != 0 { // a byte below 0x20 or above 0x7F
			continue
		}
		if from := at - m.shortest; from > r.end {
			spans = m.findEscapesIn(text, r, spans)
			r.start = from
		}
		r.end = at + leap + 4
		at += leap - step
	}
	r.end = min(r.end, len(text))
	return m.findEscapesIn(text, r, spans)
}

// findEscapesIn searches for escapes that begin in r.
func (m *matcher) findEscapesIn(text []byte, r span, spans []span) []span {
	for i := range len(introducers) {
		spans = m.findScheme(text, r, i, spans)
	}
	return spans
}

func (m *matcher) findScheme(text []byte, r span, scheme int, spans []span) []span {
	for at := r.start; ; at++ {
		next := bytes.IndexByte(text[at:r.end], introducers[scheme])
		if next < 0 || at+next+1 == len(text) {
			return spans
		}
		at += next
		if m.follow[text[at+1]]>>scheme&1 == 0 {
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

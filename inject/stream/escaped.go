package stream

import (
	"bytes"
	"strings"
)

// findEscapes finds the forms of which one of the first head bytes is escaped, by
// an escape that begins in r.
func (m *matcher) findEscapes(text []byte, r span, s *search) {
	for i := range len(introducers) {
		m.findScheme(text, r, i, s)
	}
}

func (m *matcher) findScheme(text []byte, r span, scheme int, s *search) {
	for at := r.start; ; at++ {
		next := bytes.IndexByte(text[at:r.end], introducers[scheme])
		if next < 0 || at+next+1 == len(text) {
			return
		}
		at += next
		if m.follows[text[at+1]]>>scheme&1 == 0 {
			continue
		}
		u := unescape(text[at:])
		if u.size == 0 || !m.needed[u.bytes[0]] {
			continue
		}
		m.verifyEscape(text, at, 0, u, s)
		if at > 0 && text[at-1] != 0 {
			m.verifyEscape(text, at, text[at-1], u, s)
		}
	}
}

// verifyEscape follows the forms that u, the escape at at, may belong to: at their
// beginnings, where before is 0, and behind that byte.
func (m *matcher) verifyEscape(text []byte, at int, before byte, u escape, s *search) {
	for e := m.escapes.first(escapeKey(before, u.bytes[0])); e != nil; e = m.escapes.next(e) {
		start, n, form := at-int(e.at), int(e.at), m.forms[e.form].text
		s.steps++
		if start >= 0 && string(text[start:at]) == form[:n] && strings.HasPrefix(form[n:], string(u.bytes[:u.n])) {
			m.follow(s, text, candidate{start: start, form: e.form, scheme: text[at], at: n + u.size, done: n + u.n})
		}
	}
}

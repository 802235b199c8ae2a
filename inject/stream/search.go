package stream

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// A search goes through a text that comes in pieces. What it has seen it does not
// look at again, whatever comes and however short the pieces: it keeps in mind
// which forms may have begun.
type search struct {
	from  int         // forms that begin before it are in spans or open
	final bool        // nothing follows the text
	ready int         // what begins before it must be decided
	base  int         // where in the text the part begins that is looked at
	spans []span      // found
	given []span      // scratch
	open  []candidate // forms of which the end has not come
	steps int         // what was compared, a byte or eight at a time, where something may begin
}

// A candidate is a place that may begin a form in one scheme.
type candidate struct {
	start    int // in the text
	form     int32
	scheme   byte // introducer; 0: none
	at, done int  // what has been compared: bytes of text and bytes of the form
}

// lookahead is the length of the longest escape, a surrogate pair.
const lookahead = len(`\ud83d\ude00`)

// next returns the forms in text that begin before ready, in order and joined
// where they overlap. text is what is left of the text of the call before, from
// ready on, and what came since.
func (m *matcher) next(s *search, text []byte, ready int) []span {
	if len(m.forms) == 0 {
		return nil
	}
	s.ready, s.final, s.base = ready, ready == len(text), 0
	open := s.open
	s.open = s.open[:0]
	for _, c := range open {
		m.follow(s, text, c)
	}
	s.base = s.from
	m.find(text[s.from:], s)

	// A form that began earlier has shown enough to be found.
	known := max(ready, len(text)-m.head-lookahead)
	s.from = known - ready
	all := union(s.spans)
	n := 0
	for n < len(all) && all[n].start < ready {
		n++
	}
	s.spans, s.given = s.given[:0], all
	for _, f := range all[n:] {
		if f.start < known {
			s.spans = append(s.spans, span{f.start - ready, f.end - ready})
		}
	}
	s.open = slices.DeleteFunc(s.open, func(c candidate) bool { return c.start < ready || c.start >= known })
	for i := range s.open {
		s.open[i].start -= ready
	}
	return all[:n]
}

// found notes that form begins at start, seen from base, and is n bytes long.
func (s *search) found(start, n int) {
	s.spans = appendSpan(s.spans, span{s.base + start, s.base + start + n})
}

// literal follows form f from start, seen from base, where its first head bytes
// stand unescaped.
func (m *matcher) literal(s *search, text []byte, start int, form int32) {
	f := &m.forms[form]
	n := common(text[start:], f.text)
	s.steps += 1 + n/8
	if n == len(f.text) {
		s.found(start, n)
	}
	ended := start+n == len(text)
	if n < len(f.text) && ended {
		m.follow(s, text, candidate{start: start, form: form, at: n, done: n})
	}
	plain := min(n, f.plain) // up to here no scheme makes a difference
	if plain == len(f.text) {
		return
	}
	for i := range len(introducers) {
		if plain < n || ended || text[start+n] == introducers[i] {
			m.follow(s, text, candidate{start: start, form: form, scheme: introducers[i], at: plain, done: plain})
		}
	}
}

// follow compares text and the form of c from where c stands: it is a form with
// some of its bytes escaped, or none, or the end of text leaves it open. An
// introducer that begins no escape of the wanted bytes may stand for itself.
// c.start is seen from base.
func (m *matcher) follow(s *search, text []byte, c candidate) {
	f := &m.forms[c.form]
	for c.done < len(f.text) {
		rest, want := text[c.start+c.at:], f.text[c.done:]
		n := common(rest, want)
		s.steps += 1 + n/8
		if i := strings.IndexByte(want[:n], c.scheme); i >= 0 {
			n = i
		}
		c.at += n
		c.done += n
		if c.at > f.limit {
			return
		}
		if n == len(want) {
			break
		}
		rest, want = rest[n:], want[n:]
		// What comes may matter: the end of the form or of an escape, unless the start
		// must be decided on, since no form goes over a control byte.
		if (len(rest) == 0 || len(rest) < lookahead && rest[0] == c.scheme) && !s.final && s.base+c.start >= s.ready {
			c.start += s.base
			s.open = append(s.open, c)
			return
		}
		if len(rest) == 0 {
			return
		}
		if rest[0] == c.scheme {
			if u := unescape(rest); u.size > 0 && u.n <= len(want) && string(u.bytes[:u.n]) == want[:u.n] {
				c.at += u.size
				c.done += u.n
				continue
			}
		}
		if rest[0] != want[0] {
			return
		}
		c.at++
		c.done++
	}
	if c.at <= f.limit {
		s.found(c.start, c.at)
	}
}

// common returns how many bytes text and form have in common at their beginnings.
func common(text []byte, form string) int {
	n := min(len(text), len(form))
	text, form = text[:n], form[:n]
	i := 0
	for ; i+8 <= n; i += 8 {
		var eight [8]byte
		copy(eight[:], form[i:i+8])
		if x := binary.LittleEndian.Uint64(text[i:]) ^ binary.LittleEndian.Uint64(eight[:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && text[i] == form[i] {
		i++
	}
	return i
}

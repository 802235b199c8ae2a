package policy

import (
	"strings"
	"unicode/utf8"
)

// maxDecodings is how often a path is decoded in search of another meaning.
// What would change in one decoding more is refused unseen.
const maxDecodings = 2

// isPlainPath reports whether a path, as sent, can only mean one thing. Proxies
// and frameworks behind us may remove dot segments, merge slashes, cut at ";",
// take "\" for "/", or decode twice; a path with any of these could be matched
// as one and served as another. It allocates nothing.
func isPlainPath(path string) bool {
	if path == "" || path[0] != '/' || strings.IndexByte(path, '?') >= 0 || strings.IndexByte(path, '#') >= 0 {
		return false
	}
	if strings.IndexByte(path, '%') < 0 {
		r := layers{raw: path}
		return r.plain(0)
	}
	if !validEscapes(path) {
		return false
	}
	for level := 1; level <= maxDecodings; level++ {
		r := layers{raw: path}
		if !r.plain(level) {
			return false
		}
		if !r.percent {
			return true
		}
	}
	r := layers{raw: path}
	for {
		if _, escaped, ok := r.next(maxDecodings + 1); escaped || !ok {
			return !escaped
		}
	}
}

// layers reads a path decoded any number of times up to maxDecodings + 1,
// byte by byte: level n is level n−1 decoded once, level 0 the path itself.
type layers struct {
	raw     string
	held    [maxDecodings + 2][2]byte // by level: bytes of the level below, read ahead
	n       [maxDecodings + 2]uint8   // how many are held
	percent bool                      // plain met a %, so the next level may differ
}

// next returns the next byte of a level, and whether an escape stood for it
// there. What is no escape stands for itself, as
// lenient decoders have it.
func (l *layers) next(level int) (c byte, escaped, ok bool) {
	if level == 0 {
		if l.raw == "" {
			return 0, false, false
		}
		c, l.raw = l.raw[0], l.raw[1:]
		return c, false, true
	}
	c, ok = l.below(level)
	if !ok || c != '%' {
		return c, false, ok
	}
	high, ok := l.below(level)
	if !ok {
		return c, false, true
	}
	if !isHex(high) {
		l.hold(level, high)
		return c, false, true
	}
	low, ok := l.below(level)
	if ok && isHex(low) {
		return unhex(high)<<4 | unhex(low), true, true
	}
	l.hold(level, high)
	if ok {
		l.hold(level, low)
	}
	return c, false, true
}

// below takes a byte of the level under the given one.
func (l *layers) below(level int) (byte, bool) {
	if l.n[level] > 0 {
		c := l.held[level][0]
		l.held[level][0] = l.held[level][1]
		l.n[level]--
		return c, true
	}
	c, _, ok := l.next(level - 1)
	return c, ok
}

// hold gives a byte back. Only what was just read can be held, when nothing
// else is, so it goes behind at most one other.
func (l *layers) hold(level int, c byte) {
	l.held[level][l.n[level]] = c
	l.n[level]++
}

// plain reads one level whole and reports whether it is free of what may be
// taken for another path.
func (l *layers) plain(level int) bool {
	var char [utf8.UTFMax]byte // of one rune that is not ASCII, so far
	have := 0
	size, dots := 1, 0 // of the segment so far; the first slash ends none
	for {
		c, escaped, more := l.next(level)
		if !more {
			return have == 0 && !isDotSegment(size, dots)
		}
		if c >= utf8.RuneSelf || have > 0 {
			char[have] = c
			have++
			if utf8.FullRune(char[:have]) {
				if r, n := utf8.DecodeRune(char[:have]); r == utf8.RuneError && n == 1 {
					return false
				}
				have = 0
			}
		}
		switch {
		case c < 0x20 || c == 0x7f || c == ';' || c == '\\':
			return false
		case c == '/':
			// Written as %2f it is a slash to some and a character to others.
			if escaped || size == 0 || isDotSegment(size, dots) {
				return false
			}
			size, dots = 0, 0
			continue
		case c == '.':
			dots++
		case c == '%':
			l.percent = true
		}
		size++
	}
}

func isDotSegment(size, dots int) bool { return size == dots && (dots == 1 || dots == 2) }

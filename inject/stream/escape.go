package stream

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// introducers begin an escape; each stands for one scheme.
const introducers = `%\&`

// An escape is what one escape sequence decodes to.
type escape struct {
	bytes [utf8.UTFMax]byte
	n     int // bytes decoded
	size  int // bytes of text read; 0 if there is no escape
}

func byteEscape(c byte, size int) escape {
	return escape{bytes: [utf8.UTFMax]byte{c}, n: 1, size: size}
}

func runeEscape(r rune, size int) (e escape) {
	if !utf8.ValidRune(r) {
		return escape{}
	}
	e.n = utf8.EncodeRune(e.bytes[:], r)
	e.size = size
	return e
}

// unescape decodes the escape that text, not empty, begins with. An escape of
// which the end is missing is none.
func unescape(text []byte) escape {
	switch text[0] {
	case '%':
		if c, ok := hexDigits(text, 1, 2); ok {
			return byteEscape(byte(c), 3)
		}
	case '\\':
		return unescapeBackslash(text)
	case '&':
		return unescapeHTML(text)
	}
	return escape{}
}

// followers returns which bytes may follow each introducer, as a bit by its place
// in introducers, where an escape decodes to something that begins with a needed
// byte. It lets most escapes of a text be passed over unread.
func followers(needed *[256]bool) (follow [256]byte) {
	set := func(introducer byte, next ...byte) {
		for _, c := range next {
			follow[c] |= 1 << strings.IndexByte(introducers, introducer)
		}
	}
	set('\\', 'u', 'x')
	set('&', '#')
	for i, need := range needed {
		if !need {
			continue
		}
		c := byte(i)
		set('%', "0123456789abcdef"[c>>4], "0123456789ABCDEF"[c>>4])
		if isPunctuation(c) {
			set('\\', c)
		}
		switch c {
		case '&', '\'':
			set('&', 'a') // amp, apos
		case '<':
			set('&', 'l')
		case '>':
			set('&', 'g')
		case '"':
			set('&', 'q')
		}
	}
	return follow
}

func isPunctuation(c byte) bool {
	return '!' <= c && c <= '/' || ':' <= c && c <= '@' || '[' <= c && c <= '`' || '{' <= c && c <= '~'
}

// unescapeBackslash reads the escapes of JSON (RFC 8259 section 7), \x2f, and a
// backslash before any punctuation.
func unescapeBackslash(text []byte) escape {
	if len(text) < 2 {
		return escape{}
	}
	switch c := text[1]; {
	case c == 'u':
		r, ok := hexDigits(text, 2, 4)
		if !ok {
			return escape{}
		}
		if !utf16.IsSurrogate(r) {
			return runeEscape(r, 6)
		}
		low, ok := hexDigits(text, 8, 4)
		if !ok || text[6] != '\\' || text[7] != 'u' {
			return escape{}
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return escape{}
		}
		return runeEscape(r, 12)
	case c == 'x':
		if x, ok := hexDigits(text, 2, 2); ok {
			return byteEscape(byte(x), 4)
		}
	case isPunctuation(c):
		return byteEscape(c, 2)
	}
	return escape{}
}

// unescapeHTML reads character references: the five names that escapers write
// and numbers, with the semicolon.
func unescapeHTML(text []byte) escape {
	const longest = len("&#1114111;")
	end := bytes.IndexByte(text[:min(len(text), longest)], ';')
	if end < 3 {
		return escape{}
	}
	var e escape
	if body := text[1:end]; body[0] == '#' {
		e = runeEscape(reference(body[1:]), end+1)
	} else if c, ok := named(body); ok {
		e = byteEscape(c, end+1)
	}
	if e.size > maxEscape*e.n { // many leading zeros
		return escape{}
	}
	return e
}

// reference reads the at most eight digits of a numeric reference; -1 means that
// they are none.
func reference(digits []byte) (r rune) {
	base := rune(10)
	if digits[0] == 'x' || digits[0] == 'X' {
		digits, base = digits[1:], 16
	}
	if len(digits) == 0 {
		return -1
	}
	for _, c := range digits {
		d, ok := hexDigit(c)
		if !ok || d >= base {
			return -1
		}
		r = r*base + d
	}
	return r
}

func named(name []byte) (c byte, ok bool) {
	switch string(name) {
	case "amp":
		return '&', true
	case "lt":
		return '<', true
	case "gt":
		return '>', true
	case "quot":
		return '"', true
	case "apos":
		return '\'', true
	}
	return 0, false
}

// hexDigits reads the n hexadecimal digits of text that begin at from.
func hexDigits(text []byte, from, n int) (value rune, ok bool) {
	if len(text) < from+n {
		return 0, false
	}
	for _, c := range text[from : from+n] {
		d, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		value = value<<4 | d
	}
	return value, true
}

func hexDigit(c byte) (value rune, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0'), true
	case 'a' <= c && c <= 'f':
		return rune(c - 'a' + 10), true
	case 'A' <= c && c <= 'F':
		return rune(c - 'A' + 10), true
	}
	return 0, false
}

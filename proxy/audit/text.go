package audit

import (
	"strconv"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// capped is the longest prefix of s of at most limit bytes that does not end inside a rune.
func capped(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit
	// No rune is longer than four bytes; what looks longer is not UTF-8 and may be cut anywhere.
	for end > limit-utf8.UTFMax && end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// appendText appends at most limit bytes of s as the inside of a JSON string (RFC 8259 §7).
// What is not UTF-8 becomes U+FFFD. All that does not print is escaped, beyond what JSON
// asks for, since people read the audit on terminals: C1 controls, U+2028, bidirectional overrides.
func appendText(b []byte, s string, limit int) []byte {
	s = capped(s, limit)
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = appendEscaped(append(b, s[done:i]...), c)
			i++
			done = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[done:i]...), "\ufffd"...)
		case !strconv.IsPrint(r):
			b = appendRune(append(b, s[done:i]...), r)
		default:
			i += n
			continue
		}
		i += n
		done = i
	}
	return append(b, s[done:]...)
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// appendRune appends r as \uXXXX, as two of them beyond the basic plane.
func appendRune(b []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		b = appendRune(b, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

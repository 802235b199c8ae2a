package policy

import (
	"strings"
	"unicode/utf8"
)

// pathPattern is one compiled element of paths.
type pathPattern struct {
	segments []segment
	rest     bool // ends in **
}

// segment is the text of one segment, decoded, or any one that is not empty.
type segment struct {
	text string
	any  bool
}

// matches compares with a path that isPlainPath holds of: its raw slashes are
// then all of its slashes.
func (p pathPattern) matches(path string) bool {
	rest, more := path[1:], true
	for _, want := range p.segments {
		if !more {
			return false
		}
		var got string
		got, rest, more = strings.Cut(rest, "/")
		if want.any && got == "" || !want.any && !equalDecoded(got, want.text, false) {
			return false
		}
	}
	return p.rest || !more
}

// covers reports whether p matches every path that o matches.
func (p pathPattern) covers(o pathPattern) bool {
	if o.rest && !p.rest || len(p.segments) > len(o.segments) || !p.rest && len(p.segments) < len(o.segments) {
		return false
	}
	for i, s := range p.segments {
		t := o.segments[i]
		if s.any && !t.any && t.text == "" || !s.any && s != t {
			return false
		}
	}
	return true
}

// parsePathPattern compiles one element of paths.
func parsePathPattern(text string) (pathPattern, *fault) {
	var p pathPattern
	if f := unmatchable(text); f != nil {
		return p, f
	}
	parts := strings.Split(text[1:], "/")
	for i, part := range parts {
		switch {
		case part == "**" && i == len(parts)-1:
			p.rest = true
		case part == "**":
			return p, &fault{"** must be the last segment", "it stands for the rest of the path; * stands for one segment"}
		case part == "*":
			p.segments = append(p.segments, segment{any: true})
		case strings.Contains(part, "*"):
			return p, &fault{"* must be a whole segment", "write /v1/*/items; a part of a segment cannot be left open"}
		default:
			p.segments = append(p.segments, segment{text: part})
		}
	}
	return p, nil
}

// unmatchable refuses what no request could match, since such paths are
// refused as ambiguous, or are not the path.
func unmatchable(text string) *fault {
	switch {
	case strings.Contains(text, "://"):
		return &fault{"a path has no host", "write the host under hosts"}
	case text == "" || text[0] != '/':
		return &fault{"a path begins with /", "write /" + text}
	case strings.ContainsAny(text, "?#"):
		return &fault{"a path has no query", "write parameters under query"}
	case !utf8.ValidString(text):
		return &fault{"not valid UTF-8", ""}
	case hasEscape(text):
		return &fault{"a path is written decoded", "write the character itself in place of its %XX"}
	case strings.Contains(text, "//"):
		return &fault{"an empty segment", "paths with // are refused as ambiguous"}
	case !(&layers{raw: text}).plain(0):
		return &fault{`holds a dot segment, ";", "\" or a control character`, "such paths are refused as ambiguous, they never match"}
	}
	return nil
}

func hasEscape(s string) bool {
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '%' && isHex(s[i+1]) && isHex(s[i+2]) {
			return true
		}
	}
	return false
}

// equalDecoded compares raw, decoded once, with want. In a query + is a space.
// An escape that is not one stands for itself; callers have refused those.
func equalDecoded(raw, want string, query bool) bool {
	for ; raw != ""; want = want[1:] {
		if want == "" {
			return false
		}
		c, n := raw[0], 1
		switch {
		case c == '+' && query:
			c = ' '
		case c == '%' && len(raw) > 2 && isHex(raw[1]) && isHex(raw[2]):
			c, n = unhex(raw[1])<<4|unhex(raw[2]), 3
		}
		if c != want[0] {
			return false
		}
		raw = raw[n:]
	}
	return want == ""
}

// validEscapes reports whether two hex digits follow every %.
func validEscapes(s string) bool {
	for i := strings.IndexByte(s, '%'); i >= 0; {
		if len(s) < i+3 || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return false
		}
		s = s[i+3:]
		i = strings.IndexByte(s, '%')
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unhex takes hex digits only.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

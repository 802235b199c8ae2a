package stream

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file is what the matcher is held against: slow, by the standard
// library's decoders, and by another way.

// refEscape decodes the escape that text begins with; size 0 means none.
func refEscape(text string, introducer byte) (decoded string, size int) {
	if text == "" || text[0] != introducer {
		return "", 0
	}
	try := func(n int, decode func(string) (string, error)) bool {
		if len(text) < n {
			return false
		}
		d, err := decode(text[:n])
		if err != nil || d == text[:n] || strings.Contains(d, "\ufffd") {
			return false
		}
		decoded, size = d, n
		return true
	}
	switch introducer {
	case '%':
		try(3, url.PathUnescape)
	case '\\':
		fromJSON := func(s string) (d string, err error) {
			if n := strings.Count(s, `\`); s[1] != 'u' || n != 1 && (n != 2 || len(s) != 12 || s[6:8] != `\u`) {
				return "", strconv.ErrSyntax
			}
			err = json.Unmarshal([]byte(`"`+s+`"`), &d)
			if utf8.RuneCountInString(d) != 1 {
				err = strconv.ErrSyntax
			}
			return d, err
		}
		if try(6, fromJSON) || try(12, fromJSON) {
			break
		}
		if try(4, func(s string) (string, error) {
			if s[1] != 'x' {
				return "", strconv.ErrSyntax
			}
			return strconv.Unquote(`"` + s + `"`)
		}) {
			break
		}
		try(2, func(s string) (string, error) {
			if strings.Contains("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", s[1:]) {
				return s[1:], nil
			}
			return "", strconv.ErrSyntax
		})
	case '&':
		end := strings.IndexByte(text, ';') + 1
		if end == 0 || end > 10 {
			break
		}
		e := text[:end]
		if !slices.Contains([]string{"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"}, e) {
			// html.UnescapeString forgives what is not a reference, and maps 0x80 to 0x9F as Windows does.
			digits, base := e[1:end-1], 10
			if !strings.HasPrefix(digits, "#") {
				break
			}
			if digits = digits[1:]; strings.HasPrefix(strings.ToLower(digits), "x") {
				digits, base = digits[1:], 16
			}
			r, err := strconv.ParseUint(digits, base, 32)
			if err != nil || r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
				break
			}
			if d := string(rune(r)); end <= 6*len(d) {
				return d, end
			}
			break
		}
		return html.UnescapeString(e), end
	}
	return decoded, size
}

// refForms are the literal forms of a value, by encoding it beside others.
func refForms(value string) []string {
	forms := []string{value, strings.ReplaceAll(value, " ", "+"), hex.EncodeToString([]byte(value)), fmt.Sprintf("%X", value)}
	var mis []rune
	for i := range len(value) {
		mis = append(mis, rune(value[i]))
	}
	forms = append(forms, string(mis))
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for shift := range 3 {
			// The characters that do not depend on the bytes around the value.
			a := enc.EncodeToString([]byte(strings.Repeat("\x00", shift) + value + "\x00\x00\x00"))
			b := enc.EncodeToString([]byte(strings.Repeat("\xff", shift) + value + "\xff\xff\xff"))
			start, end := 0, len(a)
			for a[start] != b[start] {
				start++
			}
			for i := start; i < end; i++ {
				if a[i] != b[i] {
					end = i
				}
			}
			forms = append(forms, a[start:end])
		}
	}
	return forms
}

// expected returns which bytes of text must be masked (whatever decoding them
// gives a form) and which may be (a form in which each byte stands for itself
// or is escaped).
func expected(text string, values ...string) (must, may []bool) {
	must, may = make([]bool, len(text)), make([]bool, len(text))
	mark := func(set []bool, start, end, limit int) {
		if end > start && end-start <= limit {
			for i := start; i < end; i++ {
				set[i] = true
			}
		}
	}
	for _, v := range values {
		for _, form := range refForms(v) {
			for start := range len(text) {
				if strings.HasPrefix(text[start:], form) {
					mark(must, start, start+len(form), len(form))
					mark(may, start, start+len(form), len(form))
				}
				for i := range len(introducers) {
					mark(must, start, strict(text, start, form, introducers[i]), 6*len(v))
					for _, end := range lenient(text, start, form, introducers[i], map[[2]int]bool{}) {
						mark(may, start, end, 6*len(v))
					}
				}
			}
		}
	}
	return must, may
}

func strict(text string, at int, form string, introducer byte) (end int) {
	for form != "" {
		if at == len(text) {
			return 0
		}
		d, n := refEscape(text[at:], introducer)
		if n == 0 {
			d, n = text[at:at+1], 1
		}
		if !strings.HasPrefix(form, d) {
			return 0
		}
		at, form = at+n, form[len(d):]
	}
	return at
}

func lenient(text string, at int, form string, introducer byte, seen map[[2]int]bool) (ends []int) {
	if form == "" {
		return []int{at}
	}
	if at == len(text) || seen[[2]int{at, len(form)}] {
		return nil
	}
	seen[[2]int{at, len(form)}] = true
	if text[at] == form[0] {
		ends = append(ends, lenient(text, at+1, form[1:], introducer, seen)...)
	}
	if d, n := refEscape(text[at:], introducer); n > 0 && strings.HasPrefix(form, d) {
		ends = append(ends, lenient(text, at+n, form[len(d):], introducer, seen)...)
	}
	return ends
}

// render returns value as some encoder might write it.
func render(r *rand.Rand, value string) string {
	pad := func() string { return "user:xyz"[:r.IntN(8)] }
	text := value
	switch r.IntN(6) {
	case 0:
		text = base64.StdEncoding.EncodeToString([]byte(pad() + value + pad()))
	case 1:
		text = base64.RawURLEncoding.EncodeToString([]byte(pad() + value + pad()))
	case 2:
		text = hex.EncodeToString([]byte(value))
	}
	often := []int{1, 2, 8, 1 << 30}[r.IntN(4)]
	scheme := r.IntN(4)
	var b strings.Builder
	for _, c := range []byte(text) {
		if r.IntN(often) != 0 || scheme == 3 || c >= utf8.RuneSelf && scheme != 0 {
			b.WriteByte(c)
			continue
		}
		formats := [][]string{{"%%%02x", "%%%02X"}, {`\u%04x`, `\u%04X`, `\x%02x`}, {"&#%d;", "&#x%x;", "&#X%X;", "&#0%d;"}}[scheme]
		fmt.Fprintf(&b, formats[r.IntN(len(formats))], c)
	}
	return b.String()
}

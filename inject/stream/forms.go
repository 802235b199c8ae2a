package stream

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
)

// A form is one literal rendering of a value. Escapes inside it are undone
// while matching, so it stands for all of its escaped spellings too.
type form struct {
	text  string
	limit int // the length of its longest escaped spelling that is looked for
	plain int // where its first introducer stands; its length if it has none
}

// maxEscape is the length of the longest escape of one byte: \u002f, &quot;,
// &#x2f;. Escapes of a rune of n bytes are at most n times as long.
const maxEscape = 6

func newForm(text string, limit int) form {
	plain := strings.IndexAny(text, introducers)
	if plain < 0 {
		plain = len(text)
	}
	return form{text, limit, plain}
}

// appendForms adds to forms those of value that are not among them.
func appendForms(forms []form, value string) []form {
	add := func(text string) {
		if slices.ContainsFunc(forms, func(f form) bool { return f.text == text }) {
			return
		}
		// A base64 or hex form with most of its characters escaped is longer
		// than this and not looked for; nothing writes that.
		forms = append(forms, newForm(text, maxEscape*len(value)))
	}
	add(value)
	if strings.Contains(value, " ") {
		add(strings.ReplaceAll(value, " ", "+")) // application/x-www-form-urlencoded
	}
	if mis, ok := latin1(value); ok {
		add(mis)
	}
	for shift := range 3 {
		add(interior(base64.RawStdEncoding, value, shift))
		add(interior(base64.RawURLEncoding, value, shift))
	}
	lower := hex.EncodeToString([]byte(value))
	add(lower)
	add(strings.ToUpper(lower))
	return forms
}

// interior returns the characters of a base64 text that value alone determines
// when shift bytes (modulo 3) come before it and any number after it.
func interior(enc *base64.Encoding, value string, shift int) string {
	padded := append(make([]byte, shift, shift+len(value)), value...)
	text := enc.EncodeToString(padded)
	first := (8*shift + 5) / 6
	end := 8 * len(padded) / 6
	return text[first:end]
}

// latin1 returns value as it looks when each of its bytes was read as a
// character of ISO 8859-1 and then written as UTF-8. ok is false where that
// changes nothing.
func latin1(value string) (text string, ok bool) {
	var b strings.Builder
	for i := range len(value) {
		b.WriteRune(rune(value[i]))
		ok = ok || value[i] >= utf8.RuneSelf
	}
	return b.String(), ok
}

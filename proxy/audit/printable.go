package audit

import (
	"strconv"
	"strings"
)

// Printable is s with all that does not print escaped as the log escapes it, so that what a client
// chose cannot act on a terminal, nor turn the order of the text around it.
func Printable(s string) string {
	plain := true
	for _, r := range s {
		plain = plain && strconv.IsPrint(r) && r != '\ufffd'
	}
	if plain {
		return s
	}
	b := appendText(nil, s, len(s))
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(string(b))
}

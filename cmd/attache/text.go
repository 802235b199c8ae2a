package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attache-proxy/attache/cmd/internal/config"
)

// columns is the width that every output keeps to.
const columns = 80

// field prints "  key       text", wrapped under itself and made printable. The key takes width columns.
func field(w io.Writer, width int, key, text string) {
	for i, line := range wrap(text, columns-2-width) {
		if i > 0 {
			key = ""
		}
		fmt.Fprintf(w, "  %-*s%s\n", width, plainText(key), plainText(line))
	}
}

// wrap breaks text at spaces into lines of at most width runes; longer words stand alone.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// printProblems lists configuration errors and counts them.
func printProblems(w io.Writer, problems config.Errors) {
	places := make([]string, len(problems))
	width := 0
	for i, p := range problems {
		places[i] = place(p)
		width = max(width, len(places[i]))
	}
	for i, p := range problems {
		text := p.Message
		if p.Hint != "" {
			text += "; " + p.Hint
		}
		if width > 38 { // leave the message room
			fmt.Fprintf(w, "  %s\n", plainText(places[i]))
			field(w, 4, "", text)
			continue
		}
		field(w, width+2, places[i], text)
	}
	fmt.Fprintf(w, "  %s. Nothing was read or contacted.\n", count(len(problems), "error"))
}

// place is where a problem stands: file, line and column, as far as they are known.
func place(p config.Problem) string {
	s := filepath.Base(p.File)
	if p.File == "" {
		s = "configuration"
	}
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
		if p.Column > 0 {
			s += fmt.Sprintf(":%d", p.Column)
		}
	}
	return s
}

// count is "1 error", "2 errors".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", thousands(n), noun)
}

// thousands is n with a comma after every three digits.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// ago is how long before now t was, in one unit.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	switch d := now.Sub(t); {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}

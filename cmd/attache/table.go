package main

import (
	"strings"
	"unicode/utf8"

	"github.com/attache-proxy/attache/proxy/audit"
)

// table is rows under a heading, laid out in columns two apart. What clients chose is made printable.
type table struct {
	rows  [][]string
	right map[int]bool // columns of numbers
	max   map[int]int  // widest a column may be
}

func newTable(heading ...string) *table {
	return &table{rows: [][]string{heading}, right: map[int]bool{}, max: map[int]int{}}
}

func (t *table) add(cells ...string) {
	for i, c := range cells {
		if c == "" {
			c = "-"
		}
		cells[i] = audit.Printable(c)
	}
	t.rows = append(t.rows, cells)
}

// write appends the table, each line with indent before it and cut to 80 columns.
func (t *table) write(b *strings.Builder, indent string) {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for i, limit := range t.max {
		widths[i] = min(widths[i], limit)
	}
	for _, row := range t.rows {
		line := indent
		for i, c := range row {
			c = cut(c, widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i > 0 {
				line += "  "
			}
			if t.right[i] {
				line += pad + c
			} else {
				line += c + pad
			}
		}
		b.WriteString(cut(strings.TrimRight(line, " "), columns) + "\n")
	}
}

// cut is text in at most width columns, with an ellipsis where something is missing.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(0, width-1)]) + "…"
}

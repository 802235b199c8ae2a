package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// shape is what a node is made of.
type shape uint8

const (
	null shape = iota
	text
	number
	boolean
	list
	dict
)

func (s shape) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a list", "a map"}[s]
}

// node is a piece of a file. YAML's peculiarities have been refused before one
// is made, so this is all there is.
type node struct {
	shape     shape
	text      string // of a scalar, as written
	file      string // base name
	line, col int
	items     []*node // of a list
	entries   []entry // of a dict, in their order, "x-" keys left out
	flexible  bool    // a variable was filled in, so the text may stand for a number or a boolean
	bad       bool    // a problem was reported here
}

type entry struct{ key, value *node }

// problem makes a Problem of n's place.
func (n *node) problem(hint, format string, args ...any) Problem {
	return Problem{File: n.file, Line: n.line, Column: n.col, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// where is n's place for people: "10-checkout.yaml:9".
func (n *node) where() string { return n.file + ":" + strconv.Itoa(n.line) }

// seenFrom is n's place as told in a message about other.
func (n *node) seenFrom(other *node) string {
	if n.file == other.file {
		return fmt.Sprintf("line %d, column %d", n.line, n.col)
	}
	return fmt.Sprintf("%s:%d:%d", n.file, n.line, n.col)
}

// get returns the entry of a dict, or a zero one.
func (n *node) get(key string) entry {
	if n != nil {
		for _, e := range n.entries {
			if e.key.text == key {
				return e
			}
		}
	}
	return entry{}
}

// at returns the value that the keys lead to, or the last one on the way.
func (n *node) at(keys ...string) *node {
	for _, k := range keys {
		e := n.get(k)
		if e.value == nil {
			return n
		}
		n = e.value
	}
	return n
}

// element returns the i-th element of a list, or n: one that stands for a list
// of one, or a list as a whole where i is -1.
func (n *node) element(i int) *node {
	if n.shape == list && i >= 0 && i < len(n.items) {
		return n.items[i]
	}
	return n
}

// faulty reports whether a problem was reported at n or below.
func (n *node) faulty() bool {
	return n.bad || slices.ContainsFunc(n.items, (*node).faulty) ||
		slices.ContainsFunc(n.entries, func(e entry) bool { return e.key.bad || e.value.faulty() })
}

// canonical writes n so that equal texts mean equal configuration, whatever
// the order of keys and the style.
func (n *node) canonical(b *strings.Builder) {
	switch n.shape {
	case list:
		b.WriteByte('[')
		for _, item := range n.items {
			item.canonical(b)
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case dict:
		sorted := slices.SortedFunc(slices.Values(n.entries), func(a, b entry) int {
			return strings.Compare(a.key.text, b.key.text)
		})
		b.WriteByte('{')
		for _, e := range sorted {
			b.WriteString(strconv.Quote(e.key.text))
			b.WriteByte(':')
			e.value.canonical(b)
			b.WriteByte(',')
		}
		b.WriteByte('}')
	default:
		b.WriteString(strconv.Quote(n.text))
	}
}

func canonical(n *node) string {
	var b strings.Builder
	n.canonical(&b)
	return b.String()
}

// file is one file's content before it is parsed.
type file struct {
	path  string // as opened
	name  string // base name, for messages
	data  []byte
	layer bool // stands over another
}

func newFile(path string, data []byte) file {
	return file{path: path, name: filepath.Base(path), data: data}
}

// place is a node without content, for problems of the file itself.
func (f file) place(line, col int) *node {
	return &node{file: f.name, line: max(line, 1), col: max(col, 1)}
}

package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// printWidth is what an entry in one line, without the comment behind it, may take.
const printWidth = 56

// Print writes what the files come to, layers laid over each other, as one configuration, with the
// place of each entry behind it. Variables are not filled in: what they hold is not the files'. The
// error is an [Errors]; that the files are sound otherwise is for [LoadFiles] to tell.
func Print(files []File) ([]byte, error) {
	all := make([]file, len(files))
	for i, f := range files {
		all[i] = newFile(f.Path, f.Data)
		all[i].layer = f.Layer
	}
	r := newReport(all)
	roots := r.layered(all, parseAll(all, r))
	if len(r.errors) > 0 {
		return nil, Errors(r.sorted(r.errors))
	}
	var p printer
	p.line(0, "version: 1", nil)
	for _, key := range topKeys(roots) {
		p.section(key, roots)
	}
	return p.Bytes(), nil
}

// topKeys are the keys at the top of the files, in the order of the grammar.
func topKeys(roots []*node) []string {
	var keys []string
	for _, f := range structureOf(documentType()).fields {
		there := func(n *node) bool { return n.get(f.key).value != nil }
		if f.key != "version" && slices.ContainsFunc(roots, there) {
			keys = append(keys, f.key)
		}
	}
	return keys
}

type printer struct{ bytes.Buffer }

// section writes what the files have under one key.
func (p *printer) section(key string, roots []*node) {
	var entries []entry
	var items []*node
	for _, root := range roots {
		e := root.get(key)
		switch {
		case e.value == nil:
		case isMap(key) && e.value.shape == dict:
			entries = append(entries, e.value.entries...)
		case itemID(key) != nil:
			items = append(items, itemsOf(e.value)...)
		default:
			p.entry(0, e, e.key)
		}
	}
	if len(entries) == 0 && len(items) == 0 {
		return
	}
	p.line(0, key+":", nil)
	for _, e := range entries {
		p.entry(1, e, e.key)
	}
	for _, item := range items {
		p.item(item)
	}
}

// line writes one line with the place of n behind it.
func (p *printer) line(depth int, text string, n *node) {
	text = strings.Repeat("  ", depth) + text
	if n == nil {
		fmt.Fprintln(p, text)
		return
	}
	pad := max(2, printWidth+2-utf8.RuneCountInString(text))
	fmt.Fprintf(p, "%s%s# %s\n", text, strings.Repeat(" ", pad), n.where())
}

// entry writes a key and its value: in one line where that is short, else a map's keys below it.
func (p *printer) entry(depth int, e entry, place *node) {
	key := printed(&node{shape: text, text: e.key.text})
	one := key + ": " + flow(e.value)
	if e.value.shape != dict || 2*depth+utf8.RuneCountInString(one) <= printWidth {
		p.line(depth, one, place)
		return
	}
	p.line(depth, key+":", place)
	for _, inner := range e.value.entries {
		p.entry(depth+1, inner, nil)
	}
}

// item writes an item of a list, the same way.
func (p *printer) item(n *node) {
	one := "- " + flow(n)
	if n.shape != dict || 2+utf8.RuneCountInString(one) <= printWidth {
		p.line(1, one, n)
		return
	}
	for i, e := range n.entries {
		if i == 0 {
			p.line(1, "- "+printed(&node{shape: text, text: e.key.text})+": "+flow(e.value), n)
			continue
		}
		p.line(2, printed(&node{shape: text, text: e.key.text})+": "+flow(e.value), nil)
	}
}

// flow is a value in one line.
func flow(n *node) string {
	var parts []string
	switch n.shape {
	case list:
		for _, item := range n.items {
			parts = append(parts, flow(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case dict:
		for _, e := range n.entries {
			parts = append(parts, printed(&node{shape: text, text: e.key.text})+": "+flow(e.value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		return printed(n)
	}
}

// printed is a scalar in a form that reads as it again, wherever it stands.
func printed(n *node) string {
	switch {
	case n.shape == null:
		return "null"
	case n.shape != text || plainScalar(n.text):
		return n.text
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b) // YAML's double-quoted scalars take what JSON's strings take
	e.SetEscapeHTML(false)
	if e.Encode(n.text) != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// plainScalar reports whether text needs no quotes.
func plainScalar(s string) bool {
	const words = " true false yes no on off null nan inf "
	return regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./*-]*(:[A-Za-z0-9_./*-]+)*$`).MatchString(s) &&
		!strings.Contains(words, " "+strings.ToLower(s)+" ")
}

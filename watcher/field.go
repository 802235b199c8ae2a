package watcher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// member returns the string or number that field names in a JSON or YAML
// document: a name at its top, or a JSON pointer (RFC 6901) if field begins
// with "/". A number is returned as it is written. Errors name the field and
// hold nothing of the document, the parsers' own messages therefore never.
func member(doc []byte, field string) ([]byte, error) {
	path := []string{field}
	if pointer, ok := strings.CutPrefix(field, "/"); ok {
		path = strings.Split(pointer, "/")
		for i, name := range path {
			path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		}
	}
	find := yamlMember
	if start := bytes.TrimLeft(doc, " \t\r\n"); len(start) > 0 && (start[0] == '{' || start[0] == '[') {
		find = jsonMember
	}
	text, err := find(doc, path)
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", field, err)
	}
	return []byte(text), nil
}

// fieldError is what is wrong with a field, without a word of the document.
type fieldError string

func (e fieldError) Error() string { return string(e) }

const (
	noMember  fieldError = "not found in the document"
	notScalar fieldError = "is neither a string nor a number"
	notJSON   fieldError = "the document is not valid JSON"
	notYAML   fieldError = "the document is not valid YAML"
)

func jsonMember(doc []byte, path []string) (string, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var node any
	if err := d.Decode(&node); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return "", fmt.Errorf("%w, line %d", notJSON, 1+bytes.Count(doc[:min(int(syntax.Offset), len(doc))], []byte("\n")))
		}
		return "", notJSON
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", fieldError("the document goes on after its end")
	}
	for _, name := range path {
		switch at := node.(type) {
		case map[string]any:
			next, ok := at[name]
			if !ok {
				return "", noMember
			}
			node = next
		case []any:
			i, ok := index(name, len(at))
			if !ok {
				return "", noMember
			}
			node = at[i]
		default:
			return "", noMember
		}
	}
	switch at := node.(type) {
	case string:
		return at, nil
	case json.Number:
		return at.String(), nil
	}
	return "", notScalar
}

// index reads an array index as RFC 6901 §4 writes it.
func index(name string, length int) (int, bool) {
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= length || strconv.Itoa(i) != name {
		return 0, false
	}
	return i, true
}

// yamlMember walks the syntax tree rather than a decoded value, because
// decoding would turn 0123 into 83 and 1e5 into 100000.
func yamlMember(doc []byte, path []string) (text string, err error) {
	defer func() {
		// What a file holds must never end the process, whatever it makes the
		// parser do.
		if recover() != nil {
			text, err = "", notYAML
		}
	}()
	if deep(doc) {
		return "", fieldError("the document nests too deep")
	}
	file, err := parser.ParseBytes(doc, 0)
	if err != nil {
		return "", notYAML
	}
	if len(file.Docs) != 1 {
		return "", fieldError("the file holds several documents")
	}
	node := bare(file.Docs[0].Body)
	for _, name := range path {
		if node = bare(yamlChild(node, name)); node == nil {
			return "", noMember
		}
	}
	switch at := node.(type) {
	case *ast.StringNode:
		return at.Value, nil
	case *ast.LiteralNode:
		return at.Value.Value, nil
	case *ast.IntegerNode:
		return at.GetToken().Value, nil
	case *ast.FloatNode:
		return at.GetToken().Value, nil
	case *ast.AliasNode:
		return "", fieldError("is an alias; name the member that it stands for")
	}
	return "", notScalar
}

// deep reports whether a document may nest more than 100 levels. The parser's
// time grows with the square of the depth: 64 KiB of "[" take half a minute.
// Brackets inside strings count too, which no real document notices.
func deep(doc []byte) bool {
	const most = 100
	level := 0
	for line := range bytes.Lines(doc) {
		if bytes.Count(line[:len(line)-len(bytes.TrimLeft(line, " -?"))], []byte("-")) > most {
			return true
		}
		for _, c := range line {
			switch c {
			case '[', '{':
				level++
			case ']', '}':
				level = max(level-1, 0)
			}
			if level > most {
				return true
			}
		}
	}
	return false
}

// bare removes what stands around a node: an anchor, a tag.
func bare(node ast.Node) ast.Node {
	for {
		switch at := node.(type) {
		case *ast.AnchorNode:
			node = at.Value
		case *ast.TagNode:
			node = at.Value
		default:
			return node
		}
	}
}

func yamlChild(node ast.Node, name string) ast.Node {
	var members []*ast.MappingValueNode
	switch at := node.(type) {
	case *ast.MappingNode:
		members = at.Values
	case *ast.MappingValueNode:
		members = []*ast.MappingValueNode{at}
	case *ast.SequenceNode:
		if i, ok := index(name, len(at.Values)); ok {
			return at.Values[i]
		}
	}
	for _, m := range members {
		if keyText(m.Key) == name {
			return m.Value
		}
	}
	return nil
}

func keyText(key ast.MapKeyNode) string {
	if s, ok := bare(key).(*ast.StringNode); ok {
		return s.Value
	}
	return key.GetToken().Value
}

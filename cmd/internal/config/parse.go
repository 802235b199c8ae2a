package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of one file. The parser is recursive and takes time in the square of
// a map's size, so both are judged on the tokens before it runs.
const (
	maxFileBytes = 1 << 20
	maxNesting   = 64
	maxKeys      = 20_000
)

// parse makes a node of the file: its one document, which is a map. Where
// there is nothing sound it returns nil, with the problems reported. An empty
// file gives nil without a problem.
func parse(f file, r *report) *node {
	data, ok := checkBytes(f, r)
	if !ok {
		return nil
	}
	docs, ok := parseTokens(f, data, r)
	if !ok {
		return nil
	}
	docs = slices.DeleteFunc(docs, func(d *ast.DocumentNode) bool { return d.Body == nil })
	switch len(docs) {
	case 0:
		return nil
	case 1:
	default:
		r.fail(f.placeOf(docs[1].Body.GetToken()), "split it into files of one directory", "a second document; a file holds one")
		return nil
	}
	c := converter{f, r}
	n := c.node(docs[0].Body, 0)
	if n.shape != dict {
		r.fail(n, "begin with version: 1", "the file must be a map, not %s", n.shape)
		return nil
	}
	return n
}

// checkBytes refuses what is not text, and removes a byte order mark.
func checkBytes(f file, r *report) ([]byte, bool) {
	if len(f.data) > maxFileBytes {
		r.fail(f.place(1, 1), "split it into files of one directory", "larger than 1 MiB")
		return nil, false
	}
	data := bytes.TrimPrefix(f.data, []byte("\ufeff"))
	line, col := 1, 1
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			r.fail(f.place(line, col), "save it as UTF-8", "not UTF-8 text")
			return nil, false
		case c < ' ' && c != '\n' && c != '\r' && c != '\t', c == 0x7f, c == '\ufeff':
			r.fail(f.place(line, col), "", "a control character (U+%04X)", c)
			return nil, false
		case c == '\n':
			line, col = line+1, 0
		}
		i, col = i+size, col+1
	}
	return data, true
}

// parseTokens runs the YAML parser on tokens that cannot hurt it.
func parseTokens(f file, data []byte, r *report) (docs []*ast.DocumentNode, ok bool) {
	defer func() {
		// The parser has a history of panics on odd input (goccy/go-yaml's
		// issues name several): what it cannot take is a broken file.
		if p := recover(); p != nil {
			r.fail(f.place(1, 1), "", "not YAML that can be parsed")
			docs, ok = nil, false
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if !checkTokens(f, tokens, r) {
		return nil, false
	}
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		line, col, message := 1, 1, "not YAML"
		// Error would print lines of the file.
		var e interface {
			GetMessage() string
			GetToken() *token.Token
		}
		if errors.As(err, &e) {
			message = e.GetMessage()
			if t := e.GetToken(); t != nil && t.Position != nil {
				line, col = t.Position.Line, t.Position.Column
			}
		}
		r.fail(f.place(line, col), syntaxHint(message, data, line), "%s", message)
		return nil, false
	}
	return parsed.Docs, true
}

// syntaxHint guesses at the cause of a syntax error from its line.
func syntaxHint(message string, data []byte, line int) string {
	lines := bytes.SplitN(data, []byte("\n"), line+1)
	if line > len(lines) {
		return ""
	}
	switch l := lines[line-1]; {
	case bytes.HasPrefix(bytes.TrimLeft(l, " "), []byte("\t")):
		return "indent with spaces"
	case bytes.Contains(l, []byte("${")) && bytes.ContainsAny(l, "{["):
		return `inside { } and [ ], quote values that hold variables: "${name}"`
	}
	if message == "value is not allowed in this context" {
		return "is it indented as the lines above it?"
	}
	return ""
}

// refusals are the tokens of YAML that a configuration does without.
func refusal(t token.Type) (message, hint string) {
	switch t {
	case token.AliasType:
		return "an unquoted * begins a YAML alias", `quote it, as in "*.example.com"`
	case token.AnchorType:
		return "an unquoted & begins a YAML anchor, which is not supported", "quote it if it is text"
	case token.TagType:
		return "an unquoted ! begins a YAML tag, which is not supported", "quote it if it is text"
	case token.MergeKeyType:
		return "YAML merge keys are not supported", ""
	case token.DirectiveType:
		return "YAML directives are not supported", "quote it if it is text"
	case token.MappingKeyType:
		return "an unquoted ? begins a YAML complex key, which is not supported", "quote it if it is text"
	}
	return "", ""
}

// checkTokens reports everything among the tokens that must not reach the parser.
func checkTokens(f file, tokens token.Tokens, r *report) bool {
	before := len(r.errors)
	depth, dashes, keys := 0, 0, 0
	var last token.Type
	for _, t := range tokens {
		if message, hint := refusal(t.Type); message != "" {
			if last != t.Type { // "**" is one mistake
				r.fail(f.placeOf(t), hint, "%s", message)
			}
		}
		last = t.Type
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.MappingValueType:
			keys++
		}
		if t.Type == token.SequenceEntryType {
			dashes++ // "- - - -" nests too
		} else {
			dashes = 0
		}
		if depth > maxNesting || dashes > maxNesting {
			r.fail(f.placeOf(t), "", "nested deeper than %d", maxNesting)
			return false
		}
		if keys > maxKeys {
			r.fail(f.placeOf(t), "split it into files of one directory", "more than %d keys in one file", maxKeys)
			return false
		}
	}
	return len(r.errors) == before
}

// placeOf is the place of a token.
func (f file) placeOf(t *token.Token) *node {
	if t == nil || t.Position == nil {
		return f.place(1, 1)
	}
	return f.place(t.Position.Line, t.Position.Column)
}

// converter makes nodes of the parser's tree.
type converter struct {
	file   file
	report *report
}

func (c *converter) node(a ast.Node, depth int) *node {
	if a == nil {
		return c.file.place(1, 1)
	}
	n := c.file.placeOf(a.GetToken())
	if depth > maxNesting {
		c.report.fail(n, "", "nested deeper than %d", maxNesting)
		return n
	}
	switch a := a.(type) {
	case *ast.MappingNode:
		c.dict(n, a.Values, a.IsFlowStyle, depth)
	case *ast.MappingValueNode:
		c.dict(n, []*ast.MappingValueNode{a}, a.IsFlowStyle, depth)
	case *ast.SequenceNode:
		n.shape = list
		for _, v := range a.Values {
			n.items = append(n.items, c.node(v, depth+1))
		}
	case *ast.StringNode:
		n.shape, n.text = text, a.Value
	case *ast.LiteralNode:
		n.shape, n.text = text, a.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.shape, n.text = number, a.GetToken().Value
	case *ast.BoolNode:
		n.shape, n.text = boolean, fmt.Sprint(a.Value)
	case *ast.NullNode:
	default:
		c.report.fail(n, "", "%s is not supported", a.Type().YAMLName())
	}
	c.printable(n)
	return n
}

// printable refuses control characters that an escape brought in: what stands in a file is shown in
// terminals.
func (c *converter) printable(n *node) {
	for _, r := range n.text {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			c.report.fail(n, "", "a control character (U+%04X)", r)
			n.text = ""
			return
		}
	}
}

func (c *converter) dict(n *node, values []*ast.MappingValueNode, flow bool, depth int) {
	n.shape = dict
	seen := make(map[string]*node, len(values))
	for i, v := range values {
		key := c.file.placeOf(v.Key.GetToken())
		key.shape, key.text = text, v.Key.GetToken().Value
		c.printable(key)
		if i == 0 && !flow {
			n.line, n.col = key.line, key.col // the parser says where the first colon is
		}
		if strings.HasPrefix(key.text, "x-") {
			continue
		}
		if first := seen[key.text]; first != nil {
			c.report.fail(key, "", "%s: written twice in one map, first at %s", showKey(key.text), first.seenFrom(key))
			continue
		}
		seen[key.text] = key
		n.entries = append(n.entries, entry{key, c.node(v.Value, depth+1)})
	}
}

// showKey keeps a key that is really a value, or a page, out of messages.
func showKey(key string) string {
	if plainName(key) {
		return key
	}
	return "key"
}

package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// FuzzNothingIsDropped: a parser that forgives must not forgive by leaving
// out: a rule whose callers were lost on the way would admit everyone. Every
// scalar among the tokens is in the tree.
func FuzzNothingIsDropped(f *testing.F) {
	paths, _ := filepath.Glob("testdata/good/*.yaml")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, odd := range []string{
		"a: b\nc: [d, 'e']\nf: |\n  x\ng: {h: i}\n",
		"rules:\n  - id: a\n    hosts: b\n   callers: c\n",
		"rules:\n- id: a\n  hosts:\n  - b\n  - c\n  x: 'd' 'e'\n",
		"a:\n  b\n c\nd: e\n", "a: b\n  c: d\n", "- a\n b: c\n", "a: [b\nc: d]\n", "{a: b} c: d\n",
	} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, fuzzed := newReport(nil), newFile("a.yaml", data)
		if _, ok := checkBytes(fuzzed, r); !ok {
			return
		}
		tokens := lexer.Tokenize(string(data))
		if !checkTokens(fuzzed, tokens, r) {
			return
		}
		defer func() { _ = recover() }() // parseTokens makes an error of a panic
		tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
		if err != nil {
			return
		}
		kept := 0
		for _, d := range tree.Docs {
			kept += scalars(d.Body)
		}
		if written := scalarTokens(tokens); kept < written {
			t.Errorf("%d of %d scalars were dropped", written-kept, written)
		}
	})
}

func scalarTokens(tokens token.Tokens) (n int) {
	for _, t := range tokens {
		switch t.Type {
		case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.BoolType, token.NullType,
			token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
			token.FloatType, token.InfinityType, token.NanType:
			n++
		}
	}
	return n
}

func scalars(a ast.Node) (n int) {
	switch a := a.(type) {
	case nil:
	case *ast.MappingNode:
		for _, v := range a.Values {
			n += scalars(v)
		}
	case *ast.MappingValueNode:
		n = scalars(a.Key) + scalars(a.Value)
	case *ast.SequenceNode:
		for _, v := range a.Values {
			n += scalars(v)
		}
	case *ast.NullNode:
		if a.GetToken().Type == token.NullType { // not an implicit one
			n = 1
		}
	default:
		n = 1
	}
	return n
}

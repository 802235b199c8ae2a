package source

import (
	"context"
	"crypto/rand"
	"strings"
)

type mockOptions struct {
	Prefix string `json:"prefix" jsonschema:"what the value begins with, as the real one does: sk_test_"`
}

func mockKind() Kind {
	return kind(Kind{
		Name: "mock",
		Main: "prefix",
		Doc: "A made-up value, new with every start, for development against a mock: `{mock: sk_test_}` is " +
			"`sk_test_mock_` and 26 random letters. No real API takes it.",
	}, newMock)
}

// maxPrefix is more than any vendor's keys begin with, and less than a key.
const maxPrefix = 16

func newMock(o mockOptions, _ Env) (Source, error) {
	switch {
	case len(o.Prefix) > maxPrefix:
		// Someone may have put a key here to have it sent.
		return nil, &OptionError{Option: "prefix", Problem: "over 16 bytes", Hint: "it is how a key begins, not a key"}
	case strings.ContainsFunc(o.Prefix, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		return nil, &OptionError{Option: "prefix", Problem: "must be letters, digits and signs"}
	}
	return &mock{o.Prefix + "mock_" + rand.Text()}, nil
}

// mock holds no secret: its value means nothing to anyone.
type mock struct{ value string }

func (m *mock) Paths() []string  { return nil }
func (m *mock) Describe() string { return "mock" }

func (m *mock) Read(context.Context) ([]byte, error) { return []byte(m.value), nil }

package source_test

import (
	"strings"
	"testing"

	"github.com/attache-proxy/attache/watcher/source"
)

// TestMockMeansNothing: a mock is made up anew for each source, is one value for as long as it lives, and
// cannot be used to write a key into the configuration.
func TestMockMeansNothing(t *testing.T) {
	a, b := build(t, "mock", `{"prefix":"sk_test_"}`, source.Env{}), build(t, "mock", `{"prefix":"sk_test_"}`, source.Env{})
	one, err := a.Read(t.Context())
	check(t, err)
	again, err := a.Read(t.Context())
	check(t, err)
	other, err := b.Read(t.Context())
	check(t, err)
	if !strings.HasPrefix(string(one), "sk_test_mock_") || len(one) < 30 || string(one) != string(again) || string(one) == string(other) {
		t.Errorf("%s %s %s", one, again, other)
	}
	for _, prefix := range []string{strings.Repeat("k", 17), "a b", "a\n", "é"} {
		if _, err := tryBuild("mock", `{"prefix":"`+strings.ReplaceAll(prefix, "\n", `\n`)+`"}`, source.Env{}); err == nil {
			t.Errorf("%q was taken", prefix)
		}
	}
}

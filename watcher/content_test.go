package watcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/watcher/source"
)

const canary = `cAnArY/+=%&<"\4711`

func TestTrailingNewlineInSecretFile(t *testing.T) {
	for raw, want := range map[string]string{
		"k": "k", "k\n": "k", "k\r\n": "k", " k ": " k ",
	} {
		if got, err := content([]byte(raw), ""); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", raw, got, err)
		}
	}
	for _, raw := range []string{"k\n\n", "k\r\n\r\n", "k\r\r\n", "k\r"} { // once, not twice
		if got, err := content([]byte(raw), ""); err == nil {
			t.Errorf("%q became %q", raw, got)
		}
	}
}

func refused(t *testing.T, raw, field, problem string) {
	t.Helper()
	got, err := content([]byte(raw), field)
	if err == nil || !strings.Contains(err.Error(), problem) {
		t.Errorf("%q became %q, %v; want an error: %s", raw, got, err, problem)
	}
	if err != nil && (strings.Contains(err.Error(), "cAnArY") || strings.Contains(err.Error(), "4711")) {
		t.Errorf("the error shows content: %v", err)
	}
}

func TestCRLFInSecretFile(t *testing.T) {
	for _, raw := range []string{"\n" + canary, canary + "\r\nX-Evil: 1", canary + "\n\n", canary + "\n" + canary + "\n", canary + "\t"} {
		refused(t, raw, "", "holds a line break or tab")
	}
	refused(t, `{"k":"`+"4711\\r\\nX: 1"+`"}`, "k", "holds a line break")
}

func TestNULInSecretFile(t *testing.T) {
	refused(t, canary+"\x00", "", "NUL")
	refused(t, "\x00", "", "NUL")
	refused(t, `{"k":"4711\u0000"}`, "k", "NUL")
	refused(t, canary+"\x1b[31m", "", "control byte")
	refused(t, canary+"\x7f", "", "control byte")
	refused(t, strings.Repeat("\x00", 100), "", "NUL") // what a crash leaves of a file
}

func TestEmptySecretFile(t *testing.T) {
	for _, c := range []struct{ raw, field string }{
		{"", ""}, {"\n", ""}, {"\r\n", ""}, {"", "k"}, {" \n", "k"}, {`{"k":""}`, "k"}, {`{"k":"\n"}`, "k"}, {`k: ""`, "k"},
	} {
		_, err := content([]byte(c.raw), c.field)
		if _, ok := errors.AsType[emptyError](err); !ok {
			t.Errorf("%q: %v", c.raw, err)
		}
	}
}

func TestBOMInSecretFile(t *testing.T) {
	refused(t, "\xef\xbb\xbf"+canary, "", "begins with a UTF-8 byte order mark")
	refused(t, "\xef\xbb\xbf"+`{"k":"4711"}`, "k", "begins with a UTF-8 byte order mark")
	refused(t, "\xff\xfe4\x007\x00", "", "UTF-16")
	refused(t, "\xfe\xff\x004\x007", "", "UTF-16")
}

func TestOneMiBSecretFile(t *testing.T) {
	refused(t, strings.Repeat("4711", 1<<18), "", "over 64 KiB")
	refused(t, strings.Repeat("k", source.MaxSize+1), "", "over 64 KiB")
	if _, err := content([]byte(strings.Repeat("k", source.MaxSize)), ""); err != nil {
		t.Error(err)
	}
}

func TestPEMKeepsItsLines(t *testing.T) {
	text := "-----BEGIN THING-----\r\nAAAA\r\n-----END THING-----\r\n"
	if got, err := content([]byte(text), ""); err != nil || string(got)+"\r\n" != text {
		t.Errorf("%q %v", got, err)
	}
	refused(t, "-----BEGIN THING-----\n4711\n", "", "line break")
	refused(t, text+"\x00", "", "NUL")
}

func TestFieldOfDocument(t *testing.T) {
	for _, c := range []struct{ doc, field, want string }{
		{`{"api_key":"x","other":1}`, "api_key", "x"},
		{`{"a":{"b":"x"}}`, "/a/b", "x"},
		{`{"a":{"b/c":{"~d":"x"}}}`, "/a/b~1c/~0d", "x"},
		{`{"a":["x","y"]}`, "/a/1", "y"},
		{`[{"k":"x"}]`, "/0/k", "x"},
		{`{"":"x"}`, "/", "x"},
		{`{"a/b":"x"}`, "a/b", "x"},
		{`{"n":12345678901234567890123}`, "n", "12345678901234567890123"},
		{`{"n":1e5}`, "n", "1e5"},
		{"{\"k\":\"caf\\u00e9\\n\"}\n", "k", "café"},
		{"\n  {\"k\":\"x\"}", "k", "x"},
		{"api_key: x\nother: 1\n", "api_key", "x"},
		{"only: x", "only", "x"},
		{"a:\n  b: x\n", "/a/b", "x"},
		{"a:\n  - x\n  - y\n", "/a/1", "y"},
		{"- k: x\n", "/0/k", "x"},
		{"pin: 0123\n", "pin", "0123"},
		{"n: 1e5\n", "n", "1e5"},
		{"n: 0x1F\n", "n", "0x1F"},
		{"n: -7\n", "n", "-7"},
		{"k: \"a: #b\"\n", "k", "a: #b"},
		{"k: 'it''s'\n", "k", "it's"},
		{"k: |\n  x\nother: 1\n", "k", "x"},
		{"k: >-\n  x\n  y\n", "k", "x y"},
		{"k: &anchor x\nother: *anchor\n", "k", "x"},
		{"k: !!str 123\n", "k", "123"},
		{"# comment\nk: x # comment\n", "k", "x"},
		{"\"quoted key\": x\n", "quoted key", "x"},
		{"1: x\n", "1", "x"},
		{"---\nk: x\n", "k", "x"},
		{"k: 2026-01-02\n", "k", "2026-01-02"},
	} {
		if got, err := content([]byte(c.doc), c.field); err != nil || string(got) != c.want {
			t.Errorf("%s of %q: %q %v, want %q", c.field, c.doc, got, err, c.want)
		}
	}
}

func TestFieldThatDoesNotResolve(t *testing.T) {
	for _, c := range []struct{ doc, field, problem string }{
		{`{"a":"4711"}`, "b", `field "b": not found in the document`},
		{`{"a":"4711"}`, "/a/b", `field "/a/b": not found`},
		{`{"a":["4711"]}`, "/a/1", "not found"},
		{`{"a":["4711"]}`, "/a/00", "not found"},
		{`{"a":["4711"]}`, "/a/-1", "not found"},
		{`{"a":["4711"]}`, "a", "neither a string nor a number"},
		{`{"a":{"b":"4711"}}`, "a", "neither"},
		{`{"a":null}`, "a", "neither"},
		{`{"a":true}`, "a", "neither"},
		{"{\n\"a\":cAnArY}", "a", "not valid JSON, line 2"},
		{`{"a":"4711`, "a", "not valid JSON"},
		{`{"a":"4711"} cAnArY`, "a", "goes on after its end"},
		{`{"a":"4711"}{"a":"4711"}`, "a", "goes on after its end"},
		{"a: 4711\n", "b", "not found"},
		{"a: null\n", "a", "neither"},
		{"a:\n", "a", "neither"},
		{"a: true\n", "a", "neither"},
		{"a: [4711]\n", "a", "neither"},
		{"a: {b: 4711}\n", "a", "neither"},
		{"b: &x 4711\na: *x\n", "a", "alias"},
		{"a: 4711\na: cAnArY\n", "a", "not valid YAML"},
		{"a: 4711\n---\na: cAnArY\n", "a", "several documents"},
		{"a: \"cAnArY", "a", "not valid YAML"},
		{"a: b: cAnArY", "a", "not valid YAML"},
		{"\tcAnArY: 4711", "a", "not"},
		{"cAnArY", "a", "not found"},
		{"# cAnArY\n", "a", "not found"},
		{"%cAnArY\n---\n", "a", "several documents"},
	} {
		refused(t, c.doc, c.field, c.problem)
	}
}

// A file of 64 KiB is the most a parser sees, and it must not take for ever.
func TestHostileDocumentIsBounded(t *testing.T) {
	for _, part := range []string{"[", "{", "{\"a\":", "- ", "a: ", "? ", "&a ", "!t ", "a:\n ", "\"", "'", "|\n", "*a ", "- [", "a:\n- ", "#\n"} {
		start := time.Now()
		for _, head := range []string{"", "k:\n  "} {
			doc := head + strings.Repeat(part, (source.MaxSize-len(head))/len(part))
			_, _ = content([]byte(doc), "/k/a")
		}
		took := time.Since(start)
		t.Logf("64 KiB of %q take %v", part, took)
		if took > 30*time.Second { // under the race detector, beside other tests
			t.Errorf("64 KiB of %q take too long", part)
		}
	}
}

func FuzzField(f *testing.F) {
	for _, doc := range []string{`{"a":{"b":"x"}}`, "a:\n  b: x\n", "a: [1, 2]", "a: &x y\nb: *x", "a: |\n  x", "<<: {a: 1}", "? a\n: b", "!!binary a", "[", "a: 'x"} {
		f.Add([]byte(doc), "a")
		f.Add([]byte(doc), "/a/b")
	}
	f.Fuzz(func(t *testing.T, doc []byte, field string) {
		if field == "" || len(doc) > 1<<10 {
			return
		}
		// A parser that does not end is as bad as one that panics.
		watch := time.AfterFunc(10*time.Second, func() { panic(fmt.Sprintf("no end to %q of %q", field, doc)) })
		text, err := member(doc, field)
		watch.Stop()
		if err != nil {
			// Only our own words and the field's name.
			rest := strings.TrimPrefix(err.Error(), "field ")
			for _, known := range []string{string(noMember), string(notScalar), string(notJSON), string(notYAML), "goes on after its end", "several documents", "is an alias", "nests too deep"} {
				if strings.Contains(rest, known) {
					return
				}
			}
			t.Fatalf("an error in words of its own: %v", err)
		}
		// JSON is checked against a decoder that works differently.
		var top map[string]json.RawMessage
		if json.Unmarshal(doc, &top) == nil && !strings.HasPrefix(field, "/") {
			var s string
			if json.Unmarshal(top[field], &s) == nil && s != string(text) {
				t.Fatalf("%q of %q is %q, want %q", field, doc, text, s)
			}
		}
	})
}

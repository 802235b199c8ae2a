package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestListenersOfAFaultyFile: a proxy that serves on while its file has a mistake in it can still be asked.
func TestListenersOfAFaultyFile(t *testing.T) {
	for text, want := range map[string]string{
		"version: 1\nlisten: {admin: \"unix:/run/a.sock\"}\nruless: []\n":                  "unix:/run/a.sock",
		"version: 1\nlisten: {admin: \"127.0.0.1:9\"}\nrules: [{id: a, attach: {b: c}}]\n": "127.0.0.1:9",
		"version: 1\nrules: 7\n": defaultAdmin,
		// no YAML: the section is
		"version: 1\nlisten:\n  # who asks\n  admin: 127.0.0.1:9\n\nrules:\n  - {id: a\n":                  "127.0.0.1:9",
		"secrets: {a: [}\nvars: {p: \"9\"}\nlisten: {admin: \"127.0.0.1:${p}\"}\nsecrets2: \"":             "127.0.0.1:9",
		"vars: {p: \"9\nlisten: {admin: \"127.0.0.1:9\"}\n":                                                "127.0.0.1:9",
		"version: 1\nlisten: {\n  admin: \"127.0.0.1:9\",\n}\nrules: [\n":                                  "127.0.0.1:9",
		"version: 1\nlisten:\n  proxy: \"127.0.0.1:8\n  admin: 127.0.0.1:9\n":                              "127.0.0.1:9", // but for a line
		"rules: |\n  listen: {admin: \"127.0.0.1:8\"}\nlisten: {admin: \"127.0.0.1:9\"}\n\tx\n":            "127.0.0.1:9",
		"version: 1\nlisten: {admin: \"127.0.0.1:9\"}\nlisten: {admin: \"127.0.0.1:9\"}\n":                 "127.0.0.1:9",
		"version: 1\nlisten: {admin: \"127.0.0.1:9\"\nrules: []\n" + strings.Repeat("listen: {\n", 10_000): "",
		"listen: [\n":                   "",
		"rules:\n  - {hosts: *.acme}\n": "",
	} {
		path := filepath.Join(t.TempDir(), "attache.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, ok := ReadListen(path, Env{}); l.Admin != want || ok != (want != "") {
			t.Errorf("%q: admin %q (%v), want %q", text, l.Admin, ok, want)
		}
	}
}

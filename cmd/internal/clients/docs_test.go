package clients_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/clients"
)

var update = flag.Bool("update", false, "write docs/clients.md anew")

var docsPath = filepath.Join("..", "..", "..", "docs", "clients.md")

// TestDocsCurrent: docs/clients.md is what run and env go by.
func TestDocsCurrent(t *testing.T) {
	want := page(t)
	if *update {
		if err := os.WriteFile(docsPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsPath)
	if err != nil || !bytes.Equal(bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")), want) {
		t.Errorf("docs/clients.md is stale (%v): run go test ./cmd/internal/clients -update", err)
	}
}

// TestStacksReadWhatIsSet: a stack names variables that there are.
func TestStacksReadWhatIsSet(t *testing.T) {
	names := map[string]bool{}
	for _, v := range clients.Variables() {
		if names[v.Name] || v.For == "" {
			t.Errorf("%s: twice, or for nobody", v.Name)
		}
		names[v.Name] = true
	}
	for _, s := range clients.Stacks() {
		for _, name := range s.Reads {
			if !names[name] {
				t.Errorf("%s reads %s, which nobody sets", s.Name, name)
			}
		}
		if len(s.Reads) == 0 && s.Note == "" {
			t.Errorf("%s: no word on it", s.Name)
		}
	}
}

func page(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	intro, err := os.ReadFile(filepath.Join("testdata", "docs-intro.md"))
	if err != nil {
		t.Fatal(err)
	}
	b.Write(intro)
	b.WriteString(`
## Client stacks

How each is known: those of CI make calls under ` + "`attache run`" + ` in every run of CI, on Linux, from an
environment whose variables said otherwise. The others did so by hand, once, or their documentation says it.

| client | known by | reads | notes |
|---|---|---|---|
`)
	for _, s := range clients.Stacks() {
		reads := "-"
		if len(s.Reads) > 0 {
			reads = "`" + strings.Join(s.Reads, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.Name, s.Known, reads, s.Note)
	}
	b.WriteString(`
## Variables

A variable that replaces the system's roots gets ` + "`bundle.pem`" + `: the system's, those that the variable named
before, and the CA. One that adds to them gets ` + "`ca.pem`" + `. All are set whatever they were: one that is left to win
sends a client past Attaché, or makes it distrust Attaché. ` + "`NO_PROXY`" + ` holds loopback, but for hosts that a
rule names, and ` + "`clients.no_proxy`" + `.

| variable | gets | read by |
|---|---|---|
`)
	all := clients.Variables()
	for i, v := range all {
		if i > 0 && strings.EqualFold(all[i-1].Name, v.Name) {
			continue
		}
		name := "`" + v.Name + "`"
		if i+1 < len(all) && strings.EqualFold(all[i+1].Name, v.Name) {
			name += ", `" + all[i+1].Name + "`"
		}
		gives := string(v.Gives)
		if slices.Contains([]clients.Gives{clients.Bundle, clients.CA, clients.On}, v.Gives) {
			gives = "`" + gives + "`"
		}
		if v.Gives == clients.PHP || v.Gives == clients.Wget {
			gives += " (run only)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, gives, v.For)
	}
	return b.Bytes()
}

package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

// docsPath is the reference that is generated from the grammar.
var docsPath = filepath.Join("..", "..", "..", "docs", "configuration.md")

func TestDocsCurrent(t *testing.T) {
	want := configurationPage(t)
	if *update {
		if err := os.WriteFile(docsPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsPath)
	if err != nil || !bytes.Equal(bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")), want) {
		t.Errorf("docs/configuration.md is stale (%v): run go test ./cmd/internal/config -run TestDocsCurrent -update", err)
	}
}

// TestDocsExamplesLoad: every example in a tag is YAML that its key takes, and
// every key says what it means.
func TestDocsExamplesLoad(t *testing.T) {
	for _, s := range sections() {
		for _, f := range structureOf(s.typ).fields {
			if f.doc == "" || strings.HasSuffix(f.doc, ".") {
				t.Errorf("%s.%s: its doc %q must be there and end without a full stop", s.path, f.key, f.doc)
			}
			if f.example == "" {
				continue
			}
			r := newReport(nil)
			root := parse(newFile("a.yaml", []byte(f.key+": "+f.example+"\n")), r)
			d := &decoder{report: r, kinds: sampleKinds(), structs: map[reflect.Type]*structure{}}
			if root != nil {
				d.entry(root.entries[0], structureOf(s.typ), reflect.New(s.typ).Elem(), &trail{})
			}
			if len(r.errors) > 0 {
				t.Errorf("%s: example: %v", s.path, r.errors)
			}
		}
	}
}

// configurationPage writes docs/configuration.md.
func configurationPage(t *testing.T) []byte {
	t.Helper()
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var b bytes.Buffer
	b.WriteString(strings.Replace(read("docs-intro.md"), "{{smallest}}\n", read("good/smallest.yaml"), 1))
	for _, s := range sections() {
		writeSection(&b, s)
		switch s.path {
		case "secrets.NAME":
			writeKinds(&b, newTables(nil, source.Kinds()).secrets, "sources.md")
		case "credentials.NAME":
			writeKinds(&b, newTables(inject.Kinds(), nil).credentials, "kinds.md")
		}
	}
	fmt.Fprintf(&b, "## Every key in one file\n\n```yaml\n%s```\n", read("good/whole.yaml"))
	return b.Bytes()
}

func writeSection(b *bytes.Buffer, s block) {
	fields := structureOf(s.typ).fields
	if s.path == "" {
		b.WriteString("## The top of a file\n\n")
	} else {
		fmt.Fprintf(b, "## %s\n\n%s.\n\n", s.path, capital(s.doc))
	}
	if a, ok := reflect.Zero(s.typ).Interface().(alternatives); ok {
		fmt.Fprintf(b, "Exactly one of `%s`.\n\n", strings.Join(a.oneOf(), "`, `"))
	}
	if len(fields) > 0 {
		writeFields(b, fields)
	}
}

func writeFields(b *bytes.Buffer, fields []field) {
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, f := range fields {
		def := f.def
		if f.required {
			def = "**required**"
		} else if def != "" && !strings.Contains(def, " ") {
			def = "`" + def + "`"
		}
		meaning := capital(f.doc) + "."
		if f.example != "" {
			meaning += " Example: `" + f.key + ": " + f.example + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.key, typeName(f), def, cell(meaning))
	}
	b.WriteString("\n")
}

// writeKinds names the kinds; their options are documented beside their code.
func writeKinds(b *bytes.Buffer, kinds []kind, page string) {
	var names []string
	for _, k := range kinds {
		names = append(names, "`"+k.name+"`")
	}
	fmt.Fprintf(b, "Exactly one kind: %s. Their options: [%s](%s).\n\n", strings.Join(names, ", "), page, page)
}

// capital begins a sentence; a word of the grammar keeps its spelling.
func capital(s string) string {
	word, _, _ := strings.Cut(s, ": ")
	switch {
	case s == "" || strings.HasPrefix(s, "http") || strings.HasPrefix(s, "host:port"):
		return s
	case word != s && !strings.Contains(word, " "):
		return "`" + word + "`" + s[len(word):]
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// cell keeps a table's cell in one piece.
func cell(s string) string {
	text, example, found := strings.Cut(s, " Example: `")
	text = strings.NewReplacer("|", "\\|", "*", "\\*", "<", "&lt;").Replace(text)
	if found {
		return text + " Example: `" + strings.ReplaceAll(example, "|", "\\|")
	}
	return text
}

// typeName says what a key takes, for people.
func typeName(f field) string {
	if f.enum != nil {
		return "`" + strings.Join(f.enum, "`, `") + "`"
	}
	t := f.typ
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[secret.Ref]():
		return "secret's name"
	case reflect.TypeFor[attachSpec]():
		return "credential, or list"
	case reflect.TypeFor[denySpec]():
		return "true, or text"
	case reflect.TypeFor[scrubSpec]():
		return "`all`, `headers` or `false`"
	case reflect.TypeFor[unmatchedSpec]():
		return "`deny`, or map"
	case reflect.TypeFor[viaSpec]():
		return "URL, or map"
	}
	if s, ok := reflect.Zero(t).Interface().(scalarType); ok {
		name, _ := s.look()
		return name
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "text, or list"
		}
		return "list of maps"
	case reflect.Map:
		if t.Elem().Kind() == reflect.String {
			return "map of text"
		}
		return "map by name"
	case reflect.Struct:
		return "map"
	}
	return "number"
}

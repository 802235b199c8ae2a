package admin

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/proxy/audit"
)

// comments are those of the fields of a package's types, by "Type.Field".
func comments(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := os.ReadDir(".")
	check(t, err)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ParseComments)
		check(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range s.Fields.List {
					for _, name := range field.Names {
						all[spec.Name.Name+"."+name.Name] = strings.TrimSpace(field.Comment.Text())
					}
				}
			}
			return true
		})
	}
	return all
}

// fields writes a row for every key of a type's JSON.
func fields(t *testing.T, b *strings.Builder, meaning map[string]string, at reflect.Type, path string) {
	for i := range at.NumField() {
		f := at.Field(i)
		if f.Anonymous {
			fields(t, b, meaning, f.Type, path)
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind, inner := jsonKind(f.Type)
		said := meaning[at.Name()+"."+f.Name]
		if inner == reflect.TypeFor[audit.Event]() {
			said, inner = strings.TrimSpace(said+" As in [the audit](audit.md)."), nil
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s |\n", path, key, kind, strings.ReplaceAll(said, "|", `\|`))
		if said == "" {
			t.Errorf("%s.%s has no comment, and so docs/admin.md no meaning", at.Name(), f.Name)
		}
		if inner == reflect.TypeFor[RuleTraffic]() {
			inner = nil // told with the rules
		}
		if inner != nil {
			fields(t, b, meaning, inner, path+key+"/")
		}
	}
}

// jsonKind is how a type looks in JSON, and the type of the objects in it, if any.
func jsonKind(t reflect.Type) (string, reflect.Type) {
	switch {
	case t.PkgPath() == "time":
		return "time", nil
	case t.Kind() == reflect.Pointer:
		return jsonKind(t.Elem())
	case t.Kind() == reflect.Slice:
		kind, inner := jsonKind(t.Elem())
		return "array of " + kind + "s", inner
	case t.Kind() == reflect.Struct:
		return "object", t
	case t.Kind() == reflect.String:
		return "string", nil
	case t.Kind() == reflect.Bool:
		return "boolean", nil
	}
	return "number", nil
}

// apiDocument is docs/admin.md.
func apiDocument(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`<!-- Generated from proxy/admin by "go test ./proxy/admin -update". -->

# The admin listener

` + "`listen.admin`" + ` (127.0.0.1:15000 unless configured, or a unix socket) shows what runs and how it goes. In a browser, ` + "`/`" + ` is the
status page; ` + "`attache status`" + ` prints the same, in the scratch image too: ` + "`docker exec NAME /attache status`" + `.

![The status page: what needs attention, traffic, rules, secrets, refusals](status-light.png)

No answer holds a secret, a header, a body or a query string: the types that answers are made of cannot hold any. Over TCP everything is
read-only, but for ` + "`POST /-/reload`" + ` with the ` + "`admin_token`" + `. The listener answers to IP addresses and localhost only, so a web page that points a
name of its own here is refused (421), and requests that a page of another origin makes are refused too (403). The page itself is one
file from the binary: it loads nothing, its Content-Security-Policy names its style and its script by hash, and it works without
scripts; with them, the server says over Server-Sent Events that something changed and the page fetches itself anew.

Keys and paths are only ever added. Times are RFC 3339 in UTC; durations in milliseconds end in ` + "`_ms`" + `. An error is
` + "`application/problem+json`" + ` (RFC 9457).

## Paths

| path | answers |
|---|---|
`)
	h := Handler(&fakeState{}, newOptions()).(*handler)
	for _, path := range slices.Sorted(maps.Keys(h.pages)) {
		about := h.pages[path].about
		if about == "" {
			about = "the status page to browsers, to others this list"
		}
		if path == decisionPath {
			path += "REQUEST_ID"
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", path, strings.ToUpper(about[:1])+about[1:]+".")
	}
	b.WriteString(`
` + "`/api/events`" + ` takes 16 who watch at once, all together; further ones are answered 503. Each may be 256 events behind; one who reads more
slowly is let go. A stream ends when the process stops.

The last 500 events are remembered, and the last 500 refusals beside them. What ` + "`/api/explain`" + ` answers is what ` + "`attache explain --live --output json`" + `
prints: the keys are those of ` + "`attache explain`" + `, and ` + "`live`" + ` with the configuration's generation and the states of the secrets that the rule needs.
`)
	meaning := comments(t)
	for _, d := range []struct {
		path  string
		about string
		shape reflect.Type
	}{
		{"/api/summary", "All of the status page. Traffic is of the last 15 minutes, or since the start; a percentile is exact to 6 %.", reflect.TypeFor[Summary]()},
		{"/api/decision/REQUEST_ID", "What is remembered of one call; 404 with `memory` (`events`, `since`, `refusals`, `refusals_since`: how far back that goes) if nothing is.", reflect.TypeFor[Decision]()},
		{"/api/decisions", "", reflect.TypeFor[recentEvents]()},
		{"/api/status", "", reflect.TypeFor[status]()},
	} {
		fmt.Fprintf(&b, "\n## `%s`\n\n", d.path)
		if d.about != "" {
			b.WriteString(d.about + "\n\n")
		}
		b.WriteString("| key | type | meaning |\n|---|---|---|\n")
		fields(t, &b, meaning, d.shape, "")
	}
	b.WriteString("\n`/api/config`, `/api/rules`, `/api/secrets`, `/api/identity` and `/api/ca` are the parts of that name in `/api/summary`; rules without their traffic.\n")
	return b.String()
}

// Every path and key of the API is documented.
func TestAdminDocumentIsCurrent(t *testing.T) {
	const path = "../../docs/admin.md"
	want := apiDocument(t)
	if *update {
		check(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	check(t, err)
	if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Error(`docs/admin.md is not what the code says: run "go test ./proxy/admin -update"`)
	}
}

package audit

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write ../../docs/audit.md anew")

const example = `{"type":"request","time":"2026-11-02T09:12:44.071Z","request_id":"01K93F6QWZ8Y2M","decision":"allow","rule":"stripe","owner":"payments","caller":{"name":"ci","proof":"token"},"listener":"proxy","method":"POST","server.address":"api.stripe.test","server.port":443,"resolved_ip":"192.0.2.7","protocol":"h2","status":200,"upstream_status":200,"bytes":{"in":312,"out":1840},"phase_ms":{"first_byte":84.310,"total":85.022},"reused":true,"attempts":1,"credentials":[{"name":"stripe","kind":"bearer","generation":3,"outcome":"attached","age":7213.402}],"config_generation":2}`

// document is docs/audit.md.
func document() string {
	var b strings.Builder
	b.WriteString(`<!-- Generated from proxy/audit/fields.go by "go test ./proxy/audit -update". -->

# The audit log

One JSON object per line for every call, allowed or refused, and for every change of what Attaché
runs with. ` + "`audit.file`" + ` says where: a file (mode 0600, appended to, one write per line, opened
anew on SIGHUP) or ` + "`-`" + `, the standard output. No line ever holds a header, a body, a query string or a secret.

` + "```json\n" + example + "\n```" + `

` + "`audit.on_full`" + ` says what happens when lines come faster than they can be written. 8,192 wait in memory; beyond
that, ` + "`drop`" + ` loses events, counted in ` + "`attache_audit_dropped_total`" + ` and shown by ` + "`/readyz?verbose`" + `; ` + "`refuse`" + ` answers
503 ` + "`audit_full`" + ` while the queue is nearly full or a write has failed, until lines can be written again. The last
eighth of the queue is kept for requests already under way. On shutdown the queue is written out for at most 3 s.

What a client can choose (method, host, path) is cut at 256 bytes, and so is every other text where nothing else is said. What is not
UTF-8 reads as U+FFFD; what does not print is escaped. Keys and types are only ever added: ignore those you do not know.

## Types

| type | tells |
|---|---|
`)
	for _, t := range Types() {
		b.WriteString("| `" + t.Key + "` | " + t.Meaning + " |\n")
	}
	b.WriteString(`
## Fields

A field whose value is empty, zero or false is left out, but for those always there. ` + "`a/b`" + ` is key ` + "`b`" + ` of the object, or of
each object of the array, under ` + "`a`" + `; a dot is part of the key. Calls are the types ` + "`request` and `opened`" + `.

| field | type | always in | meaning |
|---|---|---|---|
`)
	for _, f := range Fields() {
		b.WriteString("| `" + f.Key + "` | " + f.Type + " | " + f.Always + " | " + f.Meaning + " |\n")
	}
	return b.String()
}

func TestAuditDocumentIsCurrent(t *testing.T) {
	const path = "../../docs/audit.md"
	want := document()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Error(`docs/audit.md is not what the code says: run "go test ./proxy/audit -update"`)
	}
}

// keys lists the keys of a JSON object in order, and checks their types against Fields.
func keys(t *testing.T, line []byte) []string {
	t.Helper()
	kinds := map[string]string{}
	for _, f := range Fields() {
		kinds[f.Key] = f.Type
	}
	var all []string
	var walk func(prefix string, raw json.RawMessage)
	walk = func(prefix string, raw json.RawMessage) {
		dec := json.NewDecoder(strings.NewReader(string(raw)))
		if _, err := dec.Token(); err != nil {
			t.Fatal(err)
		}
		for dec.More() {
			k, err := dec.Token()
			if err != nil {
				t.Fatal(err)
			}
			var v json.RawMessage
			if err := dec.Decode(&v); err != nil {
				t.Fatal(err)
			}
			key := prefix + k.(string)
			all = append(all, key)
			kind := map[byte]string{'"': "string", '{': "object", '[': "array", 't': "boolean", 'f': "boolean"}[v[0]]
			if kind == "" {
				kind = "number"
			}
			if kinds[key] != kind {
				t.Errorf("%s is a %s, documented as %q", key, kind, kinds[key])
			}
			switch kind {
			case "object":
				walk(key+"/", v)
			case "array":
				var members []json.RawMessage
				if err := json.Unmarshal(v, &members); err != nil {
					t.Fatal(err)
				}
				walk(key+"/", members[0])
			}
		}
	}
	walk("", line)
	return all
}

// Every key that AppendJSON can write is documented, in its order, and the other way round.
func TestEveryFieldIsDocumented(t *testing.T) {
	var want, always []string
	for _, f := range Fields() {
		want = append(want, f.Key)
		if f.Always != "" {
			always = append(always, f.Key)
		}
		if f.Meaning == "" {
			t.Errorf("%s has no meaning", f.Key)
		}
	}
	if got := keys(t, AppendJSON(nil, full())); !slices.Equal(got, want) {
		t.Errorf("a full event has\n%q, documented are\n%q", got, want)
	}
	if got := keys(t, AppendJSON(nil, &Event{Type: Request})); !slices.Equal(got, always) {
		t.Errorf("an empty call has\n%q, documented as always there are\n%q", got, always)
	}
	if got := keys(t, AppendJSON(nil, &Event{Type: Started})); !slices.Equal(got, []string{"type", "time"}) {
		t.Errorf("an empty event has %q", got)
	}
	keys(t, []byte(example))
}

// Every constant of type Type is documented.
func TestEveryTypeIsDocumented(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared, documented []string
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Type" {
			s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, s)
		}
		return true
	})
	for _, ty := range Types() {
		documented = append(documented, ty.Key)
	}
	if len(declared) == 0 || !slices.Equal(declared, documented) {
		t.Errorf("declared %q, documented %q", declared, documented)
	}
}

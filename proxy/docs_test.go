package proxy

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write ../docs/reasons.md anew")

// adminReasons are the reasons of the admin listener, which never end a call.
func adminReasons() []ReasonInfo {
	return []ReasonInfo{
		{Code: "admin_busy", Status: 503, Fault: FaultProxy, Meaning: "Too many watch already, or this process is stopping.", Hint: "Close a page that shows the status."},
		{Code: "admin_cross_origin", Status: 403, Fault: FaultCaller, Meaning: "A web page of another origin sent this.", Hint: "Open the status page itself."},
		{Code: "admin_host", Status: 421, Fault: FaultCaller, Meaning: "The request's Host is a name: the listener answers to an IP address or localhost only, so that no web page reaches it by DNS.", Hint: "Use the address, or a tunnel to it."},
		{Code: "admin_read_only", Status: 403, Fault: FaultPolicy, Meaning: "Over TCP the listener only shows.", Hint: "Use the unix socket, or configure `admin_token`."},
		{Code: "admin_token_wrong", Status: 403, Fault: FaultCaller, Meaning: "The token is not the admin_token.", Hint: "Check the token; it may have been rotated."},
		{Code: "bad_question", Status: 400, Fault: FaultCaller, Meaning: "The call to explain is not one: the detail says what is wrong with it.", Hint: "`attache explain --live METHOD URL` asks rightly."},
		{Code: "call_unknown", Status: 404, Fault: FaultCaller, Meaning: "No call of this id is remembered.", Hint: "Older calls are in the audit log."},
		{Code: "config_rejected", Status: 422, Fault: FaultPolicy, Meaning: "The new configuration is faulty; the former one serves on.", Hint: "`attache check` shows every fault with its line."},
		{Code: "internal", Status: 500, Fault: FaultProxy, Meaning: "A fault of Attaché's own.", Hint: "Please report it."},
		{Code: "method_unsupported", Status: 405, Fault: FaultCaller, Meaning: "This path takes another method.", Hint: "`Allow` names it."},
		{Code: "not_found", Status: 404, Fault: FaultCaller, Meaning: "There is nothing at this path.", Hint: "`/` shows what there is."},
	}
}

func reasonsDocument() string {
	var b strings.Builder
	b.WriteString(`<!-- Generated from proxy/reasons.go by "go test ./proxy -run TestReasonsDocumented -update". -->

# Reasons

Every refusal has one of these codes: as ` + "`reason`" + ` in the body (` + "`application/problem+json`" + `, RFC 9457), as ` + "`details`" + ` of the
` + "`Proxy-Status`" + ` header (RFC 9209), in the status line of a refused CONNECT, in the audit log, and as a label of
` + "`attache_failures_total`" + `. Codes are only ever added.

**Fault** says who can mend it: ` + "`caller`" + ` (the program that calls), ` + "`policy`" + ` (the rules), ` + "`credential`" + ` (a secret), ` + "`upstream`" + `
(the API), ` + "`proxy`" + ` (Attaché). A status of – means that there is no answer: the connection, or the HTTP/2 stream, is closed.

| reason | status | fault | meaning | what to do |
|---|---|---|---|---|
`)
	rows(&b, Reasons())
	b.WriteString(`
## Of the admin listener

These answer requests to ` + "`listen.admin`" + ` and ` + "`listen.health`" + `; no call ends with them.

| reason | status | fault | meaning | what to do |
|---|---|---|---|---|
`)
	rows(&b, adminReasons())
	return b.String()
}

func rows(b *strings.Builder, all []ReasonInfo) {
	for _, r := range all {
		status, hint := "–", strings.ReplaceAll(r.Hint, "|", "\\|")
		if r.Status != 0 {
			status = strconv.Itoa(r.Status)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", r.Code, status, r.Fault, strings.ReplaceAll(r.Meaning, "|", "\\|"), hint)
	}
}

// TestReasonsDocumented: docs/reasons.md is current, and no code is used that it lacks.
func TestReasonsDocumented(t *testing.T) {
	const path = "../docs/reasons.md"
	want := reasonsDocument()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s is not current (%v): go test ./proxy -run TestReasonsDocumented -update", path, err)
	}
	known := map[string]bool{}
	for _, r := range Reasons() {
		if known[r.Code] {
			t.Errorf("%s stands twice in Reasons", r.Code)
		}
		if r.Meaning == "" || r.Error == "" || r.Fault == "" {
			t.Errorf("%s is not explained", r.Code)
		}
		known[r.Code] = true
	}
	for _, c := range slices.Concat(constants(t, ".", "", "reason"), constants(t, "policy", "Reason", ""), constants(t, "dial", "Reason", "")) {
		if !known[c] {
			t.Errorf("reason %s is not in Reasons", c)
		}
	}
}

// TestAdminReasonsDocumented: the second table holds what package admin refuses with, and nothing else.
func TestAdminReasonsDocumented(t *testing.T) {
	used := map[string]bool{}
	each(t, "admin", func(n ast.Node) {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "refuse" && len(n.Args) > 2 {
				if s := literal(n.Args[2]); s != "" {
					used[s] = true
				}
			}
		case *ast.KeyValueExpr:
			if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Reason" {
				if s := literal(n.Value); s != "" {
					used[s] = true
				}
			}
		}
	})
	for _, r := range adminReasons() {
		if !used[r.Code] {
			t.Errorf("%s is documented and not used", r.Code)
		}
		delete(used, r.Code)
	}
	for code := range used {
		t.Errorf("%s is used and not documented", code)
	}
}

// constants are the values of the string constants of a package that are of
// the given type, or whose names have the prefix.
func constants(t *testing.T, dir, typ, prefix string) (values []string) {
	t.Helper()
	each(t, dir, func(n ast.Node) {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != len(v.Names) {
			return
		}
		of, _ := v.Type.(*ast.Ident)
		for i, name := range v.Names {
			fits := typ != "" && of != nil && of.Name == typ || prefix != "" && strings.HasPrefix(name.Name, prefix)
			if s := literal(v.Values[i]); fits && s != "" {
				values = append(values, s)
			}
		}
	})
	if len(values) == 0 {
		t.Errorf("no reasons found in %s", dir)
	}
	return values
}

// each visits the nodes of a package's sources, tests left out.
func each(t *testing.T, dir string, visit func(ast.Node)) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), dir+"/"+e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool { visit(n); return true })
	}
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		s, _ := strconv.Unquote(l.Value)
		return s
	}
	return ""
}

// TestRefusalsSayWhatToDo: every reason that a client can read says what to do about it (promise 15).
func TestRefusalsSayWhatToDo(t *testing.T) {
	for _, r := range Reasons() {
		if r.Status != 0 && r.Hint == "" {
			t.Errorf("%s: no hint", r.Code)
		}
	}
}

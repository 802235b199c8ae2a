package inject_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"reflect"

	"github.com/attache-proxy/attache/inject"
)

var update = flag.Bool("update", false, "write the documentation that is made from the code")

const kindsDoc = "../docs/kinds.md"

// TestKindsDocumented holds docs/kinds.md to the table of kinds. To write it:
// go test ./inject -run TestKindsDocumented -update
func TestKindsDocumented(t *testing.T) {
	want := documentation()
	if *update {
		if err := os.WriteFile(kindsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(kindsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Error("docs/kinds.md is not current: go test ./inject -run TestKindsDocumented -update")
	}
}

func documentation() string {
	var b strings.Builder
	b.WriteString(`# Kinds of credential

<!-- Made from the code by: go test ./inject -run TestKindsDocumented -update -->

What a rule can attach. The scalar form sets the option marked with a star:
` + "`attach: {bearer: stripe-key}`" + ` is ` + "`attach: {bearer: {secret: stripe-key}}`" + `.

| kind | what it is | what arrives upstream |
|---|---|---|
`)
	for _, k := range inject.Kinds() {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` |\n", k.Name, k.Doc, k.Example)
	}
	for _, k := range inject.Kinds() {
		fmt.Fprintf(&b, "\n## %s\n\n| option | type | |\n|---|---|---|\n", k.Name)
		for f := range fields(reflect.TypeOf(k.Options()).Elem()) {
			name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
			star, optional := "", ""
			if name == k.Main {
				star = " *"
			}
			if strings.Contains(rest, "omitempty") {
				optional = ", optional"
			}
			fmt.Fprintf(&b, "| `%s`%s | %s%s | %s |\n", name, star, typeName(f.Type), optional, f.Tag.Get("jsonschema"))
		}
	}
	return b.String()
}

func typeName(t reflect.Type) string {
	switch {
	case t.Name() == "Ref":
		return "secret"
	case t.Kind() == reflect.Int64 || t.Kind() == reflect.Int:
		return "number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	}
	return "text"
}

func TestForbiddenImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/attache-proxy/attache/"
	for dep := range strings.FieldsSeq(string(out)) {
		ours, ok := strings.CutPrefix(dep, module)
		if ok && ours != "inject" && !strings.HasPrefix(ours, "inject/") {
			t.Errorf("imports %s: credential kinds know no sources, rules or listeners", ours)
		}
		if strings.Contains(dep, "yaml") {
			t.Errorf("imports %s: the configuration hands kinds a decode function", dep)
		}
	}
}

package config

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/jsonschema-go/jsonschema"
	"github.com/rogpeppe/go-internal/txtar"
)

func resolvedSchema(t *testing.T, text []byte) *jsonschema.Resolved {
	t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sampleSchema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	text, err := json.Marshal(schemaOf(sampleKinds()))
	if err != nil {
		t.Fatal(err)
	}
	return resolvedSchema(t, text)
}

// instance reads YAML the way an editor does, not the way Load does.
func instance(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSchemaAcceptsGoodConfigurations(t *testing.T) {
	schema := sampleSchema(t)
	for _, f := range goodFiles(t) {
		if err := schema.Validate(instance(t, f.data)); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

// TestSchemaRefusesBadConfigurations: whatever is wrong by its keys and types
// alone is underlined while it is typed.
func TestSchemaRefusesBadConfigurations(t *testing.T) {
	schema := sampleSchema(t)
	var bad []txtar.File
	for _, name := range []string{"keys", "secrets", "listen"} {
		archive, err := txtar.ParseFile(filepath.Join("testdata", "bad", name+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		bad = append(bad, archive.Files...)
	}
	beyond := map[string]bool{ // these need more than one value to judge
		"pasted.yaml": true, "open.yaml": true, "open-uid.yaml": true, "whole-world.yaml": true, "addresses.yaml": true,
		"same.yaml": true, "default-same.yaml": true, "none.yaml": true, "admin-token.yaml": true,
	}
	for _, f := range bad {
		if strings.HasSuffix(f.Name, ".want") || beyond[f.Name] {
			continue
		}
		if schema.Validate(instance(t, f.Data)) == nil {
			t.Errorf("%s: passes", f.Name)
		}
	}
}

func TestSchemaOfTheProduct(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	schema := resolvedSchema(t, text)
	for _, f := range goodFiles(t) {
		if err := schema.Validate(instance(t, f.data)); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
	if schema.Validate(instance(t, []byte("version: 1\nrulez: []\n"))) == nil {
		t.Error("an unknown key passes")
	}
}

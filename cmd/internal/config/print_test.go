package config

import (
	"strings"
	"testing"
)

// TestPrintReadsBackAsTheSame: what is printed means what the files mean, layers laid over each other.
func TestPrintReadsBackAsTheSame(t *testing.T) {
	over := file{path: "attache.staging.yaml", name: "attache.staging.yaml", data: []byte(layeredOver), layer: true}
	odd := "version: 1\nrules:\n  - {id: a, hosts: a.example, deny: \"say \\\"no\\\": # {x}, [y] \\u00e9 \\t\"}\n" +
		"  - id: b\n    hosts: [\"*.b.example\", \"http://c.example:8080\"]\n    query: {\"true\": \"1\", \"a b\": \"no\"}\n    deny: true\n"
	cases := [][]file{{newFile("attache.yaml", []byte(layeredBase)), over}, {newFile("odd.yaml", []byte(odd))}}
	for _, f := range goodFiles(t) {
		cases = append(cases, []file{f})
	}
	for _, files := range cases {
		var given []File
		for _, f := range files {
			given = append(given, File{Path: f.path, Data: f.data, Layer: f.layer})
		}
		printed, err := Print(given)
		if err != nil {
			t.Fatal(err)
		}
		r := newReport(nil)
		want := r.layered(files, parseAll(files, r))[0]
		got := parse(newFile("printed.yaml", printed), r)
		if len(r.errors) > 0 || canonical(got) != canonical(normal(want)) {
			t.Errorf("%s: %v\n%s\nis %s\nnot %s", files[0].name, r.errors, printed, canonical(got), canonical(normal(want)))
		}
	}
}

// normal writes lists of one at the top as lists, as Print does.
func normal(n *node) *node {
	for i, e := range n.entries {
		if itemID(e.key.text) != nil && e.value.shape != list {
			n.entries[i].value = &node{shape: list, items: []*node{e.value}}
		}
	}
	return n
}

func TestPrintTellsWhereEachEntryComesFrom(t *testing.T) {
	printed, err := Print([]File{{"attache.yaml", []byte(layeredBase), false}, {"attache.staging.yaml", []byte(layeredOver), true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"listen: {proxy: \"127.0.0.1:25001\"}                        # attache.staging.yaml:3\n",
		"  region: us                                              # attache.staging.yaml:2\n",
		"  ci-token: {file: /run/ci}                               # attache.yaml:7\n",
		"  - id: stripe                                            # attache.staging.yaml:8\n    hosts: \"api.${region}.stripe.com\"\n",
		"  - {id: crm, hosts: api.crm.example}                     # attache.staging.yaml:7\n",
	} {
		if !strings.Contains(string(printed), want) {
			t.Errorf("%q is not in\n%s", want, printed)
		}
	}
}

func TestPrintMergesADirectory(t *testing.T) {
	printed, err := Print([]File{
		{"10-a.yaml", []byte("version: 1\nsecrets: {a: {file: /a}}\nrules: {id: a, hosts: a.example, attach: {bearer: a}}\n"), false},
		{"20-b.yaml", []byte("version: 1\naudit: {file: none}\nsecrets: {b: {file: /b}}\nrules: [{id: b, hosts: b.example, attach: {bearer: b}}]\n"), false},
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadFiles([]File{{Path: "all.yaml", Data: printed}}, Env{})
	if err != nil || len(cfg.Rules) != 2 || len(cfg.Secrets) != 2 || cfg.Audit.File != "" {
		t.Errorf("%v\n%s", err, printed)
	}
}

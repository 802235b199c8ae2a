package main

import (
	"os"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/preset"
)

// TestCompletion: commands, flags, the values of flags, presets; and what shells complete themselves.
func TestCompletion(t *testing.T) {
	parser, err := newParser(&console{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	for name, text := range map[string]string{
		"attache.yaml":         "callers: {app: {uid: 4001}, agent: {uid: 4002}}\n",
		"attache.staging.yaml": "callers: {stage: {uid: 4003}}\n",
		"attache.eu.yaml":      "",
		"attache.local.yaml":   "",
		"other.yaml":           "callers: {else: {uid: 4004}}\n",
		"other.far.yaml":       "",
		"broken.yaml":          "callers: {app\n",
	} {
		if err := os.WriteFile(name, []byte("version: 1\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := func(words ...string) string {
		var names []string
		for _, c := range complete(parser.Model.Node, words, configured) {
			name, _, _ := strings.Cut(c, "\t")
			names = append(names, name)
		}
		return strings.Join(names, " ")
	}
	for _, c := range []struct {
		words string
		want  string
	}{
		{"chec", "check"},
		{"check --prod", "--production"},
		{"check --output ", "text json"},
		{"check -o j", "json"},
		{"check --output=j", "--output=json"},
		{"check --output = j", "json"}, // as bash breaks it
		{"check --config ", ":files"},
		{"check --resolve --prod", "--production"},
		{"check --replay x --prod", "--production"},
		{"check --nonsense=", ""},
		{"init str", "stripe"},
		{"init stripe git", "github gitlab"},
		{"init --secrets pa", "pass"},
		{"completion ", "bash zsh fish"},
		{"allow ", ":files"},
		{"run ", ":commands"},
		{"run -- ", ":commands"},
		{"run -- npm ", ":files"},
		{"run npm ", ":files"},
		{"run --config x ", ":commands"},
		{"version ", ""},
		{"check --profile ", "eu staging"},
		{"check --profile=s", "--profile=staging"},
		{"check --config other.yaml --profile ", "far"},
		{"check -c other.yaml --profile ", "far"},
		{"explain --caller ", "app agent"},
		{"explain --profile staging --caller ", "app agent stage"},
		{"explain --config=other.yaml --caller ", "else"},
		{"explain --config broken.yaml --caller ", ""},
		{"explain --config nowhere.yaml --profile ", ""},
		{"nonsense ", at("")},
	} {
		if got := at(strings.Split(c.words, " ")...); got != c.want {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
	}
	if got := at(); !strings.Contains(got, "explain serve status") || strings.Contains(got, "__") {
		t.Errorf("commands: %s", got)
	}
	if got := at("init", ""); got != strings.Join(preset.Names(), " ") {
		t.Errorf("presets: %s", got)
	}
}

package main

import (
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
	at := func(words ...string) string {
		var names []string
		for _, c := range complete(parser.Model.Node, words) {
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

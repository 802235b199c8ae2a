package main

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/preset"
)

// The scripts ask this program for what can stand at the cursor, so that they need not change with it.
//
//go:embed completion
var completions embed.FS

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (k completionCmd) Run(c *console) error {
	text, err := fs.ReadFile(completions, "completion/"+k.Shell)
	if err == nil {
		_, err = c.out.Write(text)
	}
	return err
}

// What the scripts are told to complete themselves.
const (
	completeFiles    = ":files"
	completeCommands = ":commands"
)

// completeCmd is what the scripts call: the words of the command line behind the program's name, the last being the one at
// the cursor. It answers a candidate a line, with a tab and its meaning where there is one.
type completeCmd struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

func (k completeCmd) Run(c *console) error {
	parser, err := newParser(c)
	if err != nil {
		return err
	}
	words := k.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	for _, candidate := range complete(parser.Model.Node, words, configured) {
		fmt.Fprintln(c.out, candidate)
	}
	return nil
}

// names gives what the configuration that from leads to has for the value of flag; ok is false for flags whose
// value no configuration names.
type names func(flag string, from configFlag) (all []string, ok bool)

// complete lists what can stand in place of the last word.
func complete(node *kong.Node, words []string, of names) []string {
	current := ""
	if len(words) > 0 {
		current, words = words[len(words)-1], words[:len(words)-1]
	}
	words = joined(words)
	var flag *kong.Flag // that waits for its value
	var from configFlag
	for i, word := range words {
		switch {
		case flag != nil:
			from.take(flag, word)
			flag = nil
		case word == "--":
			return passed(node, len(words)-i-1)
		case strings.HasPrefix(word, "-"):
			name, value, given := strings.Cut(word, "=")
			if flag = valued(node, name); given && flag != nil {
				from.take(flag, value)
				flag = nil
			}
		default:
			if child := childOf(node, word); child != nil {
				node = child
			} else if passthrough(node) {
				return passed(node, len(words)-i)
			}
		}
	}
	switch name, value, given := strings.Cut(current, "="); {
	case flag != nil:
		return starting(current, "", values(flag.Value, from, of))
	case given && strings.HasPrefix(name, "--"):
		if f := valued(node, name); f != nil {
			return starting(value, name+"=", values(f.Value, from, of))
		}
		return nil
	case strings.HasPrefix(current, "-"):
		return starting(current, "", flags(node))
	}
	return starting(current, "", arguments(node, from, of))
}

// joined leaves out the "=" that bash makes a word of its own, before the value of a flag.
func joined(words []string) []string {
	var out []string
	for _, word := range words {
		if word != "=" || len(out) == 0 || !strings.HasPrefix(out[len(out)-1], "--") {
			out = append(out, word)
		}
	}
	return out
}

// passed is what completes the words of a command that is run: its name, then whatever it takes.
func passed(node *kong.Node, before int) []string {
	if passthrough(node) && before == 0 {
		return []string{completeCommands}
	}
	return []string{completeFiles}
}

func passthrough(node *kong.Node) bool {
	return len(node.Positional) > 0 && node.Positional[len(node.Positional)-1].Passthrough
}

func childOf(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// valued is the flag of that name, if it takes a value.
func valued(node *kong.Node, name string) *kong.Flag {
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			if (name == "--"+f.Name || f.Short != 0 && name == "-"+string(f.Short)) && !f.IsBool() {
				return f
			}
		}
	}
	return nil
}

// take keeps what flag says of the configuration.
func (f *configFlag) take(flag *kong.Flag, value string) {
	switch flag.Name {
	case "config":
		f.Config = value
	case "profile":
		f.Profile = value
	}
}

// values are what a value can be.
func values(v *kong.Value, from configFlag, of names) []string {
	if v.Enum != "" {
		return v.EnumSlice()
	}
	if all, ok := of(v.Name, from); ok {
		return all
	}
	return []string{completeFiles}
}

// configured reads the names from the configuration that from leads to. What is wrong with it is for the command
// itself to say.
func configured(flag string, from configFlag) ([]string, bool) {
	switch flag {
	default:
		return nil, false
	case "profile":
		if path, err := from.find(); err == nil {
			return config.Profiles(path), true
		}
	case "caller":
		if path, err := from.find(); err == nil {
			if cfg, err := app.LoadConfig(path, from.Profile, thisBuild().required()); err == nil {
				var all []string
				for _, c := range cfg.Callers {
					all = append(all, c.Name)
				}
				return all, true
			}
		}
	}
	return nil, true
}

func flags(node *kong.Node) []string {
	var all []string
	for _, group := range node.AllFlags(true) {
		for _, f := range group {
			all = append(all, "--"+f.Name+"\t"+oneSentence(f.Help))
		}
	}
	return all
}

// arguments are what can stand where no flag does.
func arguments(node *kong.Node, from configFlag, of names) []string {
	var all []string
	for _, child := range node.Children {
		if !child.Hidden {
			all = append(all, child.Name+"\t"+oneSentence(child.Help))
		}
	}
	if node.Target.IsValid() {
		if _, ok := node.Target.Interface().(initCmd); ok {
			for _, p := range preset.All() {
				all = append(all, p.Name+"\t"+p.Title)
			}
			return all
		}
	}
	switch {
	case len(node.Positional) == 0:
	case passthrough(node):
		all = append(all, completeCommands)
	default:
		all = append(all, values(node.Positional[0], from, of)...)
	}
	return all
}

// starting keeps what begins as the word at the cursor does, with what stands before it, and what shells complete.
func starting(word, before string, all []string) []string {
	var out []string
	for _, candidate := range all {
		if strings.HasPrefix(candidate, ":") {
			out = append(out, candidate)
		} else if strings.HasPrefix(candidate, word) {
			out = append(out, before+candidate)
		}
	}
	return out
}

// oneSentence is the first sentence of a help text.
func oneSentence(help string) string {
	sentence, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(sentence, ".")
}

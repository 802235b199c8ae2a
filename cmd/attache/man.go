package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type manCmd struct{}

// Run prints the manual page, for man(1): attache man | man -l -
func (manCmd) Run(c *console) error {
	parser, err := newParser(c)
	if err != nil {
		return err
	}
	p := manPage{c.out}
	p.write(parser.Model)
	return nil
}

// manPage writes roff with the macros of man(7).
type manPage struct{ io.Writer }

func (p manPage) write(app *kong.Application) {
	p.line(`.TH ATTACHE 1 "" "attache %s" "Attach\['e] Manual"`, thisBuild().Version)
	p.section("NAME")
	p.line(`attache \- %s`, roff("presents credentials on outgoing API calls, so that applications need not hold them"))
	p.section("SYNOPSIS")
	for _, cmd := range app.Leaves(true) {
		p.line(".br\n\\fBattache %s\\fR%s", cmd.Path(), roff(usageOf(cmd)))
	}
	p.section("DESCRIPTION")
	p.line("%s", roff("Attaché is a local HTTPS proxy. Applications call APIs through it without a key; by rule it decides who "+
		"may call what, attaches the key on the way out, and masks it in what comes back. What it is not sure of it refuses."))
	p.section("COMMANDS")
	variables := map[string]string{} // that stand for flags
	for _, cmd := range app.Leaves(true) {
		p.line(".SS attache %s", cmd.Path())
		p.line("%s", roff(cmd.Help))
		for _, arg := range cmd.Positional {
			p.line(".TP\n\\fI%s\\fR\n%s", roff(arg.Name), roff(arg.Help))
		}
		for _, f := range cmd.Flags {
			if !f.Hidden {
				p.flag(f)
			}
			for _, name := range f.Envs {
				variables[name] = f.Name
			}
		}
	}
	p.tail()
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		p.line(".TP\n\\fB%s\\fR\nAs \\-\\-%s.", name, roff(variables[name]))
	}
}

// tail is what is the same for every command.
func (p manPage) tail() {
	p.section("EXIT STATUS")
	for _, s := range [][2]string{
		{"0", "Done."}, {"1", "What was asked for did not work, or does not hold."},
		{"2", "The command line or the configuration is wrong."},
		{"125", "run: Attaché failed, or the configuration was not allowed, and the command was not run."},
		{"126, 127", "run: the command could not be run, or was not found. Otherwise run ends as the command does."},
	} {
		p.line(".TP\n\\fB%s\\fR\n%s", s[0], roff(s[1]))
	}
	p.section("FILES")
	for _, s := range [][2]string{
		{"attache.yaml", "The configuration of a project, looked for in this directory and those above."},
		{"attache.NAME.yaml", "Laid over it by --profile NAME: entries of the same name or id are replaced whole."},
		{"attache.local.yaml", "Laid over both; for one machine, and not committed."},
		{"/etc/attache", "The configuration of the system: a directory of *.yaml."},
		{"~/.local/state/attache/allowed", "What attache allow has allowed; below $XDG_STATE_HOME, if that is set."},
	} {
		p.line(".TP\n\\fI%s\\fR\n%s", roff(s[0]), roff(s[1]))
	}
	p.section("ENVIRONMENT")
	for _, s := range [][2]string{
		{"ATTACHE_VAR_name", "Fills ${name} in a configuration that declares it under vars."},
	} {
		p.line(".TP\n\\fB%s\\fR\n%s", s[0], roff(s[1]))
	}
}

// flag describes one flag.
func (p manPage) flag(f *kong.Flag) {
	name := `\fB\-\-` + roff(f.Name) + `\fR`
	if f.Short != 0 {
		name = `\fB\-` + string(f.Short) + `\fR, ` + name
	}
	switch {
	case f.IsBool():
	case f.PlaceHolder != "":
		name += "=" + `\fI` + roff(f.PlaceHolder) + `\fR`
	case f.Enum != "":
		name += "=" + `\fI` + roff(strings.Join(f.EnumSlice(), "|")) + `\fR`
	default:
		name += "=" + `\fI` + roff(strings.ToUpper(f.Name)) + `\fR`
	}
	help := f.Help
	if f.HasDefault && f.Default != "" {
		help += " Default: " + f.Default + "."
	}
	p.line(".TP\n%s\n%s", name, roff(help))
}

func (p manPage) section(name string) { p.line(".SH %s", name) }

func (p manPage) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// usageOf are the flags and arguments of a command in short.
func usageOf(cmd *kong.Node) string {
	text := ""
	if len(cmd.Flags) > 0 {
		text = " [flags]"
	}
	for _, arg := range cmd.Positional {
		text += " " + arg.Summary()
	}
	return text
}

// roff is text as roff reads it: nothing in it is a request or an escape.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "é", `\['e]`, "…", "...", "\n", " ").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

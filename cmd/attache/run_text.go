package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/proxy/policy"
)

// maxRules bounds the rules that are listed before a command runs.
const maxRules = 12

// prefix begins every line that stands among a command's output.
const prefix = "attache: "

// say prints one line of Attaché's, wrapped under itself, unless only refusals are wanted.
func (s *session) say(format string, args ...any) {
	if !s.cmd.Quiet && !s.cmd.json() {
		s.tell(format, args...)
	}
}

// tell is say for what is always told.
func (s *session) tell(format string, args ...any) {
	for i, line := range wrap(fmt.Sprintf(format, args...), columns-len(prefix)-2) {
		if i > 0 {
			line = "  " + line
		}
		s.print(line)
	}
}

// print prints one line as it is.
func (s *session) print(line string) {
	fmt.Fprintln(s.console.err, prefix+strings.TrimRight(plainText(line), " "))
}

// warn is say for what the summary in JSON holds too.
func (s *session) warn(format string, args ...any) {
	s.told = append(s.told, fmt.Sprintf(format, args...))
	s.say(format, args...)
}

// banner tells what the command may call, and with what.
func (s *session) banner() {
	cfg := s.config()
	when := "the system's"
	if !s.project.At.IsZero() {
		when = "allowed " + day(s.project.At)
	}
	profile := "no profile"
	if s.project.Profile != "" {
		profile = "profile " + s.project.Profile
	}
	for _, f := range s.project.Frozen.Files {
		if strings.HasSuffix(f.Path, ignored) && ignored != filepath.Base(s.project.Path) {
			profile += ", with " + ignored
		}
	}
	secrets := len(s.app.SecretStatus())
	s.say("%s, %s; %s, %s; %s", here(s.project.Path), when, count(len(cfg.Rules), "rule"), count(secrets, "secret"), profile)
	if !s.cmd.Quiet && !s.cmd.json() {
		s.listRules(cfg)
	}
	for _, w := range s.unreadable() {
		s.warn("%s", w)
	}
}

// unreadable tells of secrets without which rules refuse.
func (s *session) unreadable() []string {
	var all []string
	for _, st := range s.app.SecretStatus() {
		if users := app.UsersOf(s.config(), st.Name); !st.State.Usable() && len(users) > 0 {
			all = append(all, fmt.Sprintf("%s cannot be read: %s; %s %s will answer 503",
				st.Name, st.Reason, plural(len(users), "rule"), strings.Join(users, ", ")))
		}
	}
	return all
}

// listRules prints one line for each rule.
func (s *session) listRules(cfg *config.Config) {
	var rows [][4]string
	for _, r := range cfg.Rules[:min(len(cfg.Rules), maxRules)] {
		rows = append(rows, ruleRow(cfg, r))
	}
	var width [4]int
	for _, row := range rows {
		for i, cell := range row {
			if i < 2 || row[3] != "" { // what stands last may be as long as it is
				width[i] = max(width[i], utf8.RuneCountInString(cell))
			}
		}
	}
	// What is too long is cut where it says least: hosts, then the way the secret is kept.
	for _, i := range []int{1, 3, 2, 0} {
		over := len(prefix) + width[0] + width[1] + width[2] + width[3] + 3*2 - columns
		width[i] = max(min(width[i], 12), width[i]-max(0, over))
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			if i >= 2 && row[3] == "" {
				line += clip(cell, columns-len(prefix)-utf8.RuneCountInString(line))
				break
			}
			line += fmt.Sprintf("%-*s  ", width[i], clip(cell, width[i]))
		}
		s.print(line)
	}
	if more := len(cfg.Rules) - len(rows); more > 0 {
		s.print(fmt.Sprintf("and %s more: attache check --print", count(more, "rule")))
	}
}

func ruleRow(cfg *config.Config, r config.Rule) [4]string {
	host := strings.Join(r.Hosts, ", ")
	if len(r.Hosts) > 1 {
		host = fmt.Sprintf("%s +%d", r.Hosts[0], len(r.Hosts)-1)
	}
	row := [4]string{r.ID, host}
	switch {
	case r.Action == policy.Deny:
		row[2] = "refused"
	case r.Action == policy.Tunnel:
		row[2] = "passed through, not opened"
	case len(r.Attach) == 0:
		row[2] = "nothing attached"
	default:
		var what, from []string
		for _, c := range r.Attach {
			how := c.Kind
			if c.Kind == "header" && len(c.Injector.Owns().Headers) == 1 {
				how = c.Injector.Owns().Headers[0]
			}
			for _, name := range c.Injector.Secrets() {
				how += " " + string(name)
				from = append(from, sourceOf(cfg, string(name)))
			}
			what = append(what, how)
		}
		row[2], row[3] = strings.Join(what, ", "), strings.Join(slices.Compact(from), ", ")
	}
	return row
}

// sourceOf says where a secret is kept.
func sourceOf(cfg *config.Config, name string) string {
	for _, s := range cfg.Secrets {
		if s.Name == name {
			return s.Source.Describe()
		}
	}
	return ""
}

// clip cuts text to at most width runes.
func clip(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(0, width-1)]) + "…"
}

// elapsed is a duration as people say it.
func elapsed(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	return strings.Replace(d.Round(time.Second).String(), "m0s", "m", 1)
}

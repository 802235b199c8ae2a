package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/child"
)

// maxTroubles bounds the refusals that are listed after a command has ended.
const maxTroubles = 10

// runResult is everything that run tells, as JSON has it: one line, the last on standard error.
type runResult struct {
	Config   string       `json:"config"`
	Profile  string       `json:"profile,omitempty"`
	Command  string       `json:"command"`
	ExitCode int          `json:"exit_code"`
	Signal   string       `json:"signal,omitempty"`
	Millis   int64        `json:"ms"`
	Allowed  int          `json:"allowed"`
	Refused  int          `json:"refused"`
	Failed   int          `json:"failed"`
	Troubles []runTrouble `json:"troubles,omitempty"`
	Warnings []string     `json:"warnings,omitempty"`
}

// runTrouble is calls that did not succeed, for one reason.
type runTrouble struct {
	Count   int      `json:"count"`
	Refused bool     `json:"refused"` // false: allowed, and then it failed
	Reason  string   `json:"reason"`
	Fault   string   `json:"fault,omitempty"`
	Host    string   `json:"host,omitempty"`
	Port    uint16   `json:"port,omitempty"`
	Scheme  string   `json:"scheme,omitempty"` // "http": it was called in clear
	Method  string   `json:"method,omitempty"`
	Path    string   `json:"path,omitempty"`
	Rule    string   `json:"rule,omitempty"` // that decided, or came nearest
	Hint    string   `json:"hint,omitempty"`
	Add     []string `json:"add,omitempty"` // to attache.yaml
}

// summary tells how it went: a command's own output buries its refused calls.
func (s *session) summary(e child.Ending, took time.Duration) error {
	allowed, refused, failed := s.tally.counts()
	res := runResult{
		Config: s.project.Path, Profile: s.project.Profile, Command: s.name, ExitCode: e.Code, Signal: e.Signal,
		Millis: took.Milliseconds(), Allowed: allowed, Refused: refused, Failed: failed, Warnings: s.told,
	}
	for _, t := range s.tally.troubles() {
		if s.cmd.Quiet && t.reason == wouldDeny {
			continue
		}
		res.Troubles = append(res.Troubles, s.advise(t))
	}
	if s.cmd.json() {
		line, err := json.Marshal(res)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.console.err, "%s\n", line)
		return err
	}
	ended := fmt.Sprintf("exited %d", e.Code)
	if e.Signal != "" {
		ended = "was ended by " + e.Signal
	}
	calls := fmt.Sprintf("%s allowed, %s refused", count(allowed, "call"), thousands(refused))
	if failed > 0 {
		calls += ", " + thousands(failed) + " failed"
	}
	if allowed+refused+failed == 0 {
		calls = "no call came through Attaché"
		if e.Code != 0 && e.Signal == "" && !s.heedless {
			calls += "; does it heed proxy variables? docs/clients.md"
		}
	}
	if !s.cmd.Quiet || len(res.Troubles) > 0 {
		s.tell("%s %s after %s: %s", s.name, ended, elapsed(took), calls)
	}
	if s.err != nil {
		s.tell("the proxy itself stopped: %v", s.err)
	}
	s.printTroubles(res.Troubles)
	return nil
}

func (s *session) printTroubles(all []runTrouble) {
	var rows [][3]string
	width := 0
	for _, t := range all[:min(len(all), maxTroubles)] {
		did, where := "refused", t.where()
		switch {
		case t.Reason == wouldDeny:
			did = "passed"
		case t.Reason == answered401:
			did = "not taken"
		case !t.Refused:
			did = "failed"
		}
		rows = append(rows, [3]string{fmt.Sprintf("%s %sx", did, thousands(t.Count)), where, t.Reason})
		width = max(width, len(rows[len(rows)-1][0]))
	}
	for i, row := range rows {
		line := fmt.Sprintf("%-*s  %s   %s", width, row[0], row[1], row[2])
		if len(prefix)+len(line) > columns {
			line = fmt.Sprintf("%-*s  %s", width, row[0], row[2])
			s.print(line)
			s.tell("  %s", row[1])
		} else {
			s.print(line)
		}
		t := all[i]
		for j, text := range wrap(t.Hint, columns-len(prefix)-4) {
			if t.Hint != "" {
				s.print("  " + strings.Repeat("  ", min(j, 1)) + text)
			}
		}
		for _, text := range t.Add {
			s.print("    " + text)
		}
	}
	if more := len(all) - len(rows); more > 0 {
		s.print(fmt.Sprintf("and %s", count(more, "other reason")))
	}
}

// where is what was called, for people.
func (t runTrouble) where() string {
	w := t.Host
	switch {
	case w == "":
		return "many hosts"
	case strings.Contains(w, ":"):
		w = "[" + w + "]"
	}
	clear := t.Scheme == "http"
	if t.Method == "" && !clear || t.Port != 443 && !(clear && t.Port == 80) {
		w = fmt.Sprintf("%s:%d", w, t.Port)
	}
	switch {
	case clear:
		return "http://" + w
	case t.Method != "":
		return t.Method + " " + w + t.Path
	}
	return w
}

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/explain"
	"github.com/attache-proxy/attache/cmd/internal/replay"
	"github.com/attache-proxy/attache/proxy/admin"
)

// TestTerminalsGetNothingForeign: whoever answers in the place of the admin listener, wrote an audit log, or named a file, does not
// write to this terminal.
func TestTerminalsGetNothingForeign(t *testing.T) {
	bad := hostile()
	for name, print := range map[string]func(b *bytes.Buffer){
		"explain --live": func(b *bytes.Buffer) {
			printAccount(b, &explain.Account{
				Outcome: bad, Reason: bad, Host: bad, Hint: bad, Connects: bad, Rule: &explain.RuleRef{ID: bad, Pos: bad},
				Nearest: &explain.RuleRef{ID: bad, Pos: bad}, DiffersBy: bad, Attaches: []string{bad}, Removes: []string{bad},
				InOrder: []explain.RuleStep{{Rule: bad, Host: bad, Query: bad, Method: bad, Path: bad, Caller: bad, Outcome: bad}},
				Live:    &explain.Live{Secrets: []explain.SecretState{{Name: bad, State: bad, Reason: bad}}},
			})
			printAccount(b, &explain.Account{Host: bad})
		},
		"explain ID": func(b *bytes.Buffer) {
			d := &toldCall{Events: []auditLine{{Decision: "refuse", Rule: bad, Reason: bad}}}
			d.Rule = &admin.RuleStatus{Pos: bad}
			d.print(b)
		},
		"status": func(b *bytes.Buffer) {
			s := &seen{}
			s.Attention = []admin.Attention{{State: bad, Since: time.Unix(1, 0), Text: bad, Subject: bad}, {State: bad}}
			b.WriteString(s.text())
		},
		"check --replay": func(b *bytes.Buffer) {
			printChanges(b, []replay.Change{{How: replay.Refused, Then: bad, Now: bad, Caller: bad, Method: bad, Host: bad}})
		},
		"check": func(b *bytes.Buffer) {
			printProblems(b, config.Errors{{File: bad, Line: 1, Message: bad, Hint: bad}})
			printProblems(b, config.Errors{{File: strings.ReplaceAll(bad, "wide", ""), Message: bad}})
		},
	} {
		var b bytes.Buffer
		print(&b)
		for _, foreign := range []string{"\x1b", "\a", "\r", "\u202e"} {
			if strings.Contains(b.String(), foreign) {
				t.Errorf("%s: %q reaches the terminal", name, foreign)
			}
		}
	}
}

// TestErrorsArePrintable: what is reported in the words of others is too.
func TestErrorsArePrintable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "err")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := &console{err: f}
	foreign := errors.Join(errors.New("one \x1b[2J\u202e"), errors.New("two"))
	c.report(&app.UsageError{Err: foreign, Hint: "\x1b]0;owned\a"})
	c.report(c.reportAdmin(&refusedAnswer{Title: "\x1b[2J", Hint: "\x1b[2J", Status: 400}))
	if code := c.reportAdmin(&notRunning{address: "there", err: errors.New("\x1b[2J")}); code == nil {
		t.Error("no exit code")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(text), "\x1b\a\u202e") || !strings.HasPrefix(string(text), `attache: one \x1b[2J\u202e`+"\ntwo\n") {
		t.Errorf("%q", text)
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/proxy/audit"
)

// TestTallyIsBounded: a command that tries any number of hosts is counted in full, and told of in part.
func TestTallyIsBounded(t *testing.T) {
	c := newTally()
	for i := range 3 * maxKinds {
		c.Record(&audit.Event{Type: audit.Request, Decision: audit.Refuse, Reason: "no_rule", Fault: "policy", Method: "CONNECT", Host: fmt.Sprintf("h%d.test", i), Port: 443})
	}
	c.Record(&audit.Event{Type: audit.Opened, Decision: audit.Allow})
	c.Record(&audit.Event{Type: audit.Request, Decision: audit.Allow})
	c.Record(&audit.Event{Type: audit.Request, Decision: audit.Allow, Reason: "client_cancelled", Fault: "caller"})
	c.Record(&audit.Event{Type: audit.Request, Decision: audit.Allow, Reason: "connect_failed", Fault: "upstream"})
	c.Record(&audit.Event{Type: audit.Request, Decision: audit.Allow, UpstreamStatus: 401, Credentials: []audit.Credential{{Name: "a"}}})
	c.Record(&audit.Event{Type: audit.Request, Decision: audit.WouldDeny, Method: "CONNECT", Host: "new.test", Port: 443})
	if a, r, f := c.counts(); a != 4 || r != 3*maxKinds || f != 1 {
		t.Errorf("%d allowed, %d refused, %d failed", a, r, f)
	}
	if n := len(c.troubles()); n > maxKinds+1 {
		t.Errorf("%d kinds", n)
	}
}

// TestHostPattern: the rule that is proposed names what was called, and YAML takes it.
func TestHostPattern(t *testing.T) {
	for want, x := range map[string]troubled{
		"api.segment.io":           {host: "api.segment.io", port: 443},
		`"api.segment.io:8443"`:    {host: "api.segment.io", port: 8443},
		`"http://x.test"`:          {host: "x.test", port: 80, method: inClear},
		`"http://x.test:8080"`:     {host: "x.test", port: 8080, method: inClear},
		`"[2001:db8::1]"`:          {host: "2001:db8::1", port: 443},
		`"http://[2001:db8::1]:8"`: {host: "2001:db8::1", port: 8, method: inClear},
	} {
		if got := hostPattern(trouble{troubled: x}); got != want {
			t.Errorf("%+v: %s, want %s", x, got, want)
		}
	}
}

// TestInterpreterOf: a script is known by what runs it.
func TestInterpreterOf(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ head, want string }{
		"npm": {"#!/usr/bin/env node\n", "node"}, "jest": {"#!/usr/bin/env -S FOO=1 node --x\n", "node"},
		"tool": {"#! /usr/bin/python3 -u\n", "python3"}, "Node.exe": {"MZ", "node"}, "empty": {"", "empty"}, "odd": {"#!\n", "odd"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.head), 0o700); err != nil {
			t.Fatal(err)
		}
		if got := interpreterOf(path); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if got := interpreterOf(filepath.Join(dir, "gone")); got != "gone" {
		t.Errorf("gone: %s", got)
	}
}

// TestEnvironmentHoldsEachNameOnce: of two variables of one name the child would read either.
func TestEnvironmentHoldsEachNameOnce(t *testing.T) {
	e := newEnvironment([]string{"A=1", "A=2", "B=x=y", "=C:=C:\\", "odd"})
	e.set("B", "z")
	if got := strings.Join(e.list(), " "); got != `=C:=C:\ A=2 B=z` {
		t.Errorf("%s", got)
	}
	w := &environment{values: map[string]string{"Path": "p", "https_proxy": "old"}, fold: true}
	w.set("HTTPS_PROXY", "new")
	if v, ok := w.get("PATH"); !ok || v != "p" || !slices.Equal(w.list(), []string{"Path=p", "https_proxy=new"}) {
		t.Errorf("%q", w.list())
	}
}

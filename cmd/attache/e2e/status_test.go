package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// ask runs a command of the binary against the server's admin listener.
func (s *server) ask(args ...string) (string, error) {
	s.t.Helper()
	cmd := exec.Command(os.Getenv(envBinary), append(args, "--admin", s.admin)...)
	cmd.Env, cmd.Dir = cleanEnv(s.t), s.t.TempDir()
	out, err := cmd.CombinedOutput()
	_, _ = s.received.Write(out)
	return string(out), err
}

// TestExplainTellsWhatBecameOfACall: the id that a refusal carries leads to what happened and what to do.
func TestExplainTellsWhatBecameOfACall(t *testing.T) {
	t.Parallel()
	s, _, key := serveRules(t, `
secrets: {key: {file: @dir/key}, gone: {file: @dir/gone, optional: true}}
rules:
  - {id: no-refunds, hosts: api.test, paths: /refunds, deny: "Ask #payments."}
  - {id: api, hosts: api.test, attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
  - {id: crm, hosts: crm.test, attach: {bearer: gone}}
`, siteOptions{})
	c := s.client(clientOptions{})
	s.get(c, "https://api.test/").fine(t)
	refused := s.get(c, "https://api.test/refunds")
	refused.refused(t, http.StatusForbidden, "denied_by_rule")
	var problem struct {
		ID string `json:"request_id"`
	}
	ok(t, json.Unmarshal(refused.body, &problem))
	s.refusal("denied_by_rule") // it is told of once it is over, which the client may notice first
	out, err := s.ask("explain", problem.ID)
	ok(t, err)
	for _, want := range []string{"refused   403 denied_by_rule", "rule      no-refunds", "hint      Ask #payments.", "upstream  never asked", "generation 1, in force now"} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	id := ""
	s.await("the audited call", func() bool {
		for _, e := range s.audit() {
			if e.str("decision") == "allow" {
				id = e.str("request_id")
			}
		}
		return id != ""
	})
	out, err = s.ask("explain", id)
	ok(t, err)
	for _, want := range []string{"allowed   200, by rule api", "attached  api (bearer), generation 1", "upstream  answered 200, at 127.0.0.1", "Attaché"} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}

	// The running proxy refuses what lacks its secret; so says explain --live, and the proxy itself.
	out, err = s.ask("explain", "--live", "GET", "https://crm.test/")
	ok(t, err)
	if !strings.Contains(out, "refused   503 credential_missing") {
		t.Errorf("%s", out)
	}
	s.get(c, "https://crm.test/").refused(t, http.StatusServiceUnavailable, "credential_missing")

	s.refusal("credential_missing")
	out, err = s.ask("status")
	ok(t, err)
	for _, want := range []string{"1 allowed   2 refused", "NEEDS ATTENTION", "gone ", "no-refunds ", "denied_by_rule"} {
		if !strings.Contains(out, want) {
			t.Errorf("missing %q in\n%s", want, out)
		}
	}
	searchCanary(t, "what the commands print", s.received.Bytes(), key)
}

// TestEventsStream: who watches is told of a call as it ends, past the time that a request may take, and
// the process stops while somebody watches.
func TestEventsStream(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+"/api/events", nil)
	ok(t, err)
	res, err := http.DefaultClient.Do(req)
	ok(t, err)
	defer func() { _ = res.Body.Close() }()
	s.get(s.client(clientOptions{}), "https://api.test/").fine(t)
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		_, _ = s.received.Write(append(lines.Bytes(), '\n'))
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		var e event
		ok(t, json.Unmarshal([]byte(data), &e))
		if e.str("type") != "request" {
			continue // "started" is written once everything listens, this stream too
		}
		if e.str("decision") != "allow" || e.str("rule") != "api" {
			t.Errorf("%s", data)
		}
		return // the stream stays open: the end of the test stops the process under it
	}
	t.Errorf("the stream ended: %v", lines.Err())
}

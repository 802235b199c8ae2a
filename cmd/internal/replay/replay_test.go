package replay

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
)

const rules = `version: 1
callers: {ci: {uid: 1}, reports: {uid: 2}}
secrets: {k: {file: /run/k}}
rules:
  - {id: no-refunds, hosts: api.stripe.com, paths: [/v1/refunds, /v1/refunds/**], deny: true}
  - {id: stripe, hosts: api.stripe.com, methods: POST, callers: ci, attach: {bearer: k}}
  - {id: crm, hosts: api.crm.example, paths: /v2/**, attach: {bearer: k}}
  - {id: old, hosts: old.example, methods: GET}
  - {id: eu, hosts: eu.example, query: {region: eu}}
  - {id: banned, hosts: banned.example, paths: /a, deny: true}
  - {id: clear, hosts: "http://clear.example"}
  - {id: packages, hosts: registry.example, tunnel: true}
`

func load(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, err := config.LoadFiles([]config.File{{Path: "attache.yaml", Data: []byte(text)}}, config.Env{})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// call is one line of a log.
func call(decision, by, caller, method, host string, more string) string {
	name := "rule"
	if decision == "refuse" {
		name = "reason"
	}
	port := 443
	if strings.HasPrefix(host, "clear") {
		port = 80
	}
	return fmt.Sprintf(`{"type":"request","time":"2026-11-02T09:12:44.071Z","decision":%q,%q:%q,"caller":{"name":%q},"method":%q,"server.address":%q,"server.port":%d%s}`,
		decision, name, by, caller, method, host, port, more)
}

func path(p string) string { return fmt.Sprintf(`,"url.path":%q`, p) }

// TestReplay: what would become of each call, as far as the log tells.
func TestReplay(t *testing.T) {
	for _, c := range []struct{ line, how, now string }{
		{call("allow", "stripe", "ci", "POST", "api.stripe.com", path("/v1/charges")), Same, ""},
		{call("allow", "stripe", "ci", "POST", "api.stripe.com", path("/v1/refunds")), Refused, "no-refunds"},
		{call("allow", "stripe", "ci", "GET", "api.stripe.com", path("/v1/charges")), Refused, "method_not_allowed"},
		{call("allow", "stripe", "reports", "POST", "api.stripe.com", path("/v1/charges")), Refused, "caller_not_allowed"},
		{call("allow", "stripe", "gone", "POST", "api.stripe.com", path("/v1/charges")), Refused, "caller_not_allowed"},
		{call("allow", "payments", "ci", "POST", "api.stripe.com", path("/v1/charges")), Other, "stripe"},
		{call("allow", "stripe", "ci", "POST", "api.stripe.com", ""), Unknown, ""},
		{call("allow", "stripe", "ci", "GET", "api.stripe.com", ""), Refused, "no-refunds"}, // or method_not_allowed: refused either way
		{call("allow", "crm", "", "GET", "api.crm.example", ""), Unknown, ""},
		{call("allow", "crm", "", "GET", "api.crm.example", path("/v2/x")), Same, ""},
		{call("allow", "crm", "", "GET", "api.crm.example", path("/v2/x/%2e%2e")), Refused, "path_ambiguous"},
		{call("allow", "crm", "", "GET", "api.crm.example", path("/v2/"+strings.Repeat("x", 252))), Unknown, ""}, // cut by the log
		{call("allow", "old", "", "GET", "old.example", ""), Same, ""},
		{call("allow", "old", "", "HEAD", "old.example", ""), Same, ""},
		{call("allow", "old", "", "PUT", "old.example", ""), Refused, "method_not_allowed"},
		{call("allow", "eu", "", "GET", "eu.example", path("/")), Unknown, ""},
		{call("refuse", "no_rule", "", "GET", "old.example", ""), Allowed, "old"},
		{call("refuse", "no_rule", "", "GET", "api.segment.example", ""), Same, ""},
		{call("refuse", "no_rule", "", "GET", "banned.example", ""), Same, ""},
		{call("allow", "x", "", "GET", "api.segment.example", ""), Refused, "no_rule"},
		{call("allow", "clear", "", "GET", "clear.example", ""), Same, ""},
		{call("would_deny", "", "", "CONNECT", "api.segment.example", ""), Refused, "no_rule"},
		{call("tunnel", "packages", "", "CONNECT", "registry.example", ""), Same, ""},
		{call("refuse", "no_rule", "", "CONNECT", "registry.example", ""), Allowed, "packages"},
		{call("allow", "packages", "", "GET", "registry.example", ""), Other, "packages"},
		{call("tunnel", "old", "", "CONNECT", "old.example", ""), Unknown, ""},
		{call("allow", "x", "", "GET", "not a host", ""), Refused, "no_rule"},
	} {
		rep, err := Run(strings.NewReader(c.line), load(t, rules), time.Now())
		if err != nil || rep.Calls != 1 {
			t.Fatal(c.line, rep, err)
		}
		if c.how == Same {
			if rep.Same != 1 || len(rep.Changes) > 0 {
				t.Errorf("%s\n%+v", c.line, rep.Changes)
			}
			continue
		}
		if len(rep.Changes) != 1 || rep.Changes[0].How != c.how || rep.Changes[0].Now != c.now || rep.Same != 0 {
			t.Errorf("%s\n%+v\nwant %s %s", c.line, rep.Changes, c.how, c.now)
		}
	}
}

func TestReplayObserving(t *testing.T) {
	cfg := load(t, rules+"unmatched: {observe_until: 2030-01-01T00:00Z}\n")
	line := call("would_deny", "", "", "CONNECT", "api.segment.example", "")
	for year, want := range map[int]int{2029: 1, 2031: 0} {
		rep, err := Run(strings.NewReader(line), cfg, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
		if err != nil || rep.Same != want {
			t.Errorf("%d: %+v %v", year, rep, err)
		}
	}
}

func TestReplayLeavesToTheGateway(t *testing.T) {
	const gateway = "identity: {spiffe: \"unix:/run/spire/agent.sock\"}\ngateway: {address: \"10.0.0.1:15001\", peer: \"spiffe://acme.example/gw\"}\n"
	cfg := load(t, rules+gateway)
	for line, want := range map[string]string{
		call("gateway", "", "", "CONNECT", "api.segment.example", ""):       Same,
		call("refuse", "no_rule", "", "CONNECT", "api.segment.example", ""): Allowed,
		call("gateway", "", "", "CONNECT", "registry.example", ""):          Other,
		call("gateway", "", "", "CONNECT", "banned.example", ""):            Refused,
	} {
		rep, err := Run(strings.NewReader(line), cfg, time.Now())
		if err != nil || want == Same && rep.Same != 1 || want != Same && (len(rep.Changes) != 1 || rep.Changes[0].How != want) {
			t.Errorf("%s\n%+v %v", line, rep, err)
		}
	}
}

func TestReplayGroupsAndCounts(t *testing.T) {
	put := call("allow", "old", "", "PUT", "old.example", "")
	log := strings.Join([]string{
		put, call("refuse", "no_rule", "", "GET", "old.example", ""), put, put,
		call("refuse", "caller_expired", "ci", "GET", "old.example", ""),
		`{"type":"opened","server.address":"old.example"}`, `{"type":"started"}`, "", "not json", `{"type":`, "{}",
		strings.Repeat("x", 2*maxLine), call("allow", "old", "", "GET", "old.example", ""),
	}, "\n")
	rep, err := Run(strings.NewReader(log), load(t, rules), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if rep.Calls != 5 || rep.Same != 1 || rep.Refused != 3 || rep.Allowed != 1 || rep.Skipped != 1 || rep.Broken != 4 {
		t.Errorf("%+v", rep)
	}
	want := []Change{
		{How: Refused, Count: 3, Then: "old", Now: "method_not_allowed", Method: "PUT", Host: "old.example"},
		{How: Allowed, Count: 1, Then: "no_rule", Now: "old", Method: "GET", Host: "old.example"},
	}
	if !reflect.DeepEqual(rep.Changes, want) {
		t.Errorf("%+v", rep.Changes)
	}
}

// TestReplayIsBounded: a log of calls to ever new hosts makes no report of all of them.
func TestReplayIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range mostChanges + 10 {
		b.WriteString(call("allow", "x", "", "GET", fmt.Sprintf("h%d.example", i), "") + "\n")
	}
	rep, err := Run(strings.NewReader(b.String()), load(t, rules), time.Now())
	if err != nil || rep.Refused != mostChanges+10 || len(rep.Changes) != mostChanges || rep.More != 10 {
		t.Errorf("%d refused, %d changes, %d more, %v", rep.Refused, len(rep.Changes), rep.More, err)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte(call("allow", "stripe", "ci", "POST", "api.stripe.com", path("/v1/charges"))))
	f.Add([]byte(`{"type":"request","server.address":"[::1]","server.port":0,"method":"","url.path":"/%"}`))
	cfg := load(f, rules)
	f.Fuzz(func(t *testing.T, data []byte) {
		rep, err := Run(strings.NewReader(string(data)), cfg, time.Unix(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if sum := rep.Same + rep.Refused + rep.Other + rep.Allowed + rep.Unknown; sum != rep.Calls {
			t.Fatalf("%d calls, %d judged", rep.Calls, sum)
		}
	})
}

package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/attache-proxy/attache/proxy/admin"
)

// hostile are strings as a client may send them: they must not reach a terminal as they are.
func hostile() string {
	return "evil\x1b[2J\x1b]0;owned\a\u202e\r\n" + strings.Repeat("wide", 40) + "<script>"
}

func hostileStatus() *seen {
	now := time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC)
	s := &seen{Summary: admin.Summary{
		Host: "checkout-7d9f4", State: "ready", Version: "v1.3.0", Now: now, Config: admin.ConfigStatus{Generation: 12, Loaded: now.Add(-4 * time.Hour)},
		Traffic:   admin.Traffic{Seconds: 900, Allowed: 18204, Refused: 12, Upstream5xx: 3, AddedP99: .4},
		Attention: []admin.Attention{{Subject: "crm-token", State: "STALE", Since: now.Add(-38 * time.Minute), Text: "empty (file /run/crm); g4 served until 09:12 UTC", Do: "Mend the source before then: after it, rule crm answers 503."}},
		Rules: []admin.RuleSummary{
			{RuleStatus: admin.RuleStatus{ID: "stripe", Action: "allow", Callers: []string{"pod"}, Credentials: []string{"stripe-key"}}, RuleTraffic: admin.RuleTraffic{PerSecond: 20.1, Allowed: 18204, Upstream4xx: 2, Upstream5xx: 3, UpstreamP99: 412}},
			{RuleStatus: admin.RuleStatus{ID: "no-refunds", Action: "deny", Callers: []string{"pod"}}, RuleTraffic: admin.RuleTraffic{Refused: 9}},
		},
		NoRule:   admin.RuleTraffic{Refused: 3},
		Secrets:  []admin.SecretStatus{{Name: "stripe-key", State: "READY", Generation: 7, Since: now.Add(-2 * time.Hour), NextLook: now.Add(11 * time.Second), Source: "file"}},
		Identity: &admin.IdentityStatus{SVIDs: []admin.SVIDStatus{{ID: "spiffe://acme.example/ns/shop/sa/checkout", NotAfter: now.Add(18 * time.Minute)}}},
		CA:       []admin.CAStatus{{ID: "ab12", Permits: []string{"api.stripe.com"}, NotAfter: now.AddDate(1, 0, 0)}},
	}}
	refused := []auditLine{
		{Time: now.Add(-time.Minute), Reason: "no_rule", Method: "CONNECT", Host: "api.segment.io", Port: 443, RequestID: "1M889EBXRJCW0Z1T"},
		{Time: now, Reason: hostile(), Method: hostile(), Host: hostile(), Port: 1, RequestID: hostile()},
	}
	refused[0].Caller.Name = "pod"
	refused[1].Caller.Name = hostile()
	for i, e := range refused {
		s.Kinds = append(s.Kinds, struct {
			Last  auditLine `json:"last"`
			Count int       `json:"count"`
			Hint  string    `json:"hint"`
		}{e, 3 - i, "Add a rule for this host if the call should pass."})
	}
	return s
}

// clean fails the test if text could act on a terminal, or is wider than it should be.
func clean(t *testing.T, text string) {
	t.Helper()
	for i, l := range strings.Split(text, "\n") {
		if n := utf8.RuneCountInString(l); n > columns && !strings.Contains(l, "widewide") {
			t.Errorf("line %d has %d columns: %s", i, n, l)
		}
	}
	for _, bad := range []string{"\x1b", "\a", "\r", "\u202e"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q reaches the terminal", bad)
		}
	}
}

func TestStatusText(t *testing.T) {
	got := hostileStatus().text()
	clean(t, got)
	for _, want := range []string{
		"checkout-7d9f4   READY   config g12, 4h ago   v1.3.0\n15 min:  18,204 allowed   12 refused   3 upstream 5xx   +0.4 ms p99\n",
		"  crm-token  STALE 38m  empty (file /run/crm); g4 served until 09:12 UTC\n",
		"stripe      20.1        0    2    3  412 ms  stripe-key  pod\n",
		"(no rule)    0.0        3",
		"stripe-key  READY    7  2h     11s        file\n",
		"IDENTITY     spiffe://acme.example/ns/shop/sa/checkout ends in 18m\n",
		"     3x  08:59:00  no_rule               pod           api.segment.io\n",
		"         1M889EBXRJCW0Z1T  Add a rule for this host if the call should pass.\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in\n%s", want, got)
		}
	}
	empty := (&seen{}).text()
	clean(t, empty)
}

func TestStatusOfManyRules(t *testing.T) {
	s := hostileStatus()
	for i := range 1000 {
		s.Rules = append(s.Rules, admin.RuleSummary{RuleStatus: admin.RuleStatus{ID: fmt.Sprint("rule-", i)}})
	}
	got := s.text()
	if n := strings.Count(got, "\n"); n > 40 || !strings.Contains(got, "and 1,000 rules that nobody called") {
		t.Errorf("%d lines\n%s", n, got)
	}
}

// A screen never holds more than the terminal does, or it would scroll at every look.
func TestScreenFits(t *testing.T) {
	text := strings.Repeat("a line that is rather long\n", 50)
	for _, size := range [][2]int{{80, 24}, {20, 5}, {300, 100}} {
		got := screen(text, size[0], size[1])
		if n := strings.Count(got, "\n"); n > size[1]-1 {
			t.Errorf("%d lines for %v", n, size)
		}
		if !strings.HasPrefix(got, "\x1b[H") || !strings.HasSuffix(got, "\x1b[J") {
			t.Errorf("%q", got)
		}
	}
}

func TestExplainedCallText(t *testing.T) {
	now := time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC)
	bad := toldCall{Decision: admin.Decision{Now: now, Hint: "Add a rule.", Reason: &admin.Reason{Status: 403, Meaning: "No rule names the host."}}}
	bad.Events = []auditLine{{Time: now, Decision: "refuse", Reason: hostile(), Status: 403, Fault: "policy", Nearest: hostile(), DiffersBy: "host", Method: hostile(), Host: hostile(), Path: hostile(), Detail: hostile(), Listener: "proxy"}}
	good := toldCall{Decision: admin.Decision{Now: now, ConfigGeneration: 13, Rule: &admin.RuleStatus{Pos: "10-checkout.yaml:9"}}}
	e := auditLine{Time: now.Add(-3 * time.Minute), Decision: "allow", Rule: "stripe", Status: 200, UpstreamStatus: 200, Method: "POST", Host: "api.stripe.com", Port: 443, Protocol: "h2",
		Listener: "proxy", Attempts: 1, Reused: true, ResolvedIP: "192.0.2.7", ConfigGeneration: 12, ClientCredential: true, Redacted: 3}
	e.Phases.Total, e.Phases.FirstByte, e.Phases.Added = 85.02, 84.31, .4
	e.Credentials = append(e.Credentials, struct {
		Name       string  `json:"name"`
		Kind       string  `json:"kind"`
		Generation uint64  `json:"generation"`
		Outcome    string  `json:"outcome"`
		Age        float64 `json:"age"`
	}{"stripe-key", "bearer", 7, "attached", 7213})
	good.Events = []auditLine{e}
	for name, tc := range map[string]struct {
		call  *toldCall
		wants []string
	}{
		"refused": {&bad, []string{"  refused   403 evil\\u001b[2J", "  nearest   rule evil", "no longer configured", "hint      Add a rule.", "upstream  never asked"}},
		"allowed": {&good, []string{
			"  allowed   200, by rule stripe                    10-checkout.yaml:9\n", "  call      POST api.stripe.com:443, h2, by listener proxy\n",
			"  attached  stripe-key (bearer), generation 7, read 2h before\n", "  upstream  answered 200, at 192.0.2.7, on a connection that was open\n",
			"  took      85 ms: first byte 84 ms, Attaché itself 0.4 ms\n", "  config    generation 12; generation 13 is in force now\n",
			"  removed   the app sent credentials of its own, which were removed\n", "  masked    the answer repeated a credential, 3 times\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			tc.call.print(&b)
			clean(t, b.String())
			for _, want := range tc.wants {
				if !strings.Contains(b.String(), want) {
					t.Errorf("missing %q in\n%s", want, b.String())
				}
			}
		})
	}
}

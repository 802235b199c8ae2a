package admin

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// walk fails the test for every part of t that could hold more than text, numbers and times.
func walk(t *testing.T, at reflect.Type, path string, seen map[reflect.Type]bool) {
	if seen[at] || at == reflect.TypeFor[time.Time]() {
		return
	}
	seen[at] = true
	switch at.Kind() {
	case reflect.Struct:
		if p := at.PkgPath(); p != "" && !strings.HasSuffix(p, "/proxy/admin") && !strings.HasSuffix(p, "/proxy/audit") {
			t.Errorf("%s is a %s, of another package", path, at)
		}
		for i := range at.NumField() {
			f := at.Field(i)
			walk(t, f.Type, path+"."+f.Name, seen)
		}
	case reflect.Slice, reflect.Array:
		if at.Elem().Kind() == reflect.Uint8 {
			t.Errorf("%s holds bytes", path)
		}
		walk(t, at.Elem(), path+"[]", seen)
	case reflect.Pointer:
		walk(t, at.Elem(), path, seen)
	case reflect.Interface, reflect.Func, reflect.Chan, reflect.Map, reflect.UnsafePointer:
		t.Errorf("%s is a %s, which may lead anywhere", path, at)
	}
}

// What the API and the page show cannot hold a secret: no type in it could.
func TestShownTypesCannotHoldSecrets(t *testing.T) {
	for _, shown := range []any{Summary{}, Decision{}, status{}, recentEvents{}, problem{}} {
		walk(t, reflect.TypeOf(shown), reflect.TypeOf(shown).Name(), map[reflect.Type]bool{})
	}
}

func TestSummary(t *testing.T) {
	o := newOptions()
	o.Hostname, o.Window = "checkout-7d9f4", NewWindow(time.Now())
	o.Window.Configure([]string{"stripe"})
	now := time.Now()
	for _, e := range []*audit.Event{
		{Type: audit.Request, Time: now, RequestID: "a", Decision: audit.Allow, Rule: "stripe", UpstreamStatus: 200},
		{Type: audit.Request, Time: now, RequestID: "b", Decision: audit.Refuse, Reason: "no_rule", Fault: "policy", Host: "evil.test", NearestRule: "stripe", DiffersBy: "host"},
	} {
		o.Window.Record(e)
		o.Recent.Record(e)
	}
	base, client := serve(t, Handler(&fakeState{started: true}, o))
	status, _, body := call{path: "/api/summary"}.do(t, client, base)
	var s Summary
	var raw struct{ Refusals []map[string]any }
	if err := json.Unmarshal([]byte(body), &raw); status != 200 || err != nil {
		t.Fatal(status, err, body)
	}
	s.Refusals = nil
	var plain struct {
		Host, State string
		Attention   []Attention
		Traffic     Traffic
		Rules       []RuleSummary
		NoRule      RuleTraffic `json:"no_rule"`
		Secrets     []SecretStatus
	}
	if err := json.Unmarshal([]byte(body), &plain); err != nil {
		t.Fatal(err)
	}
	if plain.Host != "checkout-7d9f4" || plain.State != "ready" || plain.Traffic.Allowed != 1 || plain.Traffic.Refused != 1 || plain.NoRule.Refused != 1 {
		t.Errorf("%s", body)
	}
	if len(plain.Rules) != 1 || plain.Rules[0].ID != "stripe" || plain.Rules[0].Allowed != 1 || len(plain.Secrets) != 1 || len(plain.Attention) != 0 {
		t.Errorf("%s", body)
	}
	if !strings.Contains(body, `"count": 1`) || !strings.Contains(body, `"hint": "Add a rule."`) {
		t.Errorf("no kinds of refusals: %s", body)
	}
	if len(raw.Refusals) != 1 || raw.Refusals[0]["request_id"] != "b" {
		t.Errorf("%s", body)
	}
}

func TestAttention(t *testing.T) {
	now := time.Date(2026, 11, 3, 9, 0, 0, 0, time.UTC)
	rule := func(traffic RuleTraffic) *Summary {
		return &Summary{Now: now, Rules: []RuleSummary{{RuleStatus{ID: "stripe", Credentials: []string{"stripe"}}, traffic}}}
	}
	for name, tc := range map[string]struct {
		summary  *Summary
		degraded []string
		want     string // severity subject state: text | do
	}{
		"nothing": {&Summary{Now: now, Secrets: []SecretStatus{{Name: "k", Healthy: true}}}, nil, ""},
		"config": {&Summary{Now: now, Config: ConfigStatus{Generation: 3, LastError: "a.yaml:3:5: unknown key\na.yaml:4:1: other"}}, []string{"config: the last reload was rejected: x"},
			"failing config REJECTED: a.yaml:3:5: unknown key (and 1 more) | Mend the file: generation 3 serves on until then."},
		"stale secret": {&Summary{Now: now, Secrets: []SecretStatus{{Name: "crm-token", State: "STALE", Reason: "permission denied", Generation: 4, ServedUntil: now.Add(12 * time.Minute), Rules: []string{"crm"}}}}, nil,
			"failing crm-token STALE: permission denied; g4 served until 09:12 UTC | Mend the source before then: after it, rule crm answers 503."},
		"stale secret, with time": {&Summary{Now: now, Secrets: []SecretStatus{{Name: "k", State: "STALE", Reason: "x", Generation: 4, ServedUntil: now.Add(20 * time.Hour)}}}, nil,
			"warning k STALE: x; g4 served until 4 Nov 05:00 UTC | Mend the source before then: after it, there is none."},
		"missing secret": {&Summary{Now: now, Secrets: []SecretStatus{{Name: "k", State: "LOADING", Reason: "not found", Source: "file /k", Rules: []string{"a", "b"}}}}, nil,
			"failing k LOADING: not found; rules a, b answer 503 | Put it there: it is looked for until it comes."},
		"secret's warning": {&Summary{Now: now, Secrets: []SecretStatus{{Name: "k", Healthy: true, Warnings: []string{"pinned"}}}}, nil, "warning k : pinned | "},
		"revoked upstream": {rule(RuleTraffic{Allowed: 100, Unauthorized: 50}), nil,
			"failing stripe 401: the API refuses the credential in 50 % of calls | The key was revoked, or rotated elsewhere: put the new one at its source."},
		"one 401 is a rotation": {rule(RuleTraffic{Allowed: 100, Unauthorized: 1}), nil, ""},
		"few 5xx":               {rule(RuleTraffic{Allowed: 1000, Upstream5xx: 3}), nil, ""},
		"many 5xx":              {rule(RuleTraffic{Allowed: 100, Upstream5xx: 99}), nil, "warning stripe 5xx: 99 % of calls fail upstream | Not Attaché's doing: ask whoever runs the API."},
		"own key": {rule(RuleTraffic{Allowed: 1000, OwnCredentials: 1}), nil,
			"warning stripe OWN KEY: under 1 % of calls still carry a key of the app's own | Take the key out of the application: it is removed on the way and not needed."},
		"identity": {&Summary{Now: now, Identity: &IdentityStatus{Source: "unix:/s", Problem: "no such file"}}, []string{"identity: no such file"},
			"failing identity NONE: no such file | See that the workload is registered and the agent runs: unix:/s."},
		"old CA": {&Summary{Now: now, CA: []CAStatus{{NotAfter: now.Add(24 * time.Hour)}}}, nil,
			"warning CA ENDS: the newest generation ends on 2026-11-04 | If ca.cert was given, renew it; else restart, and let clients read ca.pem again."},
		"observed": {&Summary{Now: now, NoRule: RuleTraffic{Observed: 1200}}, nil,
			"warning unmatched OBSERVED: 1,200 calls to hosts that no rule names passed unopened | Write rules for them before unmatched.observe_until ends; attache check --replay lists them."},
		"audit": {&Summary{Now: now}, []string{"audit: 3 events lost"}, "failing audit LOST: 3 events lost | What takes the log is too slow, or its disk is full."},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, a := range attention(tc.summary, tc.degraded) {
				got = append(got, a.Severity+" "+a.Subject+" "+a.State+": "+a.Text+" | "+a.Do)
			}
			if text := strings.Join(got, "\n"); text != tc.want {
				t.Errorf("%s\nwant %s", text, tc.want)
			}
		})
	}
	order := attention(&Summary{Now: now, Secrets: []SecretStatus{{Name: "a", Healthy: true, Warnings: []string{"w"}}, {Name: "b", State: "STALE"}}}, nil)
	if len(order) != 2 || order[0].Subject != "b" {
		t.Errorf("the worst is not first: %+v", order)
	}
}

func TestDecision(t *testing.T) {
	o := newOptions()
	base, client := serve(t, Handler(&fakeState{started: true}, o))
	_, _, body := call{path: "/api/decision/b"}.do(t, client, base)
	if !strings.Contains(body, `"events": 0`) || strings.Contains(body, "0001-01-01") {
		t.Errorf("nothing is remembered: %s", body)
	}
	then := time.Now().Add(-time.Minute)
	o.Recent.Record(&audit.Event{Type: audit.Opened, Time: then, RequestID: "b", NearestRule: "stripe"})
	o.Recent.Record(&audit.Event{Type: audit.Request, Time: then, RequestID: "b", NearestRule: "stripe", Reason: "no_rule", Decision: audit.Refuse})
	status, head, body := call{path: "/api/decision/b"}.do(t, client, base)
	var d struct {
		Events  []map[string]any
		Reason  Reason
		Hint    string
		Nearest RuleStatus `json:"nearest_rule"`
	}
	if err := json.Unmarshal([]byte(body), &d); err != nil || status != 200 || len(d.Events) != 2 || d.Events[0]["type"] != "request" || d.Hint != "Add a rule." || d.Nearest.ID != "stripe" || d.Reason.Status != 403 {
		t.Errorf("%d %v %s", status, err, body)
	}
	if head.Get("Content-Type") != "application/json" {
		t.Error(head)
	}
	status, head, body = call{path: "/api/decision/zz"}.do(t, client, base)
	if status != 404 || head.Get("Content-Type") != "application/problem+json" || !strings.Contains(body, "call_unknown") || !strings.Contains(body, then.UTC().Format(time.DateOnly)) {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := (call{path: "/api/decision/"}).do(t, client, base); status != 404 {
		t.Errorf("no id: %d", status)
	}
	if status, _, body := (call{path: "/api/explain"}).do(t, client, base); status != 400 || !strings.Contains(body, "bad_question") {
		t.Errorf("explain of nothing: %d %s", status, body)
	}
}

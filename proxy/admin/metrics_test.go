package admin

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attache-proxy/attache/proxy/audit"
)

// allGauges gives every gauge a value.
func allGauges() Gauges {
	at := time.Unix(1_800_000_000, 500e6)
	return Gauges{
		InFlight: func() int64 { return 2 }, Tunnels: func() int64 { return 1 },
		LeafCertificates: func() uint64 { return 7 }, AuditDropped: func() uint64 { return 3 },
		CAExpiry: func() time.Time { return at }, ConfigGeneration: func() uint64 { return 4 }, ConfigOK: func() bool { return true },
		ObserveEnd: func() time.Time { return at },
		Identity: func() *IdentityStatus {
			return &IdentityStatus{
				Generation: 5, Problem: "the agent cannot be reached",
				SVIDs:   []SVIDStatus{{ID: "spiffe://acme.example/a", NotAfter: at}, {ID: "spiffe://acme.example/b"}},
				Bundles: []BundleStatus{{TrustDomain: "acme.example", X509: 2, JWT: 1}, {TrustDomain: "bank.example", Federated: true, X509: 1}},
			}
		},
		Secrets: func() []SecretGauge {
			return []SecretGauge{{Name: "key", Generation: 2, Stale: true, LastSuccess: at, Expiry: at}, {Name: "new"}}
		},
	}
}

func names() Names {
	return Names{
		Rules: []string{"stripe", "crm"}, Callers: []string{"pod", "ci"}, Secrets: []string{"key"},
		Credentials: map[string]string{"stripe": "bearer", "crm": "header"}, Fetched: []string{"crm"},
		Reasons: map[string]string{"no_rule": "policy", "credential_missing": "credential"},
	}
}

// samples reads every series as the text "name{labels}" with its value; of histograms the count.
func samples(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "attache_") {
			continue
		}
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			switch {
			case s.GetCounter() != nil:
				all[key] = s.GetCounter().GetValue()
			case s.GetGauge() != nil:
				all[key] = s.GetGauge().GetValue()
			default:
				all[key] = float64(s.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

func request(change func(*audit.Event)) *audit.Event {
	e := &audit.Event{
		Type: audit.Request, Decision: audit.Allow, Rule: "stripe", Caller: "pod", Status: 200, UpstreamStatus: 200,
		Phases:      audit.Phases{FirstByte: 80 * time.Millisecond, Total: 90 * time.Millisecond},
		Credentials: []audit.Credential{{Name: "stripe", Kind: "bearer", Generation: 1, Outcome: "attached"}},
	}
	if change != nil {
		change(e)
	}
	return e
}

func TestRecordCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		e    *audit.Event
		want map[string]float64 // all that is not zero
	}{
		"allowed": {request(nil), map[string]float64{
			"requests_total{caller=pod,code_class=2xx,decision=allow,rule=stripe}": 1,
			"injections_total{credential=stripe,kind=bearer,outcome=attached}":     1,
			"request_duration_seconds{}":                                           1, "upstream_duration_seconds{}": 1,
		}},
		"upstream 401": {request(func(e *audit.Event) { e.Status, e.UpstreamStatus = 401, 401; e.ClientCredential = true }), map[string]float64{
			"requests_total{caller=pod,code_class=4xx,decision=allow,rule=stripe}": 1,
			"injections_total{credential=stripe,kind=bearer,outcome=attached}":     1,
			"upstream_auth_failures_total{credential=stripe}":                      1,
			"client_credentials_total{rule=stripe}":                                1,
			"request_duration_seconds{}":                                           1, "upstream_duration_seconds{}": 1,
		}},
		"upstream 401, then 200": {request(func(e *audit.Event) { e.Attempts = 2 }), map[string]float64{
			"requests_total{caller=pod,code_class=2xx,decision=allow,rule=stripe}": 1,
			"injections_total{credential=stripe,kind=bearer,outcome=attached}":     1,
			"upstream_auth_failures_total{credential=stripe}":                      1,
			"request_duration_seconds{}":                                           1, "upstream_duration_seconds{}": 1,
		}},
		"upstream 401 twice": {request(func(e *audit.Event) { e.Attempts, e.Status, e.UpstreamStatus = 2, 401, 401 }), map[string]float64{
			"requests_total{caller=pod,code_class=4xx,decision=allow,rule=stripe}": 1,
			"injections_total{credential=stripe,kind=bearer,outcome=attached}":     1,
			"upstream_auth_failures_total{credential=stripe}":                      2,
			"request_duration_seconds{}":                                           1, "upstream_duration_seconds{}": 1,
		}},
		"masked": {request(func(e *audit.Event) { e.Redacted = 3 }), map[string]float64{
			"requests_total{caller=pod,code_class=2xx,decision=allow,rule=stripe}": 1,
			"injections_total{credential=stripe,kind=bearer,outcome=attached}":     1,
			"redactions_total{rule=stripe}":                                        3,
			"request_duration_seconds{}":                                           1, "upstream_duration_seconds{}": 1,
		}},
		"refused": {&audit.Event{Type: audit.Request, Decision: audit.Refuse, Reason: "no_rule", Fault: "policy", Caller: "ci", Status: 403, Host: "evil.test"}, map[string]float64{
			"requests_total{caller=ci,code_class=4xx,decision=refuse,rule=-}": 1,
			"failures_total{fault=policy,reason=no_rule,rule=-}":              1,
		}},
		"unknown names": {&audit.Event{
			Type: audit.Request, Decision: "evil", Reason: "evil", Fault: "evil", Rule: "evil", Caller: "evil", Status: 999, Method: "evil", Host: "evil",
			Credentials: []audit.Credential{{Name: "evil", Kind: "evil", Outcome: "evil"}, {Name: "crm", Outcome: "evil"}},
		}, map[string]float64{
			"requests_total{caller=-,code_class=-,decision=-,rule=-}": 1,
			"failures_total{fault=-,reason=-,rule=-}":                 1,
			"injections_total{credential=-,kind=-,outcome=-}":         2,
		}},
		"observed": {&audit.Event{Type: audit.Request, Decision: audit.WouldDeny, Reason: "no_rule", Status: 200}, map[string]float64{
			"requests_total{caller=-,code_class=2xx,decision=would_deny,rule=-}": 1,
		}},
		"observed, and failed": {&audit.Event{Type: audit.Request, Decision: audit.WouldDeny, Reason: "no_rule", Status: 502}, map[string]float64{
			"requests_total{caller=-,code_class=5xx,decision=would_deny,rule=-}": 1,
			"failures_total{fault=policy,reason=no_rule,rule=-}":                 1,
		}},
		"tunnel": {&audit.Event{Type: audit.Request, Decision: audit.TunnelAllow, Rule: "crm", Status: 200, Phases: audit.Phases{Total: time.Hour}}, map[string]float64{
			"requests_total{caller=-,code_class=2xx,decision=tunnel,rule=crm}": 1,
		}},
		"upgraded": {&audit.Event{Type: audit.Request, Decision: audit.Allow, Rule: "crm", Status: 101, Phases: audit.Phases{Total: time.Hour}}, map[string]float64{
			"requests_total{caller=-,code_class=1xx,decision=allow,rule=crm}": 1,
		}},
		"opened":   {&audit.Event{Type: audit.Opened, Decision: audit.Allow, Rule: "crm"}, nil},
		"rotation": {&audit.Event{Type: audit.SecretRotated, Secret: "key"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewMetrics("v1", Gauges{})
			m.Configure(names())
			m.Record(tc.e)
			got := samples(t, m)
			maps.DeleteFunc(got, func(k string, v float64) bool { return v == 0 || strings.HasPrefix(k, buildInfo) })
			want := map[string]float64{}
			for k, v := range tc.want {
				want["attache_"+k] = v
			}
			if !maps.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			for k := range got {
				if strings.Contains(k, "evil") {
					t.Errorf("%s carries what is not configured", k)
				}
			}
		})
	}
}

func TestSeriesArePreCreatedAndForgotten(t *testing.T) {
	m := NewMetrics("v1", Gauges{})
	m.Configure(names())
	for _, key := range []string{
		"attache_requests_total{caller=pod,code_class=5xx,decision=refuse,rule=crm}", "attache_requests_total{caller=-,code_class=4xx,decision=refuse,rule=-}",
		"attache_failures_total{fault=credential,reason=credential_missing,rule=stripe}", "attache_failures_total{fault=policy,reason=no_rule,rule=-}",
		"attache_injections_total{credential=crm,kind=header,outcome=missing}", "attache_upstream_auth_failures_total{credential=crm}",
		"attache_client_credentials_total{rule=crm}", "attache_secret_reloads_total{result=error,secret=key}", "attache_watch_missed_changes_total{}",
	} {
		if v, ok := samples(t, m)[key]; !ok || v != 0 {
			t.Errorf("%s is %v, %v; want it at zero", key, v, ok)
		}
	}
	m.Record(request(nil))
	m.Record(request(func(e *audit.Event) { e.Rule, e.Caller, e.Status = "crm", "ci", 302 }))
	m.SecretReload("key", "rotated")
	m.SecretReload("gone", "unheard of")
	m.TokenFetch("crm", nil)
	m.TokenFetch("gone", errors.New("the agent is down"))
	m.MissedChange()

	n := names()
	n.Rules, n.Callers, n.Secrets = []string{"stripe", "new"}, []string{"pod"}, []string{"key2"}
	n.Credentials, n.Fetched = map[string]string{"stripe": "bearer", "crm": "query"}, nil
	n.Reasons = map[string]string{"no_rule": "caller"}
	m.Configure(n)
	got := samples(t, m)
	for key := range got {
		for _, gone := range []string{"rule=crm", "caller=ci", "secret=key}", "kind=header", "fetches_total{credential=crm", "credential_missing", "fault=policy"} {
			if strings.Contains(key+"}", gone) {
				t.Errorf("%s is still there", key)
			}
		}
	}
	for key, want := range map[string]float64{
		"attache_requests_total{caller=pod,code_class=2xx,decision=allow,rule=stripe}": 1, // kept over the reload
		"attache_requests_total{caller=pod,code_class=2xx,decision=allow,rule=new}":    0,
		"attache_injections_total{credential=crm,kind=query,outcome=attached}":         0,
		"attache_failures_total{fault=caller,reason=no_rule,rule=new}":                 0,
		"attache_secret_reloads_total{result=-,secret=-}":                              1,
		"attache_token_fetches_total{credential=-,result=error}":                       1,
		"attache_watch_missed_changes_total{}":                                         1,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v, %v; want %v", key, v, ok, want)
		}
	}
	m.Record(request(nil))
	if v := samples(t, m)["attache_requests_total{caller=pod,code_class=2xx,decision=allow,rule=stripe}"]; v != 2 {
		t.Errorf("after the reload it counts %v, want 2", v)
	}
}

// Thousands of rules and callers do not make millions of series at start.
func TestManyNamesAreBounded(t *testing.T) {
	n := names()
	for i := range 2000 {
		n.Rules = append(n.Rules, fmt.Sprint("rule", i))
		n.Callers = append(n.Callers, fmt.Sprint("caller", i))
	}
	m := NewMetrics("v1", Gauges{})
	m.Configure(n)
	m.Record(request(func(e *audit.Event) { e.Rule, e.Caller = "rule7", "caller9" }))
	got := samples(t, m)
	if len(got) > 3*preCreated {
		t.Errorf("%d series", len(got))
	}
	if got["attache_requests_total{caller=caller9,code_class=2xx,decision=allow,rule=rule7}"] != 1 {
		t.Error("a series not made before is not counted")
	}
}

// A count that began before a reload does not bring back what the reload dropped.
func TestForgottenSeriesStayForgotten(t *testing.T) {
	m := NewMetrics("v1", Gauges{})
	m.Configure(names())
	former := m.table.Load()
	m.Configure(Names{})
	var s series
	m.makeSeries(former, &s, m.clientCredentials, "stripe")
	if _, ok := samples(t, m)["attache_client_credentials_total{rule=stripe}"]; ok || s.Load() != nil {
		t.Error("it came back")
	}
}

func TestGauges(t *testing.T) {
	got := samples(t, NewMetrics("v9", allGauges()))
	for key, want := range map[string]float64{
		"requests_in_flight{}": 2, "tunnels_active{}": 1, "leaf_certificates_total{}": 7, "audit_dropped_total{}": 3,
		"svid_expiry_timestamp_seconds{}": 1_800_000_000.5, "identity_stale{}": 1, "identity_generation{}": 5,
		"trust_bundle_authorities{profile=x509,trust_domain=acme.example}": 2, "trust_bundle_authorities{profile=jwt,trust_domain=bank.example}": 0,
		"ca_expiry_timestamp_seconds{}": 1_800_000_000.5, "config_generation{}": 4, "config_last_reload_successful{}": 1,
		"observe_end_timestamp_seconds{}": 1_800_000_000.5,
		"secret_generation{secret=key}":   2, "secret_stale{secret=key}": 1, "secret_stale{secret=new}": 0,
		"secret_last_success_timestamp_seconds{secret=key}": 1_800_000_000.5, "secret_expiry_timestamp_seconds{secret=key}": 1_800_000_000.5,
		"build_info{goversion=" + runtime.Version() + ",version=v9}": 1,
	} {
		if v, ok := got["attache_"+key]; !ok || v != want {
			t.Errorf("%s is %v, %v; want %v", key, v, ok, want)
		}
	}
	if _, ok := got["attache_secret_expiry_timestamp_seconds{secret=new}"]; ok {
		t.Error("an expiry that is not known is shown")
	}
}

func TestRecordWhileConfigured(t *testing.T) {
	m := NewMetrics("v1", allGauges())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 300 {
				m.Record(request(func(e *audit.Event) { e.Status = 200 + i%5*100; e.Reason = "no_rule" }))
				m.SecretReload("key", "rotated")
			}
		})
	}
	wg.Go(func() {
		for i := range 100 {
			n := names()
			if i%2 == 0 {
				n.Rules = n.Rules[1:]
			}
			m.Configure(n)
		}
	})
	wg.Go(func() {
		for range 20 {
			if _, err := m.registry.Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	n := names()
	n.Rules = []string{"crm"}
	m.Configure(n)
	for key := range samples(t, m) {
		if strings.Contains(key, "rule=stripe") {
			t.Errorf("%s came back", key)
		}
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	m := NewMetrics("v1", Gauges{})
	m.Configure(names())
	for _, e := range []*audit.Event{
		request(nil),
		request(func(e *audit.Event) { e.Status, e.Reason, e.ClientCredential = 503, "credential_missing", true }),
		request(func(e *audit.Event) { e.Rule, e.Caller, e.Reason = "unknown", "unknown", "unknown" }),
	} {
		m.Record(e)
		if n := testing.AllocsPerRun(100, func() { m.Record(e) }); n != 0 {
			t.Errorf("%v allocations for %+v", n, e)
		}
	}
}

func TestMetricsAreLinted(t *testing.T) {
	for _, m := range Table() {
		if !strings.HasPrefix(m.Name, "attache_") || m.Help == "" || (m.Type == "counter") != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%+v", m)
		}
	}
}

// Every metric is documented with its type, labels and help, and every documented one exists.
func TestEveryMetricIsDocumented(t *testing.T) {
	m := NewMetrics("v1", allGauges())
	m.Configure(names())
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]Metric{}
	for _, d := range Table() {
		table[d.Name] = d
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "attache_") {
			if !strings.HasPrefix(f.GetName(), "go_") && !strings.HasPrefix(f.GetName(), "process_") {
				t.Errorf("%s is of no known kind", f.GetName())
			}
			continue
		}
		d, ok := table[f.GetName()]
		delete(table, f.GetName())
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		want := slices.Sorted(slices.Values(d.Labels))
		if !ok || f.GetHelp() != d.Help || strings.ToLower(f.GetType().String()) != d.Type || !slices.Equal(labels, want) {
			t.Errorf("%s %s %v %q is documented as %+v", f.GetName(), f.GetType(), labels, f.GetHelp(), d)
		}
	}
	for name := range table {
		t.Errorf("%s is documented and not there", name)
	}
}

func BenchmarkRecord(b *testing.B) {
	m := NewMetrics("v1", Gauges{})
	m.Configure(names())
	e := request(nil)
	b.ReportAllocs()
	for b.Loop() {
		m.Record(e)
	}
}

func BenchmarkRecordParallel(b *testing.B) {
	m := NewMetrics("v1", Gauges{})
	m.Configure(names())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		e := request(nil)
		for pb.Next() {
			m.Record(e)
		}
	})
}

// What start pays: a registry with everything in it.
func BenchmarkNewMetrics(b *testing.B) {
	n := names()
	b.ReportAllocs()
	for b.Loop() {
		NewMetrics("v1", Gauges{}).Configure(n)
	}
}

func BenchmarkScrape(b *testing.B) {
	m := NewMetrics("v1", allGauges())
	m.Configure(names())
	var g prometheus.Gatherer = m.registry
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}

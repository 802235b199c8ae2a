package kubernetes

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// alert is one rule of the chart's PrometheusRule.
type alert struct {
	monitoring.Rule
	expr parser.Expr
	wait time.Duration
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var all []alert
	for _, o := range manifests(t)["monitoring"] {
		rule, ok := o.(*monitoring.PrometheusRule)
		if !ok {
			continue
		}
		for _, group := range rule.Spec.Groups {
			for _, r := range group.Rules {
				a := alert{Rule: r}
				var err error
				if a.expr, err = parser.NewParser(parser.Options{}).ParseExpr(r.Expr.String()); err != nil {
					t.Fatalf("%s: %v", r.Alert, err)
				}
				if r.For != nil {
					if a.wait, err = time.ParseDuration(string(*r.For)); err != nil {
						t.Fatalf("%s: %v", r.Alert, err)
					}
				}
				all = append(all, a)
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("there are no alerts")
	}
	return all
}

// documented reads docs/metrics.md: the labels of each metric, and the values of labels that have
// listed ones.
func documented(t *testing.T) (metrics, values map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`([a-z_\\-0-9]+)`")
	all := func(cell string) []string {
		var found []string
		for _, m := range names.FindAllStringSubmatch(cell, -1) {
			found = append(found, m[1])
		}
		return found
	}
	metrics, values = map[string][]string{}, map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) > 4 && strings.HasPrefix(cells[1], " `attache_") {
			metrics[all(cells[1])[0]] = all(cells[3])
		}
		for item := range strings.SplitSeq(strings.TrimPrefix(line, "- "), ";") {
			if label, list, ok := strings.Cut(item, "`: `"); ok {
				values[strings.TrimSpace(strings.TrimPrefix(label, "`"))] = all("`" + list)
			}
		}
	}
	if len(metrics) < 20 || !slices.Contains(values["fault"], "policy") {
		t.Fatalf("docs/metrics.md is not read as it is written: %d metrics, faults %q", len(metrics), values["fault"])
	}
	return metrics, values
}

// TestAlertsAskForWhatExists: each metric and label that an alert names is documented, and so is each
// value that it compares a label with.
func TestAlertsAskForWhatExists(t *testing.T) {
	metrics, values := documented(t)
	for _, a := range alerts(t) {
		has := map[string]bool{"namespace": true} // from the PodMonitor
		asked := 0
		parser.Inspect(a.expr, func(n parser.Node, _ []parser.Node) error {
			if selector, ok := n.(*parser.VectorSelector); ok {
				asked++
				given, ok := metrics[selector.Name]
				if !ok {
					t.Errorf("%s: no metric %s", a.Alert, selector.Name)
				}
				for _, label := range given {
					has[label] = true
				}
				for _, m := range selector.LabelMatchers {
					if m.Name != labels.MetricName && !slices.Contains(given, m.Name) {
						t.Errorf("%s: %s has no label %s", a.Alert, selector.Name, m.Name)
					}
					for value := range strings.SplitSeq(m.Value, "|") {
						if known, ok := values[m.Name]; ok && !slices.Contains(known, value) {
							t.Errorf("%s: %s is never %q", a.Alert, m.Name, value)
						}
					}
				}
			}
			return nil
		})
		parser.Inspect(a.expr, func(n parser.Node, _ []parser.Node) error {
			var grouped []string
			switch n := n.(type) {
			case *parser.AggregateExpr:
				grouped = n.Grouping
			case *parser.BinaryExpr:
				if n.VectorMatching != nil {
					grouped = n.VectorMatching.MatchingLabels
				}
			}
			for _, label := range grouped {
				if !has[label] {
					t.Errorf("%s: nothing has the label %s", a.Alert, label)
				}
			}
			return nil
		})
		if asked == 0 {
			t.Errorf("%s asks for no metric", a.Alert)
		}
		for _, m := range regexp.MustCompile(`\$labels\.([a-z_]+)`).FindAllStringSubmatch(a.Annotations["summary"], -1) {
			if !has[m[1]] {
				t.Errorf("%s: its summary names %s, which nothing has", a.Alert, m[1])
			}
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, a.Labels["severity"]) || a.Annotations["description"] == "" {
			t.Errorf("%s: severity %q, description %q", a.Alert, a.Labels["severity"], a.Annotations["description"])
		}
	}
}

// TestAlertsFireAndStayQuiet runs each alert in Prometheus' engine over what should fire it and over
// what should not. Samples are a minute apart; the last look is after two days, so that the alerts
// that compare with yesterday can.
func TestAlertsFireAndStayQuiet(t *testing.T) {
	const end = 2 * 24 * time.Hour // 2,880 samples after the first
	situations := map[string]struct{ fires, quiet string }{
		"AttacheCredentialRejected": {
			`attache_upstream_auth_failures_total{credential="c"} 0x2870 1+1x9`,
			`attache_upstream_auth_failures_total{credential="c"} 0x2877 3x3`, // a rotation
		},
		"AttacheCredentialMissing": {
			`attache_failures_total{rule="r", fault="credential", reason="credential_missing"} 0x2878 1x2`,
			`attache_failures_total{rule="r", fault="policy", reason="no_rule"} 0x2878 1x2`,
		},
		"AttacheSecretMissing": {`attache_secret_generation{secret="s"} 0x2880`, `attache_secret_generation{secret="s"} 0x2877 1x3`},
		"AttacheSecretStale":   {`attache_secret_stale{secret="s"} 0x2860 1x20`, `attache_secret_stale{secret="s"} 0x2870 1x10`},
		"AttacheSecretExpiring": {
			// In an hour from the end, and nothing rotated it.
			"attache_secret_expiry_timestamp_seconds{secret=\"s\"} 176400x2880\n" +
				`attache_secret_reloads_total{secret="s", result="rotated"} 1x2880`,
			// In an hour from any moment: a short-lived token that is renewed.
			"attache_secret_expiry_timestamp_seconds{secret=\"s\"} 3600+60x2880\n" +
				`attache_secret_reloads_total{secret="s", result="rotated"} 1x2800 2x80`,
		},
		"AttacheIdentityExpiring": {
			`attache_identity_stale 0x2870 1x10`,
			"attache_identity_stale 0x2880\nattache_svid_expiry_timestamp_seconds 3600+60x2880",
		},
		"AttacheConfigRejected": {`attache_config_last_reload_successful 1x2870 0x10`, `attache_config_last_reload_successful 1x2877 0x3`},
		"AttacheProxyFault": {
			`attache_failures_total{rule="r", fault="proxy", reason="internal"} 0x2875 1x5`,
			`attache_failures_total{rule="r", fault="upstream", reason="upstream_tls"} 0x2875 1x5`,
		},
		"AttacheAuditDropped": {`attache_audit_dropped_total 0x2875 5x5`, `attache_audit_dropped_total 5x2880`},
		"AttacheRefusalSpike": {
			`attache_failures_total{rule="-", fault="policy", reason="no_rule"} 0x2860 0+60x20`,
			`attache_failures_total{rule="-", fault="policy", reason="no_rule"} 0+60x2880`, // always so
		},
		"AttacheUpstreamFailing": {
			`attache_failures_total{rule="r", fault="upstream", reason="upstream_tls"} 0x2860 0+60x20`,
			`attache_failures_total{rule="r", fault="upstream", reason="upstream_tls"} 0+1x2880`,
		},
		"AttacheWatchMissed":       {`attache_watch_missed_changes_total 0x2850 1x30`, `attache_watch_missed_changes_total 1x2880`},
		"AttacheObserveEnding":     {`attache_observe_end_timestamp_seconds 259200x2880`, `attache_observe_end_timestamp_seconds 172000x2880`}, // tomorrow; past
		"AttacheCAEnding":          {`attache_ca_expiry_timestamp_seconds 864000x2880`, `attache_ca_expiry_timestamp_seconds 8640000x2880`},
		"AttacheClientCredentials": {`attache_client_credentials_total{rule="r"} 0x2000 3x880`, `attache_client_credentials_total{rule="r"} 3x2880`},
		"AttacheUpstreamRepeats":   {`attache_redactions_total{rule="r"} 0x2000 3x880`, `attache_redactions_total{rule="r"} 3x2880`},
	}
	for _, a := range alerts(t) {
		t.Run(a.Alert, func(t *testing.T) {
			c, ok := situations[a.Alert]
			if !ok {
				t.Fatal("nobody says when it fires")
			}
			if !a.firing(t, c.fires, end) {
				t.Error("it does not fire")
			}
			if a.firing(t, c.quiet, end) {
				t.Error("it fires for nothing")
			}
		})
	}
}

// firing reports whether the alert has held for its time, at that moment.
func (a alert) firing(t *testing.T, series string, at time.Duration) bool {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n  "+strings.ReplaceAll(series, "\n", "\n  "))
	engine := promqltest.NewTestEngine(t, false, 0, 1e6)
	for moment := at - a.wait; moment <= at; moment += 30 * time.Second {
		query, err := engine.NewInstantQuery(t.Context(), storage, nil, a.Expr.String(), time.Unix(0, 0).Add(moment))
		if err != nil {
			t.Fatal(err)
		}
		result := query.Exec(t.Context())
		if result.Err != nil {
			t.Fatal(result.Err)
		}
		held := len(result.Value.(promql.Vector)) > 0
		query.Close()
		if !held {
			return false
		}
	}
	return true
}

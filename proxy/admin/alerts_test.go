package admin

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// alertsFile is what Prometheus loads: the chart makes its PrometheusRule of it.
const alertsFile = "../../deploy/kubernetes/chart/attache/files/alerts.yaml"

// alert is one condition worth waking or telling somebody.
type alert struct {
	name     string
	when     string
	of       string // labels that name what it is about
	expr     string
	wait     string // how long it must hold
	severity string // critical: somebody's calls fail; warning: they will; info: for a list
	todo     string
}

func alerts() []alert {
	return []alert{
		{"AttacheCredentialRejected", "A credential is refused by its API", "credential",
			"increase(attache_upstream_auth_failures_total[3m]) > 0", "5m", "critical",
			"The secret was revoked or rotated elsewhere: compare `attache_secret_generation` with what the store holds. A single rotation does not fire this: its calls are sent again (`attempts` of the audit)."},
		{"AttacheCredentialMissing", "Calls fail for want of a credential", "rule, reason",
			`increase(attache_failures_total{fault="credential"}[5m]) > 0`, "", "critical",
			"`/readyz?verbose` names the secret and why it cannot be read."},
		{"AttacheSecretMissing", "A secret has never been there", "secret",
			"attache_secret_generation == 0", "5m", "critical",
			"Its rules answer 503 and, unless it is optional, the process is not ready."},
		{"AttacheSecretStale", "A secret is not renewed", "secret",
			"attache_secret_stale == 1", "15m", "warning",
			"The last good version is used on. See the reason in `/api/secrets` before that version expires."},
		{"AttacheSecretExpiring", "A secret is about to expire", "secret",
			`attache_secret_expiry_timestamp_seconds - time() < 86400 unless ignoring (result) increase(attache_secret_reloads_total{result="rotated"}[1d]) > 0`, "", "warning",
			"Rotate it: nothing did for a day. An expired one is never sent: calls are refused."},
		{"AttacheIdentityExpiring", "The proxy's identity is not renewed", "",
			"attache_identity_stale == 1 or attache_svid_expiry_timestamp_seconds < time()", "5m", "critical",
			"`/api/identity` says why. What needs the identity is refused once it has expired; calls by other callers to other upstreams go on."},
		{"AttacheConfigRejected", "The configuration on disk is not the one in force", "",
			"attache_config_last_reload_successful == 0", "5m", "warning",
			"`/api/config` has the error with file and line. The former configuration serves on."},
		{"AttacheProxyFault", "The proxy itself fails", "rule, reason",
			`increase(attache_failures_total{fault="proxy"}[10m]) > 0`, "", "critical",
			"The reason says what; the log says why."},
		{"AttacheAuditDropped", "The audit loses events", "",
			"increase(attache_audit_dropped_total[10m]) > 0", "", "critical",
			"What takes the log is too slow or full."},
		{"AttacheRefusalSpike", "Refusals rise well above their usual", "reason",
			refusals15m + " > 0.1 > 5 * (" + refusals1d + " or 0 * " + refusals15m + ")", "", "warning",
			"A deployment calls something new, or something tries. The audit has each call; `attache explain` says what differed."},
		{"AttacheUpstreamFailing", "An upstream is down or slow", "rule, reason",
			`rate(attache_failures_total{fault="upstream"}[5m]) > 0.1`, "5m", "warning",
			"Not ours to mend, but callers will ask. Compare `attache_upstream_duration_seconds`."},
		{"AttacheWatchMissed", "Rotations are found by polling alone", "",
			"increase(attache_watch_missed_changes_total[1h]) > 0", "", "warning",
			"Notices of the file system do not arrive: most often a single file is mounted. Mount its directory."},
		{"AttacheObserveEnding", "Hosts that no rule names will be refused within a week", "",
			"0 < attache_observe_end_timestamp_seconds - time() < 7 * 86400", "", "warning",
			"The audit's `would_deny` events name them. Write rules for those that should pass, or move `observe_until`."},
		{"AttacheCAEnding", "The CA ends", "",
			"attache_ca_expiry_timestamp_seconds - time() < 30 * 86400", "", "warning",
			"A successor is published at half its life; if this fires, clients hold an old `ca.pem`, or `ca.cert` was given and must be renewed."},
		{"AttacheClientCredentials", "Applications still carry keys", "rule",
			"increase(attache_client_credentials_total[1d]) > 0", "", "info",
			"For a team's list, not for a pager: those applications still send a credential of their own."},
		{"AttacheUpstreamRepeats", "An upstream repeats credentials", "rule",
			"increase(attache_redactions_total[1d]) > 0", "", "info",
			"Nothing leaked: they were masked. Ask why it does; the audit's `redacted` names the calls."},
	}
}

// Refusals in all processes of a namespace, of late and as usual.
const (
	refusals15m = `sum by (namespace, reason) (rate(attache_failures_total{fault=~"policy|caller"}[15m]))`
	refusals1d  = `sum by (namespace, reason) (rate(attache_failures_total{fault=~"policy|caller"}[1d] offset 15m))`
)

// alertsTable is the alerts as docs/metrics.md shows them.
func alertsTable() string {
	var b strings.Builder
	b.WriteString("| alert | when | expression | what to do |\n|---|---|---|---|\n")
	for _, a := range alerts() {
		expr := "`" + strings.ReplaceAll(a.expr, "|", `\|`) + "`"
		if a.wait != "" {
			expr += " for " + a.wait
		}
		b.WriteString("| `" + a.name + "`, " + a.severity + " | " + a.when + " | " + expr + " | " + a.todo + " |\n")
	}
	return b.String()
}

// alertRules is a rule file of Prometheus.
func alertRules() string {
	var b strings.Builder
	b.WriteString(`# Generated from proxy/admin/alerts_test.go by "go test ./proxy/admin -update"; docs/metrics.md tells of them.
# Alerting rules as Prometheus loads them (rule_files); the chart makes its PrometheusRule of this file.
groups:
  - name: attache
    rules:
`)
	for _, a := range alerts() {
		fmt.Fprintf(&b, "      - alert: %s\n        expr: >-\n          %s\n", a.name, a.expr)
		if a.wait != "" {
			fmt.Fprintf(&b, "        for: %s\n", a.wait)
		}
		summary := a.when
		if a.of != "" {
			var of []string
			for label := range strings.SplitSeq(a.of, ", ") {
				of = append(of, label+" {{ $labels."+label+" }}")
			}
			summary += ": " + strings.Join(of, ", ")
		}
		fmt.Fprintf(&b, "        labels: {severity: %s}\n        annotations:\n          summary: >-\n            %s\n          description: >-\n            %s\n", a.severity, summary, a.todo)
	}
	return b.String()
}

func TestAlertsFileIsCurrent(t *testing.T) { current(t, alertsFile, alertRules()) }

// The alerts ask for metrics that exist, and name what they are about by labels that those have.
func TestAlertsUseMetricsThatExist(t *testing.T) {
	metric := regexp.MustCompile(`attache_[a-z_]+`)
	for _, a := range alerts() {
		asked := metric.FindAllString(a.expr, -1)
		if len(asked) == 0 {
			t.Errorf("%s asks for no metric", a.name)
		}
		for _, name := range append(asked, metric.FindAllString(a.todo, -1)...) {
			if !inTable(name) {
				t.Errorf("%s: no metric %s", a.name, name)
			}
		}
		for label := range strings.SplitSeq(a.of, ", ") {
			if label != "" && !strings.Contains(strings.Join(documented(asked[0]).Labels, " "), label) {
				t.Errorf("%s: %s has no label %s", a.name, asked[0], label)
			}
		}
	}
}

func inTable(name string) bool {
	for _, m := range Table() {
		if m.Name == name {
			return true
		}
	}
	return false
}

// current holds that a file is what the code says.
func current(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Errorf(`%s is not what the code says: run "go test ./proxy/admin -update"`, path)
	}
}

package admin

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write ../../docs/metrics.md anew")

// alert is one condition worth waking or telling somebody.
type alert struct{ when, expr, todo string }

func alerts() []alert {
	return []alert{
		{"A credential is refused by its API", "increase(attache_upstream_auth_failures_total[10m]) > 0",
			"The secret was revoked or rotated elsewhere. If it stops by itself, calls met a rotation and were sent again (`attempts` of the audit). Else compare `attache_secret_generation` with what the store holds."},
		{"Calls fail for want of a credential", `increase(attache_failures_total{fault="credential"}[5m]) > 0`,
			"`/readyz?verbose` names the secret and why it cannot be read."},
		{"A secret is not renewed", "attache_secret_stale == 1 for 15m",
			"The last good version is used on. See the reason in `/api/secrets` before that version expires."},
		{"A secret is about to expire", "attache_secret_expiry_timestamp_seconds - time() < 86400",
			"Rotate it. An expired one is never sent: calls are refused."},
		{"A secret has never been there", "attache_secret_generation == 0 for 5m",
			"Its rules answer 503 and, unless it is optional, the process is not ready."},
		{"The configuration on disk is not the one in force", "attache_config_last_reload_successful == 0 for 5m",
			"`/api/config` has the error with file and line. The former configuration serves on."},
		{"Refusals rise", `sum by (reason) (rate(attache_failures_total{fault=~"policy|caller"}[15m]))` + " well above its usual",
			"A deployment calls something new, or something tries. The audit has each call; `attache explain` says what differed."},
		{"The audit loses events", "increase(attache_audit_dropped_total[10m]) > 0",
			"What takes the log is too slow or full."},
		{"The proxy itself fails", `increase(attache_failures_total{fault="proxy"}[10m]) > 0`,
			"The reason says what; the log says why."},
		{"An upstream is down or slow", `rate(attache_failures_total{fault="upstream"}[5m]) > 0.1`,
			"Not ours to mend, but callers will ask. Compare `attache_upstream_duration_seconds`."},
		{"Applications still carry keys", "increase(attache_client_credentials_total[1d]) > 0",
			"For a team's list, not for a pager: those applications still send a credential of their own."},
		{"An upstream repeats credentials", "increase(attache_redactions_total[1d]) > 0",
			"Nothing leaked: they were masked. Ask why it does; the audit's `redacted` names the calls."},
		{"Rotations are found by polling alone", "increase(attache_watch_missed_changes_total[1h]) > 0",
			"Notices of the file system do not arrive: most often a single file is mounted. Mount its directory."},
		{"The CA ends", "attache_ca_expiry_timestamp_seconds - time() < 30 * 86400",
			"A successor is published at half its life; if this fires, clients hold an old `ca.pem`, or `ca.cert` was given and must be renewed."},
	}
}

func document() string {
	var b strings.Builder
	b.WriteString(`<!-- Generated from proxy/admin/table.go and docs_test.go by "go test ./proxy/admin -update". -->

# Metrics

In the Prometheus text format at ` + "`/metrics`" + ` of ` + "`listen.admin` and `listen.health`" + `. Names and labels are only ever added.

Label values are names from the configuration, never what a client sent: what is not configured counts as ` + "`-`" + `, so a client
cannot make series. Series of configured names exist from the start at zero, as far as they are fewer than about 4,000 for a metric;
beyond that, and for rarer outcomes, with their first count. A reload drops those of names that went.

| metric | type | labels | meaning |
|---|---|---|---|
`)
	for _, m := range Table() {
		labels := ""
		if m.Labels != nil {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		b.WriteString("| `" + m.Name + "` | " + m.Type + " | " + labels + " | " + m.Help + " |\n")
	}
	b.WriteString(`
The values of labels:

- ` + "`decision`: `" + strings.Join(sliceOf(decisions()), "`, `") + "`" + `
- ` + "`code_class`: `" + strings.Join(sliceOf(classes()), "`, `") + "`" + `, of the answer to the client; ` + "`-`" + ` where there was none
- ` + "`outcome`: `" + strings.Join(sliceOf(outcomes()), "`, `") + "`" + `
- ` + "`result`: `" + strings.Join(reloadResults(), "`, `") + "`" + `
- ` + "`fault`: `caller`, `policy`, `credential`, `upstream`, `proxy`; `reason`" + `: the codes of reasons.md
- ` + "`rule`" + `: the rule that decided, ` + "`-`" + ` if none did; ` + "`caller`" + `: the caller the audit names

A call counts when it ends. Durations run from 1 ms to 10 min in their buckets. Beside these there are the ` + "`go_…` and `process_…`" + ` metrics of the Prometheus client library.

## What to alert on

| when | expression | what to do |
|---|---|---|
`)
	for _, a := range alerts() {
		b.WriteString("| " + a.when + " | `" + strings.ReplaceAll(a.expr, "|", `\|`) + "` | " + a.todo + " |\n")
	}
	return b.String()
}

func sliceOf[A [nDecisions]string | [nClasses]string](a A) []string {
	var s []string
	for i := range len(a) {
		s = append(s, a[i])
	}
	return s
}

func TestMetricsDocumentIsCurrent(t *testing.T) {
	const path = "../../docs/metrics.md"
	want := document()
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
		t.Error(`docs/metrics.md is not what the code says: run "go test ./proxy/admin -update"`)
	}
}

// The alerts ask for metrics that exist.
func TestAlertsUseMetricsThatExist(t *testing.T) {
	names := map[string]bool{}
	for _, m := range Table() {
		names[m.Name] = true
	}
	metric := regexp.MustCompile(`attache_[a-z_]+`)
	for _, a := range alerts() {
		used := metric.FindAllString(a.expr+" "+a.todo, -1)
		if !metric.MatchString(a.expr) {
			t.Errorf("%q asks for no metric", a.expr)
		}
		for _, name := range used {
			if !names[name] {
				t.Errorf("%q: no metric %s", a.when, name)
			}
		}
	}
}

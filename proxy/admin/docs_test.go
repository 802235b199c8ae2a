package admin

import (
	"flag"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md and the alerts' file anew")

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
- ` + "`result`: `" + strings.Join(reloadResults(), "`, `") + "`" + `; of token fetches ` + "`" + strings.Join(fetchResults(), "`, `") + "`" + `
- ` + "`fault`: `caller`, `policy`, `credential`, `upstream`, `proxy`; `reason`" + `: the codes of reasons.md
- ` + "`rule`" + `: the rule that decided, ` + "`-`" + ` if none did; ` + "`caller`" + `: the caller the audit names
- ` + "`trust_domain`" + `: ours and those federated with it, as the agent or the configured files name them; ` + "`profile`: `x509`, `jwt`" + `

A call counts when it ends. Durations run from 1 ms to 10 min in their buckets. Beside these there are the ` + "`go_…` and `process_…`" + ` metrics of the Prometheus client library.

## What to alert on

The same as rules for Prometheus: [alerts.yaml](../deploy/kubernetes/chart/attache/files/alerts.yaml).

` + alertsTable())
	return b.String()
}

func sliceOf[A [nDecisions]string | [nOutcomes]string](a A) []string {
	var s []string
	for i := range len(a) {
		s = append(s, a[i])
	}
	return s
}

func TestMetricsDocumentIsCurrent(t *testing.T) { current(t, "../../docs/metrics.md", document()) }

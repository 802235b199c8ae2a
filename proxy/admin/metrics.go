package admin

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/attache-proxy/attache/proxy/audit"
)

// Names are the configured names that may become label values. Rules, callers, credentials
// (name → kind) and secrets; anything else is counted under "-".
type Names struct {
	Rules, Callers, Secrets []string
	Fetched                 []string // credentials that present a token which is fetched
	Credentials             map[string]string
	Reasons                 map[string]string // reason → fault
}

// Metrics turns audit events and gauges into the metrics of DESIGN §10.
// It is an [audit.Sink]. Names are pre-created at zero by Configure.
type Metrics struct {
	registry *prometheus.Registry

	requests, failures, injections  *prometheus.CounterVec
	authFailures, clientCredentials *prometheus.CounterVec
	redactions, secretReloads       *prometheus.CounterVec
	tokenFetches                    *prometheus.CounterVec
	duration, upstream              prometheus.Histogram
	missed                          prometheus.Counter

	mu    sync.Mutex // held to make series, and to exchange the table
	table atomic.Pointer[table]
}

// NewMetrics returns Metrics whose build_info carries version.
func NewMetrics(version string, g Gauges) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counterVec(requestsTotal), failures: counterVec(failuresTotal), injections: counterVec(injectionsTotal),
		authFailures: counterVec(authFailures), clientCredentials: counterVec(clientCredentials), secretReloads: counterVec(secretReloads), tokenFetches: counterVec(tokenFetches),
		redactions: counterVec(redactionsTotal),
		duration:   histogram(requestDuration), upstream: histogram(upstreamDuration),
		missed: prometheus.NewCounter(prometheus.CounterOpts{Name: missedChanges, Help: documented(missedChanges).Help}),
	}
	d := documented(buildInfo)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: d.Name, Help: d.Help}, d.Labels)
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(
		m.requests, m.failures, m.injections, m.authFailures, m.clientCredentials, m.redactions, m.secretReloads, m.tokenFetches,
		m.duration, m.upstream, m.missed, build, newGaugeCollector(g),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.Configure(Names{})
	return m
}

func counterVec(name string) *prometheus.CounterVec {
	d := documented(name)
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.Name, Help: d.Help}, d.Labels)
}

// histogram has buckets from a local answer to a long LLM call, in seconds.
func histogram(name string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: name, Help: documented(name).Help,
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600},
	})
}

// Record implements [audit.Sink]. It allocates nothing for names it knows.
func (m *Metrics) Record(e *audit.Event) {
	if e.Type != audit.Request {
		return // opened ones are counted when they end
	}
	m.countRequest(e)
	// What passed only because unmatched hosts are observed has a reason, and did not fail.
	if e.Reason != "" && (e.Decision != audit.WouldDeny || e.Status >= 400) {
		m.countFailure(e)
	}
	t := m.table.Load()
	if e.ClientCredential {
		t.rule(e.Rule).clientCredentials.Inc()
	}
	if e.Redacted > 0 {
		t.rule(e.Rule).redactions.Add(float64(e.Redacted))
	}
	for i := range e.Credentials {
		c := t.credential(e.Credentials[i].Name)
		c.outcomes[outcomeIndex(e.Credentials[i].Outcome)].Inc()
		c.authFailures.Add(float64(refusals(e)))
	}
	if e.Decision != audit.TunnelAllow && e.Decision != audit.Gateway && e.Status != http.StatusSwitchingProtocols {
		observe(m.duration, e.Phases.Total)
	}
	observe(m.upstream, e.Phases.FirstByte)
}

// refusals is how many answers to the request were 401: the last one, and every one that made it be
// sent again.
func refusals(e *audit.Event) int {
	n := max(0, e.Attempts-1)
	if e.UpstreamStatus == http.StatusUnauthorized {
		n++
	}
	return n
}

func observe(h prometheus.Histogram, d time.Duration) {
	if d > 0 {
		h.Observe(d.Seconds())
	}
}

// SecretReload counts one look at a secret: result "rotated", "unchanged" or "error".
func (m *Metrics) SecretReload(secret, result string) {
	m.mu.Lock() // so that no series of a secret that just went is made anew
	defer m.mu.Unlock()
	if _, ok := m.table.Load().secrets[secret]; !ok {
		secret = unknown
	}
	m.secretReloads.WithLabelValues(secret, oneOf(result, reloadResults())).Inc()
}

// TokenFetch counts one fetch of the token that a credential presents.
func (m *Metrics) TokenFetch(credential string, err error) {
	m.mu.Lock() // so that no series of a credential that just went is made anew
	defer m.mu.Unlock()
	if _, ok := m.table.Load().credentials[credential]; !ok {
		credential = unknown
	}
	result := fetchResults()[0]
	if err != nil {
		result = fetchResults()[1]
	}
	m.tokenFetches.WithLabelValues(credential, result).Inc()
}

// MissedChange counts a change that only polling found.
func (m *Metrics) MissedChange() { m.missed.Inc() }

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, DisableCompression: true,
	})
}

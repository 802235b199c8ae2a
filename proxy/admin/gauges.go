package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Gauges are values read when metrics are scraped. What is nil is not shown.
type Gauges struct {
	InFlight         func() int64
	Tunnels          func() int64
	LeafCertificates func() uint64
	AuditDropped     func() uint64
	CAExpiry         func() time.Time
	ConfigGeneration func() uint64
	ConfigOK         func() bool
	ObserveEnd       func() time.Time // zero: nothing is observed
	Secrets          func() []SecretGauge
	Identity         func() *IdentityStatus // gives nil where none is configured
}

// SecretGauge is what metrics tell of one secret.
type SecretGauge struct {
	Name        string
	Generation  uint64
	Stale       bool
	LastSuccess time.Time // zero: never
	Expiry      time.Time // zero: unknown
}

// gaugeCollector reads Gauges at each scrape.
type gaugeCollector struct {
	g    Gauges
	desc map[string]*prometheus.Desc
}

func newGaugeCollector(g Gauges) *gaugeCollector {
	c := &gaugeCollector{g: g, desc: map[string]*prometheus.Desc{}}
	for _, name := range []string{
		requestsInFlight, tunnelsActive, leafCertificates, auditDropped, caExpiry, configGeneration, configOK, observeEnd,
		secretGeneration, secretStale, secretSuccess, secretExpiry,
		svidExpiry, identityStale, identityUpdates, bundleAuthorities,
	} {
		d := documented(name)
		c.desc[name] = prometheus.NewDesc(d.Name, d.Help, d.Labels, nil)
	}
	return c
}

// Describe implements [prometheus.Collector].
func (c *gaugeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.desc {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *gaugeCollector) Collect(ch chan<- prometheus.Metric) {
	send := func(name string, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.desc[name], kind, v, labels...)
	}
	gauge := func(name string, v float64, labels ...string) { send(name, prometheus.GaugeValue, v, labels...) }
	moment := func(name string, t time.Time, labels ...string) {
		if !t.IsZero() {
			gauge(name, float64(t.UnixMilli())/1000, labels...)
		}
	}
	g := &c.g
	if g.InFlight != nil {
		gauge(requestsInFlight, float64(g.InFlight()))
	}
	if g.Tunnels != nil {
		gauge(tunnelsActive, float64(g.Tunnels()))
	}
	if g.LeafCertificates != nil {
		send(leafCertificates, prometheus.CounterValue, float64(g.LeafCertificates()))
	}
	if g.AuditDropped != nil {
		send(auditDropped, prometheus.CounterValue, float64(g.AuditDropped()))
	}
	if g.CAExpiry != nil {
		moment(caExpiry, g.CAExpiry())
	}
	if g.ConfigGeneration != nil {
		gauge(configGeneration, float64(g.ConfigGeneration()))
	}
	if g.ConfigOK != nil {
		gauge(configOK, truth(g.ConfigOK()))
	}
	if g.Identity != nil {
		if id := g.Identity(); id != nil {
			id.collect(gauge, moment)
		}
	}
	if g.ObserveEnd != nil {
		moment(observeEnd, g.ObserveEnd())
	}
	if g.Secrets == nil {
		return
	}
	for _, s := range g.Secrets() {
		gauge(secretGeneration, float64(s.Generation), s.Name)
		gauge(secretStale, truth(s.Stale), s.Name)
		moment(secretSuccess, s.LastSuccess, s.Name)
		moment(secretExpiry, s.Expiry, s.Name)
	}
}

// collect gives the metrics of an identity. Its trust domains are what the agent names, never a client.
func (s *IdentityStatus) collect(gauge func(string, float64, ...string), moment func(string, time.Time, ...string)) {
	gauge(identityUpdates, float64(s.Generation))
	gauge(identityStale, truth(s.Problem != ""))
	if len(s.SVIDs) > 0 {
		moment(svidExpiry, s.SVIDs[0].NotAfter)
	}
	for _, b := range s.Bundles {
		gauge(bundleAuthorities, float64(b.X509), b.TrustDomain, "x509")
		gauge(bundleAuthorities, float64(b.JWT), b.TrustDomain, "jwt")
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

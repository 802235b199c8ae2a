package admin

import (
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attache-proxy/attache/proxy/audit"
)

// unknown stands for what is not configured: a label never carries a client's text.
const unknown = "-"

// preCreated bounds the series made at zero for each metric, by rule and caller or reason. A
// configuration beyond that gets each series with its first count.
const preCreated = 4000

const (
	nDecisions = 6
	nClasses   = 6
	nOutcomes  = 5
)

// The values of the fixed labels; the indices into them come from the functions below.
func decisions() [nDecisions]string {
	return [...]string{unknown, string(audit.Allow), string(audit.Refuse), string(audit.TunnelAllow), string(audit.WouldDeny), string(audit.Gateway)}
}
func classes() [nClasses]string { return [...]string{unknown, "1xx", "2xx", "3xx", "4xx", "5xx"} }
func outcomes() [nOutcomes]string {
	return [...]string{unknown, "attached", "unsent", "missing", "error"}
}
func fetchResults() []string  { return []string{"ok", "error"} }
func reloadResults() []string { return []string{"rotated", "unchanged", "error"} }

func decisionIndex(d audit.Decision) int {
	switch d {
	case audit.Allow:
		return 1
	case audit.Refuse:
		return 2
	case audit.TunnelAllow:
		return 3
	case audit.WouldDeny:
		return 4
	case audit.Gateway:
		return 5
	}
	return 0
}

func classIndex(status int) int {
	if c := status / 100; c > 0 && c < nClasses {
		return c
	}
	return 0
}

func outcomeIndex(outcome string) int {
	switch outcome {
	case "attached":
		return 1
	case "unsent":
		return 2
	case "missing":
		return 3
	case "error":
		return 4
	}
	return 0
}

func oneOf(s string, known []string) string {
	if slices.Contains(known, s) {
		return s
	}
	return unknown
}

// series is one counter, made with its first count.
type series = atomic.Pointer[prometheus.Counter]

// table leads from names to series. Its maps and slices do not change once it is in force;
// index 0 is "-" everywhere.
type table struct {
	rules       map[string]*ruleSeries
	callers     map[string]int
	callerNames []string
	reasons     map[string]int
	reasonNames []string
	faults      []string // of reasons
	credentials map[string]*credentialSeries
	secrets     map[string]struct{}
}

type ruleSeries struct {
	name              string
	byCaller          []atomic.Pointer[callerSeries]
	failures          []series // by reason
	clientCredentials prometheus.Counter
	redactions        prometheus.Counter
}

type callerSeries struct {
	requests [nDecisions][nClasses]series
}

type credentialSeries struct {
	kind         string
	outcomes     [nOutcomes]prometheus.Counter
	authFailures prometheus.Counter
}

func (t *table) rule(name string) *ruleSeries {
	if r, ok := t.rules[name]; ok {
		return r
	}
	return t.rules[unknown]
}

func (t *table) credential(name string) *credentialSeries {
	if c, ok := t.credentials[name]; ok {
		return c
	}
	return t.credentials[unknown]
}

// caller gives the series of the i-th caller under r.
func (r *ruleSeries) caller(i int) *callerSeries {
	p := &r.byCaller[i]
	if c := p.Load(); c != nil {
		return c
	}
	p.CompareAndSwap(nil, new(callerSeries))
	return p.Load()
}

func (m *Metrics) countRequest(e *audit.Event) {
	d, class := decisionIndex(e.Decision), classIndex(e.Status)
	for {
		t := m.table.Load()
		r, i := t.rule(e.Rule), t.callers[e.Caller]
		s := &r.caller(i).requests[d][class]
		if c := s.Load(); c != nil {
			(*c).Inc()
			return
		}
		m.makeSeries(t, s, m.requests, r.name, t.callerNames[i], decisions()[d], classes()[class])
	}
}

func (m *Metrics) countFailure(e *audit.Event) {
	for {
		t := m.table.Load()
		r, i := t.rule(e.Rule), t.reasons[e.Reason]
		s := &r.failures[i]
		if c := s.Load(); c != nil {
			(*c).Inc()
			return
		}
		m.makeSeries(t, s, m.failures, r.name, t.faults[i], t.reasonNames[i])
	}
}

// makeSeries makes s, unless t is no longer in force: its names may be gone, and the series
// would come back.
func (m *Metrics) makeSeries(t *table, s *series, vec *prometheus.CounterVec, labels ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.table.Load() == t {
		c := vec.WithLabelValues(labels...)
		s.Store(&c)
	}
}

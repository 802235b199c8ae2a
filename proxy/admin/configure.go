package admin

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Configure pre-creates the series of the names, and forgets those of names that went.
func (m *Metrics) Configure(n Names) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &table{
		rules: map[string]*ruleSeries{}, credentials: map[string]*credentialSeries{}, secrets: map[string]struct{}{},
		faults: []string{unknown},
	}
	t.callers, t.callerNames = index(n.Callers)
	t.reasons, t.reasonNames = index(slices.Sorted(maps.Keys(n.Reasons)))
	for _, r := range t.reasonNames[1:] {
		t.faults = append(t.faults, n.Reasons[r])
	}
	m.forget(t, n)

	for _, name := range append([]string{unknown}, n.Rules...) {
		t.rules[name] = &ruleSeries{
			name: name, byCaller: make([]atomic.Pointer[callerSeries], len(t.callerNames)), failures: make([]series, len(t.reasonNames)),
			clientCredentials: m.clientCredentials.WithLabelValues(name),
			redactions:        m.redactions.WithLabelValues(name),
		}
	}
	m.credentialSeries(t, unknown, unknown)
	for name, kind := range n.Credentials {
		m.credentialSeries(t, name, kind)
	}
	for _, name := range n.Fetched {
		for _, r := range fetchResults() {
			m.tokenFetches.WithLabelValues(name, r)
		}
	}
	for _, s := range n.Secrets {
		t.secrets[s] = struct{}{}
		for _, r := range reloadResults() {
			m.secretReloads.WithLabelValues(s, r)
		}
	}
	m.preCreate(t)
	m.table.Store(t)
}

// index numbers "-" and the names.
func index(names []string) (map[string]int, []string) {
	all := []string{unknown}
	at := map[string]int{unknown: 0}
	for _, name := range names {
		if _, ok := at[name]; !ok {
			at[name] = len(all)
			all = append(all, name)
		}
	}
	return at, all
}

func (m *Metrics) credentialSeries(t *table, name, kind string) {
	c := &credentialSeries{kind: kind, authFailures: m.authFailures.WithLabelValues(name)}
	for i, outcome := range outcomes() {
		if i == 0 && name != unknown {
			// Written by nothing of ours: counted with the unknown ones.
			c.outcomes[i] = m.injections.WithLabelValues(unknown, unknown, unknown)
			continue
		}
		c.outcomes[i] = m.injections.WithLabelValues(name, kind, outcome)
	}
	t.credentials[name] = c
}

// preCreate makes at zero the series that rates and alerts need from the first count on.
func (m *Metrics) preCreate(t *table) {
	// What usually becomes of a call: passed and answered well or badly, or refused.
	usual := [][2]int{{1, 2}, {1, 4}, {1, 5}, {2, 4}, {2, 5}}
	if len(t.rules)*len(t.callerNames)*len(usual) <= preCreated {
		for _, r := range t.rules {
			for _, caller := range t.callerNames {
				for _, u := range usual {
					m.requests.WithLabelValues(r.name, caller, decisions()[u[0]], classes()[u[1]])
				}
			}
		}
	}
	if len(t.rules)*len(t.reasonNames) <= preCreated {
		for _, r := range t.rules {
			for i := 1; i < len(t.reasonNames); i++ {
				m.failures.WithLabelValues(r.name, t.faults[i], t.reasonNames[i])
			}
		}
	}
}

// forget deletes the series of names that the former table had and t has not.
func (m *Metrics) forget(t *table, n Names) {
	former := m.table.Load()
	if former == nil {
		return
	}
	rules, _ := index(n.Rules)
	for name := range former.rules {
		if _, stays := rules[name]; !stays {
			by := prometheus.Labels{"rule": name}
			m.requests.DeletePartialMatch(by)
			m.failures.DeletePartialMatch(by)
			m.clientCredentials.DeletePartialMatch(by)
			m.redactions.DeletePartialMatch(by)
		}
	}
	for name := range former.callers {
		if _, stays := t.callers[name]; !stays {
			m.requests.DeletePartialMatch(prometheus.Labels{"caller": name})
		}
	}
	for i, name := range former.reasonNames {
		if j, stays := t.reasons[name]; !stays || t.faults[j] != former.faults[i] {
			m.failures.DeletePartialMatch(prometheus.Labels{"reason": name})
		}
	}
	for name, c := range former.credentials {
		kind, stays := n.Credentials[name]
		if name == unknown {
			continue
		}
		if !stays || c.kind != kind {
			by := prometheus.Labels{"credential": name}
			m.injections.DeletePartialMatch(by)
			m.authFailures.DeletePartialMatch(by)
			m.tokenFetches.DeletePartialMatch(by)
		}
	}
	for name := range former.secrets {
		if !slices.Contains(n.Secrets, name) {
			m.secretReloads.DeletePartialMatch(prometheus.Labels{"secret": name})
		}
	}
}

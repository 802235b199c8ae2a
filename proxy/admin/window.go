package admin

import (
	"net/http"
	"sync"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

const (
	windowLength = 15 * time.Minute
	countSpan    = time.Minute      // of a rule's counts
	latencySpan  = 3 * time.Minute  // of a rule's latencies, which take more memory
	seriesSpan   = 15 * time.Second // of what is plotted

	countSlots   = int(windowLength / countSpan)
	latencySlots = int(windowLength / latencySpan)
	seriesSlots  = int(windowLength / seriesSpan)
)

// Window remembers what went through in the last 15 minutes. It is an [audit.Sink]. What it
// holds is bounded by the number of configured rules, of which those that see no calls cost nothing.
type Window struct {
	began time.Time

	mu      sync.Mutex
	allowed map[string]bool // the configured rules
	rules   map[string]*ruleWindow
	series  [seriesSlots]seriesSlot
}

// ruleWindow is one rule's share.
type ruleWindow struct {
	counts    [countSlots]countSlot
	latencies [latencySlots]latencySlot
}

// A slot is valid for one span of time, which at numbers: it is emptied when its turn comes again.
type countSlot struct {
	at int64
	callCounts
}

type latencySlot struct {
	at       int64
	upstream *latencies
}

type seriesSlot struct {
	at                       int64
	allowed, refused, failed uint32
	upstream, added          *latencies
}

// callCounts are the calls of a span of time.
type callCounts struct {
	allowed, refused      uint32
	client, failed        uint32 // answered 4xx by the upstream; 5xx, or not at all
	ownKeys, unauthorized uint32 // with credentials of the client's own; answered 401 to ours
	observed              uint32 // passed only because unmatched hosts are observed
}

// NewWindow begins a window at a time.
func NewWindow(began time.Time) *Window {
	return &Window{began: began, rules: map[string]*ruleWindow{}, allowed: map[string]bool{}}
}

// Configure says which rules there are, and forgets the others.
func (w *Window) Configure(rules []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allowed = map[string]bool{}
	for _, id := range rules {
		w.allowed[id] = true
	}
	for id := range w.rules {
		if id != unknown && !w.allowed[id] {
			delete(w.rules, id)
		}
	}
}

// Record implements [audit.Sink]. It allocates nothing but the first time a rule, or a span of time, is used.
func (w *Window) Record(e *audit.Event) {
	if e.Type != audit.Request {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id := e.Rule
	if !w.allowed[id] {
		id = unknown
	}
	r := w.rules[id]
	if r == nil {
		r = &ruleWindow{}
		w.rules[id] = r
	}
	upstream := e.Phases.FirstByte
	r.count(e)
	if upstream > 0 {
		r.latency(e.Time).add(upstream)
	}
	s := w.plotted(e.Time)
	switch {
	case refused(e):
		s.refused++
	case failed(e):
		s.failed++
	default:
		s.allowed++
	}
	if upstream > 0 {
		s.upstream = counted(s.upstream, upstream)
		s.added = counted(s.added, e.Phases.Added)
	}
}

// refused reports whether a call was not let through; one that its upstream failed was.
func refused(e *audit.Event) bool { return e.Decision == audit.Refuse && e.Fault != "upstream" }

// failed reports whether the upstream answered 5xx, or nothing that could be passed on.
func failed(e *audit.Event) bool { return e.UpstreamStatus >= 500 || e.Fault == "upstream" }

func counted(l *latencies, d time.Duration) *latencies {
	if l == nil {
		l = new(latencies)
	}
	l.add(d)
	return l
}

func (r *ruleWindow) count(e *audit.Event) {
	at := e.Time.Unix() / int64(countSpan/time.Second)
	s := &r.counts[slot(at, countSlots)]
	if s.at != at {
		*s = countSlot{at: at}
	}
	if refused(e) {
		s.refused++
	} else {
		s.allowed++
	}
	switch {
	case failed(e):
		s.failed++
	case e.UpstreamStatus >= 400:
		s.client++
	}
	if e.Decision == audit.WouldDeny {
		s.observed++
	}
	if e.ClientCredential {
		s.ownKeys++
	}
	if e.UpstreamStatus == http.StatusUnauthorized && len(e.Credentials) > 0 {
		s.unauthorized++
	}
}

func (r *ruleWindow) latency(t time.Time) *latencies {
	at := t.Unix() / int64(latencySpan/time.Second)
	s := &r.latencies[slot(at, latencySlots)]
	if s.upstream == nil {
		s.upstream = new(latencies)
	}
	if s.at != at {
		s.at, *s.upstream = at, latencies{}
	}
	return s.upstream
}

// plotted is the slot of the plots for a time.
func (w *Window) plotted(t time.Time) *seriesSlot {
	at := t.Unix() / int64(seriesSpan/time.Second)
	s := &w.series[slot(at, seriesSlots)]
	if s.at == at {
		return s
	}
	up, added := s.upstream, s.added
	for _, l := range []*latencies{up, added} {
		if l != nil {
			*l = latencies{}
		}
	}
	*s = seriesSlot{at: at, upstream: up, added: added}
	return s
}

func slot(at int64, n int) int { return int((at%int64(n) + int64(n)) % int64(n)) }

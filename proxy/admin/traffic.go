package admin

import (
	"math"
	"time"
)

// Traffic is what went through in the last 15 minutes, or since the start if that is less.
type Traffic struct {
	Seconds        int     `json:"seconds"`            // how long that is
	Allowed        uint64  `json:"allowed"`            // let through
	Refused        uint64  `json:"refused"`            // not let through, by policy, caller, credential or proxy
	Upstream4xx    uint64  `json:"upstream_4xx"`       // answered so by upstreams
	Upstream5xx    uint64  `json:"upstream_5xx"`       // or no answer that could be passed on
	PerSecond      float64 `json:"per_second"`         // over the last one to two minutes
	UpstreamP50    float64 `json:"upstream_p50_ms"`    // to the first byte of the answer
	UpstreamP99    float64 `json:"upstream_p99_ms"`    // likewise
	AddedP50       float64 `json:"added_p50_ms"`       // by Attaché, until the answer began
	AddedP99       float64 `json:"added_p99_ms"`       // likewise
	OwnCredentials uint64  `json:"client_credentials"` // calls in which the client sent its own
	Series         Series  `json:"series"`             // for plots
}

// Series are the plots, oldest first: one value for each step, of which the last is not over yet.
type Series struct {
	Step        int       `json:"step_seconds"`    // length of one
	End         time.Time `json:"end"`             // of the last step
	Allowed     []uint32  `json:"allowed"`         // calls
	Refused     []uint32  `json:"refused"`         // calls
	Upstream5xx []uint32  `json:"upstream_5xx"`    // calls
	UpstreamP50 []float64 `json:"upstream_p50_ms"` // 0: no calls
	UpstreamP99 []float64 `json:"upstream_p99_ms"` // likewise
	AddedP99    []float64 `json:"added_p99_ms"`    // likewise
}

// RuleTraffic is one rule's share of [Traffic].
type RuleTraffic struct {
	PerSecond      float64  `json:"per_second"`         // over the last one to two minutes
	Allowed        uint64   `json:"allowed"`            // let through
	Refused        uint64   `json:"refused"`            // not let through
	Upstream4xx    uint64   `json:"upstream_4xx"`       // answered so by upstreams
	Upstream5xx    uint64   `json:"upstream_5xx"`       // or no answer that could be passed on
	UpstreamP99    float64  `json:"upstream_p99_ms"`    // 0: no calls
	OwnCredentials uint64   `json:"client_credentials"` // calls in which the client sent its own
	Unauthorized   uint64   `json:"upstream_401"`       // to calls that carried our credential
	Observed       uint64   `json:"observed,omitempty"` // passed only because unmatched hosts are observed; where no rule decided
	PerMinute      []uint32 `json:"per_minute"`         // calls, oldest first
}

// read gives everything at once, so that the figures agree. Rules are by id, "-" for none.
func (w *Window) read(now time.Time) (Traffic, map[string]RuleTraffic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lived := max(time.Second, now.Sub(w.began))
	t := Traffic{Seconds: int(min(windowLength, lived) / time.Second)}
	rules := map[string]RuleTraffic{}
	for id, r := range w.rules {
		rt := r.read(now, lived)
		if rt.Allowed+rt.Refused == 0 {
			continue
		}
		rules[id] = rt
		t.Allowed += rt.Allowed
		t.Refused += rt.Refused
		t.Upstream4xx += rt.Upstream4xx
		t.Upstream5xx += rt.Upstream5xx
		t.OwnCredentials += rt.OwnCredentials
		t.PerSecond += rt.PerSecond
	}
	t.PerSecond = tenth(t.PerSecond)
	upstream, added := w.readSeries(now, &t.Series)
	t.UpstreamP50, t.UpstreamP99 = millis(upstream.quantile(.5)), millis(upstream.quantile(.99))
	t.AddedP50, t.AddedP99 = millis(added.quantile(.5)), millis(added.quantile(.99))
	return t, rules
}

func (r *ruleWindow) read(now time.Time, lived time.Duration) RuleTraffic {
	rt := RuleTraffic{PerMinute: make([]uint32, countSlots)}
	var recent uint32
	at := now.Unix() / int64(countSpan/time.Second)
	for i := range countSlots {
		s := &r.counts[slot(at-int64(countSlots-1-i), countSlots)]
		if s.at != at-int64(countSlots-1-i) {
			continue
		}
		calls := s.allowed + s.refused
		rt.PerMinute[i] = calls
		if i >= countSlots-2 {
			recent += calls
		}
		rt.Allowed += uint64(s.allowed)
		rt.Refused += uint64(s.refused)
		rt.Upstream4xx += uint64(s.client)
		rt.Upstream5xx += uint64(s.failed)
		rt.Observed += uint64(s.observed)
		rt.OwnCredentials += uint64(s.ownKeys)
		rt.Unauthorized += uint64(s.unauthorized)
	}
	span := min(lived, countSpan+now.Sub(now.Truncate(countSpan)))
	rt.PerSecond = tenth(float64(recent) / span.Seconds())
	var all latencies
	at = now.Unix() / int64(latencySpan/time.Second)
	for i := range r.latencies {
		if s := &r.latencies[i]; s.at > at-int64(latencySlots) && s.at <= at {
			all.merge(s.upstream)
		}
	}
	rt.UpstreamP99 = millis(all.quantile(.99))
	return rt
}

func (w *Window) readSeries(now time.Time, s *Series) (upstream, added latencies) {
	step := int64(seriesSpan / time.Second)
	at := now.Unix() / step
	s.Step, s.End = int(step), time.Unix((at+1)*step, 0).UTC()
	for i := range int64(seriesSlots) {
		n := at - int64(seriesSlots) + 1 + i
		v := seriesSlot{}
		if have := &w.series[slot(n, seriesSlots)]; have.at == n {
			v = *have
		}
		upstream.merge(v.upstream)
		added.merge(v.added)
		s.Allowed, s.Refused, s.Upstream5xx = append(s.Allowed, v.allowed), append(s.Refused, v.refused), append(s.Upstream5xx, v.failed)
		s.UpstreamP50 = append(s.UpstreamP50, v.upstream.ms(.5))
		s.UpstreamP99 = append(s.UpstreamP99, v.upstream.ms(.99))
		s.AddedP99 = append(s.AddedP99, v.added.ms(.99))
	}
	return upstream, added
}

// ms is a quantile in milliseconds; of nil, 0.
func (l *latencies) ms(q float64) float64 {
	if l == nil {
		return 0
	}
	return millis(l.quantile(q))
}

// millis is d in milliseconds with as many digits as are meant.
func millis(d time.Duration) float64 {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms >= 10:
		return math.Round(ms)
	case ms >= 1:
		return math.Round(ms*10) / 10
	default:
		return math.Round(ms*1000) / 1000
	}
}

func tenth(f float64) float64 { return math.Round(f*10) / 10 }

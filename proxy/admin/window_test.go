package admin

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

func TestQuantilesAreNear(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, top := range []time.Duration{3 * time.Microsecond, 900 * time.Microsecond, 80 * time.Millisecond, 20 * time.Minute} {
		var l latencies
		var all []time.Duration
		for range 5000 {
			d := time.Duration(random.Int64N(int64(top)))
			all = append(all, d)
			l.add(d)
		}
		slices.Sort(all)
		for _, q := range []float64{0, .5, .99, 1} {
			want := all[min(int(q*5000), 4999)]
			got := l.quantile(q)
			if diff := (got - want).Abs(); diff > max(want/8, time.Microsecond) {
				t.Errorf("quantile %v of up to %v: %v, want about %v", q, top, got, want)
			}
		}
	}
	var none latencies
	if none.quantile(.99) != 0 {
		t.Error("a quantile of nothing")
	}
}

func TestLatencyStepsFollowEachOther(t *testing.T) {
	end := time.Duration(0)
	for i := range latencySteps {
		low, high := stepBounds(i)
		if low != end || latencyStep(low) != i || latencyStep(high-1) != i {
			t.Fatalf("step %d is %v to %v, after %v; %d, %d", i, low, high, end, latencyStep(low), latencyStep(high-1))
		}
		end = high
	}
	if latencyStep(-time.Second) != 0 || latencyStep(1<<62) != latencySteps-1 {
		t.Error("what is beyond the ends")
	}
}

// at is a call of a rule that ended s seconds after a whole quarter of an hour.
func at(s int, change func(*audit.Event)) *audit.Event {
	e := &audit.Event{Type: audit.Request, Time: time.Unix(int64(900_000+s), 0), Decision: audit.Allow, Rule: "stripe", Status: 200, UpstreamStatus: 200,
		Phases: audit.Phases{FirstByte: 100 * time.Millisecond, Added: 300 * time.Microsecond, Total: 101 * time.Millisecond}}
	if change != nil {
		change(e)
	}
	return e
}

func TestWindowCountsWhatHappened(t *testing.T) {
	w := NewWindow(time.Unix(0, 0))
	w.Configure([]string{"stripe"})
	for range 98 {
		w.Record(at(100, nil))
	}
	w.Record(at(170, func(e *audit.Event) { e.UpstreamStatus, e.Status, e.Phases.FirstByte = 503, 503, 2*time.Second }))
	w.Record(at(170, func(e *audit.Event) {
		e.UpstreamStatus, e.Status, e.ClientCredential = 401, 401, true
		e.Credentials = []audit.Credential{{Name: "stripe"}}
		e.Phases.FirstByte = 2 * time.Second
	}))
	w.Record(at(170, func(e *audit.Event) {
		e.UpstreamStatus, e.Status, e.Fault, e.Decision = 0, 502, "upstream", audit.Refuse
	}))
	w.Record(at(170, func(e *audit.Event) {
		e.Decision, e.Rule, e.Fault, e.Phases = audit.Refuse, "", "policy", audit.Phases{}
	}))
	w.Record(at(170, func(e *audit.Event) {
		e.Decision, e.Rule, e.Phases = audit.Refuse, "a client's invention", audit.Phases{}
	}))
	w.Record(at(170, func(e *audit.Event) { e.Type = audit.Opened }))
	w.Record(at(100, func(e *audit.Event) { e.Decision, e.Rule, e.Phases = audit.WouldDeny, "", audit.Phases{} }))

	total, rules := w.read(time.Unix(900_179, 0))
	stripe := rules["stripe"]
	if stripe.Allowed != 101 || stripe.Refused != 0 || stripe.Upstream4xx != 1 || stripe.Upstream5xx != 2 || stripe.OwnCredentials != 1 || stripe.Unauthorized != 1 {
		t.Errorf("stripe %+v", stripe)
	}
	if stripe.UpstreamP99 < 1800 || stripe.UpstreamP99 > 2200 || stripe.PerSecond != .8 { // 101 calls in 119 s
		t.Errorf("p99 %v ms, %v/s", stripe.UpstreamP99, stripe.PerSecond)
	}
	if none := rules["-"]; none.Refused != 2 || none.Observed != 1 || len(rules) != 2 {
		t.Errorf("%+v", rules)
	}
	if total.Allowed != 102 || total.Refused != 2 || total.Upstream5xx != 2 || total.Seconds != 900 || total.AddedP99 < .28 || total.AddedP99 > .32 {
		t.Errorf("total %+v", total)
	}
	s := total.Series
	if n := len(s.Allowed); n != seriesSlots || s.Allowed[n-1] != 1 || s.Upstream5xx[n-1] != 2 || s.Refused[n-1] != 2 || s.Allowed[n-6] != 99 {
		t.Errorf("series %+v", s)
	}
	if !s.End.Equal(time.Unix(900_180, 0)) {
		t.Errorf("ends %v", s.End)
	}
}

func TestWindowForgets(t *testing.T) {
	w := NewWindow(time.Unix(0, 0))
	w.Configure([]string{"stripe"})
	for minute := range 40 { // more than twice round
		w.Record(at(minute*60, nil))
	}
	total, rules := w.read(time.Unix(900_000+39*60, 0))
	if total.Allowed != 15 || rules["stripe"].Allowed != 15 {
		t.Errorf("%d calls of one a minute in 15 minutes", total.Allowed)
	}
	if total, _ := w.read(time.Unix(900_000+100*60, 0)); total.Allowed != 0 || total.UpstreamP99 != 0 || slices.Max(total.Series.Allowed) != 0 {
		t.Errorf("an hour later: %+v", total)
	}
	w.Record(at(0, nil)) // a clock that went back
	w.Configure([]string{"other"})
	if _, rules := w.read(time.Unix(900_000, 0)); len(rules) != 0 {
		t.Errorf("a rule that went: %v", rules)
	}
}

// What clients send makes no rules: memory is bounded by the configuration.
func TestWindowIsBounded(t *testing.T) {
	w := NewWindow(time.Unix(0, 0))
	w.Configure([]string{"stripe"})
	for i := range 10_000 {
		w.Record(at(i, func(e *audit.Event) { e.Rule = fmt.Sprint("made up ", i) }))
	}
	if len(w.rules) != 1 {
		t.Errorf("%d rules", len(w.rules))
	}
}

func TestWindowAllocatesNothing(t *testing.T) {
	w := NewWindow(time.Unix(0, 0))
	w.Configure([]string{"stripe"})
	e := at(0, nil)
	w.Record(e)
	if n := testing.AllocsPerRun(100, func() { w.Record(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWindow(b *testing.B) {
	w := NewWindow(time.Unix(0, 0))
	w.Configure([]string{"stripe"})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		e := at(0, nil)
		for pb.Next() {
			w.Record(e)
		}
	})
}

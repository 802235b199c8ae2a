package admin

import (
	"math/bits"
	"time"
)

// latencies counts durations by size: eight steps for each doubling of microseconds, so that a
// percentile is off by 6 % at most, from 1 µs to an hour. The zero value is empty.
type latencies struct {
	steps [latencySteps]uint32
	total uint32
}

const (
	perDoubling  = 8
	latencySteps = 29*perDoubling + 8
)

func (l *latencies) add(d time.Duration) {
	l.steps[latencyStep(d)]++
	l.total++
}

func (l *latencies) merge(o *latencies) {
	if o == nil {
		return
	}
	for i, n := range o.steps {
		l.steps[i] += n
	}
	l.total += o.total
}

// quantile is the duration that a share q of those counted do not exceed, 0 if there are none.
func (l *latencies) quantile(q float64) time.Duration {
	if l.total == 0 {
		return 0
	}
	rank := uint32(q * float64(l.total))
	if rank >= l.total {
		rank = l.total - 1
	}
	for i, n := range l.steps {
		if rank < n {
			low, high := stepBounds(i)
			return low + time.Duration(float64(high-low)*(float64(rank)+0.5)/float64(n))
		}
		rank -= n
	}
	return 0
}

// latencyStep is the index of d: below 8 µs each microsecond is a step, above that an eighth of a doubling.
func latencyStep(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < perDoubling {
		return int(us)
	}
	doubling := bits.Len64(us) - 4 // 8 to 15: 0
	return min(perDoubling+doubling*perDoubling+int(us>>doubling)-perDoubling, latencySteps-1)
}

// stepBounds are the durations that a step stands for, the second not included.
func stepBounds(i int) (low, high time.Duration) {
	if i < perDoubling {
		return time.Duration(i) * time.Microsecond, time.Duration(i+1) * time.Microsecond
	}
	doubling := i/perDoubling - 1
	unit := time.Microsecond << doubling
	low = time.Duration(i%perDoubling+perDoubling) * unit
	return low, low + unit
}

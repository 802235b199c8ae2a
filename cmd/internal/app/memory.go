package app

import (
	"context"
	"log/slog"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// tidyMemory gives back, once, what starting needed and serving does not: reading the configuration
// and encoding trust stores takes more memory than an idle proxy ever holds.
func tidyMemory(ctx context.Context, log *slog.Logger) {
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
		debug.FreeOSMemory()
		dropPages(log)
	}
}

// garbageRoom is how many bytes of garbage may gather before they are collected, at least. Go lets as much
// gather as there is live, 3 MiB in a proxy with few connections, and collecting so little so often took a
// fifteenth of a small request's CPU.
const (
	garbageRoom  = 12 << 20
	defaultGOGC  = 100 // percent
	garbageCycle = "/gc/heap/live:bytes"
)

// paceCollector keeps garbageRoom, with every collection anew, for as long as the process lives. It reports whether
// it does: a GOGC in the environment is left alone. GOMEMLIMIT holds in any case.
func (a *App) paceCollector() bool {
	if _, theirs := a.o.Getenv("GOGC"); theirs {
		return false
	}
	(&collector{percent: defaultGOGC}).await()
	return true
}

// collector paces the garbage collector. Only the runtime calls it, once after each collection.
type collector struct{ percent int } // in force

// await has collected called after the next collection.
func (c *collector) await() {
	unreachable := new([64]byte)
	runtime.AddCleanup(unreachable, (*collector).collected, c)
}

func (c *collector) collected() {
	sample := []metrics.Sample{{Name: garbageCycle}}
	metrics.Read(sample)
	if p := roomPercent(sample[0].Value.Uint64()); p < c.percent-c.percent/8 || p > c.percent+c.percent/8 {
		c.percent = p
		debug.SetGCPercent(p)
	}
	c.await()
}

// roomPercent is the GOGC by which garbageRoom, or as much as is live, may gather beside live bytes.
func roomPercent(live uint64) int {
	return int(max(defaultGOGC, garbageRoom*100/max(live, 1<<20)))
}

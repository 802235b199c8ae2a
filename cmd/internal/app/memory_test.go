package app

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// TestRoomForGarbage: a small heap is collected when garbageRoom has gathered, a large one as Go would.
func TestRoomForGarbage(t *testing.T) {
	for live, want := range map[uint64]int{0: 1200, 3 << 20: 400, 6 << 20: 200, 12 << 20: 100, 1 << 30: 100} {
		if got := roomPercent(live); got != want {
			t.Errorf("%d bytes: %d %%, want %d", live, got, want)
		}
	}
}

// TestCollectorIsPaced: the percentage follows each collection, unless the environment sets it.
func TestCollectorIsPaced(t *testing.T) {
	before := debug.SetGCPercent(defaultGOGC)
	defer debug.SetGCPercent(before)
	inForce := func() int {
		p := debug.SetGCPercent(defaultGOGC)
		debug.SetGCPercent(p)
		return p
	}
	a := &App{}
	a.o.Getenv = func(name string) (string, bool) { return "100", name == "GOGC" }
	if a.paceCollector() {
		t.Error("GOGC is set, and not left alone")
	}
	a.o.Getenv = func(string) (string, bool) { return "", false }
	if !a.paceCollector() {
		t.Fatal("not paced")
	}
	for inForce() == defaultGOGC {
		runtime.GC() // a heap as small as a test's
	}
	live := make([]byte, 2*garbageRoom)
	for inForce() != defaultGOGC {
		runtime.GC()
	}
	runtime.KeepAlive(live)
}

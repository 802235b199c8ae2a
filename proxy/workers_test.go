package proxy

import (
	"net/http"
	"sync"
	"testing"
)

// TestWorkersEnd: however many requests there were at once, few workers wait for others, and none when it ends.
func TestWorkersEnd(t *testing.T) {
	leakless(t)
	var mu sync.Mutex
	var all sync.WaitGroup
	together := make(chan struct{})
	n := 0
	s := newWorkers(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		if n++; n == 3*workersKept {
			close(together)
		}
		mu.Unlock()
		<-together
	})
	for range 3 * workersKept {
		all.Go(func() { s.do(nil, nil) })
	}
	all.Wait()
	s.do(nil, nil) // by one that waits, or by another
	if idle := s.idle.Load(); idle > workersKept+1 {
		t.Errorf("%d wait", idle)
	}
	s.end()
	s.end()
}

// TestWorkerPanics: what a request panics with comes out where net/http expects it, and the worker goes on.
func TestWorkerPanics(t *testing.T) {
	abort := true
	s := newWorkers(func(http.ResponseWriter, *http.Request) {
		if abort {
			panic(http.ErrAbortHandler)
		}
	})
	defer s.end()
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("panicked with %v", v)
			}
		}()
		s.do(nil, nil)
	}()
	abort = false
	s.do(nil, nil)
}

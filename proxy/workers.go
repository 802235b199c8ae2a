package proxy

import (
	"net/http"
	"sync"
	"sync/atomic"
)

// workers serve what comes over HTTP/2. net/http makes a goroutine for each of its requests, whose stack begins
// small; growing it, its frames copied each time, took a twenty-fifth of a small request's CPU. The stacks of
// workers, which go from one request to the next, have grown.
type workers struct {
	serve func(http.ResponseWriter, *http.Request)

	jobs    chan job // to those that are idle
	idle    atomic.Int64
	ended   chan struct{} // closed by end
	ending  sync.Once
	running sync.WaitGroup
}

type job struct {
	w    http.ResponseWriter
	r    *http.Request
	over chan any // what it panicked with, nil for nothing
}

// workersKept is how many wait for another request.
const workersKept = 64

func newWorkers(serve func(http.ResponseWriter, *http.Request)) *workers {
	return &workers{serve: serve, jobs: make(chan job), ended: make(chan struct{})}
}

// do has a worker serve r, and waits. It panics as the worker did.
func (s *workers) do(w http.ResponseWriter, r *http.Request) {
	j := job{w, r, make(chan any, 1)}
	select {
	case s.jobs <- j:
	default:
		s.running.Go(func() { s.work(j) })
	}
	if v := <-j.over; v != nil {
		panic(v)
	}
}

func (s *workers) work(j job) {
	for {
		s.run(j)
		if s.idle.Add(1) > workersKept {
			s.idle.Add(-1)
			return
		}
		select {
		case j = <-s.jobs:
			s.idle.Add(-1)
		case <-s.ended:
			return
		}
	}
}

func (s *workers) run(j job) {
	defer func() { j.over <- recover() }()
	s.serve(j.w, j.r)
}

// end ends the workers, once nobody calls do any more. It may be called twice.
func (s *workers) end() {
	s.ending.Do(func() { close(s.ended) })
	s.running.Wait()
}

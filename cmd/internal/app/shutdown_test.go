package app

import (
	"net/http"
	"sync"
	"testing"
)

// TestShutdownUnderLoad holds that requests under way finish within the grace, that readiness is
// withdrawn at once, and that nothing is left listening.
func TestShutdownUnderLoad(t *testing.T) {
	const n = 8
	started, release := make(chan struct{}, n), make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	defer let() // a test that has failed must not wait for its upstream
	s := newSite(t, func(http.ResponseWriter, *http.Request) {
		started <- struct{}{}
		<-release
	})
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-one"})
	c := r.client()
	status := make(chan int, n)
	for range n {
		go func() { status <- statusOf(c, "https://example.com/") }()
	}
	for range n {
		select {
		case <-started:
		case got := <-status:
			t.Fatalf("a request to be held: %d", got)
		}
	}
	r.cancel()
	await(t, "not ready", func() bool {
		got, _ := get(t, http.DefaultClient, "http://"+r.Addr("admin").String()+"/readyz")
		return got == 503
	})
	let()
	for range n {
		if got := <-status; got != 200 {
			t.Errorf("a request under way: %d", got)
		}
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if res, err := c.Get("https://example.com/"); err == nil {
		res.Body.Close()
		t.Error("still serves")
	}
}

// statusOf is the status of an answer, 0 if there was none. Other goroutines than a test's own may call it.
func statusOf(c *http.Client, address string) int {
	res, err := c.Get(address)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

// TestShutdownGraceEnds holds that a request that outlives the grace does not keep the process.
func TestShutdownGraceEnds(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	s := newSite(t, func(_ http.ResponseWriter, req *http.Request) {
		close(started)
		<-release
	})
	defer close(release)
	r := launch(t, s, basic+"limits: {shutdown_grace: 50ms}\n", map[string]string{"key": "made-up-key-one"})
	c := r.client()
	failed := make(chan bool, 1)
	go func() {
		res, err := c.Get("https://example.com/")
		if err == nil {
			res.Body.Close()
		}
		failed <- err != nil
	}()
	select {
	case <-started:
	case <-failed:
		t.Fatal("the request did not arrive")
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if !<-failed {
		t.Error("the request was answered; it should have been cut off")
	}
}

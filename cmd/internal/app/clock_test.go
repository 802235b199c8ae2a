package app

import (
	"sync"
	"testing"
	"time"
)

const (
	clockTick = 5 * time.Millisecond
	clockMost = 25 * time.Millisecond // of real time that one tick may stand for
)

// fairClock is the wall's, but stands still while the machine gives this process no time to run: a timer
// of 5 ms that comes after more than 25 says so. What is promised within some time is measured by it, so
// that a test fails for what we do and not for what else runs; a stall is never counted as more time
// than passed.
type fairClock struct {
	mu    sync.Mutex
	at    time.Duration
	last  time.Time
	stall time.Duration
}

func newFairClock(t *testing.T) *fairClock {
	c := &fairClock{at: time.Nanosecond, last: time.Now()}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(clockTick)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				c.advance()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	return c
}

func (c *fairClock) advance() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	passed := now.Sub(c.last)
	c.last = now
	c.at += min(passed, clockMost)
	c.stall += max(0, passed-clockMost)
}

func (c *fairClock) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at + min(time.Since(c.last), clockMost)
}

// stood is for how long it stood still.
func (c *fairClock) stood() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stall
}

// pass returns when d has passed.
func (c *fairClock) pass(d time.Duration) {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for end := c.now() + d; c.now() < end; {
		<-tick.C
	}
}

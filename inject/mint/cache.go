package mint

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
)

// Fetch gets a version of a token, and when it expires; zero: nobody knows. Its
// errors hold no byte of one: they are shown.
type Fetch func(ctx context.Context) (token string, expires time.Time, err error)

// Options of a Cache. The zero value is safe.
type Options struct {
	Log      *slog.Logger
	OnChange func()                       // after Entries has changed
	OnFetch  func(name string, err error) // after every fetch
}

// The waits between fetches.
const (
	fetchLimit = 10 * time.Second // for one fetch
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	soonest    = time.Second     // after a fetch that succeeded
	latest     = 5 * time.Minute // for a token that does not say when it expires
)

// Cache keeps tokens.
type Cache struct {
	o       Options
	ctx     context.Context
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu     sync.Mutex
	tokens map[string]*token
	epoch  int // counts Discard
}

// token is one of them. Cache.mu guards what changes.
type token struct {
	name  string
	fetch Fetch
	entry secret.Entry
	stop  context.CancelFunc
	again chan struct{} // a fetch is wanted now
	tried chan struct{} // closed after the first
}

// New returns a Cache that keeps nothing yet. Close releases it.
func New(o Options) *Cache {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnChange == nil {
		o.OnChange = func() {}
	}
	if o.OnFetch == nil {
		o.OnFetch = func(string, error) {}
	}
	c := &Cache{o: o, tokens: map[string]*token{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Apply makes want, by name, all that is kept. What was kept before under a
// name stays. It fetches in the background, and does not call OnChange itself.
func (c *Cache) Apply(want map[string]Fetch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	for name, t := range c.tokens {
		if want[name] == nil {
			t.stop()
			delete(c.tokens, name)
		}
	}
	for name, fetch := range want {
		if t := c.tokens[name]; t != nil {
			t.fetch = fetch
			continue
		}
		t := &token{name: name, fetch: fetch, entry: secret.Entry{Problem: "not fetched yet"}, again: make(chan struct{}, 1), tried: make(chan struct{})}
		ctx, cancel := context.WithCancel(c.ctx)
		t.stop = cancel
		c.tokens[name] = t
		c.working.Go(func() { c.keep(ctx, t) })
	}
}

// Wait returns when each token has been tried for once, or when ctx ends.
func (c *Cache) Wait(ctx context.Context) {
	c.mu.Lock()
	var waits []chan struct{}
	for _, t := range c.tokens {
		waits = append(waits, t.tried)
	}
	c.mu.Unlock()
	for _, w := range waits {
		select {
		case <-w:
		case <-ctx.Done():
			return
		}
	}
}

// Refresh fetches every token again now: what they are fetched from has changed.
func (c *Cache) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tokens {
		t.want()
	}
}

// Discard takes every token out of use at once, what is being fetched too: they are no longer ours to
// present. They are fetched anew. It does not call OnChange itself.
func (c *Cache) Discard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	for _, t := range c.tokens {
		if have := t.entry.Current; !have.IsZero() {
			t.entry = secret.Entry{Previous: have, Problem: "not fetched yet"}
		}
		t.want()
	}
}

// want has t fetched now.
func (t *token) want() {
	select {
	case t.again <- struct{}{}:
	default:
	}
}

// Entries are the tokens as they are now, by name.
func (c *Cache) Entries() map[string]secret.Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string]secret.Entry, len(c.tokens))
	for name, t := range c.tokens {
		all[name] = t.entry
	}
	return all
}

// Close ends all fetching and waits for it. What was fetched stays.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	c.working.Wait()
	return nil
}

// keep fetches t until ctx ends.
func (c *Cache) keep(ctx context.Context, t *token) {
	first := sync.OnceFunc(func() { close(t.tried) })
	defer first()
	retry := firstRetry
	for {
		wait, err := c.renew(ctx, t)
		first()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.o.Log.Warn("token cannot be fetched", "token", t.name, "error", err)
			wait, retry = retry, min(2*retry, lastRetry)
		} else {
			retry = firstRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-t.again:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// renew fetches t once and returns how long its answer is good for.
func (c *Cache) renew(ctx context.Context, t *token) (time.Duration, error) {
	c.mu.Lock()
	fetch, epoch := t.fetch, c.epoch
	c.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, fetchLimit)
	text, expires, err := fetch(limited)
	cancel()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	now := time.Now()
	switch {
	case err != nil:
	case text == "":
		err = errEmpty
	case !expires.IsZero() && !now.Before(expires):
		err = errExpired
	}
	if c.adopt(t, epoch, text, now, expires, err) {
		c.o.OnChange()
	}
	c.o.OnFetch(t.name, err)
	if expires.IsZero() {
		return latest, err
	}
	return max(expires.Sub(now)/2, soonest), err
}

// adopt puts what a fetch gave into t, and reports whether that changed anything. A
// failure never takes away what is still good.
func (c *Cache) adopt(t *token, epoch int, text string, now, expires time.Time, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	have := t.entry.Current
	switch {
	case epoch != c.epoch: // asked for before Discard, which wants another
		return false
	case err == nil && have.Reveal() == text:
		return false
	case err == nil:
		if have.IsZero() {
			have = t.entry.Previous
		}
		t.entry = secret.Entry{
			Current:  secret.NewExpiring(t.name, have.Generation()+1, now, expires, []byte(text)),
			Previous: have,
		}
		return true
	case !have.IsZero() || t.entry.Problem == err.Error():
		return false
	}
	t.entry.Problem = err.Error()
	return true
}

type fault string

func (f fault) Error() string { return string(f) }

const (
	errEmpty   fault = "an empty token was given"
	errExpired fault = "an expired token was given"
)

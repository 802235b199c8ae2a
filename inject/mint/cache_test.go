package mint

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/attache-proxy/attache/inject/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer gives tokens that live for ttl.
type issuer struct {
	ttl     time.Duration
	fetches atomic.Int64
	fail    atomic.Pointer[string]
	stall   time.Duration
}

func (i *issuer) fetch(ctx context.Context) (string, time.Time, error) {
	n := i.fetches.Add(1)
	if i.stall > 0 {
		select {
		case <-time.After(i.stall):
		case <-ctx.Done():
			return "", time.Time{}, ctx.Err()
		}
	}
	if why := i.fail.Load(); why != nil {
		return "", time.Time{}, errors.New(*why)
	}
	return fmt.Sprintf("token-%d", n), time.Now().Add(i.ttl), nil
}

func (i *issuer) breakDown(why string) { i.fail.Store(&why) }
func (i *issuer) mend()                { i.fail.Store(nil) }

func keeping(t *testing.T, i *issuer, o Options) *Cache {
	c := New(o)
	t.Cleanup(func() { _ = c.Close() })
	c.Apply(map[string]Fetch{"t": i.fetch})
	return c
}

// has is what a request finds.
func has(t *testing.T, c *Cache) string {
	t.Helper()
	v, err := secret.NewSet(c.Entries()).Lookup("t")
	if err != nil {
		return err.Error()
	}
	return v.Reveal()
}

func TestRenewedAtHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{ttl: 5 * time.Minute, stall: time.Second} // or the first token might be there first
		var changes atomic.Int64
		c := keeping(t, i, Options{OnChange: func() { changes.Add(1) }})
		if got := c.Entries()["t"]; got.Problem != "not fetched yet" {
			t.Errorf("before the first fetch: %+v", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := has(t, c); got != "token-1" {
			t.Fatalf("at once: %s", got)
		}
		time.Sleep(149 * time.Second)
		synctest.Wait()
		if got := has(t, c); got != "token-1" || changes.Load() != 1 {
			t.Errorf("before half its life: %s, %d changes", got, changes.Load())
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		e := c.Entries()["t"]
		if e.Current.Reveal() != "token-2" || e.Previous.Reveal() != "token-1" || e.Current.Generation() != 2 || changes.Load() != 2 {
			t.Errorf("after half its life: %v after %v, %d changes", e.Current, e.Previous, changes.Load())
		}
	})
}

// TestTokenEndpointDown: the last good token is used until it expires, never longer, and is replaced soon after the issuer is back.
func TestTokenEndpointDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{ttl: time.Minute}
		c := keeping(t, i, Options{})
		synctest.Wait()
		i.breakDown("the agent is down")
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if got := has(t, c); got != "token-1" {
			t.Errorf("while it lives: %s", got)
		}
		time.Sleep(time.Second)
		if got := has(t, c); !strings.Contains(got, "expired") {
			t.Errorf("after it expired: %s", got)
		}
		i.mend()
		time.Sleep(lastRetry)
		synctest.Wait()
		if got := has(t, c); !strings.HasPrefix(got, "token-") {
			t.Errorf("after the issuer came back: %s", got)
		}
	})
}

func TestEmptyAndExpiredTokensRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{})
		defer c.Close()
		c.Apply(map[string]Fetch{
			"t":     func(context.Context) (string, time.Time, error) { return "", time.Now().Add(time.Hour), nil },
			"ended": func(context.Context) (string, time.Time, error) { return "x", time.Now(), nil },
		})
		synctest.Wait()
		all := c.Entries()
		if got := all["t"].Problem; got != "an empty token was given" {
			t.Error(got)
		}
		if got := all["ended"].Problem; got != "an expired token was given" {
			t.Error(got)
		}
	})
}

// TestSlowIssuer: a fetch that hangs is given up, others do not wait for it.
func TestSlowIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := &issuer{ttl: time.Hour, stall: time.Hour}, &issuer{ttl: time.Hour}
		c := keeping(t, slow, Options{})
		c.Apply(map[string]Fetch{"t": slow.fetch, "quick": quick.fetch})
		synctest.Wait()
		if all := c.Entries(); all["quick"].Current.IsZero() {
			t.Error("waited for the slow one")
		}
		time.Sleep(fetchLimit + firstRetry)
		synctest.Wait()
		if slow.fetches.Load() != 2 || !strings.Contains(has(t, c), "deadline") {
			t.Errorf("%d fetches, %s", slow.fetches.Load(), has(t, c))
		}
	})
}

// TestWaitForFirstFetches: until all have been tried for, whatever came of it, and no longer than one wants.
func TestWaitForFirstFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{})
		defer c.Close()
		slow, broken := &issuer{ttl: time.Hour, stall: 2 * time.Second}, &issuer{ttl: time.Hour}
		broken.breakDown("no")
		c.Apply(map[string]Fetch{"t": slow.fetch, "broken": broken.fetch})
		begun := time.Now()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c.Wait(short)
		if d := time.Since(begun); d != time.Second {
			t.Errorf("waited %s for what takes longer", d)
		}
		c.Wait(t.Context())
		if d := time.Since(begun); d != 2*time.Second || has(t, c) != "token-1" {
			t.Errorf("after %s: %s", d, has(t, c))
		}
	})
}

// TestDiscard: what is discarded is not presented again, not even where it was on its way; it stays known as the version before.
func TestDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{ttl: time.Hour}
		c := keeping(t, i, Options{})
		synctest.Wait()
		i.breakDown("denied")
		c.Discard()
		if got := has(t, c); got != `secret "t": not fetched yet` {
			t.Errorf("at once: %s", got)
		}
		synctest.Wait()
		if got, e := has(t, c), c.Entries()["t"]; got != `secret "t": denied` || e.Previous.Reveal() != "token-1" {
			t.Errorf("after another try: %s, before it %v", got, e.Previous)
		}
		i.mend()
		i.stall = 5 * time.Second
		c.Refresh()
		time.Sleep(time.Second) // a fetch is under way
		n := i.fetches.Load()
		c.Discard()
		time.Sleep(4500 * time.Millisecond)
		if got := has(t, c); strings.HasPrefix(got, "token-") {
			t.Errorf("what was asked for before came after: %s", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := has(t, c); got != fmt.Sprintf("token-%d", n+1) || c.Entries()["t"].Current.Generation() != 2 {
			t.Errorf("at last: %s, %v", got, c.Entries()["t"].Current)
		}
	})
}

// TestApplyKeeps: a reload keeps what is there, drops what is no longer wanted, and Refresh fetches at once.
func TestApplyKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{ttl: time.Hour}
		c := keeping(t, i, Options{})
		synctest.Wait()
		c.Apply(map[string]Fetch{"t": i.fetch, "u": i.fetch})
		synctest.Wait()
		if got := has(t, c); got != "token-1" {
			t.Errorf("after a reload: %s", got)
		}
		c.Apply(map[string]Fetch{"t": i.fetch})
		if len(c.Entries()) != 1 {
			t.Error("what is no longer wanted stays")
		}
		c.Wait(t.Context())
		c.Refresh()
		synctest.Wait()
		if got := has(t, c); got != "token-3" {
			t.Errorf("after Refresh: %s", got)
		}
	})
}

func TestForbiddenImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		ours, ok := strings.CutPrefix(dep, "github.com/attache-proxy/attache/")
		if ok && ours != "inject/mint" && ours != "inject/secret" {
			t.Errorf("imports %s", ours)
		}
	}
}

package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// TestTokens holds that a token of the Workload API is ours, for the audience, and kept.
func TestTokens(t *testing.T) {
	api := identitytest.Start(t, shop, bank)
	s := readySource(t, api, SourceOptions{})
	for range 3 {
		for _, audience := range []string{"vault", "gateway"} {
			token, end, err := s.Token(t.Context(), audience)
			if err != nil {
				t.Fatal(err)
			}
			id, until, err := s.State().VerifyJWT(token, audience, time.Now())
			if err != nil || id.String() != shop || !until.Equal(end) {
				t.Errorf("%s: %v, %v, %v; Token says %v", audience, id, until, err, end)
			}
		}
	}
	if n := api.JWTFetches(); n != 2 {
		t.Errorf("%d fetches for 2 audiences", n)
	}
	if _, _, err := s.Token(t.Context(), ""); err == nil {
		t.Error("a token for no audience")
	}
	s.Close()
	if _, _, err := s.Token(t.Context(), "vault"); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestThousandWaitersOneFetch(t *testing.T) {
	api := identitytest.Start(t, shop)
	s := readySource(t, api, SourceOptions{})
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, _, err := s.Token(context.Background(), "vault"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := api.JWTFetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// TestTokensFollowTheIdentity: a token of an identity that is no longer ours is not handed out.
func TestTokensFollowTheIdentity(t *testing.T) {
	api := identitytest.Start(t, shop)
	s := readySource(t, api, SourceOptions{})
	for _, id := range []string{shop, "spiffe://acme.example/ns/shop/sa/web", shop} {
		api.Register(id)
		await(t, "the identity is "+id, func() bool { return s.State().ID().String() == id })
		await(t, "the token is of "+id, func() bool {
			token, _, err := s.Token(t.Context(), "vault")
			got, _, verr := s.State().VerifyJWT(token, "vault", time.Now())
			return err == nil && verr == nil && got.String() == id
		})
	}
}

// TestTokenOfARevokedKeyIsReplaced: one whose key was taken out of the bundle is good nowhere, however long it would live.
func TestTokenOfARevokedKeyIsReplaced(t *testing.T) {
	api := identitytest.Start(t, shop)
	s := readySource(t, api, SourceOptions{})
	for range 3 {
		old, _, err := s.Token(t.Context(), "vault")
		if err != nil {
			t.Fatal(err)
		}
		api.RotateJWTKeys()
		await(t, "the new key is there", func() bool { return s.Status().Bundles[0].JWT == 2 })
		if kept, _, err := s.Token(t.Context(), "vault"); err != nil || kept != old {
			t.Errorf("while its key is in the bundle: another one, %v", err)
		}
		api.Forget("acme.example")
		await(t, "the old key is gone", func() bool { return s.Status().Bundles[0].JWT == 1 })
		next, _, err := s.Token(t.Context(), "vault")
		if _, _, verr := s.State().VerifyJWT(next, "vault", time.Now()); err != nil || verr != nil || next == old {
			t.Errorf("after it: %v, %v", err, verr)
		}
	}
}

// TestTokenOfAKeyNotYetTold: a server may sign with a key that the agent has not told of.
func TestTokenOfAKeyNotYetTold(t *testing.T) {
	api := identitytest.Start(t, shop)
	api.FailJWT(status.Error(codes.Unavailable, "no keys yet"))
	s := readySource(t, api, SourceOptions{})
	s.tokens.mu.Lock()
	s.ask = func(audience string) (*jwtsvid.SVID, error) {
		return jwtsvid.ParseInsecure(identitytest.NewCA("acme.example").Token(shop, audience, time.Hour), []string{audience})
	}
	s.tokens.mu.Unlock()
	api.Allow()
	await(t, "keys are there", func() bool { return s.Status().Bundles[0].JWT == 1 })
	first, _, err := s.Token(t.Context(), "vault")
	if again, _, aerr := s.Token(t.Context(), "vault"); err != nil || aerr != nil || again != first {
		t.Errorf("%v, %v; the same: %v", err, aerr, again == first)
	}
}

// issuer gives tokens in a bubble, where no socket works.
type issuer struct {
	ca   *identitytest.CA
	ttl  time.Duration
	mu   sync.Mutex
	err  error
	slow time.Duration
	n    atomic.Int64
}

func (i *issuer) ask(audience string) (*jwtsvid.SVID, error) {
	i.n.Add(1)
	i.mu.Lock()
	err, slow := i.err, i.slow
	i.mu.Unlock()
	time.Sleep(slow) // of the bubble's clock
	if err != nil {
		return nil, err
	}
	return jwtsvid.ParseInsecure(i.ca.Token(shop, audience, i.ttl), []string{audience})
}

func (i *issuer) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

// issued is a Source in a bubble with an issuer.
func issued(t *testing.T, ttl time.Duration) (*Source, *issuer) {
	i := &issuer{ca: identitytest.NewCA("acme.example"), ttl: ttl}
	s := NewSource(SourceOptions{})
	s.ask = i.ask
	t.Cleanup(func() { s.Close() })
	return s, i
}

func keptTokens(s *Source) int {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	return len(s.tokens.kept)
}

// TestTokenIsRenewedAtHalfLife: in the background, as long as it is used, so that no call waits.
func TestTokenIsRenewedAtHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := issued(t, 10*time.Minute)
		i.slow = 2 * time.Second
		get := func() string {
			t.Helper()
			token, end, err := s.Token(t.Context(), "vault")
			if err != nil || time.Until(end) < tokenMargin {
				t.Fatalf("%v, %v left", err, time.Until(end))
			}
			return token
		}
		began := time.Now()
		first := get()
		if time.Since(began) != i.slow {
			t.Errorf("the first took %v", time.Since(began))
		}
		for minute := range 30 {
			at := time.Now()
			get()
			if time.Since(at) != 0 {
				t.Errorf("minute %d: a call waited for %v", minute, time.Since(at))
			}
			time.Sleep(time.Minute)
		}
		if get() == first || i.n.Load() < 5 || i.n.Load() > 7 {
			t.Errorf("%d fetches in half an hour of tokens of ten minutes", i.n.Load())
		}
		// Not used, it is fetched at most once more, and forgotten.
		n := i.n.Load()
		time.Sleep(time.Hour)
		if i.n.Load() > n+1 || keptTokens(s) != 0 {
			t.Errorf("%d more fetches, %d kept", i.n.Load()-n, keptTokens(s))
		}
	})
}

// TestTokenServesWhileRenewalFails: until its end, never beyond it, and without hammering the agent.
func TestTokenServesWhileRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := issued(t, 10*time.Minute)
		token, end, err := s.Token(t.Context(), "vault")
		if err != nil {
			t.Fatal(err)
		}
		i.fail(errors.New("the agent is away"))
		for time.Until(end) > tokenMargin {
			if got, _, err := s.Token(t.Context(), "vault"); err != nil || got != token {
				t.Fatalf("%v left: %v", time.Until(end), err)
			}
			time.Sleep(500 * time.Millisecond)
		}
		for range 20 {
			if got, _, err := s.Token(t.Context(), "vault"); err == nil || got != "" {
				t.Fatal("a token that is about to expire is handed out")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := i.n.Load(); n > 310 {
			t.Errorf("%d attempts in five minutes", n)
		}
		i.fail(nil)
		time.Sleep(tokenRetry)
		if _, _, err := s.Token(t.Context(), "vault"); err != nil {
			t.Error(err)
		}
	})
}

// TestFailingTokenIsAskedForOncePerSecond holds what a thousand callers cost an agent that is away.
func TestFailingTokenIsAskedForOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := issued(t, time.Minute)
		i.fail(errors.New("away"))
		for range 100 {
			if _, _, err := s.Token(t.Context(), "vault"); err == nil {
				t.Fatal("a token")
			}
		}
		if n := i.n.Load(); n != 1 {
			t.Errorf("%d attempts at once", n)
		}
		time.Sleep(time.Hour)
		if n := i.n.Load(); n != 1 || keptTokens(s) != 0 {
			t.Errorf("%d attempts, %d kept, though nobody asks", n, keptTokens(s))
		}
	})
}

func TestShortTokensAreUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := issued(t, 8*time.Second)
		for range 100 {
			_, end, err := s.Token(t.Context(), "vault")
			if err != nil || time.Until(end) < time.Second {
				t.Fatalf("%v, %v left", err, time.Until(end))
			}
			time.Sleep(700 * time.Millisecond)
		}
	})
}

func TestAudiencesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := issued(t, time.Hour)
		for i := range 3 * maxAudiences {
			if _, _, err := s.Token(t.Context(), fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := keptTokens(s); n > maxAudiences {
			t.Errorf("%d kept", n)
		}
	})
}

func TestWaiterLeavesTheFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, i := issued(t, time.Hour)
		i.slow = 3 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := s.Token(ctx, "vault"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if _, _, err := s.Token(t.Context(), "vault"); err != nil || i.n.Load() != 1 {
			t.Errorf("%v after %d fetches", err, i.n.Load())
		}
	})
}

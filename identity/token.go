package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
)

const (
	maxAudiences = 256              // whose tokens are kept
	tokenMargin  = 5 * time.Second  // before its end, or a quarter of its life, a token is no longer handed out
	tokenFetch   = 10 * time.Second // at most, for one answer of the Workload API
	tokenRetry   = time.Second      // between attempts that fail
	tokenForget  = time.Minute      // after the last attempt, what can no longer be handed out is forgotten
)

// tokens are our JWT-SVIDs, by audience. The Workload API's client keeps none, and asking it
// costs a round trip to the agent, or to the server behind it.
type tokens struct {
	mu       sync.Mutex
	kept     map[string]*token
	renewing bool
	closed   bool
	wake     chan struct{}
}

// token is the JWT-SVID for one audience. tokens.mu guards it. It is always behind a pointer: fmt prints what is not.
type token struct {
	text    string
	id      spiffeid.ID
	kid     string    // of the key that signed it
	known   bool      // that key has been in the bundle; a server may sign with a new one before the agent tells of it
	last    time.Time // it is handed out before then
	expires time.Time
	renew   time.Time // at half of its life
	used    bool      // since it was fetched
	err     error     // of the last attempt, nil: it succeeded
	tried   time.Time // when that was
	flight  chan struct{}
}

// Token is a JWT-SVID of our default identity for an audience, and when it expires. It is kept until then, and
// fetched anew at half of its life while it is in use, by one call for however many wait. While that fails the
// kept one is given, never one that is about to expire.
func (s *Source) Token(ctx context.Context, audience string) (string, time.Time, error) {
	fault := func(err error) (string, time.Time, error) {
		return "", time.Time{}, fmt.Errorf("JWT-SVID for %q: %w", audience, err)
	}
	switch {
	case s.ask == nil && s.o.Address == "":
		return fault(errors.New("files hold none; it needs the Workload API"))
	case s.ask == nil:
		return fault(errors.New(s.Status().Problem))
	case audience == "":
		return fault(errors.New("no audience"))
	}
	for waited := false; ; waited = true {
		t, flight := s.token(audience, waited)
		if flight == nil {
			if t.err != nil {
				return fault(t.err)
			}
			return t.text, t.expires, nil
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return fault(ctx.Err())
		}
	}
}

// token is a copy of what is there to be given, or what to wait for.
func (s *Source) token(audience string, waited bool) (token, <-chan struct{}) {
	now, st := s.o.Now(), s.State()
	if st != nil && st.ID().IsZero() {
		return token{err: ErrNone}, nil
	}
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	if s.tokens.closed {
		return token{err: errClosed}, nil
	}
	if !s.tokens.renewing {
		s.tokens.renewing = true
		s.working.Go(s.renewTokens)
	}
	t := s.tokens.of(audience, now)
	t.used = true
	switch {
	case t.usable(st, now):
		if t.due(now) {
			s.fetchToken(audience, t)
		}
		return token{text: t.text, expires: t.expires}, nil
	case t.flight != nil:
	case t.err != nil && (waited || now.Sub(t.tried) < tokenRetry && !now.Before(t.tried)):
		return token{err: t.err}, nil
	default:
		s.fetchToken(audience, t)
	}
	return token{}, t.flight
}

// usable reports whether t is ours now, lives long enough, and its key was not taken out of the bundle. tokens.mu is held.
func (t *token) usable(st *State, now time.Time) bool {
	return t.text != "" && now.Before(t.last) && (st == nil || t.id == st.ID()) && !t.revoked(st)
}

// revoked reports whether the key that signed t was in our bundle of JWT keys and no longer is: nobody takes t any more.
func (t *token) revoked(st *State) bool {
	if st == nil || st.JWT == nil {
		return false
	}
	b, ok := st.JWT.Get(t.id.TrustDomain())
	if !ok {
		return false
	}
	in := b.HasJWTAuthority(t.kid)
	t.known = t.known || in
	return t.known && !in
}

// due reports whether it is time for another one.
func (t *token) due(now time.Time) bool {
	return t.flight == nil && t.used && !now.Before(t.dueAt())
}

func (t *token) dueAt() time.Time {
	if t.err != nil {
		return t.tried.Add(tokenRetry)
	}
	return t.renew
}

// of finds the token for an audience, or makes room for one. tokens.mu is held.
func (k *tokens) of(audience string, now time.Time) *token {
	if t := k.kept[audience]; t != nil {
		return t
	}
	if len(k.kept) >= maxAudiences {
		first := slices.MinFunc(slices.Collect(maps.Keys(k.kept)), func(a, b string) int {
			return cmp.Or(cmp.Compare(truth(k.kept[a].used), truth(k.kept[b].used)), k.kept[a].expires.Compare(k.kept[b].expires))
		})
		delete(k.kept, first)
	}
	t := new(token)
	k.kept[audience] = t
	return t
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// fetchToken begins to fetch a token. tokens.mu is held.
func (s *Source) fetchToken(audience string, t *token) {
	flight := make(chan struct{})
	t.flight = flight
	s.working.Go(func() {
		defer close(flight)
		svid, err := s.ask(audience)
		now := s.o.Now()
		s.tokens.mu.Lock()
		defer s.tokens.mu.Unlock()
		t.flight, t.err, t.tried = nil, err, now
		if err == nil {
			life := svid.Expiry.Sub(now)
			t.text, t.id, t.expires, t.used = svid.Marshal(), svid.ID, svid.Expiry, false
			t.kid, t.known = keyID(t.text), false
			t.revoked(s.State())
			t.renew, t.last = now.Add(life/2), svid.Expiry.Add(-min(tokenMargin, life/4))
		}
		select {
		case s.tokens.wake <- struct{}{}:
		default:
		}
	})
}

// askToken asks the Workload API for a token that lives, of the identity that we show elsewhere.
func (s *Source) askToken(audience string) (*jwtsvid.SVID, error) {
	ctx, cancel := context.WithTimeout(s.ctx, tokenFetch)
	defer cancel()
	id := s.State().ID()
	svid, err := s.api.client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: id})
	switch {
	case err != nil:
		return nil, errors.New(problemOf(err))
	case !id.IsZero() && svid.ID != id:
		return nil, fmt.Errorf("the agent gave one of %q", svid.ID)
	case !s.o.Now().Before(svid.Expiry): // go-spiffe allows a minute more
		return nil, errors.New("the agent gave one that has expired")
	}
	return svid, nil
}

// renewTokens fetches what is in use at half of its life, and forgets what has expired, until Close.
func (s *Source) renewTokens() {
	for {
		timer := time.NewTimer(s.renewDue())
		select {
		case <-timer.C:
		case <-s.tokens.wake:
			timer.Stop()
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// renewDue begins what is due and returns how long until something else is.
func (s *Source) renewDue() time.Duration {
	now := s.o.Now()
	wait := wallLook
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	for audience, t := range s.tokens.kept {
		switch {
		case t.flight != nil: // its end wakes us
		case !now.Before(t.last): // the next call fetches one
			if now.Sub(t.tried) >= tokenForget {
				delete(s.tokens.kept, audience)
			}
		case t.due(now) && !s.tokens.closed:
			s.fetchToken(audience, t)
		case t.used:
			wait = min(wait, max(0, t.dueAt().Sub(now)))
		}
	}
	return wait
}

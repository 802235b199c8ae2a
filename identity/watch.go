package identity

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// deniedFor is how long an agent that we have just reached may deny us before what we have from before is dropped: after
// a restart it may not know us yet. One that denies on a stream on which it has given is believed at once (SPIFFE Workload API §5.2.1).
const deniedFor = 10 * time.Second

// firstTogether is how long the first State waits for the JWT bundles.
const firstTogether = time.Second

// denial watches whether the agent denies us. Source.mu guards it.
type denial struct {
	given bool      // the last that this stream brought was no error
	since time.Time // of the first denial since it last gave
}

func (d *denial) gave() { *d = denial{given: true} }

// denies takes an error of the stream and reports whether we are no longer entitled to what it gave.
func (d *denial) denies(err error, now time.Time) bool {
	given := d.given
	d.given = false
	if status.Code(err) != codes.PermissionDenied {
		return false
	}
	if d.since.IsZero() {
		d.since = now
	}
	return given || now.Sub(d.since) >= deniedFor
}

// x509Watcher takes SVIDs and X.509 bundles.
type x509Watcher struct {
	s *Source
	denial
}

func (w *x509Watcher) OnX509ContextUpdate(c *workloadapi.X509Context) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	w.gave()
	problem, now := "", s.o.Now()
	if old := s.next.svids; len(old) > 0 && old[0].ID == c.SVIDs[0].ID && now.Before(notAfter(old[0])) && !now.Before(notAfter(c.SVIDs[0])) {
		problem = "the agent gives an SVID that has expired; the former one is kept" // promise 9
	} else {
		s.next.svids = c.SVIDs
	}
	s.next.x509 = c.Bundles
	s.trouble(problem)
	s.publishNews()
}

func (w *x509Watcher) OnX509ContextWatchError(err error) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	denied := w.denies(err, s.o.Now())
	s.trouble(problemOf(err))
	if denied && s.next.x509 != nil {
		s.next.svids, s.next.x509 = nil, nil
		s.publishNews()
	}
}

// jwtWatcher takes the bundles of JWT-SVIDs.
type jwtWatcher struct {
	s    *Source
	stop func()
	denial
}

func (w *jwtWatcher) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	w.gave()
	s.next.jwt, s.next.jwtTried, s.told.JWTProblem = set, true, ""
	s.publishNews()
}

func (w *jwtWatcher) OnJWTBundlesWatchError(err error) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.next.jwtTried, s.told.JWTProblem = true, problemOf(err)
	if status.Code(err) == codes.Unimplemented {
		w.stop()
	}
	if w.denies(err, s.o.Now()) && s.next.jwt != nil {
		s.next.jwt = nil
	}
	s.publishNews()
}

// giveUpOnJWT ends the wait for the first JWT bundles, from an agent that answers nothing at all for them.
func (s *Source) giveUpOnJWT() {
	timer := time.NewTimer(firstTogether)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next.jwtTried = true
	s.publishNews()
}

// publishNews publishes the parts if they differ from the State in force: an agent that comes back repeats what it gave.
// The first State waits for the SVIDs, and for the JWT bundles to be tried for. Source.mu is held.
func (s *Source) publishNews() {
	switch st := s.state.Load(); {
	case st == nil && (s.next.x509 == nil || !s.next.jwtTried):
	case st == nil || !s.next.are(st):
		s.publish()
	default:
		s.announce()
	}
}

// are reports whether st was made of the same.
func (p *parts) are(st *State) bool {
	return slices.EqualFunc(p.svids, st.SVIDs, func(a, b *x509svid.SVID) bool {
		return a.Hint == b.Hint && slices.EqualFunc(a.Certificates, b.Certificates, (*x509.Certificate).Equal)
	}) && equalX509(p.x509, st.X509) && equalJWT(p.jwtBundles(), st.JWT)
}

// jwtBundles are those in force: none while we are denied an SVID. They are kept meanwhile, since an agent that gives
// bundles to everybody (SPIRE's allow_unauthenticated_verifiers) does not end that stream, and does not repeat them.
func (p *parts) jwtBundles() *jwtbundle.Set {
	if p.x509 == nil {
		return nil
	}
	return p.jwt
}

func equalX509(a, b *x509bundle.Set) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.EqualFunc(a.Bundles(), b.Bundles(), (*x509bundle.Bundle).Equal)
}

func equalJWT(a, b *jwtbundle.Set) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.EqualFunc(a.Bundles(), b.Bundles(), (*jwtbundle.Bundle).Equal)
}

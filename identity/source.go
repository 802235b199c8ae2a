package identity

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// SourceOptions of a Source.
type SourceOptions struct {
	Address string           // of the Workload API, see [CheckAddress]; empty: [Source.SetPEM] feeds it
	After   uint64           // the generation before the first
	Log     *slog.Logger     // nil: nothing is logged
	OnState func(*State)     // called with every new State, one call at a time; may be nil. It must not call the Source
	Now     func() time.Time // nil: the clock
}

// Source keeps a State current in the background. Its methods may be called from any goroutine.
type Source struct {
	o     SourceOptions
	state atomic.Pointer[State]
	ready chan struct{}

	ctx     context.Context
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu        sync.Mutex // held while a State is made and told of
	next      parts
	told      Status
	expired   int           // SVIDs of the State that had expired when it was published
	published chan struct{} // a new State wakes watchExpiry

	api    *workloadAPI // nil: fed with PEM
	tokens tokens
	ask    func(audience string) (*jwtsvid.SVID, error) // for a token; nil: there are none
}

// parts are what the next State is made of.
type parts struct {
	svids    []*x509svid.SVID
	x509     *x509bundle.Set
	jwt      *jwtbundle.Set
	jwtTried bool // the Workload API has given JWT bundles, or said why not
}

var errClosed = errors.New("the source of the proxy's identity is closed")

// NewSource starts to keep a State current. It does not wait for anything: what is wrong is in [Source.Status].
func NewSource(o SourceOptions) *Source {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Now = orClock(o.Now)
	s := &Source{o: o, ready: make(chan struct{}), published: make(chan struct{}, 1)}
	s.tokens.kept, s.tokens.wake = map[string]*token{}, make(chan struct{}, 1)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.working.Go(s.watchExpiry)
	if o.Address != "" {
		s.watch()
	} else {
		s.next.jwtTried = true
	}
	return s
}

// State is the current one, nil before the first.
func (s *Source) State() *State {
	if s == nil {
		return nil
	}
	return s.state.Load()
}

// Ready is closed once there was a State to work with.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Close ends everything that runs in the background and waits for it. The last State stays.
func (s *Source) Close() error {
	s.tokens.mu.Lock()
	s.tokens.closed = true // nothing starts from now on
	s.tokens.mu.Unlock()
	s.cancel()
	var err error
	if s.api != nil {
		err = s.api.close()
	}
	s.working.Wait()
	return err
}

// publish makes a State of the parts. Source.mu is held.
func (s *Source) publish() {
	now := s.o.Now()
	st := &State{Generation: s.o.After + 1, SVIDs: s.next.svids, X509: s.next.x509, JWT: s.next.jwtBundles(), Updated: now}
	if old := s.state.Load(); old != nil {
		st.Generation = old.Generation + 1
	}
	s.expired = st.expired(now)
	s.state.Store(st)
	if s.o.OnState != nil {
		s.o.OnState(st)
	}
	select {
	case s.published <- struct{}{}:
	default:
	}
	s.announce()
}

// announce closes Ready once there is an SVID and the JWT bundles were tried for. Source.mu is held.
func (s *Source) announce() {
	select {
	case <-s.ready:
	default:
		if len(s.next.svids) > s.expired && s.next.jwtTried {
			close(s.ready)
		}
	}
}

// trouble notes why there is no news; nil: there is. It logs what changed. Source.mu is held.
func (s *Source) trouble(problem string) {
	switch {
	case problem == s.told.Problem:
		return
	case problem == "":
		s.o.Log.Info("the proxy's identity is kept current again")
		s.told.Since = time.Time{}
	default:
		if s.told.Problem == "" {
			s.told.Since = s.o.Now()
		}
		s.o.Log.Warn("the proxy's identity cannot be kept current", "problem", problem, "identity", s.state.Load().ID().String())
	}
	s.told.Problem = problem
}

package mitm

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Options of an Authority. The zero value keeps everything in memory.
type Options struct {
	Publish           string           // directory that receives ca.pem, bundle.pem and truststore.p12; empty: none
	State             string           // directory that keeps the CA over restarts, for one process; empty: none
	Permit            []string         // host patterns to permit beside the rules' own
	Unconstrained     bool             // ca.constraints: off
	CertFile, KeyFile string           // a given CA; both or neither. CertFile: the signer first, then its chain
	SystemRoots       []byte           // PEM that bundle.pem and truststore.p12 begin with; nil: found on the system
	MoreRoots         []byte           // PEM that bundle.pem and truststore.p12 hold beside those
	Now               func() time.Time // nil: time.Now
	Log               *slog.Logger     // nil: discarded
	OnGeneration      func(Generation) // told of every new generation, once it is published
}

// Generation is what may be told of one CA generation.
type Generation struct {
	ID       string    `json:"id"`      // part of the subject's common name
	Permits  []string  `json:"permits"` // names, each with all below it, and addresses; "**": any host
	NotAfter time.Time `json:"not_after"`
	Created  time.Time `json:"created"`
	Given    bool      `json:"given,omitempty"`
}

// maxGenerations bounds ca.pem. A thirty-third drops the oldest, and says so.
const maxGenerations = 32

// Authority signs leaf certificates for the hosts it permits. It is safe for concurrent use.
type Authority struct {
	opts    Options
	log     *slog.Logger
	leafKey *ecdsa.PrivateKey // one for all leaves of this process

	live   atomic.Pointer[[]*generation] // oldest first; a change stores another slice
	leaves leafCache
	flight singleflight.Group
	minted atomic.Uint64

	mu     sync.Mutex // serialises changes of generations
	wanted names      // what the last Permit asked for, by mu
}

// New loads or makes the CA for the given host patterns (as policy.InterceptedHosts
// lists them) and publishes it. The files are there when it returns.
func New(opts Options, hosts []string) (*Authority, error) {
	a := &Authority{opts: opts, log: opts.Log}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if (opts.CertFile == "") != (opts.KeyFile == "") {
		return nil, errors.New("ca: cert and key are given together or not at all")
	}
	wanted, err := parseNames(opts.Permit, hosts)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	if a.leafKey, err = newKey(); err != nil {
		return nil, fmt.Errorf("ca: leaf key: %w", err)
	}
	if err := a.apart(); err != nil {
		return nil, err
	}
	a.warn()
	a.mu.Lock()
	loaded, err := a.load()
	var added []*generation
	if err == nil {
		added, err = a.ensure(loaded, wanted, true)
	}
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a.tell(added)
	return a, nil
}

// warn tells of options that weaken the CA.
func (a *Authority) warn() {
	switch {
	case a.opts.CertFile != "":
		a.log.Warn("given CA: its key may sign for every host that its own constraints allow", "cert", a.opts.CertFile)
	case a.opts.Unconstrained:
		a.log.Warn("CA without constraints: whoever takes its key can pose as any host to the clients that trust it")
	}
	if a.opts.Publish != "" && a.opts.State == "" && a.opts.CertFile == "" {
		a.log.Warn("CA without state: after a restart, clients must read the CA again", "hint", "set ca.state to a directory that applications do not mount")
	}
}

// load is what stands at the start: the given CA, or what the state kept.
func (a *Authority) load() ([]*generation, error) {
	if a.opts.CertFile != "" {
		g, err := loadGiven(a.opts.CertFile, a.opts.KeyFile, a.now())
		if err != nil {
			return nil, err
		}
		return []*generation{g}, nil
	}
	gens, err := loadState(a.opts.State, a.log)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(gens, func(g *generation) bool {
		if g.free && !a.opts.Unconstrained {
			a.log.Warn("CA generation dropped: it is not constrained, and constraints are on", "generation", g.ID)
			return true
		}
		return false
	}), nil
}

// Permit makes a new generation if the live ones do not permit all of hosts,
// and publishes it before it returns. It reports whether it did: clients must then read the CA file again.
// On an error nothing has changed. A given CA is never added to.
func (a *Authority) Permit(hosts []string) (added bool, err error) {
	wanted, err := parseNames(a.opts.Permit, hosts)
	if err != nil {
		return false, fmt.Errorf("ca: %w", err)
	}
	a.mu.Lock()
	gens, err := a.ensure(*a.live.Load(), wanted, false)
	a.mu.Unlock()
	a.tell(gens)
	return len(gens) > 0, err
}

// tell is called without the lock, so that OnGeneration may ask us anything.
func (a *Authority) tell(added []*generation) {
	for _, g := range added {
		if a.opts.OnGeneration != nil {
			a.opts.OnGeneration(g.told())
		}
	}
}

// renew publishes successors for hosts that only generations past half their
// life permit, and drops those whose life is over.
func (a *Authority) renew() error {
	a.mu.Lock()
	before := *a.live.Load()
	now := a.now()
	due := slices.ContainsFunc(before, func(g *generation) bool { return !g.Given && !g.live(now) }) ||
		len(a.missing(before, a.wanted, func(g *generation) bool { return g.young(now) })) > 0
	var added []*generation
	var err error
	if due {
		added, err = a.ensure(before, a.wanted, true)
	}
	a.mu.Unlock()
	a.tell(added)
	return err
}

// Run renews generations at half life until ctx ends; then it returns nil. It looks
// every hour at the wall clock, which a timer of half a year would miss across a suspend.
func (a *Authority) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := a.renew(); err != nil {
			a.log.Error("CA not renewed; tried again in an hour", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Generations lists the live generations, oldest first.
func (a *Authority) Generations() []Generation {
	gens := *a.live.Load()
	out := make([]Generation, len(gens))
	for i, g := range gens {
		out[i] = g.told()
	}
	return out
}

// Minted counts the leaf certificates signed so far.
func (a *Authority) Minted() uint64 { return a.minted.Load() }

// now is wall time: the monotonic clock stands still while a laptop sleeps.
func (a *Authority) now() time.Time {
	if a.opts.Now != nil {
		return a.opts.Now().Round(0)
	}
	return time.Now().Round(0)
}

package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/watcher"
)

const identityWait = 5 * time.Second // at most, for the first State of a reload's new identity

// ownIdentity is where the proxy's identity comes from, for as long as that is configured the same.
// App.mu guards state.
type ownIdentity struct {
	spec   config.Identity
	start  func()
	source *identity.Source
	files  *watcher.Store  // feeds source; nil: the Workload API does
	state  *identity.State // the newest, nil before the first
}

// newIdentity makes what start then starts, or nil if no identity is configured. Generations go on from after.
func (a *App) newIdentity(spec config.Identity, after *identity.State) *ownIdentity {
	if spec.Key == "" {
		return nil
	}
	own := &ownIdentity{spec: spec}
	o := identity.SourceOptions{Address: spec.Address, Log: a.log}
	if after != nil {
		o.After = after.Generation
	}
	o.OnState = func(s *identity.State) { a.onIdentity(own, s) }
	own.start = func() {
		own.source, own.files = startIdentity(a.ctx, spec, o, a.dirs, a.working.Go)
	}
	return own
}

// ready is closed once there is a State to work with; nil blocks for ever.
func (o *ownIdentity) ready() <-chan struct{} { return o.source.Ready() }

func (o *ownIdentity) close() {
	if o == nil {
		return
	}
	if o.files != nil {
		_ = o.files.Close()
	}
	_ = o.source.Close()
}

// warnings are what is odd about the files, if the identity comes from some.
func (o *ownIdentity) warnings() []string {
	if o == nil || o.files == nil {
		return nil
	}
	var all []string
	for _, s := range o.files.Status() {
		all = append(all, s.Warnings...)
	}
	return all
}

// onIdentity puts a new State in force, if own is.
func (a *App) onIdentity(own *ownIdentity, s *identity.State) {
	a.mu.Lock()
	own.state = s
	inForce := a.now.identity == own
	if inForce && (!a.now.hold || a.now.showing == own) { // what was taken back does not wait for a reload's secrets
		if a.showLocked(s) {
			a.showTokensLocked()
		}
		a.live.SetIdentity(s)
	}
	a.mu.Unlock()
	if inForce {
		a.tokens.Refresh() // of another ID they may be others
		a.tellIdentity(s)
	}
}

// tellIdentity records what the proxy is now.
func (a *App) tellIdentity(s *identity.State) {
	text, generation := describeIdentity(s, time.Now()), uint64(0)
	if s != nil {
		generation = s.Generation
	}
	a.log.Info("identity updated", "identity", text, "generation", generation)
	a.record(audit.Event{Type: audit.IdentityUpdated, Version: generation, Detail: text})
}

// describeIdentity says in one line what a State holds.
func describeIdentity(s *identity.State, now time.Time) string {
	if s == nil || len(s.SVIDs) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, svid := range s.SVIDs {
		if i > 0 {
			b.WriteString("; ")
		}
		verb, end := "until", svid.Certificates[0].NotAfter
		if !now.Before(end) {
			verb = "expired at"
		}
		fmt.Fprintf(&b, "%s %s %s", svid.ID, verb, end.UTC().Format(time.RFC3339))
	}
	var domains []string
	for _, bundle := range s.Bundles() {
		domains = append(domains, bundle.TrustDomain)
	}
	fmt.Fprintf(&b, "; trusts %s", strings.Join(domains, ", "))
	return b.String()
}

// identityState is the State in force. App.mu is held.
func (f *inForce) identityState() *identity.State {
	if f.identity == nil {
		return nil
	}
	return f.identity.state
}

// changeIdentity is what a reload does about the identity: the former one if it is configured the same;
// otherwise a new one that works, or an error. The one that is not taken is for the caller to close.
func (a *App) changeIdentity(ctx context.Context, spec config.Identity) (*ownIdentity, error) {
	a.mu.Lock()
	old := a.now.identity
	after := a.now.identityState()
	a.mu.Unlock()
	if old != nil && old.spec.Key == spec.Key || old == nil && spec.Key == "" {
		return old, nil
	}
	next := a.newIdentity(spec, after)
	if next == nil {
		return nil, nil
	}
	next.start()
	ctx, cancel := context.WithTimeout(ctx, identityWait)
	defer cancel()
	select {
	case <-next.ready():
		return next, nil
	case <-ctx.Done():
		problem := next.source.Status().Problem
		if problem == "" {
			problem = "no answer"
		}
		next.close()
		return nil, fmt.Errorf("identity (%s): %s", spec.Pos, problem)
	}
}

// exchangeIdentity makes next the one that is published with the configuration that is about to follow.
func (a *App) exchangeIdentity(next *ownIdentity) (former *ownIdentity) {
	a.mu.Lock()
	former, a.now.identity = a.now.identity, next
	state := a.now.identityState()
	a.mu.Unlock()
	if next != former {
		a.tokens.Refresh()
		a.tellIdentity(state)
	}
	return former
}

// closeUnlessInForce closes an identity that nobody uses.
func (a *App) closeUnlessInForce(own *ownIdentity) {
	a.mu.Lock()
	unused := own != nil && own != a.now.identity
	a.mu.Unlock()
	if unused {
		own.close()
	}
}

// refreshIdentity looks at the identity's files now.
func (a *App) refreshIdentity(ctx context.Context) {
	a.mu.Lock()
	own := a.now.identity
	a.mu.Unlock()
	if own != nil && own.files != nil {
		own.files.Refresh(ctx)
	}
}

// hasIdentity reports whether the identity, if one is configured, has been there once.
func (a *App) hasIdentity() bool {
	a.mu.Lock()
	own := a.now.identity
	a.mu.Unlock()
	if own == nil {
		return true
	}
	select {
	case <-own.ready():
		return true
	default:
		return false
	}
}

// Identity tells how the proxy's own identity fares, nil if none is configured.
func (a *App) Identity() *identity.Status {
	a.mu.Lock()
	own := a.now.identity
	a.mu.Unlock()
	if own == nil {
		return nil
	}
	s := own.source.Status()
	return &s
}

// identityDegraded are the lines for what is wrong with the identity.
func identityDegraded(s *identity.Status, now time.Time) []string {
	if s == nil {
		return nil
	}
	var lines []string
	for _, svid := range s.SVIDs {
		end := svid.NotAfter.UTC().Format(time.RFC3339)
		switch life := svid.NotAfter.Sub(svid.NotBefore); {
		case !now.Before(svid.NotAfter):
			lines = append(lines, fmt.Sprintf("identity: %s: expired at %s", svid.ID, end))
		case svid.NotAfter.Sub(now) < life/4: // agents renew at half of it
			lines = append(lines, fmt.Sprintf("identity: %s: not renewed yet, expires at %s", svid.ID, end))
		}
	}
	if s.Problem != "" {
		lines = append(lines, "identity: "+s.Problem)
	} else if len(s.SVIDs) == 0 {
		lines = append(lines, "identity: none yet")
	}
	return slices.Clip(lines)
}

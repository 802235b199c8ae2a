package watcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

const (
	readLimit  = 5 * time.Second // of one look
	mostReads  = 5               // until two agree
	firstPause = 10 * time.Millisecond
	wallLook   = 30 * time.Second // between looks at the wall clock while anything expires by it
)

// keepTime starts the goroutine that looks when it is time, once.
func (s *Store) keepTime() {
	s.mu.Lock()
	running := s.running
	s.running = true
	s.mu.Unlock()
	if !running {
		s.start(s.run)
	}
}

func (s *Store) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if s.overdue(time.Now()) {
			s.take(nil, nil)
		}
		files, others, wait := s.due(time.Now())
		// Apart, so that a slow store holds up no file.
		for _, due := range [][]*kept{files, others} {
			if len(due) > 0 {
				s.start(func() { s.round(due) })
			}
		}
		timer.Reset(wait)
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// due returns what must be looked at now, and how long until something else must.
func (s *Store) due(now time.Time) (files, others []*kept, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Hour
	groups, busy := map[string]bool{}, map[string]bool{}
	for _, k := range s.kept {
		if g := k.group(); k.busy {
			busy[g] = true
		} else if k.noticed || !k.next.After(now) {
			groups[g] = true
		}
	}
	for _, k := range s.kept {
		if end := k.deadline(); !end.IsZero() {
			// The wall clock may jump, and stands for no timer to see.
			wait = min(wait, max(0, end.Sub(now)), wallLook)
		}
		left := k.next.Sub(now)
		if g := k.group(); g != "" && busy[g] {
			continue // the end of that look wakes the time keeper
		} else if g != "" && groups[g] {
			left = 0 // what belongs together is looked at together
		}
		switch {
		case k.busy:
			continue
		case left > 0 && !k.noticed:
			wait = min(wait, left)
			continue
		case len(k.paths) > 0:
			files = append(files, k)
		default:
			others = append(others, k)
		}
		k.busy, k.polled, k.noticed = true, !k.noticed && k.writing.IsZero() && k.empty.IsZero(), false
	}
	return files, others, wait
}

// round looks at what due found.
func (s *Store) round(ks []*kept) {
	s.take(ks, s.look(s.ctx, ks))
	s.mu.Lock()
	for _, k := range ks {
		k.busy, k.polled = false, false
	}
	s.mu.Unlock()
	s.poke()
}

// look reads each of ks once, all at the same time.
func (s *Store) look(ctx context.Context, ks []*kept) []outcome {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	outcomes := make([]outcome, len(ks))
	var wg sync.WaitGroup
	for i, k := range ks {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, k.patience())
			defer cancel()
			outcomes[i] = s.lookAt(ctx, k)
		})
	}
	wg.Wait()
	return outcomes
}

// patience is how long one look may take.
func (k *kept) patience() time.Duration {
	if p, ok := k.source.(source.Patient); ok {
		return p.Patience()
	}
	return readLimit
}

// lookAt waits for a look under way at the same secret, then reads. It returns
// when ctx ends, even if the source does not: a hung file system ends no read.
// The gate stays shut then, so that no further reads pile up.
func (s *Store) lookAt(ctx context.Context, k *kept) outcome {
	late := outcome{err: errors.New("no answer in time")}
	select {
	case k.gate <- struct{}{}:
	case <-ctx.Done():
		return late
	}
	done := make(chan outcome, 1)
	started := s.start(func() {
		defer func() { <-k.gate }()
		k.looks++
		look := k.looks
		o := s.read(ctx, k)
		o.look = look
		done <- o
	})
	if !started {
		<-k.gate
		return late
	}
	select {
	case o := <-done:
		return o
	case <-ctx.Done():
		return late
	}
}

// read returns the usable content, from two reads that agree where someone may
// be writing meanwhile.
func (s *Store) read(ctx context.Context, k *kept) (o outcome) {
	raw, err := k.source.Read(ctx)
	if err == nil && len(k.paths) > 0 {
		raw, err = k.agree(ctx, raw)
	}
	_, writing := errors.AsType[*source.UnsettledError](err)
	if err != nil && !writing {
		return outcome{err: err}
	}
	if i, ok := k.source.(source.Inspector); ok {
		o.troubles = i.Inspect()
	}
	o.raw = sha256.Sum256(raw)
	var bad error
	if o.text, bad = content(raw, k.field); bad == nil {
		s.validating(k, o.text)
		o.expires, bad = validate(o.text, k.expect, time.Now())
	}
	if bad != nil {
		o.text = nil
		if _, empty := errors.AsType[emptyError](bad); !empty || k.field != "" && len(bytes.TrimSpace(raw)) > 0 {
			bad = &invalidError{bad}
		}
		if len(k.paths) == 1 {
			bad = &placedError{bad, k.paths[0]}
		}
	}
	if o.err = bad; writing {
		o.err = err
	}
	return o
}

// placedError says in which file the content is that cannot be used.
type placedError struct {
	err  error
	path string
}

func (e *placedError) Error() string { return fmt.Sprintf("%v (file %s)", e.err, e.path) }
func (e *placedError) Unwrap() error { return e.err }

// validating shows that other content than the present is being checked.
func (s *Store) validating(k *kept, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !k.current.IsZero() && k.current.Reveal() != string(text) {
		k.phase = Validating
	}
}

// agree reads on until two reads in a row give the same.
func (k *kept) agree(ctx context.Context, raw []byte) ([]byte, error) {
	pause := firstPause
	for range mostReads {
		next, err := k.source.Read(ctx)
		if err != nil {
			return next, err
		}
		same := bytes.Equal(raw, next)
		if raw = next; same {
			return raw, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
			pause *= 2
		}
	}
	return nil, errors.New("changes with every read")
}

// take puts outcomes in force and tells of them.
func (s *Store) take(ks []*kept, outcomes []outcome) {
	s.taking.Lock()
	defer s.taking.Unlock()
	now := time.Now()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	together(ks, outcomes)
	var changes []report
	var missed []string
	publish := false
	step := func(k *kept, of func() string) {
		before, reason := k.entry(), k.reason
		if result := of(); result != "" && s.kept[k.spec.Name] == k {
			changes = append(changes, report{Change{k.status(), result}, reason == k.reason})
			publish = publish || k.entry() != before
		}
	}
	for i, k := range ks {
		k.warnings = warningsOf(outcomes[i])
		step(k, func() string { return k.settle(outcomes[i], now) })
	}
	for _, k := range s.kept {
		step(k, func() string { return k.judge(now) })
		if at := k.unannounced; !at.IsZero() && !now.Before(at.Add(missedAfter)) {
			k.unannounced = time.Time{}
			missed = append(missed, k.spec.Name)
		}
	}
	var set *secret.Set
	if publish {
		set = s.compose()
	}
	s.mu.Unlock()
	s.publish(set, changes)
	for _, name := range missed {
		s.log.Warn("a file changed without notice and polling found it", "secret", name)
		if s.opt.OnMissed != nil {
			s.opt.OnMissed(name)
		}
	}
	s.poke()
}

// overdue reports whether a version must be withdrawn.
func (s *Store) overdue(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kept {
		if end := k.deadline(); !end.IsZero() && !now.Before(end) {
			return true
		}
	}
	return false
}

// compose makes the Set of what is kept. It is called with mu held.
func (s *Store) compose() *secret.Set {
	entries := make(map[string]secret.Entry, len(s.kept))
	for name, k := range s.kept {
		entries[name] = k.entry()
	}
	return secret.NewSet(entries)
}

// report is a Change to be told. An error that is as before is told to the
// callback, which counts, and not to people.
type report struct {
	Change
	known bool
}

// publish tells of a new Set, if there is one, then of the changes. It is
// called with taking held and mu not.
func (s *Store) publish(set *secret.Set, changes []report) {
	if set != nil {
		s.set.Store(set)
		if s.opt.OnSet != nil {
			s.opt.OnSet(set)
		}
	}
	for _, c := range changes {
		s.logChange(c)
		if s.opt.OnChange != nil {
			s.opt.OnChange(c.Change)
		}
	}
}

func (s *Store) logChange(c report) {
	attrs := []any{
		slog.String("secret", c.Name), slog.String("source", c.Source), slog.String("state", string(c.State)),
		slog.Uint64("generation", c.Generation),
	}
	switch {
	case c.Result == "rotated":
		s.log.Info("secret has a new version", attrs...)
	case c.Result == "unchanged":
		s.log.Info("secret can be read again", attrs...)
	case c.Result == "expired", c.Result == "revoked":
		s.log.Error("secret is no longer used", append(attrs, slog.String("reason", c.Reason))...)
	case c.known:
		s.log.Debug("secret still cannot be used", append(attrs, slog.String("reason", c.Reason))...)
	default:
		s.log.Warn("secret cannot be used", append(attrs, slog.String("reason", c.Reason))...)
	}
}

package watcher

import (
	"context"
	"slices"
	"time"

	"github.com/attache-proxy/attache/watcher/dirwatch"
)

// Apply makes the Store keep exactly specs: secrets whose Key is unchanged
// keep their state, the others are read once (each read bounded by 5 s, or its source's patience; Apply
// returns when all have been tried or ctx ends), and OnSet is called. Until
// then the Set stays as it was. Generations go on counting by name; a secret
// that comes from elsewhere now starts without a version, because the old one
// was not read from there, unless its content is the same. A secret that
// cannot be read is no error of Apply: its entry says so and it is tried again.
func (s *Store) Apply(ctx context.Context, specs []Spec) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.mu.Lock()
	next := make(map[string]*kept, len(specs))
	var fresh []*kept
	for _, spec := range specs {
		if old := s.kept[spec.Name]; old != nil && spec.Key != "" && old.spec.Key == spec.Key && old.field == spec.Field {
			next[spec.Name] = old
			continue
		}
		k := newKept(spec)
		next[spec.Name] = k
		fresh = append(fresh, k)
	}
	seen, closed := s.noticed, s.closed
	s.mu.Unlock()
	if closed {
		return
	}
	stopOld := s.watch(next) // before reading: what changes later is noticed
	outcomes := s.look(ctx, fresh)
	together(fresh, outcomes)
	s.exchange(specs, next, fresh, outcomes, seen)
	stopOld()
	s.keepTime()
	s.poke()
}

// watch begins to watch the files of next, beside those watched so far, and
// returns what ends the watch so far.
func (s *Store) watch(next map[string]*kept) (stopOld func()) {
	var paths []string
	for _, k := range next {
		paths = append(paths, k.paths...)
	}
	slices.Sort(paths)
	stopOld, s.stop = s.stop, func() {}
	if len(paths) == 0 {
		return stopOld
	}
	notices := s.opt.Notices
	if notices == nil {
		if s.own == nil {
			s.own = dirwatch.New(dirwatch.Options{Log: s.log})
		}
		notices = s.own
	}
	s.stop = notices.Watch(slices.Compact(paths), s.notice)
	return stopOld
}

// notice makes every secret in a file due. All of them, because secrets that
// change together, as in a ..data swap, are then published together; a look
// at an unchanged file costs microseconds.
func (s *Store) notice() {
	s.mu.Lock()
	s.noticed++
	for _, k := range s.kept {
		k.unannounced = time.Time{} // the poll was only quicker
	}
	s.fileDue()
	s.mu.Unlock()
	s.poke()
}

// fileDue is called with mu held.
func (s *Store) fileDue() {
	for _, k := range s.kept {
		if len(k.paths) > 0 {
			k.noticed, k.phase = true, Settling
		}
	}
}

// exchange puts next in force and publishes it.
func (s *Store) exchange(specs []Spec, next map[string]*kept, fresh []*kept, outcomes []outcome, seen uint64) {
	s.taking.Lock()
	defer s.taking.Unlock()
	now := time.Now()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	for _, spec := range specs {
		k := next[spec.Name]
		k.spec.Optional, k.spec.Owner, k.spec.Poll = spec.Optional, spec.Owner, spec.Poll
		k.next = earlier(k.next, now.Add(k.interval())) // Poll may have become shorter
	}
	changes := make([]report, 0, len(fresh))
	for i, k := range fresh {
		if old := s.kept[k.spec.Name]; old != nil {
			k.follow(old, outcomes[i])
		}
		k.warnings = warningsOf(outcomes[i])
		if result := k.settle(outcomes[i], now); result != "" {
			changes = append(changes, report{Change: Change{k.status(), result}})
		}
	}
	s.kept = next
	if s.noticed != seen {
		s.fileDue()
	}
	set := s.compose()
	s.mu.Unlock()
	s.publish(set, changes)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

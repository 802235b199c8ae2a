package identity

import "time"

// wallLook is how often the clock is looked at while something expires by it: it may jump, and no timer sees that.
const wallLook = 30 * time.Second

// watchExpiry publishes the State once more when an SVID of it has expired, so that what was admitted by it is
// looked at again and operators hear of it. Nothing depends on it: expiry is judged at each use.
func (s *Source) watchExpiry() {
	for {
		timer := time.NewTimer(s.checkExpiry())
		select {
		case <-timer.C:
		case <-s.published:
			timer.Stop()
		case <-s.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// checkExpiry returns how long until the next look.
func (s *Source) checkExpiry() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, now := s.state.Load(), s.o.Now()
	if st == nil {
		return time.Hour // the first State wakes us
	}
	if n := st.expired(now); n > s.expired {
		s.o.Log.Error("the proxy's SVID has expired and is no longer used", "identity", st.ID().String(), "problem", s.told.Problem)
		s.publish()
	}
	wait := wallLook
	for _, svid := range st.SVIDs {
		if left := notAfter(svid).Sub(now); left > 0 {
			wait = min(wait, left)
		}
	}
	return wait
}

// expired is how many of our SVIDs have expired.
func (s *State) expired(now time.Time) int {
	n := 0
	for _, svid := range s.SVIDs {
		if !now.Before(notAfter(svid)) {
			n++
		}
	}
	return n
}

package identity

import "time"

// Status is what operators see of a Source. It has no key and no token in it.
type Status struct {
	Address    string // of the Workload API; empty for files
	Generation uint64 // of the State, 0: none yet
	Updated    time.Time
	SVIDs      []SVIDStatus
	Bundles    []BundleStatus
	Problem    string    // the last one since the source last worked; empty: none
	Since      time.Time // of the problem
	JWTProblem string    // likewise, of the bundles for JWT-SVIDs
}

// SVIDStatus is one X509-SVID of ours.
type SVIDStatus struct {
	ID        string
	Hint      string
	NotBefore time.Time
	NotAfter  time.Time
}

// BundleStatus is one trust domain's bundle.
type BundleStatus struct {
	TrustDomain string
	Federated   bool // not one of our own trust domains
	X509        int  // authorities
	JWT         int  // keys
}

// Status tells how the source fares.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.told
	st.Address = s.o.Address
	now := s.state.Load()
	if now == nil {
		return st
	}
	st.Generation, st.Updated = now.Generation, now.Updated
	for _, svid := range now.SVIDs {
		leaf := svid.Certificates[0]
		st.SVIDs = append(st.SVIDs, SVIDStatus{svid.ID.String(), svid.Hint, leaf.NotBefore, leaf.NotAfter})
	}
	st.Bundles = now.Bundles()
	return st
}

// Bundles lists the trust domains in order of name.
func (s *State) Bundles() []BundleStatus {
	if s == nil {
		return nil
	}
	own := map[string]bool{}
	for _, svid := range s.SVIDs {
		own[svid.ID.TrustDomain().Name()] = true
	}
	var all []BundleStatus
	if s.X509 != nil {
		for _, b := range s.X509.Bundles() {
			name := b.TrustDomain().Name()
			all = append(all, BundleStatus{TrustDomain: name, Federated: !own[name], X509: len(b.X509Authorities())})
		}
	}
	if s.JWT != nil {
		for i := range all {
			for _, b := range s.JWT.Bundles() {
				if b.TrustDomain().Name() == all[i].TrustDomain {
					all[i].JWT = len(b.JWTAuthorities())
				}
			}
		}
	}
	return all
}

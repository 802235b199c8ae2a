package identity

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// shownSVID is the X509-SVID that a peer has shown in its TLS handshake. It is verified again under every
// State that brings other bundles, so that a trust domain that was let go proves nothing any more.
type shownSVID struct {
	chain []*x509.Certificate
	last  atomic.Pointer[svidVerdict]
}

// svidVerdict is what one State made of it.
type svidVerdict struct {
	by      *State
	bundle  *x509bundle.Bundle // that the chain was verified with
	id      spiffeid.ID
	expires time.Time
	err     error // why it was not verified
}

// verify returns the ID and when it ends to be proven. It costs next to nothing while the State, or the
// bundle in it, stays.
func (s *shownSVID) verify(st *State, now time.Time) (id spiffeid.ID, expires time.Time, ok bool) {
	v := s.verdict(st, now)
	return v.id, v.expires, v.err == nil && now.Before(v.expires)
}

func (s *shownSVID) verdict(st *State, now time.Time) *svidVerdict {
	v := s.last.Load()
	if v == nil || v.by != st {
		v = s.judge(v, st, now)
		s.last.Store(v)
	}
	return v
}

func (s *shownSVID) judge(old *svidVerdict, st *State, now time.Time) *svidVerdict {
	if old != nil && old.err == nil && st != nil && st.X509 != nil {
		if b, found := st.X509.Get(old.id.TrustDomain()); found && b.Equal(old.bundle) {
			return &svidVerdict{st, old.bundle, old.id, old.expires, nil}
		}
	}
	id, expires, err := st.verify(s.chain, now)
	if err != nil {
		return &svidVerdict{by: st, err: err}
	}
	for _, c := range s.chain { // an intermediate may end before its leaf
		if c.NotAfter.Before(expires) {
			expires = c.NotAfter
		}
	}
	b, _ := st.X509.Get(id.TrustDomain())
	return &svidVerdict{st, b, id, expires, nil}
}

// shownJWT is what is kept of a JWT-SVID that was verified: not the token, which others could use, but the
// key that it was verified with. While that is in the bundle, verifying again would give the same.
type shownJWT struct {
	id      spiffeid.ID
	expires time.Time
	kid     string
	key     crypto.PublicKey
}

// showJWT verifies a JWT-SVID.
func showJWT(token, audience string, k Known) (*shownJWT, error) {
	if audience == "" {
		return nil, &AuthError{"no caller is known by a JWT-SVID"}
	}
	id, expires, err := k.State.VerifyJWT(token, audience, k.Now)
	if err != nil {
		return nil, &AuthError{"not a JWT-SVID that is valid here"}
	}
	j := &shownJWT{id: id, expires: expires, kid: keyID(token)}
	if j.key = j.authority(k.State); j.key == nil {
		return nil, &AuthError{"not a JWT-SVID that is valid here"}
	}
	return j, nil
}

// keyID is the "kid" of a token that was verified; the bundle's key was found by it.
func keyID(token string) string {
	head, _, _ := strings.Cut(token, ".")
	var h struct {
		KeyID string `json:"kid"`
	}
	if text, err := base64.RawURLEncoding.DecodeString(head); err == nil {
		_ = json.Unmarshal(text, &h)
	}
	return h.KeyID
}

// authority is the key that the State has under the token's kid, nil for none.
func (j *shownJWT) authority(st *State) crypto.PublicKey {
	if st == nil || st.JWT == nil {
		return nil
	}
	b, ok := st.JWT.Get(j.id.TrustDomain())
	if !ok {
		return nil
	}
	key, _ := b.FindJWTAuthority(j.kid)
	return key
}

// still reports whether verifying the token now would give the same.
func (j *shownJWT) still(k Known) bool {
	if !k.Now.Before(j.expires) {
		return false
	}
	now := j.authority(k.State)
	key, ok := j.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && now != nil && key.Equal(now)
}

// held finds an SVID of ours that p names, has not expired, and lasts longest.
func (s *State) held(p Pattern, now time.Time) (id spiffeid.ID, expires time.Time, ok bool) {
	if s == nil {
		return id, expires, false
	}
	for _, svid := range s.SVIDs {
		if end := notAfter(svid); now.Before(end) && end.After(expires) && p.Match(svid.ID) {
			id, expires, ok = svid.ID, end, true
		}
	}
	return id, expires, ok
}

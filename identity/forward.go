package identity

import (
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// MeantFor reports whether a Proxy-Authorization carries a JWT that says it is for the
// audience, and perhaps for others. It verifies nothing: it is asked before a proof is passed on,
// unread, to whoever has that audience and will verify it.
func MeantFor(proxyAuthorization, audience string) bool {
	if proxyAuthorization == "" || audience == "" {
		return false
	}
	a, err := parseAuthorization(proxyAuthorization)
	if err != nil || a.jwt == "" {
		return false
	}
	token, err := jwt.ParseSigned(a.jwt, signatures())
	if err != nil {
		return false
	}
	var claims jwt.Claims
	return token.UnsafeClaimsWithoutVerification(&claims) == nil && slices.Contains(claims.Audience, audience)
}

// signatures are the algorithms of JWT-SVIDs (JWT-SVID, section 2.2).
func signatures() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
	}
}

package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// maxAuthorization bounds the header's value, in bytes: the longest secret is 64 KiB, the longest
// useful token far below.
const maxAuthorization = 8 << 10

// userJWT is the user name with which a JWT-SVID comes as a Basic password: most clients can send
// Basic from a proxy URL and nothing else.
const userJWT = "jwt"

// authorization is what Proxy-Authorization holds: a name and the digest of a token, or a JWT-SVID.
type authorization struct {
	user   string
	digest [sha256.Size]byte
	jwt    string
}

// parseAuthorization reads a Proxy-Authorization. Its errors tell nothing of the content.
func parseAuthorization(value string) (a authorization, err error) {
	if len(value) > maxAuthorization {
		return a, &AuthError{"too long"}
	}
	scheme, rest, found := strings.Cut(value, " ")
	if found && strings.EqualFold(scheme, "Bearer") {
		a.jwt = strings.TrimLeft(rest, " ") // RFC 9110 §11.4: one or more spaces
		return a, checkToken(a.jwt)
	}
	user, password, err := parseBasic(value)
	if err != nil {
		return a, err
	}
	if user == userJWT {
		a.jwt = password
		return a, checkToken(a.jwt)
	}
	a.user, a.digest = user, sha256.Sum256([]byte(password))
	return a, nil
}

// checkToken holds a JWT to the characters of its compact form (RFC 7515 §3.1).
func checkToken(token string) error {
	for _, c := range []byte(token) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return &AuthError{"not a JWT"}
		}
	}
	if strings.Count(token, ".") != 2 {
		return &AuthError{"not a JWT"}
	}
	return nil
}

// parseBasic reads the credentials of the Basic scheme (RFC 7617 §2): the user name, which is a
// caller's, and the password, which is its token. It is strict: what two readers could
// take for different credentials is refused.
func parseBasic(value string) (user, password string, err error) {
	scheme, encoded, found := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", &AuthError{"the scheme is not Basic"}
	}
	// RFC 9110 §11.4: one or more spaces.
	encoded = strings.TrimLeft(encoded, " ")
	if !found || strings.ContainsAny(encoded, "\r\n") { // which base64 would skip
		return "", "", &AuthError{"not base64"}
	}
	text, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", "", &AuthError{"not base64"} // its own error quotes a byte
	}
	user, password, found = strings.Cut(string(text), ":")
	switch {
	case !found:
		return "", "", &AuthError{"not name:token"}
	case user == "":
		return "", "", &AuthError{"the name is empty"}
	case password == "":
		return "", "", &AuthError{"the token is empty"}
	}
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return "", "", &AuthError{"control characters"}
		}
	}
	return user, password, nil
}

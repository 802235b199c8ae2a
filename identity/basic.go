package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// maxAuthorization bounds the header's value, in bytes: the longest secret is 64 KiB, the longest
// useful token far below.
const maxAuthorization = 8 << 10

// parseBasic reads the credentials of the Basic scheme (RFC 7617 §2): the user name, which is a
// caller's, and the digest of the password, which is its token. It is strict: what two readers could
// take for different credentials is refused. Its errors tell nothing of the content.
func parseBasic(value string) (user string, token [sha256.Size]byte, err error) {
	if len(value) > maxAuthorization {
		return "", token, &AuthError{"too long"}
	}
	scheme, encoded, found := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", token, &AuthError{"the scheme is not Basic"}
	}
	// RFC 9110 §11.4: one or more spaces.
	encoded = strings.TrimLeft(encoded, " ")
	if !found || strings.ContainsAny(encoded, "\r\n") { // which base64 would skip
		return "", token, &AuthError{"not base64"}
	}
	text, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", token, &AuthError{"not base64"} // its own error quotes a byte
	}
	user, password, found := strings.Cut(string(text), ":")
	switch {
	case !found:
		return "", token, &AuthError{"not name:token"}
	case user == "":
		return "", token, &AuthError{"the name is empty"}
	case password == "":
		return "", token, &AuthError{"the token is empty"}
	}
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return "", token, &AuthError{"control characters"}
		}
	}
	return user, sha256.Sum256([]byte(password)), nil
}

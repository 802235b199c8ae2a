package config

import "strings"

// maxName bounds names and ids: they become metric labels.
const maxName = 63

const nameHint = "names are lower-case letters, digits, -, _ and ., at most 63"

// validName reports whether s may name a rule, secret, credential or caller.
func validName(s string) bool {
	return s != "" && len(s) <= maxName && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" &&
		strings.Trim(s, ".") != ""
}

// plainName reports whether s may be printed: a key or a name, and not what
// looks like a secret that was written where the name of one belongs.
func plainName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	digits := 0
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return len(s) < 20 || digits < 4
}

// headerName reports whether s is a header field name (RFC 9110, section 5.1).
func headerName(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// sameHeader is the spelling under which header names are compared: servers
// that go through CGI take "_" for "-".
func sameHeader(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }

package inject

import (
	"strings"

	"github.com/attache-proxy/attache/inject/secret"
)

// kind fills in the parts of a Kind that depend on its type of options.
func kind[T any](k Kind, build func(T) (Injector, error)) Kind {
	k.Options = func() any { return new(T) }
	k.New = func(decode Decode) (Injector, error) {
		var o T
		if err := decode(&o); err != nil {
			return nil, err
		}
		return build(o)
	}
	return k
}

// required refuses an option that was left out.
func required[S ~string](option string, value S, hint string) error {
	if value == "" {
		return &OptionError{Option: option, Problem: "required", Hint: hint}
	}
	return nil
}

// secretRequired refuses a missing reference to a secret.
func secretRequired(option string, name secret.Ref) error {
	return required(option, name, "name an entry of secrets:")
}

// isToken reports whether s is an RFC 9110 §5.6.2 token.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// hasControl reports whether s holds a control character.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

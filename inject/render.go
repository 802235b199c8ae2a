package inject

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/attache-proxy/attache/inject/secret"
)

// rendered keeps what was made last of one version of a secret, or of two
// secrets, so that requests share one copy of it. During a rotation requests
// of both versions pass by and take turns in it; each gets what its own
// version renders to.
type rendered struct {
	last atomic.Pointer[rendering]
}

type rendering struct {
	first, second secret.Value
	// A closure for the reason that secret.Value has one: printing or walking
	// an injector must not show what it rendered.
	text func() string
}

// get returns what build makes of the two values; either may be zero.
func (r *rendered) get(first, second secret.Value, build func(first, second string) (string, error)) (string, error) {
	if l := r.last.Load(); l != nil && l.first.Same(first) && l.second.Same(second) {
		return l.text(), nil
	}
	text, err := build(first.Reveal(), second.Reveal())
	if err != nil {
		return "", err
	}
	r.last.Store(&rendering{first, second, func() string { return text }})
	return text, nil
}

// ContentError says that a secret's content cannot be sent in the way its
// credential asks for. It holds no byte of it.
type ContentError struct {
	Secret  string
	Problem string
}

func (e *ContentError) Error() string { return fmt.Sprintf("secret %q: %s", e.Secret, e.Problem) }

// checkField refuses what a header field cannot carry unchanged (RFC 9110
// §5.5): controls, bytes beyond ASCII, and space at either end. Spaces inside
// pass, for values like "key=a, id=b".
func checkField(name secret.Ref, text string) error {
	if text == "" {
		return &ContentError{string(name), "is empty"}
	}
	if err := checkControl(name, text); err != nil {
		return err
	}
	for i := range len(text) {
		if text[i] > '~' {
			return &ContentError{string(name), "holds a byte beyond ASCII, which a header cannot carry"}
		}
	}
	if text[0] == ' ' || text[len(text)-1] == ' ' {
		return &ContentError{string(name), "begins or ends with a space, which a header loses"}
	}
	return nil
}

// checkToken is checkField for values that hold no space either.
func checkToken(name secret.Ref, text string) error {
	if err := checkField(name, text); err != nil {
		return err
	}
	if strings.Contains(text, " ") {
		return &ContentError{string(name), "holds a space, which a bearer token cannot"}
	}
	return nil
}

// checkControl refuses control bytes: line breaks and NUL above all.
func checkControl(name secret.Ref, text string) error {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\r' || c == '\n':
			return &ContentError{string(name), "holds a line break"}
		case c == 0:
			return &ContentError{string(name), "holds a NUL byte"}
		case c < ' ' || c == 0x7f:
			return &ContentError{string(name), "holds a control byte"}
		}
	}
	return nil
}

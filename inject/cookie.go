package inject

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/attache-proxy/attache/inject/secret"
)

type cookieOptions struct {
	Name   string     `json:"name" jsonschema:"name of the cookie"`
	Secret secret.Ref `json:"secret" jsonschema:"secret whose content is the value"`
}

func cookieKind() Kind {
	return kind(Kind{
		Name:    "cookie",
		Main:    "secret",
		Doc:     "A cookie beside those that the client sends (RFC 6265).",
		Example: "Cookie: session=<secret>",
	}, newCookie)
}

func newCookie(o cookieOptions) (Injector, error) {
	var err error
	switch {
	case o.Name == "":
		err = &OptionError{Option: "name", Problem: "required", Hint: `for example "session"`}
	case !isToken(o.Name):
		err = &OptionError{Option: "name", Problem: "not a cookie name (RFC 6265, section 4.1.1)"}
	}
	if err = errors.Join(err, secretRequired("secret", o.Secret)); err != nil {
		return nil, err
	}
	return &cookie{names: []string{o.Name}, secret: o.Secret}, nil
}

type cookie struct {
	names  []string // the one
	secret secret.Ref
	cache  rendered
}

func (c *cookie) Owns() Owned           { return Owned{Cookies: []string{c.names[0]}} }
func (c *cookie) Secrets() []secret.Ref { return []secret.Ref{c.secret} }

// Inject removes the cookies of its name and puts its own last, all in one
// field (RFC 6265 §5.4).
func (c *cookie) Inject(_ context.Context, out *http.Request, set *secret.Set) error {
	v, err := set.Lookup(c.secret)
	if err != nil {
		return err
	}
	text, err := c.cache.get(v, secret.Value{}, c.render)
	if err != nil {
		return err
	}
	StripCookies(out.Header, c.names)
	if others := out.Header["Cookie"]; len(others) > 0 {
		text = strings.Join(others, "; ") + "; " + text
	}
	out.Header["Cookie"] = []string{text}
	return nil
}

func (c *cookie) render(text, _ string) (string, error) {
	if text == "" {
		return "", &ContentError{string(c.secret), "is empty"}
	}
	if err := checkControl(c.secret, text); err != nil {
		return "", err
	}
	// RFC 6265 §4.1.1, cookie-octet. Servers end the value at any other byte,
	// or drop the cookie.
	for i := range len(text) {
		if b := text[i]; b <= ' ' || b > '~' || b == '"' || b == ',' || b == ';' || b == '\\' {
			return "", &ContentError{string(c.secret), "holds a byte that a cookie cannot carry"}
		}
	}
	return c.names[0] + "=" + text, nil
}

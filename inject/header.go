package inject

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/inject/secret"
)

type headerOptions struct {
	Name   string     `json:"name" jsonschema:"name of the header"`
	Secret secret.Ref `json:"secret" jsonschema:"secret whose content is the value"`
	Prefix string     `json:"prefix,omitempty" jsonschema:"written before the secret as it stands, with the space after it where one belongs"`
}

func headerKind() Kind {
	return kind(Kind{
		Name:    "header",
		Main:    "secret",
		Doc:     "A header of any name, with an optional prefix.",
		Example: "X-Api-Key: <secret>",
	}, newHeader)
}

func newHeader(o headerOptions) (Injector, error) {
	name, err := headerName("name", o.Name)
	err = errors.Join(err, secretRequired("secret", o.Secret), checkPrefix(o.Prefix))
	if err != nil {
		return nil, err
	}
	return &header{name: name, secret: o.Secret, prefix: o.Prefix, check: checkField}, nil
}

// header presents one secret as the value of one header. It serves the kinds
// header and bearer.
type header struct {
	name   string // canonical
	secret secret.Ref
	prefix string
	check  func(secret.Ref, string) error
	cache  rendered
}

func (h *header) Owns() Owned           { return Owned{Headers: []string{h.name}} }
func (h *header) Secrets() []secret.Ref { return []secret.Ref{h.secret} }

func (h *header) Inject(_ context.Context, out *http.Request, set *secret.Set) error {
	v, err := set.Lookup(h.secret)
	if err != nil {
		return err
	}
	text, err := h.cache.get(v, secret.Value{}, h.render)
	if err != nil {
		return err
	}
	// The string is shared between requests, the slice is not: whoever writes
	// to it would write into another request.
	out.Header[h.name] = []string{text}
	return nil
}

func (h *header) render(text, _ string) (string, error) {
	if err := h.check(h.secret, text); err != nil {
		return "", err
	}
	return h.prefix + text, nil
}

// checkPrefix refuses what cannot precede a secret in a header.
func checkPrefix(prefix string) error {
	bad := func(r rune) bool { return r < ' ' || r > '~' }
	if strings.ContainsFunc(prefix, bad) || strings.HasPrefix(prefix, " ") {
		return &OptionError{Option: "prefix", Problem: "may hold visible ASCII and inner spaces only"}
	}
	scheme, _, _ := strings.Cut(strings.ToLower(prefix), " ")
	if scheme == "ntlm" || scheme == "negotiate" {
		return &OptionError{
			Option:  "prefix",
			Problem: prefix + " authenticates a connection, and connections to the upstream are shared",
		}
	}
	return nil
}

// headerName canonicalises the name of a header that a credential sets, and
// refuses those that frame the message, belong to one hop, or are the proxy's
// to decide.
func headerName(option, name string) (string, error) {
	if name == "" {
		return "", &OptionError{Option: option, Problem: "required", Hint: `for example "X-Api-Key"`}
	}
	if !isToken(name) {
		return "", &OptionError{Option: option, Problem: "not a header name (RFC 9110, section 5.6.2)"}
	}
	refuse := func(hint string) (string, error) {
		return "", &OptionError{Option: option, Problem: http.CanonicalHeaderKey(name) + " cannot carry a credential", Hint: hint}
	}
	switch folded := strings.ReplaceAll(strings.ToLower(name), "_", "-"); {
	case folded == "cookie":
		return refuse("use the kind cookie, which leaves the other cookies alone")
	case strings.HasPrefix(folded, "proxy-"), strings.HasPrefix(folded, "sec-websocket-"), strings.HasPrefix(folded, "x-forwarded-"),
		slices.Contains(forbiddenHeaders(), folded):
		return refuse("")
	}
	return http.CanonicalHeaderKey(name), nil
}

// forbiddenHeaders are the hop-by-hop fields of RFC 9110 §7.6.1, those that
// frame or route the message, and those by which the proxy keeps answers
// readable for itself.
func forbiddenHeaders() []string {
	return []string{
		"accept-encoding", "connection", "content-encoding", "content-length", "content-range", "content-type", "expect",
		"forwarded", "host", "http2-settings", "keep-alive", "range", "te", "trailer", "transfer-encoding", "upgrade", "via",
	}
}

package inject

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/attache-proxy/attache/inject/secret"
)

type queryOptions struct {
	Name   string     `json:"name" jsonschema:"name of the parameter, not yet encoded"`
	Secret secret.Ref `json:"secret" jsonschema:"secret whose content is the value; it is encoded"`
}

func queryKind() Kind {
	return kind(Kind{
		Name:    "query",
		Main:    "secret",
		Doc:     "A query parameter, for services that take nothing better: URLs end up in logs.",
		Example: "?api_key=<secret>",
	}, newQuery)
}

func newQuery(o queryOptions) (Injector, error) {
	var err error
	switch {
	case o.Name == "":
		err = &OptionError{Option: "name", Problem: "required", Hint: `for example "api_key"`}
	case hasControl(o.Name):
		err = &OptionError{Option: "name", Problem: "holds a control character"}
	}
	if err = errors.Join(err, secretRequired("secret", o.Secret)); err != nil {
		return nil, err
	}
	return &query{names: []string{o.Name}, secret: o.Secret}, nil
}

type query struct {
	names  []string // the one
	secret secret.Ref
	cache  rendered
}

func (q *query) Owns() Owned           { return Owned{Query: []string{q.names[0]}} }
func (q *query) Secrets() []secret.Ref { return []secret.Ref{q.secret} }

// Inject removes what stands under the name and puts the parameter last. All
// else in the query keeps its order and bytes; one that cannot be taken apart
// is a *[QueryError].
func (q *query) Inject(_ context.Context, out *http.Request, set *secret.Set) error {
	v, err := set.Lookup(q.secret)
	if err != nil {
		return err
	}
	text, err := q.cache.get(v, secret.Value{}, q.render)
	if err != nil {
		return err
	}
	rest, err := StripQuery(out.URL.RawQuery, q.names)
	if err != nil {
		return err
	}
	if rest != "" {
		text = rest + "&" + text
	}
	out.URL.RawQuery = text
	return nil
}

func (q *query) render(text, _ string) (string, error) {
	if text == "" {
		return "", &ContentError{string(q.secret), "is empty"}
	}
	if err := checkControl(q.secret, text); err != nil {
		return "", err
	}
	return escapeQuery(q.names[0]) + "=" + escapeQuery(text), nil
}

// escapeQuery writes a space as %20: every server reads that, not all read "+".
func escapeQuery(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

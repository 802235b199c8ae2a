package explain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
)

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attache.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, config.Env{Getenv: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

const shop = `version: 1
callers: {pod: {uid: 1}}
secrets: {stripe-key: {file: /nowhere/key}}
rules:
  - {id: no-refunds, hosts: api.stripe.com, paths: /v1/refunds, deny: "Ask #payments."}
  - {id: stripe, hosts: api.stripe.com, methods: POST, callers: pod, attach: {bearer: stripe-key}}
  - {id: packages, hosts: registry.npmjs.org, tunnel: true}
`

func TestCall(t *testing.T) {
	cfg := load(t, shop)
	for _, c := range []struct{ method, url, caller, want string }{
		{"POST", "https://api.stripe.com/v1/charges", "pod", "allowed 0  stripe [stripe-key]"},
		{"post", "api.stripe.com", "pod", "allowed 0  stripe [stripe-key]"},
		{"POST", "https://api.stripe.com/v1/refunds", "pod", "refused 403 denied_by_rule no-refunds []"},
		{"POST", "https://api.stripe.com/", "", "refused 403 caller_not_allowed - []"},
		{"GET", "https://registry.npmjs.org/x", "", "tunnel 0  packages []"},
		{"GET", "https://evil.test/", "pod", "refused 403 no_rule - []"},
	} {
		a, err := Call(cfg, c.method, c.url, c.caller, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		rule := "-"
		if a.Rule != nil {
			rule = a.Rule.ID
		}
		got := fmt.Sprintf("%s %d %s %s %v", a.Outcome, a.Status, a.Reason, rule, a.Secrets(cfg))
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	a, _ := Call(cfg, "POST", "api.stripe.com", "pod", time.Now())
	a.Refuse("credential_missing")
	if a.Outcome != Refused || a.Status != 503 || a.Fault != "credential" || a.Hint == "" || len(a.Secrets(cfg)) != 0 {
		t.Errorf("%+v", a)
	}
}

func TestQuestionsThatMakeNoSense(t *testing.T) {
	cfg := load(t, shop)
	_, err := Call(cfg, "GET", "api.stripe.com", "nobody", time.Now())
	if unknown, ok := errors.AsType[*CallerError](err); !ok || unknown.Hint() != "configured: pod" {
		t.Errorf("%v", err)
	}
	for _, url := range []string{"", "ftp://x/", "https://user:pass@x/", "https://x/ y"} {
		if _, err := Call(cfg, "GET", url, "", time.Now()); err == nil {
			t.Errorf("%q is explained", url)
		}
	}
}

// spy is an injector that must not be tried out.
type spy struct{ tried bool }

func (s *spy) Inject(context.Context, *http.Request, *secret.Set) error { s.tried = true; return nil }
func (s *spy) Secrets() []secret.Ref                                    { return []secret.Ref{"k"} }
func (s *spy) Owns() inject.Owned                                       { return inject.Owned{} }

// A kind that may fetch a token, or sign, is told of by its example: the running proxy's injectors are the ones
// that would be tried, and an account must cost and show nothing.
func TestNothingIsFetchedToExplain(t *testing.T) {
	for _, kind := range inject.Kinds() {
		s := &spy{}
		lines := attaches(config.Credential{Name: "c", Kind: kind.Name, Injector: s})
		if want := slices.Contains([]string{"header", "bearer", "basic", "query", "cookie"}, kind.Name); s.tried != want {
			t.Errorf("%s: tried out: %v", kind.Name, s.tried)
		}
		if len(lines) != 1 || lines[0] != kind.Example {
			t.Errorf("%s is told as %q", kind.Name, lines)
		}
	}
}

package app

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/inject/stream"
)

// shortFor warns of a secret that is too short to be masked in bodies, and names the rules that would
// mask it there. It tells neither how short nor what of it. An empty text: there is nothing to warn of.
func shortFor(cfg *config.Config, v secret.Value) string {
	if v.IsZero() || len(v.Reveal()) >= stream.MinBody {
		return ""
	}
	var ids []string
	for _, r := range cfg.Rules {
		if r.Scrub == "all" && slices.ContainsFunc(r.Attach, func(c config.Credential) bool {
			return slices.Contains(c.Injector.Secrets(), secret.Ref(v.Name()))
		}) {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprintf("under %d bytes, so answers of %s are scrubbed of it in headers only", stream.MinBody, strings.Join(ids, ", "))
}

// WeakToken is the warning of a token that callers prove themselves by and that can be guessed.
const WeakToken = "under 20 bytes, which is little for a token"

// leastToken is what tokens of 120 random bits take in base64.
const leastToken = 20

// weakToken is [WeakToken] for such a token, else "".
func weakToken(cfg *config.Config, v secret.Value) string {
	token := string(cfg.AdminToken) == v.Name() || slices.ContainsFunc(cfg.Callers, func(c identity.Spec) bool { return c.Token == v.Name() })
	if v.IsZero() || !token || len(v.Reveal()) >= leastToken {
		return ""
	}
	return WeakToken
}

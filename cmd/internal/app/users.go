package app

import (
	"slices"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/inject/secret"
)

// usersByName is UsersOf for every secret at once.
func usersByName(cfg *config.Config) map[string][]string {
	users := map[string][]string{}
	for _, r := range cfg.Rules {
		needed := []secret.Ref{r.Upstream.Client}
		for _, c := range r.Attach {
			needed = append(needed, c.Injector.Secrets()...)
		}
		slices.Sort(needed)
		for _, ref := range slices.Compact(needed) {
			users[string(ref)] = append(users[string(ref)], r.ID)
		}
	}
	return users
}

// UsersOf names the rules that cannot work without the named secret: they attach it, or present it as
// their client certificate.
func UsersOf(cfg *config.Config, name string) []string { return usersByName(cfg)[name] }

package app

import (
	"slices"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/inject/secret"
)

// UsersOf names the rules that cannot work without the named secret: they attach it, or present it as
// their client certificate.
func UsersOf(cfg *config.Config, name string) []string {
	var ids []string
	for _, r := range cfg.Rules {
		uses := r.Upstream.Client == secret.Ref(name)
		for _, c := range r.Attach {
			uses = uses || slices.Contains(c.Injector.Secrets(), secret.Ref(name))
		}
		if uses {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

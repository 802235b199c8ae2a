package inject

import (
	"context"
	"time"
)

// TokenSource gives JWT-SVIDs of the proxy's own identity. identity.Source is one.
type TokenSource interface {
	Token(ctx context.Context, audience string) (token string, expires time.Time, err error)
}

// Minter is an Injector whose secret is fetched rather than configured. What
// Mint gives is kept current beside the configured secrets, under the one name that
// Secrets returns, which holds a colon so that no configured secret can have it.
// So requests never wait for it, use one version of it, and it is masked, counted
// and missed like any other.
type Minter interface {
	Injector
	// Mint fetches another version and tells when it expires. Errors hold no byte of one.
	Mint(ctx context.Context, from TokenSource) (token string, expires time.Time, err error)
}

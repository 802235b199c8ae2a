package inject

import (
	"context"
	"net/http"

	"github.com/attache-proxy/attache/inject/secret"
)

// Injector presents one credential on outgoing requests. Implementations are
// safe for concurrent use and keep nothing of a request after Inject returns.
type Injector interface {
	// Owns names what Inject sets. The proxy removes whatever the client sent
	// under these names, however spelt, before Inject runs.
	Owns() Owned
	// Secrets names the secrets that Inject reads.
	Secrets() []secret.Ref
	// Inject sets the credential on out, whose Header, URL.RawQuery and Body it
	// may change (the header map is out's own), reading secrets from set only.
	// On error out must not be sent. A missing secret is a [secret.MissingError].
	Inject(ctx context.Context, out *http.Request, set *secret.Set) error
}

// Signer is an Injector that signs what the others set, so it runs after them.
// It reads the body.
type Signer interface {
	Injector
	Signs()
}

// Owned names parts of a request.
type Owned struct {
	Headers []string // compared without case, "_" as "-"
	Query   []string // decoded parameter names, compared exactly
	Cookies []string // cookie names, compared exactly
}

// Decode fills a pointer to a kind's options struct. The configuration passes
// it in, and maps the errors it returns to file, line and column.
type Decode func(options any) error

// OptionError is a fault of one option, which the configuration reports at the
// option's line.
type OptionError struct {
	Option  string // its key, as in the json tag
	Problem string
	Hint    string // may be empty
}

func (e *OptionError) Error() string { return e.Option + ": " + e.Problem }

// Kind describes one kind of credential.
type Kind struct {
	Name    string     // the key in the configuration
	Main    string     // the option that a scalar sets
	Doc     string     // one sentence for the table in the documentation
	Example string     // what arrives upstream: "Authorization: Bearer <secret>"
	Options func() any // a pointer to a zero options struct, with json and jsonschema tags
	New     func(Decode) (Injector, error)
}

package source

import (
	"context"
	"time"
)

// Source reads one secret's bytes from where they are kept. Implementations
// are safe for concurrent use.
type Source interface {
	// Read returns the whole current content. An error never holds a byte of it.
	Read(ctx context.Context) ([]byte, error)
	// Paths names the files whose change means a new version, empty if there
	// are none to watch.
	Paths() []string
	// Describe says where the secret is kept, for people: "file", "env STRIPE_KEY".
	Describe() string
}

// A Patient is a [Source] whose reads may take longer than a file's.
type Patient interface {
	Patience() time.Duration
}

// Decode fills a pointer to a kind's options struct; the configuration passes it in.
type Decode func(options any) error

// OptionError is a fault of one option, which the configuration reports at the
// option's line.
type OptionError struct {
	Option  string
	Problem string
	Hint    string
}

func (e *OptionError) Error() string { return e.Option + ": " + e.Problem }

// Kind describes one kind of source.
type Kind struct {
	Name    string     // the key in the configuration
	Main    string     // the option that a scalar sets
	Doc     string     // one sentence for the table in the documentation
	Options func() any // a pointer to a zero options struct, with json and jsonschema tags
	New     func(Decode, Env) (Source, error)
}

// Env gives sources what they may need of the process, so that they read
// nothing of it themselves.
type Env struct {
	Getenv func(string) (string, bool) // nil: no variable is set
	Dir    string                      // where relative paths start; empty: the directory of the process
	MayRun bool                        // sources may run commands, but none that lies in Dir or Repository

	Repository string // what came with the configuration, as [Repository] has it; empty: nothing
}

package watcher

import (
	"context"
	"log/slog"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

// Spec is one secret to keep.
type Spec struct {
	Name     string
	Source   source.Source
	Field    string // a member of a JSON or YAML document: "api_key" or a JSON pointer "/a/b"; empty: the whole content
	Optional bool   // readiness does not wait for it
	Owner    string
	Poll     time.Duration // between looks without notice; 0: the default
	Key      string        // equal Keys mean that nothing that matters changed over a reload
}

// State is where a secret stands.
type State string

// The states a secret passes through.
const (
	Loading State = "LOADING" // never had a usable version
	Ready   State = "READY"
	Stale   State = "STALE" // the last good version is served, a newer look gave an error
)

// Status is what may be told of a secret. It holds no secret byte.
type Status struct {
	Name        string    `json:"name"`
	Source      string    `json:"source"`
	Owner       string    `json:"owner,omitempty"`
	State       State     `json:"state"`
	Reason      string    `json:"reason,omitempty"`
	Generation  uint64    `json:"generation"`
	Since       time.Time `json:"since,omitzero"`        // when this generation was first used
	LastSuccess time.Time `json:"last_success,omitzero"` // when a look last gave a usable value
	Optional    bool      `json:"optional,omitempty"`
}

// Change tells of one step of one secret.
type Change struct {
	Status
	Result string // "rotated", "unchanged", "error"
}

// Options of a Store. The zero value is safe.
type Options struct {
	Log      *slog.Logger
	OnSet    func(*secret.Set) // called with every new Set, one call at a time, before Apply returns for the first reads
	OnChange func(Change)      // called for every look that changed something or gave an error
}

// Store keeps the last good version of every secret.
type Store struct{}

// New returns a Store that holds nothing and runs nothing.
func New(Options) *Store { panic("unbuilt") }

// Apply makes the Store keep exactly specs: secrets whose Key is unchanged
// keep their state and generation, the others are read once (each read bounded by a few seconds;
// Apply returns when all have been tried or ctx ends), and OnSet is called. A secret that cannot be read
// is no error of Apply: its entry says so and it is tried again.
func (s *Store) Apply(ctx context.Context, specs []Spec) { panic("unbuilt") }

// Refresh looks at every secret now and returns when done.
func (s *Store) Refresh(ctx context.Context) { panic("unbuilt") }

// Set is the present Set.
func (s *Store) Set() *secret.Set { panic("unbuilt") }

// Warm reports whether every secret that is not optional has, or has had, a
// usable version, and names those that have not.
func (s *Store) Warm() (bool, []string) { panic("unbuilt") }

// Status lists the secrets by name.
func (s *Store) Status() []Status { panic("unbuilt") }

// Close stops watching and waits for what runs. It may be called twice.
func (s *Store) Close() error { panic("unbuilt") }

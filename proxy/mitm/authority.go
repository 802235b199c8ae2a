package mitm

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"
)

// Options of an Authority. The zero value keeps everything in memory.
type Options struct {
	Publish           string           // directory that receives ca.pem, bundle.pem and truststore.p12; empty: none
	State             string           // directory that keeps the CA over restarts; empty: none
	Permit            []string         // host patterns to permit beside the rules' own
	Unconstrained     bool             // ca.constraints: off
	CertFile, KeyFile string           // a given CA; both or neither
	SystemRoots       []byte           // PEM that bundle.pem and truststore.p12 begin with; nil: found on the system
	Now               func() time.Time // nil: time.Now
	Log               *slog.Logger
	OnGeneration      func(Generation) // told of every new generation
}

// Generation is what may be told of one CA generation.
type Generation struct {
	ID       string    `json:"id"` // part of the subject's common name
	Permits  []string  `json:"permits"`
	NotAfter time.Time `json:"not_after"`
	Created  time.Time `json:"created"`
	Given    bool      `json:"given,omitempty"`
}

// Authority signs leaf certificates for the hosts it permits. It is safe for concurrent use.
type Authority struct{}

// New loads or makes the CA for the given host patterns (as policy.InterceptedHosts
// lists them) and publishes it.
func New(opts Options, hosts []string) (*Authority, error) { panic("unbuilt") }

// Permit makes a new generation if the live ones do not permit all of hosts,
// and publishes it before it returns. It reports whether it did: clients must then read the CA file again.
func (a *Authority) Permit(hosts []string) (added bool, err error) { panic("unbuilt") }

// Leaf returns the certificate for exactly host (a normalised name or IP
// literal), chain included, minting it if need be. A host that no live
// generation permits is an error.
func (a *Authority) Leaf(host string) (*tls.Certificate, error) { panic("unbuilt") }

// CAPEM is what ca.pem holds: every live root. BundlePEM is what bundle.pem holds.
func (a *Authority) CAPEM() []byte { panic("unbuilt") }

// Generations lists the live generations, oldest first.
func (a *Authority) Generations() []Generation { panic("unbuilt") }

// Minted counts the leaf certificates signed so far.
func (a *Authority) Minted() uint64 { panic("unbuilt") }

// Run renews generations at half life until ctx ends.
func (a *Authority) Run(ctx context.Context) error { panic("unbuilt") }

package admin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// State is where admin reads what it shows. The application implements it.
// Every value it returns is free of secrets.
type State interface {
	Started() bool // every secret that startup waits for has been there once
	Draining() bool
	Degraded() []string // one line for each thing that does not work, for /readyz?verbose: "rule stripe: secret \"stripe-key\": not found"
	Config() ConfigStatus
	Rules() []RuleStatus
	Secrets() any                     // marshalled as JSON
	CA() any                          // marshalled as JSON
	Reload(ctx context.Context) error // error text names file, line and column
}

// ConfigStatus is what may be told of the configuration.
type ConfigStatus struct {
	Generation uint64    `json:"generation"`
	Loaded     time.Time `json:"loaded"`
	Files      []string  `json:"files"`
	LastError  string    `json:"last_error,omitempty"`
}

// RuleStatus is what may be told of a rule.
type RuleStatus struct {
	ID, Owner, Pos string
	Hosts          []string
	Methods, Paths []string `json:",omitempty"`
	Callers        []string `json:",omitempty"`
	Action         string
	Credentials    []string `json:",omitempty"`
}

// Options of the handlers.
type Options struct {
	Log     *slog.Logger
	Version string
	Recent  *audit.Recent
	Metrics *Metrics
	Token   func(presented string) bool // admin_token; nil: no token is accepted
	Unix    bool                        // the listener is a unix socket of mode 0600: POST is allowed
}

// Handler serves everything of DESIGN §10: probes, /metrics, /api/…, POST /-/reload.
func Handler(s State, o Options) http.Handler { panic("unbuilt") }

// HealthHandler serves only the probes and /metrics: it may listen anywhere.
func HealthHandler(s State, o Options) http.Handler { panic("unbuilt") }

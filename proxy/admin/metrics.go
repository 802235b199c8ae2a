package admin

import (
	"net/http"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// Gauges are values read when metrics are scraped.
type Gauges struct {
	InFlight         func() int64
	Tunnels          func() int64
	LeafCertificates func() uint64
	AuditDropped     func() uint64
	CAExpiry         func() time.Time
	ConfigGeneration func() uint64
	ConfigOK         func() bool
	Secrets          func() []SecretGauge
}

// SecretGauge is what metrics tell of one secret.
type SecretGauge struct {
	Name        string
	Generation  uint64
	Stale       bool
	LastSuccess time.Time
	Expiry      time.Time // zero: unknown
}

// Metrics turns audit events and gauges into the metrics of DESIGN §10.
// It is an audit.Sink. Names are pre-created at zero by Configure.
type Metrics struct{}

// NewMetrics returns Metrics whose build_info carries version.
func NewMetrics(version string, g Gauges) *Metrics { panic("unbuilt") }

// Names are the configured names that may become label values. Rules, callers, credentials
// (name → kind) and secrets; anything else is counted under "-".
type Names struct {
	Rules, Callers, Secrets []string
	Credentials             map[string]string
	Reasons                 map[string]string // reason → fault
}

// Configure pre-creates the series of the names, and forgets those of names that went.
func (m *Metrics) Configure(Names) { panic("unbuilt") }

// Record implements audit.Sink. It allocates nothing for names it knows.
func (m *Metrics) Record(e *audit.Event) { panic("unbuilt") }

// SecretReload counts one look at a secret: result "rotated", "unchanged" or "error".
func (m *Metrics) SecretReload(secret, result string) { panic("unbuilt") }

// MissedChange counts a change that only polling found.
func (m *Metrics) MissedChange() { panic("unbuilt") }

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler { panic("unbuilt") }

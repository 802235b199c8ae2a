package audit

import "time"

// Type is the type of an Event.
type Type string

// The types of events.
const (
	Request         Type = "request" // a request ended, a CONNECT was refused, a tunnel closed
	Opened          Type = "opened"  // an upgrade, a tunnel or a request over 5 s began
	SecretRotated   Type = "secret.rotated"
	SecretStale     Type = "secret.stale"
	SecretExpired   Type = "secret.expired"
	SecretRevoked   Type = "secret.revoked"
	ConfigReloaded  Type = "config.reloaded"
	ConfigRejected  Type = "config.rejected"
	IdentityUpdated Type = "identity.updated"
	CAGeneration    Type = "ca.generation"
	Started         Type = "started"
	Stopped         Type = "stopped"
)

// Decision is what was decided on a call.
type Decision string

// The decisions.
const (
	Allow       Decision = "allow"
	Refuse      Decision = "refuse"
	TunnelAllow Decision = "tunnel"
	WouldDeny   Decision = "would_deny"
	Gateway     Decision = "gateway" // left to another Attaché
)

// Event is one line of the audit. It cannot hold headers, bodies, query
// strings or secrets: there is no field for them. Zero fields are left out,
// but for those the schema in docs/audit.md ([Fields]) marks as always there.
type Event struct {
	Type      Type
	Time      time.Time // the end of what it tells, UTC
	RequestID string
	TraceID   string // of a valid traceparent

	Decision    Decision
	Reason      string
	Fault       string // caller, policy, credential, upstream, proxy
	Rule        string
	Owner       string
	NearestRule string
	DiffersBy   string

	Caller   string
	CallerID string // SPIFFE ID
	Proof    string
	Listener string // name of the listener it came in by: "proxy", "route api.openai.com"

	Method     string // capped
	Host       string // server.address, capped
	Port       uint16 // server.port
	ResolvedIP string
	Path       string // url.path, only where audit.paths is on
	Protocol   string // "http/1.1", "h2" of the client's leg

	Status         int
	UpstreamStatus int
	BytesIn        int64 // request body, from the client
	BytesOut       int64 // response body, to the client
	Phases         Phases
	Reused         bool
	Attempts       int // 2: the first was answered 401, and it was sent again with a newer version

	Credentials      []Credential
	ClientCredential bool // the client sent credentials of its own
	Redacted         int
	ConfigGeneration uint64

	Secret  string // of secret.* events
	Version uint64
	Detail  string // a sentence for people, without secret bytes
}

// Phases are durations; what is not above zero is unknown, left out.
type Phases struct {
	DNS, Connect, TLS time.Duration // of the dial, where there was one
	FirstByte         time.Duration // from sending the request to the first byte of the answer
	Added             time.Duration // what the proxy itself took until the answer began
	Total             time.Duration // of the whole call, as the client saw it
}

// Credential is one credential that was, or should have been, presented.
type Credential struct {
	Name       string
	Kind       string
	Generation uint64
	Outcome    string // "attached", "missing", "error"
	Age        time.Duration
}

// Sink receives events. Record must not keep e or what it points to after it
// returns, and must not block on I/O. Sinks are safe for concurrent use.
type Sink interface {
	Record(e *Event)
}

// Sinks gives every event to each Sink in turn.
type Sinks []Sink

// Record implements [Sink].
func (s Sinks) Record(e *Event) {
	for _, sink := range s {
		sink.Record(e)
	}
}

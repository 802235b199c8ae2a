package policy

// Action is what a rule does with a call that it matches.
type Action uint8

// The actions of a rule.
const (
	Allow  Action = iota // opened, decided on each request, forwarded
	Deny                 // refused
	Tunnel               // passed on without being opened
)

// Spec is one rule as configured.
type Spec struct {
	ID      string
	Owner   string
	Pos     string // where it is written, for people: "10-checkout.yaml:9"
	Hosts   []string
	Methods []string          // empty: any
	Paths   []string          // empty: any
	Query   map[string]string // decoded names and values that must be there
	Callers []string          // empty: everyone the listener admits
	Action  Action
	Hint    string // of a Deny rule, shown to the caller
}

// SpecError is a fault of one field of one rule.
type SpecError struct {
	Rule    int    // index
	Field   string // "hosts", "paths", …
	Index   int    // of the list element, -1 for the field as a whole
	Problem string
	Hint    string
}

func (e *SpecError) Error() string { return e.Field + ": " + e.Problem }

// Policy is a compiled, immutable list of rules.
type Policy struct{}

// New compiles specs; all faults are returned at once.
func New(specs []Spec) (*Policy, []*SpecError) { panic("unbuilt") }

// Rules are the specs that the policy was made of. Do not change them.
func (p *Policy) Rules() []Spec { panic("unbuilt") }

// Request is what a decision looks at.
type Request struct {
	Scheme   string // "https" or "http"
	Host     string // as NormalizeHost returns it
	Port     uint16
	Method   string
	Path     string   // as sent, still escaped, without the query; "*" is not one
	RawQuery string   // as sent
	Callers  []string // the names of the callers that the peer has proven to be; may be empty
}

// Criterion is one thing a rule looks at.
type Criterion uint8

// The criteria, in the order in which they are tried.
const (
	None Criterion = iota
	Host
	Query
	Method
	Path
	Caller
)

func (c Criterion) String() string {
	return [...]string{"", "host", "query", "method", "path", "caller"}[c]
}

// Reason is the stable code of why a call was refused, or empty.
type Reason string

// The reasons that a decision gives.
const (
	NoRule           Reason = "no_rule"            // no rule names the host
	DeniedByRule     Reason = "denied_by_rule"     // a deny rule matched
	MethodNotAllowed Reason = "method_not_allowed" // the nearest rule differs in the method
	PathNotAllowed   Reason = "path_not_allowed"   // … in the path
	QueryNotAllowed  Reason = "query_not_allowed"  // … in the query
	CallerNotAllowed Reason = "caller_not_allowed" // … in the caller
	PathAmbiguous    Reason = "path_ambiguous"     // the path may mean another one to the upstream, and a rule restricts paths
	QueryAmbiguous   Reason = "query_ambiguous"    // a matched parameter is repeated, or the query cannot be parsed
)

// Decision is the outcome for one call.
type Decision struct {
	Allowed bool
	Rule    int       // index of the deciding rule, -1 if none did
	Caller  string    // the caller by which it matched; empty if the rule asks for none
	Reason  Reason    // empty where Allowed
	Nearest int       // index of the rule that came closest, -1; set where Rule is -1
	Differs Criterion // how Nearest differs
}

// Decide finds the first rule that matches r, tunnel rules skipped: it decides
// requests that Attaché can see. It allocates nothing and reads no clock.
func (p *Policy) Decide(r *Request) Decision { panic("unbuilt") }

// ConnectVerdict is what becomes of a CONNECT.
type ConnectVerdict uint8

// The outcomes of a CONNECT.
const (
	ConnectRefuse    ConnectVerdict = iota
	ConnectIntercept                // opened; each request inside is decided
	ConnectTunnel                   // passed on unopened
)

// ConnectDecision is the outcome for one CONNECT.
type ConnectDecision struct {
	Verdict ConnectVerdict
	Decision
}

// DecideConnect decides on an opaque https connection to host and port, by the
// first rule whose host and caller match (DESIGN §4.2). A host that some
// intercepting rule names is never refused here: it is opened, and each request is refused inside.
func (p *Policy) DecideConnect(host string, port uint16, callers []string) ConnectDecision {
	panic("unbuilt")
}

// Named reports whether any rule, of whatever action, names the host.
func (p *Policy) Named(host string, port uint16) bool { panic("unbuilt") }

// InterceptedHosts lists the https host patterns of allow rules, without port: "api.x", "*.x",
// "**.x", "10.0.0.1". The CA may sign for these.
func (p *Policy) InterceptedHosts() []string { panic("unbuilt") }

// Step is how one rule met one call, for people.
type Step struct {
	Rule    int
	Met     [5]Answer // Host, Query, Method, Path, Caller in that order
	Decides bool
	Reached bool // false for rules after the deciding one
}

// Answer is how one criterion met.
type Answer uint8

// Answers to a criterion.
const (
	No Answer = iota
	Yes
	Any // the rule does not ask
)

// Explain tells how every rule meets r. It uses the same comparisons as Decide.
func (p *Policy) Explain(r *Request) []Step { panic("unbuilt") }

// NormalizeHost returns the one spelling of a host name or IP literal that
// rules, certificates and dialling use: lower case, A-labels, no trailing dot,
// IP literals without brackets or zone and unmapped; or an error for what is not a host.
func NormalizeHost(host string) (string, error) { panic("unbuilt") }

// SplitAuthority splits "host", "host:port" or "[v6]:port" and normalises the
// host. A missing port is defaultPort; 0 means that the port is required.
func SplitAuthority(authority string, defaultPort uint16) (host string, port uint16, err error) {
	panic("unbuilt")
}

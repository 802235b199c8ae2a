package config

import (
	"slices"
	"time"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/policy"
	"github.com/attache-proxy/attache/watcher/source"
)

// Config is a loaded, valid configuration: specs ready to be built from.
type Config struct {
	Files        []string // that it was read from
	Listen       Listen
	Identity     Identity
	Callers      []identity.Spec
	CA           CA
	Secrets      []Secret
	Credentials  []Credential // named ones
	Rules        []Rule
	Policy       *policy.Policy // compiled from Rules
	ObserveUntil time.Time
	NoProxy      []string // clients.no_proxy
	Egress       Egress
	Gateway      Gateway
	Limits       Limits
	Shutdown     time.Duration // limits.shutdown_grace
	Audit        Audit
	Tests        []Test
	AdminToken   secret.Ref
	Warnings     []Problem         // what check prints, serve logs
	Production   []Problem         // what check --production refuses
	Vars         map[string]string // the declared variables and what they stand for
}

// Named are the files that the configuration names and that are read when it is put in force, sorted:
// whose word is taken for who an upstream is. Secrets are read from elsewhere, and again and again.
func (c *Config) Named() []string {
	files := []string{c.Egress.CA}
	for _, r := range c.Rules {
		files = append(files, r.Upstream.CA)
	}
	slices.Sort(files)
	return slices.DeleteFunc(slices.Compact(files), func(f string) bool { return f == "" })
}

// Listen are the listeners. An address is "host:port" or "unix:/path"; empty: none.
type Listen struct {
	Proxy, Admin, Health string
	TLS                  bool // listen.proxy.tls: spiffe
	Routes               []Route
	IPConnectSNI         bool
	UnsafeOpen           bool // listen.unsafe_open: a non-loopback proxy listener without caller authentication
}

// Route is a listener for applications that take a base URL.
type Route struct {
	Listen       string
	To           string // "https://api.openai.com", with no path
	Scheme, Host string
	Port         uint16
}

// CA configures the certificate authority.
type CA struct {
	Publish, State string
	Permit         []string
	Unconstrained  bool
	Cert, Key      string
}

// Secret is one configured secret.
type Secret struct {
	Name     string
	Kind     string
	Source   source.Source
	Field    string
	Optional bool
	Owner    string
	Poll     time.Duration
	MaxStale time.Duration // 0: the default
	Revoke   bool          // on_deleted: revoke
	Deny     bool          // on_invalid: deny
	Expect   string        // "", "pem", "jwt", "json" or "regex"
	Pattern  string        // of "regex"
	Key      string        // canonical text of all its options: equal means unchanged
	Pos      string        // file:line
}

// Credential is one configured credential.
type Credential struct {
	Name     string // for one in place: the rule's id
	Kind     string
	Injector inject.Injector
	Key      string // canonical text of its options
}

// Rule is one configured rule. Its match criteria are in the Policy, at the same index.
type Rule struct {
	policy.Spec
	Attach         []Credential
	Strip, Pass    []string
	Upstream       Upstream
	AllowPlaintext bool
	Scrub          string // "all", "headers" or "off"
	Upgrades       []string
	NoRetry401     bool // retry_401: false
	Limits         Limits
	ClientEnv      map[string]string // placeholders by variable
}

// Upstream says how a rule's upstream is reached.
type Upstream struct {
	ConnectTo, ServerName, CA, Peer string     // CA: path of a PEM file
	Client                          secret.Ref // PEM certificate and key in one secret
	SVID                            bool       // the proxy's own SVID is presented; Peer without CA is verified by its trust bundles
	Protocol                        string     // "", "http1", "http2"
	Allow                           []string   // CIDR
	Plaintext                       bool
}

// Egress is the way out for everything.
type Egress struct {
	Via      string // http:// or https:// URL without credentials; empty: direct
	User     string
	Password secret.Ref // empty: none
	CA       string     // PEM file for an https:// proxy
}

// Gateway is another Attaché that decides on hosts which no rule names. The
// zero Gateway is none.
type Gateway struct {
	Address  string // host:port of its TLS listener
	Peer     string // the SPIFFE ID, or pattern, that it must have
	Audience string // of the callers' JWT-SVIDs that are passed on to it; empty: none are
}

// Limits are global or a rule's own; a rule's unset ones are filled from the
// global ones, those from the defaults. "none" is -1; no limit is 0.
type Limits struct {
	RequestBody                       int64
	ResponseHeader, StreamIdle, Total time.Duration
	Connect                           time.Duration
	InFlight                          int           // requests at once, per upstream
	Connections                       int           // open client connections, global only
	HeaderBytes                       int           // global only
	HeaderRead                        time.Duration // global only: slowloris
	Handshake                         time.Duration // global only
	Idle                              time.Duration // global only: keep-alive of clients
	Streams                           int           // h2 streams per client connection, global only
}

// Audit configures the audit log.
type Audit struct {
	File   string // "-": standard output; empty: none
	Refuse bool   // on_full: refuse
	Paths  bool   // record url.path
}

// Test is one entry of tests:.
type Test struct {
	Method, URL string // URL with scheme
	Caller      string
	Expect      string // rule id, or a reason code, or "allowed"/"refused"
	Pos         string
}

package proxy

import (
	"time"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/policy"
)

// Snapshot is all that a request may consult. It is immutable: a change of the
// configuration, of a secret or of the proxy's identity publishes another one.
type Snapshot struct {
	Generation   uint64 // of the configuration
	Policy       *policy.Policy
	Rules        []Rule // in the order of Policy.Rules
	Secrets      *secret.Set
	Callers      *identity.Authenticator
	Identity     *identity.State // what the proxy knows of itself and of trust domains; nil: nothing
	Limits       Limits          // the global ones
	Direct       *dial.Upstream  // for observed hosts and tunnels without a profile of their own
	Gateway      *Gateway        // decides on hosts that no rule names; nil: they are refused
	ObserveUntil time.Time       // unmatched hosts pass until then; zero: never
	AuditPaths   bool
	CallersOnly  bool    // every client must prove to be some caller: the proxy listens beyond loopback
	IPConnectSNI bool    // listen.ip_connect: sni
	masks        []*mask // by rule
}

// Rule is what the data path needs of a rule beyond its decision.
type Rule struct {
	Attach         []Credential
	Strip          []string // further header names to remove
	Pass           []string // header names of the client's credentials to leave
	Upstream       *dial.Upstream
	UpstreamErr    error // why Upstream is nil: the rule answers 503 (its client certificate is missing)
	AllowPlaintext bool
	Plaintext      bool     // upstream.plaintext
	Upgrades       []string // further Upgrade tokens beside websocket, lower case
	Scrub          Scrub    // where the credentials are masked in answers
	NoRetry401     bool     // retry_401: false
	Limits         Limits
	removal        removal
}

// Credential is one credential a rule attaches.
type Credential struct {
	Name     string // as configured; for one written in place, its rule's id
	Kind     string
	Injector inject.Injector
}

// Limits bound one request. Zero fields take the defaults that [DefaultLimits] documents.
type Limits struct {
	RequestBody    int64         // bytes, -1: none
	ResponseHeader time.Duration // to the first response byte, -1: none
	StreamIdle     time.Duration // between bytes of a body, upgrade or tunnel, -1: none
	Total          time.Duration // of one request, -1: none
}

package admin

import "time"

// What may be told. A test walks these types: they can hold text, numbers, times and nothing that
// leads elsewhere.

// ConfigStatus is what may be told of the configuration.
type ConfigStatus struct {
	Generation uint64    `json:"generation"`           // counted from 1
	Loaded     time.Time `json:"loaded"`               // when it came into force
	Files      []string  `json:"files"`                // that it was read from
	LastError  string    `json:"last_error,omitempty"` // why a newer one was rejected since
}

// RuleStatus is what may be told of a rule.
type RuleStatus struct {
	ID          string   `json:"id"`                    // its id
	Owner       string   `json:"owner,omitempty"`       // its owner
	Pos         string   `json:"position,omitempty"`    // file and line
	Hosts       []string `json:"hosts"`                 // patterns
	Methods     []string `json:"methods,omitempty"`     // absent: any
	Paths       []string `json:"paths,omitempty"`       // patterns; absent: any
	Callers     []string `json:"callers,omitempty"`     // names; absent: anyone whom the listener admits
	Action      string   `json:"action"`                // allow, deny or tunnel
	Credentials []string `json:"credentials,omitempty"` // names of those it attaches
	Hint        string   `json:"hint,omitempty"`        // of a rule that denies
	Problem     string   `json:"problem,omitempty"`     // why its upstream cannot be reached at all
}

// SecretStatus is what may be told of a secret: never a byte of it.
type SecretStatus struct {
	Name        string    `json:"name"`                  // in the configuration
	Source      string    `json:"source"`                // kind of its source
	Owner       string    `json:"owner,omitempty"`       // its owner
	State       string    `json:"state"`                 // INIT, LOADING, READY, SETTLING, VALIDATING, STALE, EXPIRED or REVOKED
	Healthy     bool      `json:"healthy"`               // the newest content is in use, or about to be
	Reason      string    `json:"reason,omitempty"`      // what the last look went wrong by
	Generation  uint64    `json:"generation"`            // version in use, counted by this process; 0: none
	Since       time.Time `json:"since,omitzero"`        // when this generation was first used
	LastSuccess time.Time `json:"last_success,omitzero"` // when a look last gave a usable value
	StaleSince  time.Time `json:"stale_since,omitzero"`  // when looks began to fail
	Expires     time.Time `json:"expires,omitzero"`      // of the version in use, if it says so
	ServedUntil time.Time `json:"served_until,omitzero"` // while it is stale: at the latest
	NextLook    time.Time `json:"next_look,omitzero"`    // at the latest; a notice brings it forward
	Optional    bool      `json:"optional,omitempty"`    // startup does not wait for it
	Warnings    []string  `json:"warnings,omitempty"`    // of where it is kept
	Rules       []string  `json:"rules,omitempty"`       // that need it
}

// CAStatus is what may be told of one generation of the CA.
type CAStatus struct {
	ID       string    `json:"id"`              // part of its subject's common name
	Permits  []string  `json:"permits"`         // names, each with all below it, and addresses; "**": any host
	NotAfter time.Time `json:"not_after"`       // when it ends
	Created  time.Time `json:"created"`         // when it was made
	Given    bool      `json:"given,omitempty"` // it is ca.cert of the configuration
}

// IdentityStatus is what may be told of who the proxy is.
type IdentityStatus struct {
	Source     string         `json:"source"`                // the Workload API's address, or "files"
	Generation uint64         `json:"generation"`            // counted by this process; 0: none yet
	Updated    time.Time      `json:"updated,omitzero"`      // when it last changed
	SVIDs      []SVIDStatus   `json:"svids"`                 // the first is the default
	Bundles    []BundleStatus `json:"bundles"`               // whom it trusts
	Problem    string         `json:"problem,omitempty"`     // the last one since the source last worked
	Since      time.Time      `json:"since,omitzero"`        // of the problem
	Warnings   []string       `json:"warnings,omitempty"`    // about its files
	JWTProblem string         `json:"jwt_problem,omitempty"` // why there are no, or no newer, keys for JWT-SVIDs
}

// SVIDStatus is one X509-SVID of the proxy.
type SVIDStatus struct {
	ID        string    `json:"id"`             // SPIFFE ID
	Hint      string    `json:"hint,omitempty"` // of the Workload API
	NotBefore time.Time `json:"not_before"`     // it begins
	NotAfter  time.Time `json:"not_after"`      // it ends
}

// BundleStatus is one trust domain's bundle.
type BundleStatus struct {
	TrustDomain string `json:"trust_domain"`        // its name
	Federated   bool   `json:"federated,omitempty"` // not one of the proxy's own
	X509        int    `json:"x509_authorities"`    // how many
	JWT         int    `json:"jwt_keys"`            // how many
}

// Reason documents one reason code.
type Reason struct {
	Status  int    `json:"status"`  // of the answer; 0: the connection is closed
	Fault   string `json:"fault"`   // caller, policy, credential, upstream or proxy
	Meaning string `json:"meaning"` // a sentence
	Hint    string `json:"hint"`    // what to do, in general
}

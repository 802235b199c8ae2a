package admin

// Metric documents one metric.
type Metric struct {
	Name   string
	Type   string // counter, gauge, histogram
	Labels []string
	Help   string
}

// The names of the metrics, stable over all 1.x.
const (
	requestsTotal     = "attache_requests_total"
	failuresTotal     = "attache_failures_total"
	requestDuration   = "attache_request_duration_seconds"
	upstreamDuration  = "attache_upstream_duration_seconds"
	requestsInFlight  = "attache_requests_in_flight"
	tunnelsActive     = "attache_tunnels_active"
	injectionsTotal   = "attache_injections_total"
	authFailures      = "attache_upstream_auth_failures_total"
	clientCredentials = "attache_client_credentials_total"
	redactionsTotal   = "attache_redactions_total"
	secretGeneration  = "attache_secret_generation"
	secretStale       = "attache_secret_stale"
	secretReloads     = "attache_secret_reloads_total"
	tokenFetches      = "attache_token_fetches_total"
	secretSuccess     = "attache_secret_last_success_timestamp_seconds"
	secretExpiry      = "attache_secret_expiry_timestamp_seconds"
	missedChanges     = "attache_watch_missed_changes_total"
	svidExpiry        = "attache_svid_expiry_timestamp_seconds"
	identityStale     = "attache_identity_stale"
	identityUpdates   = "attache_identity_generation"
	bundleAuthorities = "attache_trust_bundle_authorities"
	caExpiry          = "attache_ca_expiry_timestamp_seconds"
	configOK          = "attache_config_last_reload_successful"
	configGeneration  = "attache_config_generation"
	leafCertificates  = "attache_leaf_certificates_total"
	observeEnd        = "attache_observe_end_timestamp_seconds"
	auditDropped      = "attache_audit_dropped_total"
	buildInfo         = "attache_build_info"
)

// Table lists all metrics of our own. Names and labels are only added.
func Table() []Metric {
	return []Metric{
		{requestsTotal, "counter", []string{"rule", "caller", "decision", "code_class"}, "Calls that ended, by what was decided and answered."},
		{failuresTotal, "counter", []string{"rule", "fault", "reason"}, "Calls refused or failed, by reason code and whose fault it was."},
		{requestDuration, "histogram", nil, "Whole calls as clients saw them, without tunnels and upgraded connections."},
		{upstreamDuration, "histogram", nil, "From sending a request upstream to the first byte of the answer."},
		{requestsInFlight, "gauge", nil, "Calls under way, tunnels and streams included."},
		{tunnelsActive, "gauge", nil, "Tunnels open, passed on without being opened."},
		{injectionsTotal, "counter", []string{"credential", "kind", "outcome"}, "Credentials attached, missing or in error."},
		{authFailures, "counter", []string{"credential"}, "Answers 401 of upstreams to requests with the credential, counting those after which a newer version was sent."},
		{clientCredentials, "counter", []string{"rule"}, "Calls in which the client sent credentials of its own."},
		{redactionsTotal, "counter", []string{"rule"}, "Times a credential was masked in an answer: its upstream repeats what it is sent."},
		{secretGeneration, "gauge", []string{"secret"}, "Version of the secret in use, counted by this process; 0: none yet."},
		{secretStale, "gauge", []string{"secret"}, "1 while the last good version is used because a newer look failed."},
		{secretReloads, "counter", []string{"secret", "result"}, "Looks at the secret: rotated, unchanged or error."},
		{tokenFetches, "counter", []string{"credential", "result"}, "Fetches of the token that the credential presents: ok or error."},
		{secretSuccess, "gauge", []string{"secret"}, "When a look at the secret last gave a usable value; absent before."},
		{secretExpiry, "gauge", []string{"secret"}, "When the secret expires; absent if that is not known."},
		{missedChanges, "counter", nil, "Changes of files that no notice told of and polling found."},
		{svidExpiry, "gauge", nil, "When the proxy's own SVID expires; absent while it has none."},
		{identityStale, "gauge", nil, "1 while the proxy's identity is not kept current: the agent, or the files, give none. Absent where none is configured."},
		{identityUpdates, "gauge", nil, "Version of the proxy's identity and trust bundles, counted by this process; 0: none yet. Absent where none is configured."},
		{bundleAuthorities, "gauge", []string{"trust_domain", "profile"}, "Roots (x509) and keys (jwt) that SVIDs of the trust domain are verified with."},
		{caExpiry, "gauge", nil, "When the newest generation of the CA expires."},
		{configOK, "gauge", nil, "1 if the last attempt to load the configuration succeeded."},
		{configGeneration, "gauge", nil, "The configuration in force, counted from 1."},
		{leafCertificates, "counter", nil, "Certificates signed for intercepted hosts."},
		{observeEnd, "gauge", nil, "When observe_until ends and hosts that no rule names are refused; absent where they already are by the configuration."},
		{auditDropped, "counter", nil, "Audit events lost."},
		{buildInfo, "gauge", []string{"version", "goversion"}, "Always 1: what runs."},
	}
}

// documented is the row of the table with that name.
func documented(name string) Metric {
	for _, m := range Table() {
		if m.Name == name {
			return m
		}
	}
	panic("no such metric: " + name) // at start, in every test
}

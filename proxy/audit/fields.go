package audit

// Field documents one key of an audit line.
type Field struct {
	Key     string // with its parent before a dot where it is nested: "phase_ms/dns"
	Type    string // of JSON
	Always  string // types of events that always have it: "all", "calls" or ""
	Meaning string
}

// Fields are all keys that [AppendJSON] can write, in its order. Keys are only added.
func Fields() []Field {
	return []Field{
		{"type", "string", "all", "What the line tells: see above."},
		{"time", "string", "all", "When it ended. RFC 3339, UTC, milliseconds."},
		{"request_id", "string", "", "The call's id, which the client gets with a refusal and `explain` takes."},
		{"trace_id", "string", "", "From the client's `traceparent`, if it is valid."},
		{"decision", "string", "", "`allow`, `refuse`, `tunnel` (passed unopened), `would_deny` (passed because unmatched hosts are only observed) or `gateway` (passed unopened to the gateway, which decides)."},
		{"reason", "string", "", "The code of a refusal or failure, listed in reasons.md."},
		{"fault", "string", "", "Whose doing the reason is: `caller`, `policy`, `credential`, `upstream` or `proxy`."},
		{"rule", "string", "", "The id of the rule that decided."},
		{"owner", "string", "", "That rule's owner."},
		{"nearest_rule", "string", "", "Where no rule decided: the id of the one that came closest."},
		{"differs_by", "string", "", "How that one differs: `host`, `query`, `method`, `path` or `caller`."},
		{"caller", "object", "", "Who called, of those the connection proved: `name`, `id` (a SPIFFE ID) and `proof`. An `id` without a `name` was proven, and no caller is configured for it."},
		{"caller/name", "string", "", "The caller's name in the configuration."},
		{"caller/id", "string", "", "Its SPIFFE ID, at most 2,048 bytes."},
		{"caller/proof", "string", "", "How that was proven: `token`, `uid` or `network` (weak)."},
		{"listener", "string", "", "The listener it came in by: `proxy`, or the name of a route."},
		{"method", "string", "", "The request's method; `CONNECT` for a tunnel."},
		{"server.address", "string", "", "The host asked for."},
		{"server.port", "number", "", "Its port."},
		{"resolved_ip", "string", "", "The address that was dialled."},
		{"url.path", "string", "", "The path, never with the query. Only with `audit.paths: true`."},
		{"protocol", "string", "", "Of the client's leg: `http/1.0`, `http/1.1` or `h2`."},
		{"status", "number", "", "What the client was answered; absent if the connection was closed without an answer."},
		{"upstream_status", "number", "", "What the upstream answered, which tells its 403 from ours."},
		{"bytes", "object", "calls", "Sizes of bodies as they passed; for a tunnel, of all that passed."},
		{"bytes/in", "number", "calls", "From the client."},
		{"bytes/out", "number", "calls", "To the client."},
		{"phase_ms", "object", "", "Durations in milliseconds, with three decimals; absent where there was no such phase."},
		{"phase_ms/dns", "number", "", "Resolving the name, on a new connection."},
		{"phase_ms/connect", "number", "", "TCP connect, on a new connection."},
		{"phase_ms/tls", "number", "", "TLS handshake with the upstream, on a new connection."},
		{"phase_ms/first_byte", "number", "", "From sending the request to the first byte of the answer."},
		{"phase_ms/added", "number", "", "What Attaché itself took until the answer began: before the request was sent, and between the upstream's first byte and the client's. A body that must be read before it can be signed counts."},
		{"phase_ms/total", "number", "", "The whole call, until the last byte of the answer."},
		{"reused", "boolean", "", "`true`: the connection to the upstream was open already."},
		{"attempts", "number", "", "How often the request was sent, or begun to be."},
		{"credentials", "array", "", "One object for each credential that the rule attaches."},
		{"credentials/name", "string", "", "The credential's name in the configuration; its rule's id, if written in place."},
		{"credentials/kind", "string", "", "Its kind: `bearer`, `header`, …"},
		{"credentials/generation", "number", "", "The version of its secret, counted by this process from 1."},
		{"credentials/outcome", "string", "", "`attached`, `unsent` (attached, and the request never left), `missing` (its secret is not there) or `error`."},
		{"credentials/age", "number", "", "Seconds since that version was read, with three decimals."},
		{"client_credential", "boolean", "", "`true`: the client sent credentials of its own."},
		{"redacted", "number", "", "How many times a secret was masked in the answer."},
		{"config_generation", "number", "", "The configuration in force, counted from 1."},
		{"secret", "string", "", "The secret's name, in `secret.…` events."},
		{"version", "number", "", "The version of what the event is about: a secret's generation, or that of the proxy's identity."},
		{"detail", "string", "", "A sentence for people, at most 1,024 bytes. Not stable."},
	}
}

// Types are all types of events and what each tells.
func Types() []Field {
	return []Field{
		{Key: string(Request), Meaning: "A call ended: a request was answered, a CONNECT refused, a tunnel or an upgraded connection closed."},
		{Key: string(Opened), Meaning: "A tunnel or an upgraded connection was opened, or a request has been running for 5 s. Its `request` event follows with the same `request_id`, unless the process is killed."},
		{Key: string(SecretRotated), Meaning: "A new version of a secret is in use."},
		{Key: string(SecretStale), Meaning: "A look at a secret failed; its last good version is used on."},
		{Key: string(SecretExpired), Meaning: "The last version of a secret is no longer used: it expired, or could not be confirmed for `max_stale`. Rules that need it answer 503."},
		{Key: string(SecretRevoked), Meaning: "The last version of a secret is no longer used: it was deleted (`on_deleted: revoke`) or replaced by invalid content (`on_invalid: deny`)."},
		{Key: string(ConfigReloaded), Meaning: "A new configuration is in force."},
		{Key: string(ConfigRejected), Meaning: "A new configuration was refused; the former one stays in force."},
		{Key: string(IdentityUpdated), Meaning: "The proxy's own identity, or a trust bundle that it verifies others with, changed, was withdrawn or has expired; `detail` says what it is now."},
		{Key: string(CAGeneration), Meaning: "The CA has a new generation: clients that read `ca.pem` only once must read it again for new hosts."},
		{Key: string(Started), Meaning: "The process is serving."},
		{Key: string(Stopped), Meaning: "The process stopped in order. Without it, it was killed."},
	}
}

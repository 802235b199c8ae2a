package proxy

import (
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/policy"
)

// Fault says whose doing a failure is.
type Fault string

// The faults.
const (
	FaultCaller     Fault = "caller"
	FaultPolicy     Fault = "policy"
	FaultCredential Fault = "credential"
	FaultUpstream   Fault = "upstream"
	FaultProxy      Fault = "proxy"
)

// ReasonInfo documents one reason code. Codes are stable: they are only added.
type ReasonInfo struct {
	Code    string
	Status  int // of the answer; 0: there is none, the connection is closed
	Fault   Fault
	Error   string // the error type of RFC 9209 §2.3
	Meaning string
	Hint    string // what to do, for whoever reads the refusal
}

// Reasons that the data path itself gives, beside those of policy and dial.
const (
	reasonBadRequest        = "bad_request"
	reasonHeaderTooLarge    = "header_too_large"
	reasonExpectation       = "expectation_unknown"
	reasonNotProxyRequest   = "not_a_proxy_request"
	reasonMethodUnsupported = "method_unsupported"
	reasonMisdirected       = "misdirected"
	reasonSNIMismatch       = "sni_mismatch"
	reasonNotTLS            = "not_tls"
	reasonHandshake         = "client_handshake"
	reasonCertificate       = "no_certificate"
	reasonAuthRequired      = "proxy_auth_required"
	reasonAuthInvalid       = "proxy_auth_invalid"
	reasonCallerExpired     = "caller_expired"
	reasonConnectionAuth    = "connection_auth"
	reasonBodyTooLarge      = "body_too_large"
	reasonBodyAborted       = "body_aborted"
	reasonCredentialMissing = "credential_missing"
	reasonCredentialError   = "credential_error"
	reasonUpstreamProxyAuth = "upstream_proxy_auth"
	reasonResponseCoding    = "response_coding"
	reasonUpstreamAborted   = "upstream_aborted"
	reasonIdle              = "idle_timeout"
	reasonTotal             = "request_timeout"
	reasonAuditFull         = "audit_full"
	reasonNotReady          = "not_ready"
	reasonInternal          = "internal"
	reasonClosedByReload    = "rule_removed"
	reasonShutdown          = "shutdown"
	reasonOuterHandshake    = "caller_handshake"
	reasonNoIdentity        = "no_identity"
	reasonProxyBusy         = "proxy_busy"
	reasonCallerUnknown     = "caller_unknown"
	reasonGatewayRefused    = "gateway_refused"
	reasonGatewayAway       = "gateway_unavailable"
)

// Reasons lists every reason code, in the order of the documentation.
func Reasons() []ReasonInfo {
	return []ReasonInfo{
		{string(policy.NoRule), 403, FaultPolicy, "http_request_denied", "No rule names the host.", "Add a rule for this host if the call should pass."},
		{string(policy.DeniedByRule), 403, FaultPolicy, "http_request_denied", "A deny rule matched.", "Ask the rule's owner."},
		{string(policy.MethodNotAllowed), 403, FaultPolicy, "http_request_denied", "The nearest rule allows other methods.", "Add the method to the rule if the call should pass."},
		{string(policy.PathNotAllowed), 403, FaultPolicy, "http_request_denied", "The nearest rule allows other paths.", "Add the path to the rule if the call should pass."},
		{string(policy.QueryNotAllowed), 403, FaultPolicy, "http_request_denied", "The nearest rule asks for another query.", "Send the query that the rule asks for."},
		{string(policy.CallerNotAllowed), 403, FaultPolicy, "http_request_denied", "The nearest rule is for other callers.", "Add the caller to the rule, or have the caller prove who it is."},
		{string(policy.PathAmbiguous), 400, FaultCaller, "http_request_error", "The path could mean another one to the upstream (dot segments, //, ;, \\, encoded slashes), and a rule for this host restricts paths.", "Send the path in its plain form."},
		{string(policy.QueryAmbiguous), 400, FaultCaller, "http_request_error", "The query cannot be parsed, or repeats a parameter that a rule matches or sets.", "Send each parameter once, percent-encoded."},
		{reasonBadRequest, 400, FaultCaller, "http_request_error", "The request is not well-formed HTTP, or its framing is ambiguous (RFC 9112 §6.3).", "Send a plain CONNECT host:port, and either Content-Length or Transfer-Encoding."},
		{reasonHeaderTooLarge, 431, FaultCaller, "http_request_error", "The request's header is larger than limits.header_bytes.", "Send less in cookies and other headers, or raise limits.header_bytes (64KiB unless given)."},
		{reasonExpectation, 417, FaultCaller, "http_request_error", "The request's Expect header asks for something else than 100-continue.", "Send no Expect header, or Expect: 100-continue."},
		{reasonNotProxyRequest, 400, FaultCaller, "http_request_error", "A request that does not name its destination came to the proxy's address.", "Use this address as HTTPS_PROXY and HTTP_PROXY, not as the API's URL; for a base URL, configure listen.routes."},
		{reasonMethodUnsupported, 405, FaultCaller, "http_request_denied", "TRACE, OPTIONS * and CONNECT inside a tunnel are never forwarded.", "Send the request itself."},
		{reasonMisdirected, 421, FaultCaller, "http_request_denied", "The request's authority is not the host that its connection was opened for.", "Open a connection for each host; do not set Host to another name."},
		{reasonSNIMismatch, 0, FaultCaller, "http_request_denied", "The TLS server name is not the host of the CONNECT, or is missing where it is needed.", "Let the client send the name it connects to as SNI."},
		{reasonNotTLS, 0, FaultCaller, "http_request_error", "What came through the tunnel is not TLS.", "Use http:// URLs without CONNECT for clear text."},
		{reasonHandshake, 0, FaultCaller, "tls_alert_received", "The client broke off the TLS handshake: most often it does not trust Attaché's CA.", "Have the client read ca.pem (or bundle.pem) from the directory of ca.publish."},
		{reasonCertificate, 0, FaultProxy, "proxy_internal_error", "The CA cannot sign for this host.", "Add the host to ca.permit, or let a rule name it."},
		{reasonAuthRequired, 407, FaultCaller, "http_request_denied", "The proxy wants to know who is calling.", "Put the caller's name and token in the proxy URL: http://NAME:TOKEN@host:port; or a JWT-SVID: http://jwt:TOKEN@host:port."},
		{reasonAuthInvalid, 407, FaultCaller, "http_request_denied", "The caller's name or token is wrong, or its JWT-SVID is not valid here.", "Check the token: it may have been rotated; a JWT-SVID has to be for listen.proxy.audience, and not expired."},
		{reasonCallerUnknown, 403, FaultPolicy, "http_request_denied", "The caller has proven a SPIFFE ID, and no caller is configured for it; the listener is for callers only.", "Define a caller with this SPIFFE ID, and name it in the rule; the audit log has the ID."},
		{reasonCallerExpired, 403, FaultCaller, "http_request_denied", "The proof by which the caller opened this connection is no longer valid: it has expired, was revoked, or is no longer configured. Tunnels and upgraded connections are closed.", "Connect again with a current proof."},
		{reasonConnectionAuth, 403, FaultCaller, "http_request_denied", "NTLM and Negotiate authenticate a connection, and connections are shared.", "Use a scheme that authenticates each request."},
		{reasonBodyTooLarge, 413, FaultCaller, "http_request_denied", "The body is larger than the rule's limit.", "Raise limits.request_body of the rule if such bodies are meant to pass."},
		{reasonBodyAborted, 400, FaultCaller, "http_request_error", "The client broke off its request body, or framed it wrongly.", "Send the whole body: as long as Content-Length says, or with its last chunk."},
		{reasonCredentialMissing, 503, FaultCredential, "proxy_internal_error", "A secret that the rule needs is not there.", "Check the secret's source; attache check --resolve shows it."},
		{reasonCredentialError, 503, FaultCredential, "proxy_internal_error", "The secret's content cannot be presented this way.", "Check the secret's content: no line breaks or control characters."},
		{string(dial.NoIdentity), 503, FaultProxy, "proxy_internal_error", "The rule presents Attaché's own SVID, and there is none that is valid.", "Check the Workload API and Attaché's registration entry; /api/identity tells what is wrong."},
		{string(dial.AddressForbidden), 403, FaultPolicy, "destination_ip_prohibited", "The host resolves to an address that is private, local or reserved.", "Name the network in the rule's upstream.allow if it is meant."},
		{string(dial.Loop), 502, FaultPolicy, "proxy_loop_detected", "The host resolves to the proxy itself, or the call would go round from one Attaché to another.", "Do not send the proxy's own address through the proxy."},
		{string(dial.DNSFailed), 502, FaultUpstream, "dns_error", "The host's name cannot be resolved.", "Check the name and the resolver."},
		{string(dial.ConnectFailed), 502, FaultUpstream, "connection_refused", "The upstream refused the connection.", "Check that the upstream is up, and its address: attache explain tells which one is dialled."},
		{string(dial.ConnectTimeout), 504, FaultUpstream, "connection_timeout", "The upstream did not accept the connection in time.", "Check that the upstream is up, and that this machine may reach it."},
		{string(dial.TLSUnverified), 502, FaultUpstream, "tls_certificate_error", "The upstream's certificate is not the one it should be.", "Check upstream.ca, upstream.server_name or upstream.peer, and the upstream's certificate."},
		{string(dial.TLSFailed), 502, FaultUpstream, "tls_protocol_error", "The TLS handshake with the upstream broke off.", "The upstream may ask for a client certificate."},
		{string(dial.ViaRefused), 502, FaultUpstream, "http_request_denied", "The proxy of egress.via refused the connection.", "Check egress.via, its credentials and what it permits."},
		{string(dial.HeaderTimeout), 504, FaultUpstream, "http_response_timeout", "The upstream did not answer within limits.response_header.", "Try again; raise limits.response_header of the rule if such answers take longer."},
		{string(dial.Closed), 502, FaultUpstream, "connection_terminated", "The upstream closed the connection before it answered. The request was not repeated.", "Send it again if that does no harm: whether the upstream acted on it is not known."},
		{string(dial.BadResponse), 502, FaultUpstream, "http_protocol_error", "The upstream's answer is not well-formed HTTP, or its header is over 256 KiB.", "Look at what the upstream sends; nothing of it was passed on."},
		{string(dial.Busy), 503, FaultUpstream, "connection_limit_reached", "As many requests as limits.in_flight allows are already with this upstream.", "Try again; raise limits.in_flight if the upstream can take more."},
		{string(dial.ClientBusy), 429, FaultCaller, "connection_limit_reached", "This client has as many requests with the upstream as leave room for others: four times as many as limits.in_flight still has free.", "Wait until some of them have ended, or raise limits.in_flight if the upstream can take more."},
		{string(dial.PlaintextRefused), 502, FaultPolicy, "destination_ip_prohibited", "A credential would have gone in clear to an address that is not loopback.", "Use https, or connect to a loopback address or unix socket."},
		{reasonUpstreamProxyAuth, 502, FaultUpstream, "http_protocol_error", "The upstream asked for proxy credentials (407), which no origin may.", "Check upstream.connect_to: what answers there is a proxy; for a proxy on the way, egress.via."},
		{reasonResponseCoding, 502, FaultUpstream, "http_response_content_coding", "The upstream answered in a content coding that was not asked for and cannot be undone, so what it holds cannot be masked.", "Have the upstream honour Accept-Encoding: identity, or set the rule's scrub to headers."},
		{reasonUpstreamAborted, 0, FaultUpstream, "http_response_incomplete", "The upstream broke off its answer.", ""},
		{string(dial.Cancelled), 0, FaultCaller, "connection_terminated", "The client went away before the answer was complete.", ""},
		{reasonIdle, 504, FaultUpstream, "connection_read_timeout", "Nothing moved for as long as limits.stream_idle allows.", "Try again; raise limits.stream_idle of the rule if such silence is meant."},
		{reasonTotal, 504, FaultUpstream, "http_response_timeout", "The request took longer than limits.total.", "Raise limits.total of the rule if such calls are meant to take longer."},
		{reasonAuditFull, 503, FaultProxy, "proxy_internal_error", "Audit events cannot be kept, and audit.on_full is refuse.", "Check what the audit is written to."},
		{reasonNotReady, 503, FaultProxy, "proxy_internal_error", "No configuration is in force yet.", "Try again in a moment."},
		{reasonGatewayRefused, 403, FaultPolicy, "http_request_denied", "No rule here names the host, and the gateway, which was asked, refused. The status is the gateway's; the detail begins with its reason.", "Ask whoever runs the gateway; its audit log has the call."},
		{reasonGatewayAway, 503, FaultProxy, "proxy_internal_error", "No rule here names the host, and the gateway, which decides on such hosts, cannot be reached or is not the one it should be.", "Try again; check gateway.address and gateway.peer, and that the gateway runs."},
		{reasonInternal, 500, FaultProxy, "proxy_internal_error", "A fault of Attaché's own.", "Please report it with the request_id and the log around it."},
		{reasonClosedByReload, 0, FaultPolicy, "connection_terminated", "A new configuration no longer allows this connection.", ""},
		{reasonOuterHandshake, 0, FaultCaller, "tls_alert_received", "A client's TLS handshake with the proxy's own listener failed: it showed no SVID, or one that is expired or of a trust domain that is not trusted, or it does not trust the proxy's.", "Give the client a current SVID, and the bundle of the proxy's trust domain."},
		{reasonNoIdentity, 0, FaultProxy, "proxy_internal_error", "The listener speaks TLS with the proxy's SVID, and the proxy has none that is valid.", "Check the Workload API and the proxy's registration entry; attache check --resolve shows it."},
		{reasonProxyBusy, 503, FaultProxy, "connection_limit_reached", "As many connections and tunnels as limits.connections allows are open.", "Raise limits.connections, or close what is not used."},
		{reasonShutdown, 0, FaultProxy, "connection_terminated", "Attaché shut down and the connection outlived limits.shutdown_grace.", ""},
	}
}

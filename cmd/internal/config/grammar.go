package config

import "github.com/attache-proxy/attache/inject/secret"

// The structs below are the grammar: the decoder fills them, and the JSON
// Schema and docs/configuration.md are generated from them. See [field] for the tags.

type document struct {
	Node        *node
	Version     int                        `json:"version" jsonschema:"the version of this grammar; every file says it" enum:"1" example:"1"`
	Requires    string                     `json:"requires,omitempty" jsonschema:"the oldest release that can load this file; an older one says so in one line and stops" example:"\"1.4\""`
	Vars        map[string]string          `json:"vars,omitempty" empty:"ok" jsonschema:"variables and their defaults. ${name} in any value is filled from ATTACHE_VAR_name; one that is unset or empty takes its default, and without one is an error. A literal ${ is written $${" example:"{ns: \"\", region: eu}"`
	Listen      listenSpec                 `json:"listen,omitzero" empty:"ok" jsonschema:"where Attaché listens. A socket that systemd passes on serves the listener of its address"`
	Identity    identitySpec               `json:"identity,omitzero" jsonschema:"who the proxy itself is: its X509-SVID, its JWT-SVIDs, and the trust bundles that it verifies others with"`
	Callers     map[string]*callerSpec     `json:"callers,omitempty" empty:"ok" jsonschema:"who may call, by name, each with the proof that it gives"`
	CA          caSpec                     `json:"ca,omitzero" empty:"ok" jsonschema:"the certificate authority that signs for the hosts that rules open"`
	Secrets     map[string]*secretSpec     `json:"secrets,omitempty" empty:"ok" jsonschema:"secrets by name, each with the source that it is read from. No secret stands in the configuration itself"`
	Credentials map[string]*credentialSpec `json:"credentials,omitempty" empty:"ok" jsonschema:"credentials by name, for those that several rules attach"`
	Rules       []*ruleSpec                `json:"rules,omitempty" empty:"ok" jsonschema:"what may be called. They are tried in order, over files in the order of their names; the first whose host, query, method, path and caller match decides"`
	Unmatched   *unmatchedSpec             `json:"unmatched,omitempty" jsonschema:"what becomes of hosts that no rule names: deny, or observe_until" default:"deny"`
	Clients     clientsSpec                `json:"clients,omitzero" empty:"ok" jsonschema:"what run and env tell clients"`
	Gateway     *gatewaySpec               `json:"gateway,omitempty" jsonschema:"another Attaché, to which calls to https hosts that no rule names are passed unopened, for it to decide on"`
	Egress      egressSpec                 `json:"egress,omitzero" empty:"ok" jsonschema:"the way out, for all calls"`
	Limits      limitsSpec                 `json:"limits,omitzero" empty:"ok" jsonschema:"bounds on what clients and upstreams can take; a rule may have its own. The defaults let long LLM calls, uploads of a GiB and streams of a day live"`
	Audit       auditSpec                  `json:"audit,omitzero" empty:"ok" jsonschema:"the audit log, one JSON object a line"`
	Tests       []*testSpec                `json:"tests,omitempty" empty:"ok" jsonschema:"calls and what must become of them; check runs them"`
}

type listenSpec struct {
	Proxy      proxySpec   `json:"proxy,omitzero" jsonschema:"the proxy, for HTTP_PROXY and HTTPS_PROXY: host:port, unix:/path, or none; or a map" default:"127.0.0.1:15001" example:"unix:/run/attache/proxy.sock"`
	Admin      string      `json:"admin,omitempty" jsonschema:"status, metrics and JSON: host:port, read-only without admin_token; unix:/path; or none" default:"127.0.0.1:15000" example:"unix:/run/attache/admin.sock"`
	Health     string      `json:"health,omitempty" jsonschema:"probes and metrics only, so it may bind anywhere: host:port, unix:/path, or none" default:"none" example:"0.0.0.0:15090"`
	Routes     []routeSpec `json:"routes,omitempty" jsonschema:"listeners for applications that take a base URL; rules decide as ever"`
	IPConnect  string      `json:"ip_connect,omitempty" enum:"sni" jsonschema:"sni: a CONNECT to an IP address means the host that the TLS client names, which is resolved anew. Without it the address itself must be named by a rule" example:"sni"`
	AdminToken secret.Ref  `json:"admin_token,omitempty" jsonschema:"the secret that admits changes, such as a reload, over the admin listener" example:"admin-token"`
	UnsafeOpen bool        `json:"unsafe_open,omitempty" jsonschema:"true allows a proxy listener that is not on loopback and asks nobody who they are" default:"false"`
}

type proxySpec struct {
	Node     *node
	Address  string `json:"address,omitempty" main:"ok" jsonschema:"host:port or unix:/path" default:"127.0.0.1:15001" example:"0.0.0.0:15443"`
	TLS      string `json:"tls,omitempty" enum:"spiffe" jsonschema:"spiffe: clients speak TLS with the proxy, in HTTP/1.1 or HTTP/2; it shows its SVID and asks for theirs. Those without one get in only where some caller can prove itself otherwise" default:"clients speak in clear" example:"spiffe"`
	Audience string `json:"audience,omitempty" jsonschema:"the audience that callers' JWT-SVIDs must be for; without it none is accepted" example:"spiffe://acme.example/ns/edge/sa/attache"`
}

type routeSpec struct {
	Node   *node
	Listen string `json:"listen" jsonschema:"host:port or unix:/path" example:"127.0.0.1:15010"`
	To     string `json:"to" jsonschema:"the origin that requests go to, without a path" example:"https://api.openai.com"`
}

type callerSpec struct {
	UID     *uint32    `json:"uid,omitempty" jsonschema:"the user of the calling process, on a unix socket or (Linux) on loopback" example:"1001"`
	Token   secret.Ref `json:"token,omitempty" jsonschema:"the secret that it presents as the password in its proxy URL" example:"ci-proxy-token"`
	Network string     `json:"network,omitempty" jsonschema:"the addresses that it calls from, as CIDR; weak, and marked so in the audit log" example:"172.28.0.0/24"`
	SPIFFE  string     `json:"spiffe,omitempty" jsonschema:"its SPIFFE ID, or a pattern for IDs of one trust domain: * for one segment of the path, ** at the end for one or more" example:"spiffe://acme.example/ns/shop/sa/checkout"`
	Proof   string     `json:"proof,omitempty" enum:"mtls,jwt,pod" jsonschema:"how the SPIFFE ID is proven. mtls: by an X509-SVID, to a listener with tls: spiffe. jwt: by a JWT-SVID for the audience of listen.proxy, as a bearer or as the password of user jwt. pod: whoever calls over loopback or a unix socket counts as this ID while the proxy's own SVID carries it" default:"mtls or jwt" example:"pod"`
}

func (callerSpec) oneOf() []string { return []string{"uid", "token", "network", "spiffe"} }

type caSpec struct {
	Publish     string   `json:"publish,omitempty" jsonschema:"the directory that receives ca.pem, bundle.pem and truststore.p12 for clients" default:"none" example:"/run/attache/trust"`
	State       string   `json:"state,omitempty" jsonschema:"the directory that keeps the CA's key over restarts, out of reach of the callers" default:"none; a restart makes a new CA" example:"/run/attache/ca"`
	Permit      []string `json:"permit,omitempty" jsonschema:"host patterns that the CA may sign for beside those of the rules, so that a rule added later needs no new CA" example:"[\"**.acme.example\"]"`
	Constraints string   `json:"constraints,omitempty" enum:"on,off" jsonschema:"off: a CA that may sign for any name, for clients that cannot read name constraints" default:"on"`
	Cert        string   `json:"cert,omitempty" jsonschema:"a CA certificate of your own, a PEM file" example:"/etc/attache/ca.pem"`
	Key         string   `json:"key,omitempty" jsonschema:"its key, a PEM file" example:"/etc/attache/ca.key"`
}

type secretSpec struct {
	Node      *node
	Kind      chosen       `kinds:"secret"`
	Field     string       `json:"field,omitempty" jsonschema:"the member of a JSON or YAML document that is the secret: a name, or a JSON pointer" default:"the whole content" example:"/data/api_key"`
	Optional  bool         `json:"optional,omitempty" jsonschema:"true: readiness does not wait for it" default:"false"`
	Owner     string       `json:"owner,omitempty" jsonschema:"whom to ask about it" example:"payments"`
	Poll      *duration    `json:"poll,omitempty" jsonschema:"the time between looks at it, where no change is noticed" default:"the source's" example:"30s"`
	MaxStale  *duration    `json:"max_stale,omitempty" jsonschema:"how long its last good version is used while newer looks fail" default:"24h" example:"1h"`
	OnDeleted string       `json:"on_deleted,omitempty" enum:"keep,revoke" jsonschema:"what becomes of the last good version where the secret is no longer there: keep it for max_stale, or revoke it after 10s" default:"keep" example:"revoke"`
	OnInvalid string       `json:"on_invalid,omitempty" enum:"keep,deny" jsonschema:"what becomes of the last good version where the secret has no usable content: keep it for max_stale, or deny it after 1s" default:"keep" example:"deny"`
	Expect    *expectation `json:"expect,omitempty" jsonschema:"what its content must be: pem, jwt, json, or regex(…), which must match all of it. Other content is refused, and so is half of a file" default:"anything" example:"regex(sk_live_[A-Za-z0-9]+)"`
}

func (secretSpec) hint(key string) (string, string) {
	switch key {
	case "value", "secret", "literal", "inline", "data":
		return "secrets never stand in the configuration", "put it in a file and write file: /path, or env: NAME"
	}
	return "", ""
}

type credentialSpec struct {
	Node *node
	Kind chosen `kinds:"credential"`
}

type ruleSpec struct {
	Node           *node
	ID             string            `json:"id" jsonschema:"its name in logs, metrics, refusals and tests" example:"stripe"`
	Owner          string            `json:"owner,omitempty" jsonschema:"whom a refused caller asks" example:"payments"`
	Hosts          []string          `json:"hosts" jsonschema:"host names: exact, *. before one for a single label, **. for any number; :port after it for a port other than 443; http:// before it for calls in clear, port 80" example:"[api.stripe.com, \"*.crm.example\"]"`
	Methods        []string          `json:"methods,omitempty" jsonschema:"GET implies HEAD" default:"any" example:"[GET, POST]"`
	Paths          []string          `json:"paths,omitempty" jsonschema:"* stands for one segment, ** at the end for the rest" default:"any" example:"/v1/**"`
	Query          map[string]string `json:"query,omitempty" jsonschema:"query parameters and the values that they must have" default:"any" example:"{api-version: \"2024-10\"}"`
	Callers        []string          `json:"callers,omitempty" jsonschema:"names of callers" default:"everyone the listener admits" example:"[checkout, ci]"`
	Attach         *attachSpec       `json:"attach,omitempty" jsonschema:"the credential to attach: the name of one, one written in place, or a list of these" default:"none; the client's own pass" example:"{bearer: stripe-key}"`
	Tunnel         bool              `json:"tunnel,omitempty" jsonschema:"true: pass the connection on without opening it" default:"false"`
	Deny           *denySpec         `json:"deny,omitempty" jsonschema:"refuse the call: true, or the hint that the caller reads" example:"Refunds go through billing-api."`
	Strip          []string          `json:"strip,omitempty" jsonschema:"further request headers to remove" example:"X-Internal-User"`
	Pass           []string          `json:"pass,omitempty" jsonschema:"headers of the client's own credentials that an attaching rule leaves" example:"X-Api-Key"`
	Upstream       upstreamSpec      `json:"upstream,omitzero" jsonschema:"how its hosts are reached"`
	AllowPlaintext bool              `json:"allow_plaintext,omitempty" jsonschema:"true: the credential may go in clear, to loopback addresses and unix sockets only" default:"false"`
	Upgrades       []string          `json:"upgrades,omitempty" jsonschema:"protocols that requests may upgrade to, beside websocket" example:"spdy/3.1"`
	Scrub          *scrubSpec        `json:"scrub,omitempty" jsonschema:"where the attached credentials are masked in answers: all, headers (and trailers), or false" default:"all" example:"headers"`
	Retry401       *bool             `json:"retry_401,omitempty" jsonschema:"false: a 401 of the upstream always passes. Otherwise the call is sent once more where a newer version of its secret is there, or is found within 1s, and its body is at most 64KiB" default:"true" example:"false"`
	Limits         ruleLimitsSpec    `json:"limits,omitzero" jsonschema:"limits of its own, in place of those of the whole proxy"`
	ClientEnv      map[string]string `json:"client_env,omitempty" jsonschema:"what run and env put in place of the real key, for clients that insist on one: variables and their placeholders" example:"{STRIPE_SECRET_KEY: sk_test_placeholder}"`
}

type upstreamSpec struct {
	Node       *node
	ConnectTo  string     `json:"connect_to,omitempty" jsonschema:"what to dial in place of the host: host:port or unix:/path. The address may be private" example:"10.1.2.3:443"`
	ServerName string     `json:"server_name,omitempty" jsonschema:"the name to ask for and to verify in TLS" default:"the host" example:"partner.example"`
	CA         string     `json:"ca,omitempty" jsonschema:"a PEM file of the roots to verify with" default:"the system's" example:"/etc/attache/partner.pem"`
	Peer       string     `json:"peer,omitempty" jsonschema:"the SPIFFE ID that the server must have in place of its name, verified by ca; or else, and then it may be a pattern too, by the trust bundles of identity, whose SVID is presented" example:"spiffe://acme.example/ns/crm/sa/api"`
	Client     secret.Ref `json:"client,omitempty" jsonschema:"the secret that holds the certificate and key, PEM, to present; or svid, for the SVID of identity" example:"partner-client"`
	Protocol   string     `json:"protocol,omitempty" enum:"http1,http2" jsonschema:"the HTTP version to speak" default:"what both sides can"`
	Allow      []string   `json:"allow,omitempty" jsonschema:"networks, as CIDR, that the host may resolve to although they are private" example:"10.20.0.0/16"`
	Plaintext  bool       `json:"plaintext,omitempty" jsonschema:"true: speak HTTP without TLS to it" default:"false"`
}

type unmatchedSpec struct {
	Node  *node
	Until *instant `json:"observe_until,omitempty" jsonschema:"until then, hosts that no rule names pass without credentials, unopened, and the audit log says would_deny" example:"2027-03-02T10:00Z"`
}

type gatewaySpec struct {
	Node     *node
	Address  string `json:"address" jsonschema:"host:port of its listen.proxy, which must have tls: spiffe" example:"attache-gateway.attache.svc:15001"`
	Peer     string `json:"peer" jsonschema:"the SPIFFE ID that it must have, or a pattern; the SVID of identity is presented to it" example:"spiffe://acme.example/ns/attache/sa/gateway"`
	Audience string `json:"audience,omitempty" jsonschema:"a caller's JWT-SVID for this audience is passed on to it, unread, so that it knows the caller; otherwise it knows this Attaché only" default:"peer, if that is one ID" example:"attache"`
}

type egressSpec struct {
	Via *viaSpec `json:"via,omitempty" jsonschema:"an HTTP proxy that all calls go through: its URL, or a map. Rules must then name exact hosts: that proxy resolves them, so addresses cannot be judged" default:"none" example:"http://proxy.corp.example:3128"`
}

type viaSpec struct {
	Node     *node
	URL      string     `json:"url" main:"ok" jsonschema:"http:// or https://, host and port" example:"http://proxy.corp.example:3128"`
	User     string     `json:"user,omitempty" jsonschema:"the user to sign in as" example:"attache"`
	Password secret.Ref `json:"password,omitempty" jsonschema:"the secret that holds its password" example:"corp-proxy"`
	CA       string     `json:"ca,omitempty" jsonschema:"a PEM file of the roots to verify an https:// proxy with" default:"the system's" example:"/etc/attache/corp.pem"`
}

// The limits of a rule, and those of the whole proxy. Defaults are what long
// LLM calls, uploads of a GiB and streams of a day survive; they are set by
// [defaultLimits] and a test holds these texts to it.

type ruleLimitsSpec struct {
	RequestBody    *openSize     `json:"request_body,omitempty" jsonschema:"the largest request body" default:"none" example:"10MiB"`
	ResponseHeader *openDuration `json:"response_header,omitempty" jsonschema:"the wait for the first byte of the answer" default:"none" example:"30s"`
	StreamIdle     *openDuration `json:"stream_idle,omitempty" jsonschema:"silence after which a body, an upgraded connection or a tunnel is cut" default:"24h" example:"10m"`
	Total          *openDuration `json:"total,omitempty" jsonschema:"the longest that one request may take" default:"none" example:"2m"`
	Connect        *duration     `json:"connect,omitempty" jsonschema:"the wait for a connection to the upstream, TLS included" default:"10s"`
	InFlight       *count        `json:"in_flight,omitempty" jsonschema:"requests to one upstream at once, of which one client gets four fifths" default:"512"`
}

func (ruleLimitsSpec) hint(key string) (string, string) {
	switch key {
	case "connections", "header_bytes", "header_read", "handshake", "idle", "streams", "shutdown_grace":
		return "unknown key", "it is a limit of the whole proxy: write it under limits at the top"
	}
	return "", ""
}

type limitsSpec struct {
	ruleLimitsSpec
	Connections   *count    `json:"connections,omitempty" jsonschema:"client connections at once" default:"10000"`
	HeaderBytes   *size     `json:"header_bytes,omitempty" jsonschema:"the header of a request" default:"64KiB"`
	HeaderRead    *duration `json:"header_read,omitempty" jsonschema:"the time that a client has to send a header" default:"10s"`
	Handshake     *duration `json:"handshake,omitempty" jsonschema:"the time that a client has for its TLS handshake" default:"10s"`
	Idle          *duration `json:"idle,omitempty" jsonschema:"how long a client connection without a request stays open" default:"5m"`
	Streams       *count    `json:"streams,omitempty" jsonschema:"HTTP/2 streams of one client connection at once" default:"250"`
	ShutdownGrace *duration `json:"shutdown_grace,omitempty" jsonschema:"the time that requests under way have to finish after SIGTERM" default:"20s"`
}

func (limitsSpec) hint(string) (string, string) { return "", "" }

type clientsSpec struct {
	NoProxy []string `json:"no_proxy,omitempty" jsonschema:"what clients call directly: names, .suffixes, addresses and networks as CIDR, which not every client heeds. Loopback is always among them, but for hosts that a rule names" default:"loopback alone" example:"[.svc, .cluster.local, 10.0.0.0/8]"`
}

type auditSpec struct {
	File   string `json:"file,omitempty" jsonschema:"the file that events are appended to; - is standard output; none writes nothing" default:"\"-\"" example:"/var/log/attache/audit.jsonl"`
	OnFull string `json:"on_full,omitempty" enum:"drop,refuse" jsonschema:"what happens when events come faster than they can be written: drop them and count, or refuse the calls" default:"drop"`
	Paths  bool   `json:"paths,omitempty" jsonschema:"true: record the path of each request, without its query" default:"false"`
}

type testSpec struct {
	Node   *node
	Call   string `json:"call" jsonschema:"a method and a URL; https:// may be left out" example:"POST api.stripe.com/v1/refunds"`
	Caller string `json:"caller,omitempty" jsonschema:"who calls" default:"nobody known" example:"checkout"`
	Expect string `json:"expect" jsonschema:"the id of the rule that decides, a reason code, allowed, or refused" example:"no-refunds"`
}

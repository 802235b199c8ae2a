package clients

// Stack is one client, library or tool, as docs/clients.md lists it.
type Stack struct {
	Name  string
	Reads []string // the variables that matter to it, of [Variables]
	Known Known    // how
	Note  string   // what else it needs; empty: nothing
}

// Known is how the behaviour of a stack is known.
type Known string

// A stack is known in one of these ways.
const (
	CI         Known = "CI"                // an end-to-end test of its name makes calls with it under attache run
	Tried      Known = "by hand"           // it was, once, with the release that the note names
	Documented Known = "its documentation" // it says so itself
)

// Stacks are the clients that are known.
func Stacks() []Stack {
	proxy := func(more ...string) []string { return append([]string{"HTTPS_PROXY", "NO_PROXY"}, more...) }
	return []Stack{
		{"curl", proxy("CURL_CA_BUNDLE"), CI, "A `proxy` in ~/.curlrc wins; `-q` leaves that file out. The HTTP client of PHP, R and git is libcurl, see there."},
		{"wget", proxy("WGETRC"), CI, "Under `attache env`: `--ca-certificate=trust/bundle.pem`, or `ca_certificate` in ~/.wgetrc."},
		{"git", proxy("GIT_SSL_CAINFO"), CI, "An `http.proxy` in its configuration wins. Remotes by SSH do not pass Attaché; `git config url.https://github.com/.insteadOf git@github.com:` turns them."},
		{"Go net/http", proxy("SSL_CERT_FILE", "SSL_CERT_DIR"), CI, "A `Transport` of the program's own needs `Proxy: http.ProxyFromEnvironment`. On macOS and Windows Go asks the system for roots: import ca.pem there, or set `RootCAs`."},
		{"Go gRPC", proxy("SSL_CERT_FILE", "SSL_CERT_DIR"), CI, "`grpc.WithContextDialer` and `grpc.WithNoProxy` in the code win."},
		{"Python urllib", proxy("SSL_CERT_FILE"), CI, ""},
		{"Python requests", proxy("REQUESTS_CA_BUNDLE"), CI, "So too the SDKs that are built on it (Twilio's, Azure's, Stripe's). `verify=` in the code wins."},
		{"Python httpx", proxy("SSL_CERT_FILE"), CI, "So too the OpenAI and Anthropic SDKs. Where a release does not read the roots, `verify=ssl.create_default_context()` does. A `transport=` of the program's own turns the variables off."},
		{"Python aiohttp", proxy("SSL_CERT_FILE", "wss_proxy"), CI, "Only with `ClientSession(trust_env=True)`."},
		{"Python grpcio", []string{"grpc_proxy", "no_grpc_proxy", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}, CI, "gRPC C core: the same in Ruby, PHP, C++ and C#'s older Grpc.Core."},
		{"Node fetch, http, https", proxy("NODE_USE_ENV_PROXY", "NODE_EXTRA_CA_CERTS"), Tried, "With 24.22. From 22.21 and 24.5 on; an `Agent` of the program's own needs `proxyEnv: process.env`. Before, nothing heeds the variables, and `run` says so (CI): `npm i -D global-agent`, then `NODE_OPTIONS=-rglobal-agent/bootstrap` for http(s) (axios, got, most SDKs), or undici's `setGlobalDispatcher(new EnvHttpProxyAgent())` for fetch."},
		{"Deno", proxy("DENO_CERT"), Documented, "From 2.8 on `NODE_EXTRA_CA_CERTS` too."},
		{"Bun", proxy("NODE_EXTRA_CA_CERTS"), Documented, ""},
		{"Java HttpURLConnection", []string{"JAVA_TOOL_OPTIONS"}, CI, "A JVM cannot be told a proxy's user and password: on Linux it is known by its user; elsewhere the program needs an `Authenticator`. Each JVM says \"Picked up JAVA_TOOL_OPTIONS\" on standard error."},
		{"Java HttpClient", []string{"JAVA_TOOL_OPTIONS"}, CI, "As above. A `ProxySelector` or `SSLContext` of the program's own wins."},
		{"Java Apache HttpClient", []string{"JAVA_TOOL_OPTIONS"}, CI, "Only with `HttpClients.createSystem()`, or `useSystemProperties()` of its builder."},
		{"Java OkHttp", []string{"JAVA_TOOL_OPTIONS"}, CI, ""},
		{"Java Netty", []string{"JAVA_TOOL_OPTIONS"}, Documented, "Reactor Netty (Spring's WebClient): `proxyWithSystemProperties()`. Netty alone: an `HttpProxyHandler` of the program's own."},
		{"Maven", []string{"JAVA_TOOL_OPTIONS"}, CI, "From 3.9 on with `-Daether.connector.http.useSystemProperties=true`, or `<proxies>` in settings.xml."},
		{"Gradle", []string{"JAVA_TOOL_OPTIONS"}, Documented, "`--no-daemon`, since a daemon keeps the variables that it was started with."},
		{"Ruby net/http", proxy("SSL_CERT_FILE"), CI, "So too Faraday's default adapter and RubyGems."},
		{"Ruby Bundler", []string{"HTTP_PROXY", "NO_PROXY", "BUNDLE_SSL_CA_CERT"}, CI, "`HTTP_PROXY` it is, for https too."},
		{"PHP curl, Guzzle", proxy("PHP_INI_SCAN_DIR"), CI, "Under `attache env`: `php -d curl.cainfo=trust/bundle.pem`."},
		{"PHP streams", []string{"PHP_INI_SCAN_DIR"}, CI, "They heed no proxy variable: `stream_context_create([\"http\" => [\"proxy\" => \"tcp://HOST:PORT\"]])`, or curl."},
		{"Composer", proxy("SSL_CERT_FILE"), CI, ""},
		{"Perl LWP", []string{"https_proxy", "PERL_LWP_ENV_PROXY", "PERL_LWP_SSL_CA_FILE"}, CI, ""},
		{".NET HttpClient", proxy("SSL_CERT_FILE", "SSL_CERT_DIR"), Documented, "On Linux. On Windows and macOS roots come from the system: import ca.pem there."},
		{"Rust reqwest", proxy("SSL_CERT_FILE"), CI, "With native-tls or rustls-native-certs. Built with webpki-roots it trusts those alone: `add_root_certificate`. With rustls 0.20 and before (reqwest before 0.11.18) it trusts no CA with name constraints: `ca: {constraints: off}`."},
		{"AWS CLI, boto3", proxy("AWS_CA_BUNDLE"), CI, "It signs before it calls, so it insists on keys: give placeholders by `client_env`, and attach `sigv4`."},
		{"gcloud", proxy("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"), Tried, "With 528. A `proxy/address` in its configuration wins: `gcloud config unset proxy/address`."},
		{"kubectl", proxy("SSL_CERT_FILE"), CI, "A `certificate-authority` in its kubeconfig replaces the roots, and a client certificate cannot pass: let such a cluster through (`tunnel: true`), or name it in `clients.no_proxy`."},
		{"Terraform", proxy("SSL_CERT_FILE"), Tried, "With 1.11, `init`. Its providers inherit the variables; those that hold a `Transport` of their own may not heed them."},
		{"Helm", proxy("SSL_CERT_FILE"), Documented, "A Go program. Clusters: as kubectl."},
		{"npm", []string{"npm_config_https_proxy", "npm_config_cafile"}, CI, "The programs that its scripts start are Node: see there."},
		{"Yarn 1", []string{"npm_config_https_proxy", "npm_config_cafile"}, CI, ""},
		{"Yarn 2 and later", []string{"YARN_HTTPS_PROXY", "NODE_EXTRA_CA_CERTS"}, Documented, "An `httpsCaFilePath` in .yarnrc.yml wins. It knows no `NO_PROXY`."},
		{"pnpm", proxy("NODE_EXTRA_CA_CERTS"), Documented, ""},
		{"pip", []string{"PIP_PROXY", "PIP_CERT"}, CI, ""},
		{"Poetry", proxy("REQUESTS_CA_BUNDLE"), CI, ""},
		{"uv", proxy("SSL_CERT_FILE"), Documented, ""},
		{"Cargo", []string{"CARGO_HTTP_PROXY", "CARGO_HTTP_CAINFO"}, CI, "With `net.git-fetch-with-cli` git is what fetches."},
		{"Podman", proxy("SSL_CERT_FILE"), CI, "So too Buildah and Skopeo. Its containers get the proxy variables, but neither the CA nor this machine's loopback: as Docker's."},
		{"Docker daemon", proxy("SSL_CERT_FILE"), CI, "It pulls, not the command `docker`: it is the daemon that must have the variables, or `proxies` in daemon.json and the CA in /etc/docker/certs.d or the system's roots."},
		{"Docker containers", nil, Documented, "They inherit nothing: `docker run --network host --env-file <(attache env --format docker)` with the trust directory mounted, or the companion of deploy/compose."},
		{"PostgreSQL, Redis, SSH and other protocols", nil, "-", "Attaché is an HTTP proxy: what is not HTTP or WebSocket does not go through it."},
	}
}

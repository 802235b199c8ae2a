package clients

// Gives is what a variable is set to.
type Gives string

// What variables give. One that replaces the system's roots gets bundle.pem, which holds them too; one
// that adds to them gets ca.pem.
const (
	Proxy    Gives = "the proxy's URL"
	Direct   Gives = "what is called directly"
	Bundle   Gives = "bundle.pem"    // replaces the roots
	CA       Gives = "ca.pem"        // adds to the roots
	TrustDir Gives = "the directory" // of both
	Java     Gives = "proxy, roots"  // as JVM options, after those that are there
	PHP      Gives = "an ini file"   // beside those that are there
	Wget     Gives = "a wgetrc"      // the user's own, and bundle.pem
	On       Gives = "1"
)

// Variable is one environment variable.
type Variable struct {
	Name  string
	Gives Gives
	For   string // who reads it, for people
}

// files reports whether the variable names a file that only run writes.
func (v Variable) files() bool { return v.Gives == PHP || v.Gives == Wget }

// Variables are all that run and env set, in order. They are set whatever they were before: one that is
// left to win sends a client past Attaché, or makes it distrust Attaché.
func Variables() []Variable {
	return []Variable{
		{"HTTP_PROXY", Proxy, "most clients"},
		{"http_proxy", Proxy, "curl, wget, Python, Ruby, PHP, libcurl: for http:// they read only this case"},
		{"HTTPS_PROXY", Proxy, "most clients"},
		{"https_proxy", Proxy, "wget and others that read only this case"},
		{"ALL_PROXY", Proxy, "curl, git, httpx, reqwest: for other schemes, and where no other variable is set"},
		{"all_proxy", Proxy, "the same"},
		{"ws_proxy", Proxy, "WebSocket clients that look by scheme, such as aiohttp"},
		{"wss_proxy", Proxy, "the same"},
		{"grpc_proxy", Proxy, "gRPC C core (Python, Ruby, PHP, C++): wins over https_proxy"},
		{"npm_config_proxy", Proxy, "npm: wins over .npmrc"},
		{"npm_config_https_proxy", Proxy, "npm: wins over .npmrc"},
		{"YARN_HTTP_PROXY", Proxy, "Yarn 2 and later, which read no other: wins over .yarnrc.yml"},
		{"YARN_HTTPS_PROXY", Proxy, "the same"},
		{"PIP_PROXY", Proxy, "pip: wins over pip.conf"},
		{"CARGO_HTTP_PROXY", Proxy, "Cargo: wins over config.toml"},
		{"GLOBAL_AGENT_HTTP_PROXY", Proxy, "the npm package global-agent, for older Node"},
		{"NO_PROXY", Direct, "most clients"},
		{"no_proxy", Direct, "the same"},
		{"no_grpc_proxy", Direct, "gRPC C core: wins over no_proxy"},
		{"npm_config_noproxy", Direct, "npm: wins over .npmrc"},
		{"GLOBAL_AGENT_NO_PROXY", Direct, "the npm package global-agent"},
		{"NODE_USE_ENV_PROXY", On, "Node 22.21, 24.5 and later: makes it heed the variables above"},
		{"PERL_LWP_ENV_PROXY", On, "Perl's LWP: makes it heed the variables above"},
		{"SSL_CERT_FILE", Bundle, "OpenSSL and so Python, Ruby, Perl, PHP; Go; curl; .NET on Linux; rustls-native-certs; Composer; uv"},
		{"SSL_CERT_DIR", TrustDir, "the same, so that another directory does not add roots of its own"},
		{"CURL_CA_BUNDLE", Bundle, "curl; Python requests"},
		{"REQUESTS_CA_BUNDLE", Bundle, "Python requests, and what is built on it"},
		{"NODE_EXTRA_CA_CERTS", CA, "Node, Bun"},
		{"GIT_SSL_CAINFO", Bundle, "git"},
		{"AWS_CA_BUNDLE", Bundle, "AWS CLI and SDKs"},
		{"PIP_CERT", Bundle, "pip"},
		{"CARGO_HTTP_CAINFO", Bundle, "Cargo"},
		{"DENO_CERT", CA, "Deno"},
		{"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", Bundle, "gcloud"},
		{"WEBSOCKET_CLIENT_CA_BUNDLE", Bundle, "Python websocket-client"},
		{"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", Bundle, "gRPC C core"},
		{"HTTPLIB2_CA_CERTS", Bundle, "Python httplib2"},
		{"npm_config_cafile", Bundle, "npm"},
		{"BUNDLE_SSL_CA_CERT", Bundle, "Ruby's Bundler"},
		{"PERL_LWP_SSL_CA_FILE", Bundle, "Perl's LWP"},
		{"HEX_CACERTS_PATH", Bundle, "Elixir's Hex"},
		{"NIX_SSL_CERT_FILE", Bundle, "programs built by Nix"},
		{"JAVA_TOOL_OPTIONS", Java, "every JVM"},
		{"PHP_INI_SCAN_DIR", PHP, "PHP: openssl.cafile and curl.cainfo have no variable"},
		{"WGETRC", Wget, "wget: its roots have no variable"},
	}
}

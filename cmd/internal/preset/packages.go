package preset

// packages are registries, those that need a key first.
func packages() []Preset {
	return []Preset{
		{
			Name: "npm", Title: "npm, private packages", Key: "https://www.npmjs.com, a granular access token: read-only",
			Secrets: []Secret{{"npm-token", "npm_", list("NPM_TOKEN", "NODE_AUTH_TOKEN")}},
			Rules: []Rule{
				{ID: "npm", Hosts: list("registry.npmjs.org"), Methods: list("GET"), Attach: "{bearer: npm-token}", Uses: list("npm-token")},
				{ID: "npm-audit", Hosts: list("registry.npmjs.org"), Methods: list("POST"), Paths: list("/-/npm/v1/security/**"), Attach: "{bearer: npm-token}", Uses: list("npm-token")},
			},
			Tests: []Test{
				{"GET registry.npmjs.org/@acme%2fpackage", "npm"}, {"POST registry.npmjs.org/-/npm/v1/security/advisories/bulk", "npm-audit"},
				{"PUT registry.npmjs.org/left-pad", "method_not_allowed"}, {"POST registry.npmjs.org/-/npm/v1/tokens", "refused"},
			},
			Note:  "Reads only. To publish, add PUT to the methods, and a token that may.",
			Known: "npm 10.9",
		},
		{
			Name: "pypi", Title: "PyPI, uploads", Key: "https://pypi.org/manage/account/token/, for one project",
			Secrets: []Secret{{"pypi-token", "pypi-", list("TWINE_PASSWORD", "UV_PUBLISH_TOKEN")}},
			Rules: []Rule{{
				ID: "pypi", Hosts: list("upload.pypi.org"), Methods: list("POST"), Paths: list("/legacy/"),
				Attach: "{basic: {user: __token__, password: pypi-token}}", Uses: list("pypi-token"),
			}},
			Tests: []Test{{"POST upload.pypi.org/legacy/", "pypi"}, {"GET upload.pypi.org/legacy/", "method_not_allowed"}},
			Uses:  list("pypi:twine"),
			Known: "twine and uv 0.12, August 2026",
		},
		{
			Name: "crates", Title: "crates.io, publishing", Key: "https://crates.io/settings/tokens, publish-update for the crates that are meant",
			Secrets: []Secret{{"crates-token", "cio", list("CARGO_REGISTRY_TOKEN")}},
			Rules: []Rule{{
				ID: "crates", Hosts: list("crates.io"), Methods: list("PUT"), Paths: list("/api/v1/crates/new"),
				Attach: "{header: {name: Authorization, secret: crates-token}}", Uses: list("crates-token"),
			}},
			Tests: []Test{{"PUT crates.io/api/v1/crates/new", "crates"}, {"DELETE crates.io/api/v1/crates/x/1.0.0/yank", "refused"}},
			Known: "cargo 0.101, crates.io",
			Note:  "cargo reads the index too: add the preset packages.",
		},
		{
			Name: "rubygems", Title: "RubyGems, publishing", Key: "https://rubygems.org/profile/api_keys, scope push_rubygem for one gem",
			Secrets: []Secret{{"rubygems-key", "rubygems_", list("GEM_HOST_API_KEY")}},
			Rules: []Rule{
				{
					ID: "rubygems", Hosts: list("rubygems.org"), Methods: list("POST"), Paths: list("/api/v1/gems"),
					Attach: "{header: {name: Authorization, secret: rubygems-key}}", Uses: list("rubygems-key"),
				},
				{ID: "rubygems-read", Hosts: list("rubygems.org"), Methods: list("GET")},
			},
			Tests: []Test{{"POST rubygems.org/api/v1/gems", "rubygems"}, {"DELETE rubygems.org/api/v1/gems/yank", "refused"}},
			Known: "RubyGems 4.0",
		},
		{
			Name: "dockerhub", Title: "Docker Hub, pulling", Key: "https://app.docker.com/settings/personal-access-tokens, read-only",
			Secrets: []Secret{{"dockerhub-user", "", nil}, {"dockerhub-token", "dckr_pat_", nil}},
			Rules: []Rule{
				{
					ID: "dockerhub", Hosts: list("auth.docker.io"), Methods: list("GET"), Paths: list("/token"),
					Attach: "{basic: {user_secret: dockerhub-user, password: dockerhub-token}}", Uses: list("dockerhub-user", "dockerhub-token"),
				},
				// The client presents the short-lived token that it got there.
				{ID: "dockerhub-images", Hosts: list("registry-1.docker.io", "index.docker.io"), Methods: list("GET"), Paths: list("/v2/**")},
				{ID: "dockerhub-layers", Hosts: list("production.cloudflare.docker.com", "production.cloudfront.docker.com", "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com"), Tunnel: true},
			},
			Tests: []Test{
				{"GET auth.docker.io/token?service=registry.docker.io&scope=repository:library/alpine:pull", "dockerhub"},
				{"GET registry-1.docker.io/v2/library/alpine/manifests/3", "dockerhub-images"}, {"GET index.docker.io/v2/", "dockerhub-images"}, {"PUT registry-1.docker.io/v2/o/i/manifests/1", "method_not_allowed"},
			},
			Note:  "For clients that go by the proxy of their environment, as crane and skopeo do. The Docker daemon has settings of its own.",
			Known: "go-containerregistry; layers by what proxies saw, August 2026",
		},
		publicPackages(),
	}
}

// publicPackages are what builds download. Its rule comes last: hosts that another preset opens stay open.
func publicPackages() Preset {
	return Preset{
		Name: "packages", Title: "public packages, without a key", Key: "none",
		Rules: []Rule{
			// Where the Go module proxy sends clients on to.
			{ID: "packages-go", Hosts: list("storage.googleapis.com"), Methods: list("GET"), Paths: list("/proxy-golang-org-prod/**")},
			{ID: "packages", Tunnel: true,
				Hosts: list(
					"registry.npmjs.org", "registry.yarnpkg.com", "pypi.org", "files.pythonhosted.org", "proxy.golang.org", "sum.golang.org",
					"index.crates.io", "static.crates.io", "rubygems.org", "index.rubygems.org", "repo.packagist.org", "repo.maven.apache.org",
				)},
		},
		Tests: []Test{{"GET proxy.golang.org/x", "packages"}, {"GET storage.googleapis.com/elsewhere/x", "path_not_allowed"}},
		Note:  "Passed on unopened, so clients may use credentials of their own there. Delete the hosts that you do not need.",
		Known: "the defaults of npm, Yarn, pip, Go, cargo, Bundler, Composer and Maven",
	}
}

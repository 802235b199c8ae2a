package preset

// code are forges: an API to read, and git to fetch. Pushing needs a rule of its own.
func code() []Preset {
	return []Preset{
		{
			Name: "github", Title: "GitHub, API and git", Key: "https://github.com/settings/personal-access-tokens, fine-grained: contents and metadata, read-only",
			Secrets: []Secret{{"github-token", "", list("GITHUB_TOKEN", "GH_TOKEN")}},
			Rules: append([]Rule{
				{ID: "github", Hosts: list("api.github.com"), Methods: list("GET"), Attach: "{bearer: github-token}", Uses: list("github-token")},
				// Archives and releases are answered by redirects to signed addresses, which take no token.
				{ID: "github-files", Hosts: list("codeload.github.com", "objects.githubusercontent.com", "release-assets.githubusercontent.com"), Methods: list("GET")},
			}, fetching("github", "github.com", "{basic: {user: x-access-token, password: github-token}}", "github-token", list("/*/*"))...),
			Tests: []Test{
				{"GET api.github.com/user", "github"}, {"POST api.github.com/repos/o/r/issues", "method_not_allowed"},
				{"GET github.com/o/r.git/info/refs?service=git-upload-pack", "github-refs"}, {"POST github.com/o/r.git/git-upload-pack", "github-fetch"},
				{"GET github.com/o/r.git/info/refs?service=git-receive-pack", "refused"}, {"POST github.com/o/r.git/git-receive-pack", "refused"},
				{"GET codeload.github.com/o/r/legacy.tar.gz/main", "github-files"},
			},
			Uses:  list("npm:octokit", "npm:@octokit/rest", "npm:@octokit/core", "npm:@actions/github", "pypi:pygithub", "pypi:githubkit", "go:github.com/google/go-github", "gem:octokit", "cargo:octocrab"),
			Known: "gh of October 2024, @octokit/auth-action",
			Note:  "Reads only. For issues, pull requests or GraphQL, add POST to the methods; to push, a rule for /*/*/git-receive-pack. Git LFS needs one of its own.",
		},
		{
			Name: "gitlab", Title: "GitLab.com, API and git", Key: "a project access token: read_api, read_repository",
			Secrets: []Secret{{"gitlab-token", "glpat-", list("GITLAB_TOKEN", "GITLAB_ACCESS_TOKEN", "GITLAB_PRIVATE_TOKEN", "GITLAB_API_PRIVATE_TOKEN")}},
			// Clients name projects as group%2fproject. No rule may compare paths before that of the API: such a
			// path could mean another one.
			Rules: []Rule{
				{ID: "gitlab-refs", Hosts: list("gitlab.com"), Methods: list("GET"), Query: "{service: git-upload-pack}", Attach: gitlabGit, Uses: list("gitlab-token")},
				{ID: "gitlab", Hosts: list("gitlab.com"), Methods: list("GET"), Attach: "{header: {name: PRIVATE-TOKEN, secret: gitlab-token}}", Strip: list("JOB-TOKEN"), Uses: list("gitlab-token")},
				{
					ID: "gitlab-fetch", Hosts: list("gitlab.com"), Methods: list("POST"), Attach: gitlabGit, Uses: list("gitlab-token"),
					Paths: list("/*/*/git-upload-pack", "/*/*/*/git-upload-pack", "/*/*/*/*/git-upload-pack"),
				},
			},
			Tests: []Test{
				{"GET gitlab.com/api/v4/projects/g%2Fr", "gitlab"}, {"POST gitlab.com/api/v4/projects/1/issues", "refused"},
				{"GET gitlab.com/g/s/r.git/info/refs?service=git-upload-pack", "gitlab-refs"}, {"POST gitlab.com/g/r.git/git-upload-pack", "gitlab-fetch"},
				{"POST gitlab.com/g/r.git/git-receive-pack", "refused"},
			},
			Uses:  list("npm:@gitbeaker/rest", "pypi:python-gitlab", "go:gitlab.com/gitlab-org/api/client-go", "go:github.com/xanzy/go-gitlab", "gem:gitlab"),
			Known: "python-gitlab 8.4, glab, the gem gitlab",
			Note:  "Reads only. A GitLab of your own: put its host in place of gitlab.com.",
		},
		api("linear", "Linear", "https://linear.app/settings/account/security, a personal key: read, and write if it is needed",
			"api.linear.app", "{header: {name: Authorization, secret: linear-key}}", Secret{"linear-key", "lin_api_", list("LINEAR_API_KEY")}, list("POST"), list("/graphql")).
			using("npm:@linear/sdk").
			holding(Test{"POST api.linear.app/graphql", "linear"}, Test{"GET api.linear.app/other", "refused"}).
			known("@linear/sdk 88.3", "Files go to uploads.linear.app: a rule of your own."),
	}
}

// gitlabGit is how git presents a token of GitLab.
const gitlabGit = "{basic: {user: oauth2, password: gitlab-token}}"

// fetching are the rules by which git fetches over HTTP and does not push: what it asks for first says which
// it is about to do (gitprotocol-http).
func fetching(name, host, attach, secret string, repositories []string) []Rule {
	var refs, packs []string
	for _, r := range repositories {
		refs, packs = append(refs, r+"/info/refs"), append(packs, r+"/git-upload-pack")
	}
	return []Rule{
		{ID: name + "-refs", Hosts: list(host), Methods: list("GET"), Paths: refs, Query: "{service: git-upload-pack}", Attach: attach, Uses: list(secret)},
		{ID: name + "-fetch", Hosts: list(host), Methods: list("POST"), Paths: packs, Attach: attach, Uses: list(secret)},
	}
}

package e2e

import (
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const gitRule = `
secrets: {git-token: {file: @dir/git-token}}
rules:
  - id: git
    hosts: git.test
    attach: {basic: {user: x-token, password: git-token}}
    upstream: {connect_to: "@site", ca: @siteca}
`

// TestGit clones, fetches and pushes over HTTPS from git's own server, which
// wants a password that git does not have.
func TestGit(t *testing.T) {
	t.Parallel()
	git := need(t, "git")
	token := newCanary()
	root := t.TempDir()
	up := newSite(t, siteOptions{Names: []string{"git.test"}, Streams: true, Handler: gitServer(t, git, root, token)})
	s := serve(t, serveOptions{Config: gitRule, Vars: siteVars(up), Secrets: map[string]string{"git-token": token}})

	work := t.TempDir()
	env := []string{
		"HTTPS_PROXY=http://" + s.proxy, "GIT_SSL_CAINFO=" + s.caFile(), "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=e2e", "GIT_AUTHOR_EMAIL=e2e@example.test",
		"GIT_COMMITTER_NAME=e2e", "GIT_COMMITTER_EMAIL=e2e@example.test",
	}
	run := func(args ...string) {
		t.Helper()
		_, err := s.program(env, git, args...)
		ok(t, err)
	}
	bare := filepath.Join(root, "shop.git")
	run("init", "-q", "--bare", "-b", "main", bare)
	run("-C", bare, "config", "http.receivepack", "true")
	first, second := filepath.Join(work, "first"), filepath.Join(work, "second")
	run("clone", "-q", "https://git.test/shop.git", first)
	// Over http.postBuffer (1 MiB), so that git pushes it chunked.
	ok(t, os.WriteFile(filepath.Join(first, "big"), noise(t, 3<<20), 0o600))
	run("-C", first, "add", "big")
	run("-C", first, "commit", "-q", "-m", "big")
	run("-C", first, "push", "-q", "origin", "HEAD:main")
	run("clone", "-q", "https://git.test/shop.git", second)
	equalBytes(t, "the clone's file", mustRead(t, filepath.Join(second, "big")), mustRead(t, filepath.Join(first, "big")))

	chunked := false
	for _, r := range up.requests() {
		user, password, _ := (&http.Request{Header: r.Header}).BasicAuth()
		if user != "x-token" || password != token {
			t.Errorf("%s %s came with the user %q, or another password", r.Method, r.URI, user)
		}
		chunked = chunked || len(r.TransferEncoding) > 0 || r.Proto == "HTTP/2.0"
	}
	if !chunked {
		t.Error("no request came in chunks: the push was too small to show anything")
	}
}

// gitServer is `git http-backend` behind Basic authentication.
func gitServer(t *testing.T, git, root, token string) http.HandlerFunc {
	backend := &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Dir: root,
		Env:    append(cleanEnv(t), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=e2e", "GIT_CONFIG_NOSYSTEM=1"),
		Stderr: &strings.Builder{},
	}
	return func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "x-token" || password != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Del("Authorization")
		backend.ServeHTTP(w, r)
	}
}

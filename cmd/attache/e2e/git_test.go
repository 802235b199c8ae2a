package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// TestGit clones, pulls and pushes over HTTPS from git's own server, which
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
	commit := func(name string) {
		t.Helper()
		ok(t, os.WriteFile(filepath.Join(first, name), noise(t, 3<<20), 0o600))
		run("-C", first, "add", name)
		run("-C", first, "commit", "-q", "-m", name)
	}
	// More than http.postBuffer (1 MiB) git pushes without a length. Over HTTP/2
	// it may then hang for ever, whatever the server: libcurl may ask
	// for more after the end, and git's remote helper waits for it
	// (https://github.com/git/git/pull/1608). Not so over HTTP/1.1, nor with a length.
	commit("chunked")
	run("-C", first, "-c", "http.version=HTTP/1.1", "push", "-q", "origin", "HEAD:main")
	run("clone", "-q", "https://git.test/shop.git", second)
	commit("sized")
	run("-C", first, "-c", "http.postBuffer=8m", "push", "-q", "origin", "HEAD:main")
	run("-C", second, "pull", "-q", "--ff-only")
	for _, name := range []string{"chunked", "sized"} {
		equalBytes(t, name+", cloned", mustRead(t, filepath.Join(second, name)), mustRead(t, filepath.Join(first, name)))
	}

	chunked, sized := false, false
	for _, r := range up.requests() {
		user, password, _ := (&http.Request{Header: r.Header}).BasicAuth()
		if user != "x-token" || password != token {
			t.Errorf("%s %s came with the user %q, or another password", r.Method, r.URI, user)
		}
		if r.Method == http.MethodPost && strings.HasSuffix(r.URI, "/git-receive-pack") {
			chunked = chunked || r.Proto == "HTTP/1.1" && slices.Contains(r.TransferEncoding, "chunked")
			sized = sized || r.Proto == "HTTP/2.0" && r.Header.Get("Content-Length") != ""
		}
	}
	if !chunked || !sized {
		t.Errorf("pushed in chunks over HTTP/1.1: %t; with a length over HTTP/2: %t", chunked, sized)
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
		// net/http/cgi refuses chunks, since some programs want a length; git
		// reads to the end.
		r.TransferEncoding = nil
		backend.ServeHTTP(w, r)
	}
}

// TestUploadsPastEveryWindow: bodies of unknown length that no HTTP/2 window
// holds, each with a short last piece as git's packs have, several at once.
// Nobody reads before all have begun, so that the windows are used up; then
// every byte arrives.
func TestUploadsPastEveryWindow(t *testing.T) {
	t.Parallel()
	const uploads = 6
	content := pattern(3<<20 + 1234)
	var arrived atomic.Int32
	rounds := [...]chan struct{}{make(chan struct{}), make(chan struct{})} // closed when all of a round have begun
	s, _, _ := serveOne(t, siteOptions{Streams: true, Handler: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			n := arrived.Add(1)
			round := rounds[(n-1)/uploads]
			if n%uploads == 0 {
				close(round)
			}
			select {
			case <-round:
			case <-r.Context().Done():
			}
		}
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		_, _ = fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
	}})
	want := fmt.Sprintf("%d %x <nil>", len(content), sha256.Sum256(content))
	upload := func(c *http.Client) {
		body := io.MultiReader(bytes.NewReader(content[:3<<20]), bytes.NewReader(content[3<<20:]))
		a, err := s.try(c, s.request(http.MethodPost, "https://api.test/", body))
		if err != nil {
			t.Errorf("upload: %v", err)
		} else if a.ProtoMajor != 2 || string(a.body) != want {
			t.Errorf("answer %q over %s, want %q", a.body, a.Proto, want)
		}
	}
	shared := s.client(clientOptions{})
	s.get(shared, "https://api.test/").fine(t) // opens the one connection
	for _, client := range []func() *http.Client{
		func() *http.Client { return shared },
		func() *http.Client { return s.client(clientOptions{}) },
	} {
		var all sync.WaitGroup
		for range uploads {
			c := client()
			all.Go(func() { upload(c) })
		}
		all.Wait()
	}
}

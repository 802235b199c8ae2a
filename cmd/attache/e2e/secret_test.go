package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// poisoned holds that a bad secret is refused at the start, and that as a new
// version it does not replace the good one.
func poisoned(t *testing.T, bad string) {
	t.Helper()
	t.Parallel()
	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		up := newSite(t, siteOptions{})
		s := serve(t, serveOptions{Config: oneRule, Vars: siteVars(up), Files: map[string]string{"key": bad}, NoWait: true})
		s.await("the proxy to listen", func() bool {
			_, err := os.Stat(s.caFile())
			return err == nil && s.listens()
		})
		a := s.get(s.client(clientOptions{}), "https://api.test/")
		a.refused(t, http.StatusServiceUnavailable, "credential_missing")
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if r, err := http.Get("http://" + s.admin + "/readyz"); err != nil || r.StatusCode == http.StatusOK {
			t.Errorf("/readyz: %v, %v, though a secret is missing", r, err)
		}
		up.untouched(t)
	})
	t.Run("as a new version", func(t *testing.T) {
		t.Parallel()
		s, up, key := serveOne(t, siteOptions{})
		c := s.client(clientOptions{})
		s.get(c, "https://api.test/").fine(t)
		s.write("key", bad)
		s.await("the bad version to be noticed", func() bool { return s.auditCount("secret.stale") > 0 })
		for range 3 {
			s.get(c, "https://api.test/").fine(t)
			attached(t, up, key)
		}
		if got := s.metric(`attache_secret_stale{secret="key"}`); got != "1" {
			t.Errorf("attache_secret_stale is %q", got)
		}
	})
}

func TestCRLFInSecretFile(t *testing.T) {
	poisoned(t, "poison\r\nX-Injected: yes")
}

func TestNULInSecretFile(t *testing.T)   { poisoned(t, "poison\x00poison") }
func TestEmptySecretFile(t *testing.T)   { poisoned(t, "") }
func TestBOMInSecretFile(t *testing.T)   { poisoned(t, "\ufeffpoison") }
func Test1MiBSecretFile(t *testing.T)    { poisoned(t, strings.Repeat("poison", 1<<20/6)) }
func TestOnlyNewlineInFile(t *testing.T) { poisoned(t, "\n") }

// listens reports whether the proxy's listener is there.
func (s *server) listens() bool {
	r, err := http.Get("http://" + s.admin + "/livez")
	if err != nil {
		return false
	}
	return r.Body.Close() == nil && r.StatusCode == http.StatusOK
}

func TestTrailingNewlineInSecretFile(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	c := s.client(clientOptions{})
	for _, end := range []string{"\n", "", "\r\n"} {
		next := key + "-" + strings.NewReplacer("\r", "cr", "\n", "lf").Replace(end)
		s.secret(next)
		s.write("key", next+end)
		s.await("the version that ends in "+strings.TrimPrefix(next, key), func() bool {
			s.get(c, "https://api.test/").fine(t)
			return up.last(t).Header.Get("Authorization") == "Bearer "+next
		})
	}
	s.write("key", "twice\n\n") // trimmed once: what remains holds a control byte
	s.await("the version with two newlines to be refused", func() bool { return s.auditCount("secret.stale") > 0 })
}

// TestThreeRotations: each of three in a row is used by later requests, and no
// request ever carries anything but a whole version.
func TestThreeRotations(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(t *testing.T, s *server, content string){
		"in place": func(t *testing.T, s *server, content string) {
			ok(t, os.WriteFile(filepath.Join(s.dir, "keys", "key"), []byte(content), 0o600))
		},
		"temporary file and rename": func(_ *testing.T, s *server, content string) { s.write("keys/key", content) },
		"Kubernetes' ..data":        swapData,
		"parent recreated": func(t *testing.T, s *server, content string) {
			dir := filepath.Join(s.dir, "keys")
			ok(t, os.Rename(dir, dir+".gone"))
			ok(t, os.Mkdir(dir, 0o755))
			ok(t, os.RemoveAll(dir+".gone"))
			s.write("keys/key", content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, versions := newSite(t, siteOptions{}), []string{newCanary()}
			s := serve(t, serveOptions{
				Config: strings.Replace(oneRule, "@dir/key", "@dir/keys/key", 1), Vars: siteVars(up), NoWait: true,
			})
			ok(t, os.MkdirAll(filepath.Join(s.dir, "keys"), 0o755))
			s.secret(versions[0])
			write(t, s, versions[0])
			if !s.ready() {
				t.Fatalf("not ready though the secret came\n%s", s.err)
			}
			c := s.client(clientOptions{})
			for range 3 {
				next := newCanary()
				s.secret(next)
				versions = append(versions, next)
				write(t, s, next)
				s.await("the new version", func() bool {
					s.get(c, "https://api.test/").fine(t)
					return up.last(t).Header.Get("Authorization") == "Bearer "+next
				})
			}
			for _, r := range up.requests() {
				if whole := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); !slices.Contains(versions, whole) {
					t.Fatal("a request carried what was never a version")
				}
			}
		})
	}
}

// swapData writes as the kubelet does: key → ..data/key, ..data → a directory
// of its own for each version, swapped by rename.
func swapData(t *testing.T, s *server, content string) {
	t.Helper()
	dir := filepath.Join(s.dir, "keys")
	version, err := os.MkdirTemp(dir, "..version")
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(version, "key"), []byte(content), 0o600))
	ok(t, os.Symlink(filepath.Base(version), filepath.Join(dir, "..data_tmp")))
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	ok(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	if old == "" {
		ok(t, os.Symlink("..data/key", filepath.Join(dir, "key")))
		return
	}
	ok(t, os.RemoveAll(filepath.Join(dir, old)))
}

// TestLastGoodHasALimit: the last good version of a secret that is gone serves
// for max_stale, and no longer; the next good one ends that.
func TestLastGoodHasALimit(t *testing.T) {
	t.Parallel()
	s, up, key := serveRules(t, strings.Replace(oneRule, "{file: @dir/key}", "{file: @dir/key, max_stale: 1s}", 1), siteOptions{})
	c := s.client(clientOptions{})
	s.get(c, "https://api.test/").fine(t)
	ok(t, os.Remove(filepath.Join(s.dir, "key")))
	s.await("the loss to be noticed", func() bool { return s.auditCount("secret.stale") > 0 })
	s.await("the last good version to be withdrawn", func() bool {
		a := s.get(c, "https://api.test/")
		return a.StatusCode == http.StatusServiceUnavailable && a.reason() == "credential_missing"
	})
	n := len(up.requests())
	s.get(c, "https://api.test/").refused(t, http.StatusServiceUnavailable, "credential_missing")
	if len(up.requests()) != n {
		t.Error("the upstream got a request without its credential")
	}
	s.write("key", key)
	s.await("the secret to be used again", func() bool { return s.get(c, "https://api.test/").StatusCode == http.StatusOK })
	attached(t, up, key)
}

package app

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity/identitytest"
)

func rootsPEM(t *testing.T, b *x509bundle.Bundle) string {
	t.Helper()
	text, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func svidPEM(t *testing.T, s *x509svid.SVID) (cert, key string) {
	t.Helper()
	c, k, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(c), string(k)
}

// identityLayout is one way in which an identity lies in files.
type identityLayout struct {
	name, config string
	files        func(cert, key, roots, bank string) map[string]string
}

func identityLayouts() []identityLayout {
	return []identityLayout{
		{"one file", "{files: {pem: @dir/svid/all.pem, federated: {bank.example: @dir/svid/bank.pem}}}", func(cert, key, roots, bank string) map[string]string {
			return map[string]string{"all.pem": cert + key + roots, "bank.pem": bank}
		}},
		{"pair and bundle", "{files: {cert: @dir/svid/c.pem, key: @dir/svid/k.pem, bundle: @dir/svid/b.pem, federated: {bank.example: @dir/svid/bank.pem}}}", func(cert, key, roots, bank string) map[string]string {
			return map[string]string{"c.pem": cert, "k.pem": key, "b.pem": roots, "bank.pem": bank}
		}},
		{"folder", "{files: {dir: @dir/svid}}", func(cert, key, roots, bank string) map[string]string {
			return map[string]string{folderCredential: key + cert, "acme.example" + folderBundle: roots, "bank.example" + folderBundle: bank, "notes": "x"}
		}},
	}
}

// swap replaces a directory of files as Kubernetes does: a new directory, then the link ..data.
func (r *running) swap(dir string, version int, files map[string]string) {
	r.t.Helper()
	name := "..v" + string(rune('0'+version))
	root := filepath.Join(r.dir, dir)
	if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
		r.t.Fatal(err)
	}
	for file, content := range files {
		r.write(filepath.Join(dir, name, file), content)
		_ = os.Symlink(filepath.Join("..data", file), filepath.Join(root, file))
	}
	_ = os.Remove(filepath.Join(root, "..next"))
	if err := os.Symlink(name, filepath.Join(root, "..next")); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "..next"), filepath.Join(root, "..data")); err != nil {
		r.t.Fatal(err)
	}
}

func TestIdentityFilesRotate(t *testing.T) {
	for _, l := range identityLayouts() {
		t.Run(l.name, func(t *testing.T) {
			ca, bank := identitytest.NewCA("acme.example"), identitytest.NewCA("bank.example")
			s := newSite(t, nil)
			r := launch(t, s, strings.Replace(basic, "listen:", "identity: "+l.config+"\nlisten:", 1), nil)
			r.write("key", "made-up-key-one")
			if status, text := r.readyz(); status != 503 || !strings.Contains(text, "identity: ") {
				t.Errorf("before: %d %s", status, text)
			}
			var last *x509svid.SVID
			for version := range 3 {
				last = ca.Issue(shop, time.Hour)
				cert, key := svidPEM(t, last)
				r.swap("svid", version, l.files(cert, key, rootsPEM(t, ca.Bundle()), rootsPEM(t, bank.Bundle())))
				await(t, "the SVID is in force", func() bool {
					st := r.live.Load().Identity
					return st != nil && st.SVIDs[0].Certificates[0].Equal(last.Certificates[0])
				})
			}
			st := r.live.Load().Identity
			for _, peer := range []*x509svid.SVID{ca.Issue(other, time.Hour), bank.Issue("spiffe://bank.example/a", time.Hour)} {
				if _, _, err := st.VerifyX509([][]byte{peer.Certificates[0].Raw}, time.Now()); err != nil {
					t.Error(err)
				}
			}
			// A key that is another's, then half of a file: the last good version stays, and it shows.
			cert, key := svidPEM(t, ca.Issue(shop, time.Hour))
			_, wrong := svidPEM(t, ca.Issue(shop, time.Hour))
			for version, keyNow := range []string{wrong, key[:len(key)/2]} {
				r.swap("svid", 3+version, l.files(cert, keyNow, rootsPEM(t, ca.Bundle()), rootsPEM(t, bank.Bundle())))
				await(t, "the fault shows", func() bool {
					_, text := r.readyz()
					return strings.Contains(text, "identity: files: ")
				})
				if !r.live.Load().Identity.SVIDs[0].Certificates[0].Equal(last.Certificates[0]) {
					t.Error("a bad version is in force")
				}
				for line := range strings.Lines(keyNow) {
					if _, text := r.readyz(); len(line) > 20 && strings.Contains(text, strings.TrimSpace(line)) {
						t.Error("key bytes in readyz")
					}
				}
			}
			r.swap("svid", 5, l.files(cert, key, rootsPEM(t, ca.Bundle()), rootsPEM(t, bank.Bundle())))
			await(t, "well again", func() bool {
				status, text := r.readyz()
				return status == 200 && !strings.Contains(text, "identity")
			})
		})
	}
}

// TestReloadWithBadIdentityChangesNothing: the former identity and rules stay, and the reload says why.
func TestReloadWithBadIdentityChangesNothing(t *testing.T) {
	s, agent := newSite(t, nil), identitytest.Start(t, shop)
	r := launch(t, s, identified(agent), map[string]string{"key": "made-up-key-one", "bad.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))})
	r.configure(s, strings.Replace(basic, "listen:", "identity: {files: @dir/bad.pem}\nlisten:", 1)+"  - {id: more, hosts: more.example}\n")
	err := r.Reload(t.Context())
	if err == nil || !strings.Contains(err.Error(), "identity (attache.yaml:2): files: ") && !strings.Contains(err.Error(), "identity (attache.yaml:2): SVID: ") {
		t.Errorf("reload: %v", err)
	}
	if r.id() != shop || len(r.live.Load().Policy.Rules()) != 1 {
		t.Errorf("identity %q, %d rules", r.id(), len(r.live.Load().Policy.Rules()))
	}
	agent.Rotate()
	before := r.live.Load().Identity.Generation
	await(t, "the former source still works", func() bool { return r.live.Load().Identity.Generation > before })
}

// TestIdentityFilesExpire: what has expired is not used, and shows; what comes in its place is.
func TestIdentityFilesExpire(t *testing.T) {
	ca := identitytest.NewCA("acme.example")
	put := func(r *running, ttl time.Duration) *x509svid.SVID {
		svid := ca.Issue(shop, ttl)
		cert, key := svidPEM(t, svid)
		r.replace("all.pem", cert+key+rootsPEM(t, ca.Bundle()))
		return svid
	}
	r := launch(t, newSite(t, nil), strings.Replace(basic, "listen:", "identity: {files: @dir/all.pem}\nlisten:", 1), nil)
	r.write("key", "made-up-key-one")
	put(r, -time.Minute)
	await(t, "it shows that the first has expired", func() bool {
		code, text := r.readyz()
		return code == 503 && strings.Contains(text, "identity: files: expired at ")
	})
	end := put(r, 3*time.Second).Certificates[0].NotAfter
	await(t, "ready", func() bool { code, _ := r.readyz(); return code == 200 })
	await(t, "it shows that the next has expired", func() bool {
		_, text := r.readyz()
		return strings.Contains(text, "identity: "+shop+": expired at ")
	})
	if _, _, err := r.live.Load().Identity.Certificate(time.Now()); err == nil || time.Now().Before(end) {
		t.Errorf("used after its end: %v", err)
	}
	put(r, time.Hour)
	await(t, "well again", func() bool {
		code, text := r.readyz()
		return code == 200 && !strings.Contains(text, "identity")
	})
}

// TestIdentityFilesOddities: others may read the key, or a rotation cannot arrive.
func TestIdentityFilesOddities(t *testing.T) {
	ca := identitytest.NewCA("acme.example")
	cert, key := svidPEM(t, ca.Issue(shop, time.Hour))
	dir := t.TempDir()
	for name, content := range map[string]string{"c": cert, "k": key, "b": rootsPEM(t, ca.Bundle())} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	spec := config.Identity{Key: "x", Files: config.IdentityFiles{Cert: at("c"), Key: at("k"), Bundle: at("b")}}
	id := ResolveIdentity(t.Context(), &config.Config{Identity: spec})
	if len(id.SVIDs) != 1 || id.Problem != "" {
		t.Fatalf("%+v", id)
	}
	if runtime.GOOS != "windows" && (len(id.Warnings) != 1 || !strings.Contains(id.Warnings[0], "permissions: mode 0644 lets other users at it (file "+at("k")+")")) {
		t.Errorf("warnings %q", id.Warnings)
	}
}

// TestRootsFileNamesNoOtherTrustDomain: whoever gives us the roots of one trust domain cannot add to another's, ours
// least of all, by a line like those that part the sections of the one file.
func TestRootsFileNamesNoOtherTrustDomain(t *testing.T) {
	ca, bank := identitytest.NewCA("acme.example"), identitytest.NewCA("bank.example")
	cert, key := svidPEM(t, ca.Issue(shop, time.Hour))
	roots, foreign := rootsPEM(t, ca.Bundle()), rootsPEM(t, bank.Bundle())
	for _, mark := range []string{"# trust-bundle: acme.example\n", "# trust-bundle:\r\n", foreign + "# trust-bundle: acme.example\n"} {
		dir := t.TempDir()
		at := func(name string) string { return filepath.Join(dir, name) }
		for name, content := range map[string]string{
			"c": cert, "k": key, "b": roots, "all": cert + key + roots, "bank": mark + foreign,
			folderCredential: key + cert, "acme.example" + folderBundle: roots, "bank.example" + folderBundle: mark + foreign,
		} {
			if err := os.WriteFile(at(name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		federated := map[string]string{"bank.example": at("bank")}
		for _, files := range []config.IdentityFiles{
			{PEM: at("all"), Federated: federated}, {Cert: at("c"), Key: at("k"), Bundle: at("b"), Federated: federated}, {Dir: dir},
		} {
			text, err := identityFiles{files}.Read(t.Context())
			if err == nil || !strings.Contains(err.Error(), "trust-bundle") || text != nil {
				t.Errorf("%+v: read as one, %v", files, err)
			}
		}
	}
}

package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/config"
)

// TestRepositoryTakeoverMidRun: a frozen configuration serves on as it was, reloads or not, whatever is written over its
// files, those that it names among them; its secrets rotate as ever.
func TestRepositoryTakeoverMidRun(t *testing.T) {
	s := newSite(t, nil)

	freeze := func(a *App) {
		files, err := config.Read(a.path, "")
		if err != nil {
			t.Fatal(err)
		}
		ca := a.now.cfg.Named()
		if len(ca) != 1 {
			t.Fatal("the configuration names no roots", ca)
		}
		roots, err := os.ReadFile(ca[0])
		if err != nil {
			t.Fatal(err)
		}
		a.o.Frozen = &config.Frozen{Files: files, Named: map[string][]byte{ca[0]: roots}, Dir: filepath.Dir(a.path)}
	}
	r := launchPrepared(t, s, basic, map[string]string{"key": "made-up-key-one"}, freeze)
	c := r.client()
	r.configure(s, strings.Replace(basic, "hosts: example.com", "hosts: [example.com, evil.example]", 1))
	r.write("site.pem", "evil roots")
	if err := os.WriteFile(filepath.Join(filepath.Dir(r.path), "attache.local.yaml"), []byte("version: 1\nrules: [{id: site, hosts: evil.example}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if hosts := r.Configuration().Rules[0].Hosts; len(hosts) != 1 || hosts[0] != "example.com" {
		t.Errorf("credentials go to %q", hosts)
	}
	if status, body := get(t, c, "https://example.com/"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	r.write("key", "made-up-key-two")
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	get(t, c, "https://example.com/")
	if got := s.received(); !strings.Contains(got[len(got)-1], "made-up-key-two") {
		t.Errorf("received %q", got)
	}
}

package app

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/proxy/audit"
)

func TestConfigReloadBroken(t *testing.T) {
	s := newSite(t, nil)
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-one"})
	c := r.client()
	for name, broken := range map[string]string{
		"not YAML":        "version: [",
		"unknown key":     strings.Replace(basic, "secrets:", "secretz:", 1),
		"no such CA file": strings.Replace(basic, "site.pem", "nowhere.pem", 1),
		"needs a restart": basic + "ca: {publish: @dir}\n",
	} {
		r.configure(s, broken)
		err := r.Reload(t.Context())
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		if _, ok := errors.AsType[config.Errors](err); name == "unknown key" && (!ok || !strings.Contains(err.Error(), "attache.yaml:3:1:")) {
			t.Errorf("%s: %v, want the place", name, err)
		}
		if st := r.Config(); st.Generation != 1 || st.LastError == "" {
			t.Errorf("%s: %+v", name, st)
		}
		if status, body := get(t, c, "https://example.com/"); status != 200 {
			t.Fatalf("%s: the former configuration no longer serves: %d %s", name, status, body)
		}
	}
	if !slices.Contains(r.events.types(), audit.ConfigRejected) {
		t.Error("no config.rejected in the audit")
	}
	r.configure(s, basic)
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := r.Config(); st.Generation != 2 || st.LastError != "" {
		t.Errorf("%+v", st)
	}
}

func TestReloadOnFileChange(t *testing.T) {
	s := newSite(t, nil)
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-one"})
	c := r.client()
	get(t, c, "https://example.com/")
	next := strings.Replace(basic, "hosts: example.com", "hosts: [example.com, www.example.com]", 1)
	r.configure(s, strings.Replace(next, "attach: {bearer: key}", `attach: {header: {name: X-Key, secret: key}}`, 1))
	await(t, "generation 2", func() bool { return r.Config().Generation == 2 })
	// The CA has grown; the client of before goes on with the root it knows.
	if status, body := get(t, c, "https://example.com/"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if got := s.received(); got[len(got)-1] != "" {
		t.Errorf("received %q by the former rule", got[len(got)-1])
	}
	c.CloseIdleConnections()
	if status, body := get(t, r.client(), "https://www.example.com/"); status != 200 {
		t.Errorf("the added host: %d %s", status, body)
	}
}

func TestReloadMovesListeners(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	defer let() // a test that has failed must not wait for its upstream
	s := newSite(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/slow" {
			close(started)
			<-release
		}
	})
	dir := t.TempDir()
	r := launch(t, s, strings.Replace(basic, `admin: "127.0.0.1:0"`, `admin: "unix:`+filepath.Join(dir, "a.sock")+`"`, 1), map[string]string{"key": "made-up-key-one"})
	c, before := r.client(), r.Addr("proxy").String()
	slow := make(chan int, 1)
	go func() {
		slow <- statusOf(c, "https://example.com/slow")
	}()
	select {
	case <-started:
	case got := <-slow:
		t.Fatalf("the request to be held: %d", got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	l.Close()
	r.configure(s, strings.Replace(basic, `proxy: "127.0.0.1:0", admin: "127.0.0.1:0"`, `proxy: "`+free+`"`, 1))
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.Addr("proxy").String(); got != free {
		t.Fatalf("listening at %s, want %s", got, free)
	}
	if n, err := net.Dial("tcp", before); err == nil {
		n.Close()
		t.Error("the former listener still accepts")
	}
	if _, err := os.Stat(filepath.Join(dir, "a.sock")); err == nil {
		t.Error("the former socket is still there")
	}
	if status, body := get(t, r.client(), "https://example.com/"); status != 200 {
		t.Errorf("by the new listener: %d %s", status, body)
	}
	let()
	if status := <-slow; status != 200 {
		t.Errorf("the request under way: %d", status)
	}
}

func TestReloadThatCannotListenChangesNothing(t *testing.T) {
	s := newSite(t, nil)
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-one"})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r.configure(s, strings.Replace(basic, `admin: "127.0.0.1:0"`, `admin: "`+taken.Addr().String()+`"`, 1))
	if err := r.Reload(t.Context()); err == nil {
		t.Fatal("accepted")
	}
	if r.Config().Generation != 1 || r.Addr("admin") == nil {
		t.Error("something changed")
	}
	if status, _ := get(t, r.client(), "https://example.com/"); status != 200 {
		t.Error("no longer serves")
	}
}

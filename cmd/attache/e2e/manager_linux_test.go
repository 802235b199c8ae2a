package e2e

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serviceManager is the datagram socket on which a service manager listens.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	ok(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &serviceManager{t, c}
}

func (m *serviceManager) env() string { return "NOTIFY_SOCKET=" + m.conn.LocalAddr().String() }

// until reads messages up to the one that has a line beginning with want, and returns its lines.
func (m *serviceManager) until(want string) []string {
	m.t.Helper()
	ok(m.t, m.conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	for b := make([]byte, 4096); ; {
		n, err := m.conn.Read(b)
		if err != nil {
			m.t.Fatalf("waiting for %s: %v", want, err)
		}
		lines := strings.Split(string(b[:n]), "\n")
		if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
			return lines
		}
	}
}

// nothing fails the test if a message is there.
func (m *serviceManager) nothing() {
	m.t.Helper()
	ok(m.t, m.conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
	b := make([]byte, 4096)
	if n, err := m.conn.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		m.t.Errorf("the service manager was told %q, %v", b[:n], err)
	}
}

// TestServiceManagerIsTold: ready once every secret is there, alive while it is, reloading, what is
// wrong, and stopping.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	up, key, m := newSite(t, siteOptions{}), newCanary(), newServiceManager(t)
	s := serve(t, serveOptions{
		Config: oneRule, Vars: siteVars(up), Files: map[string]string{"key": ""}, NoWait: true,
		Env: []string{m.env(), "WATCHDOG_USEC=200000"},
	})
	m.until("STATUS=Waiting for secrets")
	s.await("an answer", func() bool {
		r, err := http.Get("http://" + s.admin + "/livez")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return true
	})
	m.nothing()
	s.secret(key)
	s.write("key", key)
	lines := m.until("READY=1")
	if !slices.Contains(lines, "STATUS=Serving; rules: 1, secrets: 1") {
		t.Errorf("%q", lines)
	}
	m.until("WATCHDOG=1")

	began := time.Now()
	s.signal(syscall.SIGHUP)
	var usec int64
	for _, line := range m.until("RELOADING=1") {
		if v, found := strings.CutPrefix(line, "MONOTONIC_USEC="); found {
			usec, _ = strconv.ParseInt(v, 10, 64)
		}
	}
	if usec <= 0 {
		t.Errorf("no MONOTONIC_USEC, %s after the signal", time.Since(began))
	}
	m.until("READY=1")
	s.write("attache.yaml", "version: 2\n")
	s.signal(syscall.SIGHUP)
	m.until("RELOADING=1")
	if lines := m.until("READY=1"); !strings.Contains(strings.Join(lines, "\n"), "degraded: config: the last reload was rejected") {
		t.Errorf("%q", lines)
	}
	s.signal(os.Interrupt)
	m.until("STOPPING=1")
	<-s.exited
}

// TestSocketsOutliveTheProcess: who calls while Attaché restarts waits, and is not refused, since the
// service manager keeps the sockets.
func TestSocketsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	up, key := newSite(t, siteOptions{}), newCanary()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	path := filepath.Join(t.TempDir(), "admin.sock")
	local, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	ok(t, err)
	ok(t, os.Chmod(path, 0o600))
	var pass []*os.File
	for _, l := range []interface{ File() (*os.File, error) }{tcp.(*net.TCPListener), local} {
		f, err := l.File()
		ok(t, err)
		t.Cleanup(func() { _ = f.Close() })
		pass = append(pass, f)
	}
	ok(t, tcp.Close()) // the copies listen on
	local.SetUnlinkOnClose(false)
	ok(t, local.Close())

	s := serve(t, serveOptions{
		Config:  oneRule + "listen: {proxy: " + tcp.Addr().String() + ", admin: \"unix:" + path + "\", health: @admin}\n",
		Vars:    siteVars(up),
		Secrets: map[string]string{"key": key}, Pass: pass,
	})
	c := s.client(clientOptions{Proxy: tcp.Addr().String()})
	c.Transport.(*http.Transport).DisableKeepAlives = true
	s.get(c, "https://api.test/").fine(t)
	attached(t, up, key)

	s.signal(os.Interrupt)
	<-s.exited
	answered := make(chan error, 1)
	go func() {
		a, err := s.try(c, s.request(http.MethodGet, "https://api.test/", nil))
		if err == nil && a.StatusCode != http.StatusOK {
			err = errors.New(a.Status)
		}
		answered <- err
	}()
	s.launch()
	if err := <-answered; err != nil {
		t.Errorf("a call during the restart: %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the passed socket's file is gone: %v", err)
	}
	// A configuration that would leave a passed socket to nobody is refused, now and at a start.
	config := string(mustRead(t, s.config))
	s.write("attache.yaml", strings.Replace(config, tcp.Addr().String(), freePort(t), 1))
	s.reload()
	if got := s.metric("attache_config_last_reload_successful"); got != "0" {
		t.Errorf("a socket left to nobody was accepted: %q", got)
	}
	s.get(c, "https://api.test/").fine(t)
}

// TestPassedSocketsAreStrict: a socket that the configuration does not name ends the start.
func TestPassedSocketsAreStrict(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer func() { _ = l.Close() }()
	f, err := l.(*net.TCPListener).File()
	ok(t, err)
	defer func() { _ = f.Close() }()
	up := newSite(t, siteOptions{})
	s := serve(t, serveOptions{Config: oneRule, Vars: siteVars(up), Secrets: map[string]string{"key": newCanary()}, Pass: []*os.File{f}, NoWait: true})
	s.dirty = true
	<-s.exited
	if !strings.Contains(s.err.String(), l.Addr().String()+": passed on by the service manager, but no listener") {
		t.Errorf("exit %v\n%s", s.exit, s.err)
	}
}

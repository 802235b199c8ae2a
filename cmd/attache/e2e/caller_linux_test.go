package e2e

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"testing"
)

// nobody is a user that is not the one these tests run as.
const nobody = 65534

func TestOtherUserOnUnixSocket(t *testing.T) {
	t.Parallel()
	needRoot(t)
	up, key := newSite(t, siteOptions{}), newCanary()
	run, err := os.MkdirTemp("", "attache-e2e-run") // short, and open to others
	ok(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	ok(t, os.Chmod(run, 0o755))
	vars := siteVars(up)
	vars["run"] = run
	s := serve(t, serveOptions{Vars: vars, Secrets: map[string]string{"key": key}, Config: `
listen: {proxy: "unix:@run/proxy.sock", admin: @admin}
secrets: {key: {file: @dir/key}}
callers: {root: {uid: 0}}
rules:
  - {id: api, hosts: api.test, callers: root, attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
`})
	socket := run + "/proxy.sock"
	ask := func(w *wire) answer {
		t.Helper()
		if a := w.connect("api.test:443", ""); a.StatusCode != http.StatusOK {
			return a
		}
		inner, err := w.over(tlsFor("api.test"))
		ok(t, err)
		return inner.send(crlf("GET / HTTP/1.1", "Host: api.test")).response(http.MethodGet)
	}
	c, err := dialAs(0, socket)
	ok(t, err)
	ask(s.newWire(c)).fine(t)
	attached(t, up, key)

	if _, err := dialAs(nobody, socket); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("another user's connect: %v, want that it is not permitted", err)
	}
	ok(t, os.Chmod(socket, 0o666)) // as an operator may who wants other users in
	c, err = dialAs(nobody, socket)
	ok(t, err)
	if a := ask(s.newWire(c)); a.StatusCode != http.StatusForbidden && a.StatusCode != http.StatusProxyAuthRequired {
		t.Errorf("another user got %s", a.Status)
	}
	if n := len(up.requests()); n != 1 {
		t.Errorf("the upstream got %d requests, want 1", n)
	}
	s.refusal("caller_not_allowed")
}

// dialAs connects to a unix socket as another user: the credentials of one
// thread are changed, and the thread ends with its goroutine.
func dialAs(uid int, socket string) (net.Conn, error) {
	var c net.Conn
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		keep := ^uintptr(0)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
			err = errno
			return
		}
		c, err = net.Dial("unix", socket)
	}()
	<-done
	return c, err
}

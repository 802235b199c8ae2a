package app

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPassedSocketsAreForOneProcess(t *testing.T) {
	for name, env := range map[string][]string{
		"none":                     nil,
		"for another process":      {"LISTEN_FDS", "1", "LISTEN_PID", "8"},
		"for nobody in particular": {"LISTEN_FDS", "1"},
	} {
		if got, err := newPassed(environment(env...), 7); len(got) != 0 || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, count := range []string{"-1", "many", "65"} {
		if _, err := newPassed(environment("LISTEN_FDS", count, "LISTEN_PID", "7"), 7); err == nil {
			t.Errorf("LISTEN_FDS=%s: no error", count)
		}
	}
}

func TestListensOn(t *testing.T) {
	dir := t.TempDir()
	file := func(l any, err error) *os.File {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	path := filepath.Join(dir, "s")
	for what, f := range map[string]*os.File{tcp.Addr().String(): file(tcp, err)} {
		if got, err := listensOn(int(f.Fd())); got != what || err != nil {
			t.Errorf("%q, %v, want %q", got, err, what)
		}
	}
	unix, err := net.Listen("unix", path)
	if got, err := listensOn(int(file(unix, err).Fd())); got != "unix:"+path || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	gram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path + "g", Net: "unixgram"})
	plain, err2 := os.Open(dir)
	abstract, err3 := net.Listen("unix", "@attache-test-"+filepath.Base(filepath.Dir(dir)))
	conn, err4 := net.Dial("tcp", tcp.Addr().String())
	for what, f := range map[string]*os.File{
		"datagrams": file(gram, err), "a directory": plain, "an abstract name": file(abstract, err3), "a connection": file(conn, err4),
	} {
		if err2 != nil {
			t.Fatal(err2)
		}
		if got, err := listensOn(int(f.Fd())); err == nil {
			t.Errorf("%s: taken as %q", what, got)
		}
	}
}

func TestPassedSocketMustBeConfigured(t *testing.T) {
	p := passedSockets{{name: "proxy", address: "[::]:15001"}, {name: "admin", address: "unix:/run/attache/admin.sock"}}
	fits := []listenSpec{{name: "proxy", address: ":15001"}, {name: "admin", address: "unix:/run/attache//admin.sock"}}
	if err := p.unclaimed(fits); err != nil {
		t.Error(err)
	}
	err := p.unclaimed([]listenSpec{{name: "proxy", address: "0.0.0.0:15001"}, fits[1]})
	if err == nil || !strings.Contains(err.Error(), `socket "proxy": [::]:15001: passed on`) {
		t.Errorf("%v", err)
	}
}

// TestPassedAdminSocketIsPrivate: over the admin socket whoever can write to it can reload, and
// SocketMode= is 0666 unless the unit says otherwise.
func TestPassedAdminSocketIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	p := passedSockets{{"admin", "unix:" + path, f}}
	for mode, want := range map[os.FileMode]bool{0o666: false, 0o606: false, 0o660: true, 0o600: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		got, err := p.open(listenSpec{kind: adminListener, address: "unix:" + path})
		if (err == nil) != want {
			t.Errorf("mode %#o: %v", mode, err)
		}
		if got != nil {
			got.Close()
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error("closing removed the service manager's socket")
	}
}

func TestCanonicalAddress(t *testing.T) {
	for given, want := range map[string]string{
		":15001": "[::]:15001", "localhost:1": "127.0.0.1:1", "[::ffff:127.0.0.1]:1": "127.0.0.1:1", "unix:/a//b": "unix:/a/b",
	} {
		if got := canonicalAddress(given); got != want {
			t.Errorf("%s: %s, want %s", given, got, want)
		}
	}
}

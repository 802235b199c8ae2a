package app

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// managerSocket is the service manager's end: a real datagram socket.
func managerSocket(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// told is the next message.
func told(t *testing.T, c *net.UnixConn) []string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(b[:n]), "\n")
}

func environment(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestManagerIsFound(t *testing.T) {
	for name, tc := range map[string]struct {
		env  []string
		want manager
	}{
		"nobody":                    {nil, manager{}},
		"a path":                    {[]string{"NOTIFY_SOCKET", "/run/n"}, manager{socket: "/run/n"}},
		"an abstract name":          {[]string{"NOTIFY_SOCKET", "@n"}, manager{socket: "@n"}},
		"what is no unix socket":    {[]string{"NOTIFY_SOCKET", "vsock:2:1"}, manager{}},
		"a watchdog":                {[]string{"NOTIFY_SOCKET", "/n", "WATCHDOG_USEC", "3000000"}, manager{"/n", 3 * time.Second}},
		"a watchdog of ours":        {[]string{"WATCHDOG_USEC", "5", "WATCHDOG_PID", "7"}, manager{watchdog: 5 * time.Microsecond}},
		"another one's watchdog":    {[]string{"WATCHDOG_USEC", "5", "WATCHDOG_PID", "8"}, manager{}},
		"a watchdog past all sense": {[]string{"WATCHDOG_USEC", "99999999999999999"}, manager{}},
		"a watchdog of nonsense":    {[]string{"WATCHDOG_USEC", "soon"}, manager{}},
	} {
		if got := newManager(environment(tc.env...), 7); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestManagerIsToldOverEitherKindOfSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	for _, name := range []string{path, "@attache-test-" + strings.ReplaceAll(path, "/", "-")} {
		c := managerSocket(t, name)
		if err := (manager{socket: name}).tell("READY=1", "STATUS=x"); err != nil {
			t.Fatal(err)
		}
		if got := told(t, c); len(got) != 2 || got[0] != "READY=1" || got[1] != "STATUS=x" {
			t.Errorf("%q", got)
		}
	}
	if err := (manager{socket: path + "-gone"}).tell("READY=1"); err == nil {
		t.Error("nobody was told, and no error")
	}
}

// TestNoSignOfLifeUnderALock: what hangs is not said to live.
func TestNoSignOfLifeUnderALock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c := managerSocket(t, path)
	r := launchPrepared(t, newSite(t, nil), basic, map[string]string{"key": "made-up-key-1"}, func(a *App) {
		a.manager = manager{socket: path, watchdog: 200 * time.Millisecond}
	})
	signOfLife := func() bool {
		for _, line := range told(t, c) {
			if line == "WATCHDOG=1" {
				return true
			}
		}
		return false
	}
	for !signOfLife() {
	}
	r.mu.Lock()
	// One may be on its way; then none.
	quiet := false
	for range 3 {
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 4096)); err != nil {
			quiet = true
			break
		}
	}
	r.mu.Unlock()
	if !quiet {
		t.Error("signs of life while a lock is held for ever")
	}
	for !signOfLife() {
	}
}

func TestStatusLineSaysWhatIsWrong(t *testing.T) {
	r := launch(t, newSite(t, nil), basic, map[string]string{"key": "made-up-key-1"})
	if got, want := r.statusLine(), "Serving; rules: 1, secrets: 1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	r.mu.Lock()
	r.now.lastError = strings.Repeat("é", 300) + "\nREADY=1"
	r.mu.Unlock()
	got := r.statusLine()
	if !strings.Contains(got, "; degraded: config: the last reload was rejected") || len(got) > maxStatus || strings.Contains(got, "\n") {
		t.Errorf("%q", got)
	}
}

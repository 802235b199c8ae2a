package e2e

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestClosedTunnelsLeaveNoMemory: resident memory grows by at most 8 MiB
// between the 2,000th closed tunnel and the 6,000th.
func TestClosedTunnelsLeaveNoMemory(t *testing.T) {
	if os.Getenv(envRace) != "" {
		t.Skip("memory tells nothing under the race detector: CI runs this test without")
	}
	s, _, _ := serveOne(t, siteOptions{H1: true, Handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }})
	idle := s.resident()
	s.tunnels(2000)
	early := s.resident()
	s.tunnels(4000)
	late := s.resident()
	t.Logf("resident: %d KiB before the first, %d after 2,000, %d after 6,000", idle, early, late)
	if late-early > 8<<10 {
		t.Errorf("4,000 tunnels left %d KiB", late-early)
	}
}

// tunnels opens n tunnels, some at once, makes a call in each and closes it.
func (s *server) tunnels(n int) {
	s.t.Helper()
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := s.client(clientOptions{H1: true})
			c.Transport.(*http.Transport).DisableKeepAlives = true
			for range work {
				res, err := c.Get("https://api.test/")
				if err != nil {
					s.t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	wg.Wait()
}

// resident is the memory of the process, in KiB.
func (s *server) resident() int64 {
	s.t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(s.cmd.Process.Pid) + "/status")
	ok(s.t, err)
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	ok(s.t, err)
	return n
}

package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	statusEvery = 10 * time.Second // between looks at what the service manager shows, without a watchdog
	startEvery  = 50 * time.Millisecond
	maxStatus   = 200 // bytes of a status line
)

// manager is the service manager that started the process, and what it wants to be told
// (sd_notify(3)). The zero value is nobody.
type manager struct {
	socket   string        // a datagram socket's path, or @name
	watchdog time.Duration // within which it wants a sign of life; 0: it does not
}

// newManager reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. What is meant for another process,
// or cannot be understood, is nobody's.
func newManager(getenv func(string) (string, bool), pid int) manager {
	var m manager
	if s, _ := getenv("NOTIFY_SOCKET"); strings.HasPrefix(s, "/") || strings.HasPrefix(s, "@") {
		m.socket = s
	}
	usec, _ := getenv("WATCHDOG_USEC")
	if n, err := strconv.ParseInt(usec, 10, 64); err == nil && n > 0 && n < int64(time.Hour*24/time.Microsecond) {
		m.watchdog = time.Duration(n) * time.Microsecond
	}
	if s, set := getenv("WATCHDOG_PID"); set && s != strconv.Itoa(pid) {
		m.watchdog = 0
	}
	return m
}

// tell sends one message of lines NAME=VALUE.
func (m manager) tell(lines ...string) error {
	if m.socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = c.Write([]byte(strings.Join(lines, "\n")))
	return err
}

// tell tells the service manager, and logs when that does not work.
func (a *App) tell(lines ...string) {
	if err := a.manager.tell(lines...); err != nil {
		a.log.Warn("the service manager cannot be told", "error", err)
	}
}

// report tells the service manager once that every secret that is not optional has been there, as /startupz
// does, and from then on how it is and that it lives, until ctx ends.
func (a *App) report(ctx context.Context) {
	if a.manager.socket == "" {
		return
	}
	tick := time.NewTicker(startEvery)
	defer tick.Stop()
	a.tell("STATUS=Waiting for secrets")
	for !a.Started() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	said := a.statusLine()
	a.tell("READY=1", "STATUS="+said)
	every := statusEvery
	if a.manager.watchdog > 0 {
		every = a.manager.watchdog / 2
	}
	tick.Reset(every)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Whatever hangs in here keeps the sign of life back.
		now := a.statusLine()
		if now != said {
			a.tell("STATUS=" + now)
			said = now
		}
		if a.manager.watchdog == 0 {
			continue
		}
		if err := a.answers(ctx); err != nil {
			a.log.Error("no sign of life: own listener does not answer", "error", err)
			continue
		}
		a.tell("WATCHDOG=1")
	}
}

// statusLine is one line on how it is. Asking for it takes every lock that requests and reloads need.
func (a *App) statusLine() string {
	cfg, bad := a.config(), a.Degraded()
	line := fmt.Sprintf("Serving; rules: %d, secrets: %d", len(cfg.Rules), len(cfg.Secrets))
	switch len(bad) {
	case 0:
	case 1:
		line += "; degraded: " + bad[0]
	default:
		line += fmt.Sprintf("; degraded: %s, and %d more", bad[0], len(bad)-1)
	}
	line = oneLine(line)
	return strings.ToValidUTF8(line[:min(len(line), maxStatus)], "")
}

// answers asks the health or the admin listener whether the process is alive, as a probe would.
func (a *App) answers(ctx context.Context) error {
	addr := a.Addr("health")
	if addr == nil {
		addr = a.Addr("admin")
	}
	if addr == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.manager.watchdog/4)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/livez", nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", addr, res.StatusCode)
	}
	return nil
}

// reloading tells the service manager that a reload begins, and returns what tells of its end.
func (a *App) reloading() (done func()) {
	if a.manager.socket == "" || !a.Started() {
		return func() {}
	}
	a.tell("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
	return func() { a.tell("READY=1", "STATUS="+a.statusLine()) }
}

// connectManager finds the service manager and what it passed on. Only a whole process has one.
func (a *App) connectManager() (err error) {
	if !a.o.Process {
		return nil
	}
	pid := os.Getpid()
	a.manager = newManager(a.o.Getenv, pid)
	a.passed, err = newPassed(a.o.Getenv, pid)
	return err
}

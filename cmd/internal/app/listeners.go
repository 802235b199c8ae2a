package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/proxy"
	"github.com/attache-proxy/attache/proxy/admin"
)

type listenerKind uint8

const (
	proxyListener listenerKind = iota
	routeListener
	adminListener
	healthListener
)

// listenSpec is one listener as configured. Equal specs are the same listener.
type listenSpec struct {
	kind    listenerKind
	name    string
	address string // "host:port" or "unix:/path"
	tls     bool   // clients speak TLS with the proxy
	route   config.Route
}

// beyondLoopback reports whether any listener that takes calls can be reached from elsewhere.
func beyondLoopback(l config.Listen) bool {
	for _, s := range listenSpecs(l) {
		if s.kind != proxyListener && s.kind != routeListener || strings.HasPrefix(s.address, "unix:") {
			continue
		}
		host, _, _ := net.SplitHostPort(s.address)
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return true
		}
	}
	return false
}

// listener is one open listener.
type listener struct {
	listenSpec
	net.Listener
	server  *http.Server // of admin and health listeners
	retired atomic.Bool  // closed on purpose: what Serve returns is no fault
}

// listenSpecs are the listeners of a configuration.
func listenSpecs(l config.Listen) []listenSpec {
	var specs []listenSpec
	add := func(s listenSpec) {
		if s.address != "" {
			specs = append(specs, s)
		}
	}
	add(listenSpec{kind: proxyListener, name: "proxy", address: l.Proxy, tls: l.TLS})
	for _, r := range l.Routes {
		add(listenSpec{kind: routeListener, name: "route " + r.Host, address: r.Listen, route: r})
	}
	add(listenSpec{kind: adminListener, name: "admin", address: l.Admin})
	add(listenSpec{kind: healthListener, name: "health", address: l.Health})
	return specs
}

// openListeners opens what specs asks for and have does not offer. It returns all of specs in order,
// those that are new, and those of have that specs no longer asks for. On error nothing stays open.
func openListeners(ctx context.Context, specs []listenSpec, have []*listener, passed passedSockets) (all, opened, gone []*listener, err error) {
	kept := map[*listener]bool{}
	find := func(fits func(*listener) bool) *listener {
		if i := slices.IndexFunc(have, fits); i >= 0 {
			return have[i]
		}
		return nil
	}
	var faults []error
	if err := passed.unclaimed(specs); err != nil {
		faults = append(faults, err)
	}
	for _, s := range specs {
		if old := find(func(l *listener) bool { return l.listenSpec == s }); old != nil {
			kept[old] = true
			all = append(all, old)
			continue
		}
		if old := find(func(l *listener) bool { return l.address == s.address }); old != nil && !strings.HasSuffix(s.address, ":0") {
			faults = append(faults, fmt.Errorf("listener %q: %s: serves %q now; to give it another purpose needs a restart", s.name, s.address, old.name))
			continue
		}
		l, err := passed.open(s)
		if l == nil && err == nil {
			l, err = openListener(ctx, s.address)
		}
		if err != nil {
			if errors.Is(err, syscall.EADDRINUSE) {
				err = fmt.Errorf("%w; attache status tells whether another Attaché is there, and listen in the configuration chooses other addresses", err)
			}
			faults = append(faults, fmt.Errorf("listener %q: %w", s.name, err))
			continue
		}
		n := &listener{listenSpec: s, Listener: l}
		all, opened = append(all, n), append(opened, n)
	}
	if len(faults) > 0 {
		closeAll(opened)
		return nil, nil, nil, errors.Join(faults...)
	}
	for _, l := range have {
		if !kept[l] {
			gone = append(gone, l)
		}
	}
	return all, opened, gone, nil
}

func closeAll(ls []*listener) {
	for _, l := range ls {
		l.Close()
	}
}

// openListener opens "host:port" or "unix:/path".
func openListener(ctx context.Context, address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return listenUnix(ctx, path)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // clients are near; sock_diag tells the owner of plain TCP sockets
	return lc.Listen(ctx, "tcp", address)
}

// serve serves l until it is closed.
func (a *App) serve(l *listener) {
	switch l.kind {
	case adminListener, healthListener:
		l.server = a.adminServer(l)
	}
	a.serving.Go(func() {
		var err error
		switch {
		case l.kind == proxyListener && l.tls:
			err = a.proxy.ServeTLS(l.Listener, l.name)
		case l.kind == proxyListener:
			err = a.proxy.Serve(l.Listener, l.name)
		case l.kind == routeListener:
			err = a.proxy.ServeRoute(l.Listener, proxy.Route{Name: l.name, Scheme: l.route.Scheme, Host: l.route.Host, Port: l.route.Port})
		default:
			err = l.server.Serve(l.Listener)
		}
		if l.retired.Load() || errors.Is(err, http.ErrServerClosed) {
			return
		}
		select {
		case a.fatal <- fmt.Errorf("listener %q: %w", l.name, err):
		default:
		}
	})
	a.log.Info("listening", "listener", l.name, "address", l.Addr().String())
}

// retire closes a listener that a reload took away. Connections that came in by it go on.
func (a *App) retire(l *listener) {
	l.retired.Store(true)
	l.Close()
	if l.server != nil {
		l.server.SetKeepAlivesEnabled(false)
	}
	a.log.Info("no longer listening", "listener", l.name, "address", l.Addr().String())
}

// adminServer serves admin or health. Its limits bound what anyone who reaches it can hold.
func (a *App) adminServer(l *listener) *http.Server {
	o := admin.Options{
		Log: a.log, Version: a.o.Version, Hostname: hostname(), Recent: a.recent, Metrics: a.metrics,
		Window: a.window, Feed: a.feed, Reasons: adminReasons(),
		Token: a.adminToken, Unix: l.Addr().Network() == "unix",
	}
	h := admin.HealthHandler(a, o)
	if l.kind == adminListener {
		h = admin.Handler(a, o)
	}
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

// hostname tells this machine or pod from others; empty if it has no name.
func hostname() string {
	name, _ := os.Hostname()
	return name
}

// adminToken verifies what admin_token names, if anything.
func (a *App) adminToken(presented string) bool {
	a.mu.Lock()
	ref, set := a.now.cfg.AdminToken, a.now.set
	a.mu.Unlock()
	return ref != "" && verifyToken(set, ref, presented)
}

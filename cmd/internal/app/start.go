package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/mint"
	"github.com/attache-proxy/attache/proxy"
	"github.com/attache-proxy/attache/proxy/admin"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/mitm"
	"github.com/attache-proxy/attache/watcher"
	"github.com/attache-proxy/attache/watcher/dirwatch"
)

// firstReads is how long listening waits for the first reads of the secrets, so that usually the
// first request finds them. Reads that take longer go on while requests are answered 503.
const firstReads = 100 * time.Millisecond

// start brings everything up in order. What it has started when it fails, stop takes down.
func (a *App) start() error {
	cfg := a.now.cfg
	if err := a.connectManager(); err != nil {
		return &UsageError{Err: err}
	}
	if err := a.openAudit(cfg.Audit); err != nil {
		return &UsageError{Err: err}
	}
	if a.o.Process {
		harden(a.log)
	} else if a.o.Command != nil {
		hide(a.log)
	}
	a.recent, a.window, a.feed = audit.NewRecent(remembered), admin.NewWindow(time.Now()), admin.NewFeed()
	a.metrics = admin.NewMetrics(a.o.Version, a.gauges())
	a.sinks = sinks{&a.audit, a.metrics, a.recent, a.window, a.feed}
	if a.o.Sink != nil {
		a.sinks = append(a.sinks, a.o.Sink)
	}
	a.metrics.Configure(metricNames(cfg))
	a.window.Configure(ruleIDs(cfg))
	a.dirs = dirwatch.New(dirwatch.Options{Log: a.log})
	a.pool = dial.NewPool(dial.Options{Log: a.log, Own: a.isOwn})
	a.store = watcher.New(watcher.Options{Log: a.log, OnSet: a.onSet, OnChange: a.onChange, OnMissed: func(string) { a.metrics.MissedChange() }, Notices: a.dirs})
	a.tokens = mint.New(mint.Options{Log: a.log, OnChange: a.onToken, OnFetch: a.onFetch})
	a.working.Go(func() {
		defer close(a.applied)
		a.store.Apply(a.ctx, secretSpecs(cfg))
	})
	if a.now.identity = a.newIdentity(cfg.Identity, nil); a.now.identity != nil {
		a.now.identity.start()
	}
	a.tokens.Apply(a.fetches(cfg))
	// Before the CA, which clients of another Attaché would read if this one cannot start beside it.
	all, _, _, err := openListeners(a.ctx, listenSpecs(cfg.Listen), nil, a.passed)
	if err != nil {
		return err
	}
	if err := a.openCA(cfg); err != nil {
		closeAll(all)
		return &UsageError{Err: fmt.Errorf("ca: %w", err)}
	}
	a.own.Store(newOwnAddrs(all))
	a.waitFirst()
	a.proxy = proxy.New(&a.live, a.proxyOptions(cfg.Limits))
	a.putInForce(a.now.built, all)
	for _, l := range all {
		a.serve(l)
	}
	a.working.Go(func() { a.reloads(a.reload.ctx) })
	a.working.Go(func() {
		if err := a.ca.Run(a.ctx); err != nil && a.ctx.Err() == nil {
			a.log.Error("the CA is no longer renewed", "error", err)
		}
	})
	if a.o.Process {
		a.working.Go(func() { tidyMemory(a.ctx, a.log) })
		a.paceCollector()
	}
	a.warn(cfg)
	a.record(audit.Event{Type: audit.Started, ConfigGeneration: 1, Detail: "version " + a.o.Version})
	close(a.ready)
	a.working.Go(func() { a.report(a.ctx) })
	return nil
}

// waitFirst waits for the first reads of the secrets and the first identity, but not for long.
func (a *App) waitFirst() {
	enough := time.After(firstReads)
	waits := []<-chan struct{}{a.applied}
	if a.now.identity != nil {
		waits = append(waits, a.now.identity.ready())
	}
	for _, w := range waits {
		select {
		case <-w:
		case <-enough:
			return
		}
	}
}

// putInForce publishes b with the newest secrets and counts it as a new generation.
func (a *App) putInForce(b *built, listeners []*listener) (generation uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now.set == nil { // the first reads take longer than we wait for them
		a.now.set = unread(b.cfg)
	}
	a.now.built, a.now.listeners = b, listeners
	a.now.generation++
	a.now.loaded, a.now.lastError, a.now.hold = time.Now(), "", false
	a.publishLocked()
	return a.now.generation
}

func (a *App) openAudit(c config.Audit) error {
	if c.File == "" {
		return a.audit.replace(nil)
	}
	log, err := audit.NewLog(c.File, a.o.Stdout, audit.LogOptions{Refuse: c.Refuse, Log: a.log})
	if err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	return a.audit.replace(log)
}

func (a *App) openCA(cfg *config.Config) (err error) {
	a.ca, err = mitm.New(mitm.Options{
		Publish: cfg.CA.Publish, State: cfg.CA.State, Permit: cfg.CA.Permit,
		Unconstrained: cfg.CA.Unconstrained, MoreRoots: a.moreRoots(), CertFile: cfg.CA.Cert, KeyFile: cfg.CA.Key, Log: a.log,
		OnGeneration: func(g mitm.Generation) {
			a.record(audit.Event{Type: audit.CAGeneration, Detail: "generation " + g.ID + ", until " + g.NotAfter.UTC().Format(time.DateOnly)})
		},
	}, caHosts(cfg))
	return err
}

func (a *App) proxyOptions(l config.Limits) proxy.Options {
	return proxy.Options{
		Log: a.log, Sinks: a.sinks, AuditFull: a.audit.full, Leaf: a.ca.Leaf, Reread: a.store.Reread,
		Server: proxy.ServerLimits{
			Connections: l.Connections, HeaderBytes: l.HeaderBytes, HeaderRead: l.HeaderRead,
			Handshake: l.Handshake, Idle: l.Idle, Streams: l.Streams,
		},
	}
}

// remembered is how many events the admin API can tell of, and how many refusals beside them.
const remembered = 500

func ruleIDs(cfg *config.Config) []string {
	var ids []string
	for _, r := range cfg.Rules {
		ids = append(ids, r.ID)
	}
	return ids
}

// metricNames are the configured names that metrics may use as label values.
func metricNames(cfg *config.Config) admin.Names {
	n := admin.Names{Credentials: map[string]string{}, Reasons: map[string]string{}}
	for _, r := range cfg.Rules {
		n.Rules = append(n.Rules, r.ID)
		for _, c := range r.Attach {
			n.Credentials[c.Name] = c.Kind
			if _, fetched := c.Injector.(inject.Minter); fetched {
				n.Fetched = append(n.Fetched, c.Name)
			}
		}
	}
	callers := map[string]bool{}
	for _, c := range cfg.Callers {
		callers[c.Name] = true
	}
	n.Callers = slices.Sorted(maps.Keys(callers))
	for _, s := range cfg.Secrets {
		n.Secrets = append(n.Secrets, s.Name)
	}
	for _, r := range proxy.Reasons() {
		n.Reasons[r.Code] = string(r.Fault)
	}
	return n
}

func (a *App) gauges() admin.Gauges {
	return admin.Gauges{
		InFlight:         func() int64 { return a.proxy.InFlight() },
		Tunnels:          func() int64 { return a.proxy.Tunnels() },
		LeafCertificates: func() uint64 { return a.ca.Minted() },
		AuditDropped:     a.audit.dropped,
		CAExpiry:         a.caExpiry,
		ConfigGeneration: func() uint64 { return a.Config().Generation },
		ConfigOK:         func() bool { return a.Config().LastError == "" },
		ObserveEnd:       func() time.Time { return a.config().ObserveUntil },
		Secrets:          a.secretGauges,
		Identity:         a.OwnIdentity,
	}
}

// caExpiry is when the newest generation expires.
func (a *App) caExpiry() time.Time {
	gens := a.ca.Generations()
	if len(gens) == 0 {
		return time.Time{}
	}
	return gens[len(gens)-1].NotAfter
}

func (a *App) secretGauges() []admin.SecretGauge {
	var all []admin.SecretGauge
	for _, s := range a.store.Status() {
		all = append(all, admin.SecretGauge{
			Name: s.Name, Generation: s.Generation, Stale: s.State == watcher.Stale, LastSuccess: s.LastSuccess, Expiry: s.Expires,
		})
	}
	return all
}

// stop takes down what start brought up, in the order that loses nothing: no longer ready, requests
// under way, listeners, what works in the background, and the audit log last.
func (a *App) stop() {
	a.draining.Store(true)
	a.tell("STOPPING=1", "STATUS=Letting what is under way finish")
	a.reload.end() // a reload must not open what stop has closed
	if a.proxy != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), a.config().Shutdown)
		if err := a.proxy.Shutdown(ctx); err != nil {
			a.log.Warn("not all that was under way could finish", "error", err)
		}
		cancel()
	}
	if a.feed != nil {
		a.feed.Close() // or those who watch would keep the listeners
	}
	a.closeListeners()
	a.cancel()
	a.serving.Wait()
	a.working.Wait()
	if a.store != nil {
		_ = a.store.Close()
	}
	a.now.identity.close()
	if a.tokens != nil {
		_ = a.tokens.Close()
	}
	if a.dirs != nil {
		_ = a.dirs.Close()
	}
	if a.pool != nil {
		a.pool.Close()
	}
	if a.sinks != nil {
		a.record(audit.Event{Type: audit.Stopped})
	}
	if err := a.audit.replace(nil); err != nil {
		a.log.Warn("the audit log's end may be missing", "error", err)
	}
	a.log.Info("stopped")
}

// closeListeners closes every listener; admin answers under way get a second.
func (a *App) closeListeners() {
	a.mu.Lock()
	all := a.now.listeners
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), time.Second)
	defer cancel()
	for _, l := range all {
		l.retired.Store(true)
		if l.server != nil {
			if l.server.Shutdown(ctx) != nil {
				l.server.Close()
			}
		}
		l.Close()
	}
}

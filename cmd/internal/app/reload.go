package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/proxy/audit"
)

const (
	configPoll   = 10 * time.Second       // between looks at the files without notice
	configSettle = 100 * time.Millisecond // files unchanged for this long are taken to be whole
	configWait   = 2 * time.Second        // at most, for files that keep changing
	reapply      = 15 * time.Second       // at most, for the first reads of a reload's new secrets
)

// reloader is what reloads wait on.
type reloader struct {
	mu     sync.Mutex    // held by the one reload under way
	tried  string        // fingerprint of the last attempt, guarded by mu
	hup    chan struct{} // SIGHUP came
	notice chan struct{} // a file of the configuration may have changed

	ctx    context.Context // ends when no more reloads are wanted
	cancel context.CancelFunc
}

func (r *reloader) init() {
	r.hup, r.notice = make(chan struct{}, 1), make(chan struct{}, 1)
	r.ctx, r.cancel = context.WithCancel(context.Background())
}

// end hurries the reload that is under way, waits for it and lets none follow: App.draining is set.
func (r *reloader) end() {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
}

// reloads reloads whenever there is cause, until ctx ends.
func (a *App) reloads(ctx context.Context) {
	watched := a.config()
	unwatch := a.watchFiles(watched)
	defer func() { unwatch() }()
	poll := time.NewTicker(configPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.reload.hup:
			done := a.reloading()
			if err := a.audit.reopen(); err != nil {
				a.log.Error("audit log cannot be reopened", "error", err)
			}
			_ = a.Reload(ctx)
			done()
		case <-a.reload.notice:
			a.reloadChanged(ctx)
		case <-poll.C:
			a.reloadChanged(ctx)
		}
		if now := a.config(); now != watched {
			unwatch()
			watched, unwatch = now, a.watchFiles(now)
		}
	}
}

// watchFiles asks for notices of changes to what a configuration was read from. A new file beside
// them gives none: the poll finds it.
func (a *App) watchFiles(cfg *config.Config) (stop func()) {
	if a.o.Frozen != nil {
		return func() {}
	}
	paths := append([]string{a.path}, cfg.Files...)
	paths = append(paths, cfg.Named()...)
	return a.dirs.Watch(paths, func() { nudge(a.reload.notice) })
}

// reloadChanged reloads if the files differ from those of the last attempt, once they have settled:
// half a file may be valid and mean something else.
func (a *App) reloadChanged(ctx context.Context) {
	print := func() string { return a.fingerprint(nil) + a.fingerprint(a.config()) }
	a.reload.mu.Lock()
	tried := a.reload.tried
	a.reload.mu.Unlock()
	if tried == "" {
		a.mu.Lock()
		tried = a.now.fingerprint
		a.mu.Unlock()
	}
	seen := print()
	if seen == tried {
		return
	}
	limit := time.Now().Add(configWait)
	for time.Now().Before(limit) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(configSettle):
		}
		next := print()
		if next == seen {
			break
		}
		seen = next
	}
	_ = a.reconfigure() // told of in log, audit, metrics and admin
}

// Reload loads the configuration anew, as reconfigure does, and looks at every secret. It implements
// admin.State.
func (a *App) Reload(ctx context.Context) error {
	err := a.reconfigure()
	if !a.draining.Load() {
		a.store.Refresh(ctx)
		a.refreshIdentity(ctx)
	}
	return err
}

// reconfigure loads the configuration anew and puts all of it in force, or nothing: an error says why
// and leaves the former one serving.
func (a *App) reconfigure() error {
	a.reload.mu.Lock()
	defer a.reload.mu.Unlock()
	if a.draining.Load() {
		return errors.New("shutting down")
	}
	a.reload.tried = a.fingerprint(nil) + a.fingerprint(a.config())
	next, err := a.load()
	if err == nil {
		keepInjectors(next.cfg, a.config())
		err = a.adopt(next)
	}
	if err == nil {
		return nil
	}
	a.mu.Lock()
	a.now.lastError = err.Error()
	generation := a.now.generation
	a.mu.Unlock()
	a.log.Error("configuration rejected, the former one serves on", "error", err)
	a.record(audit.Event{Type: audit.ConfigRejected, ConfigGeneration: generation, Detail: oneLine(err.Error())})
	return err
}

// adopt does everything that can fail first, and then what cannot.
func (a *App) adopt(next *built) error {
	a.mu.Lock()
	old, have := a.now.cfg, a.now.listeners
	a.mu.Unlock()
	if err := needsRestart(old, next.cfg); err != nil {
		return err
	}
	own, err := a.changeIdentity(a.reload.ctx, next.cfg.Identity)
	if err != nil {
		return err
	}
	defer a.closeUnlessInForce(own)
	all, opened, gone, err := openListeners(a.ctx, listenSpecs(next.cfg.Listen), have, a.passed)
	if err != nil {
		return err
	}
	added, err := a.ca.Permit(append(next.cfg.Policy.InterceptedHosts(), next.cfg.CA.Permit...))
	if changed := next.cfg.Audit.File != old.Audit.File || next.cfg.Audit.Refuse != old.Audit.Refuse; err == nil && changed {
		err = a.openAudit(next.cfg.Audit)
	}
	if err != nil {
		closeAll(opened)
		return err
	}
	// The new secrets must not meet the old rules, nor the old secrets the new rules: hold what the
	// store gives until the configuration is published with it.
	a.mu.Lock()
	a.now.hold = true
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(a.reload.ctx, reapply)
	a.store.Apply(ctx, secretSpecs(next.cfg))
	both := a.fetches(old) // the former rules go on until the new ones are in force
	maps.Copy(both, a.fetches(next.cfg))
	a.tokens.Apply(both)
	a.tokens.Wait(ctx)
	cancel()
	a.own.Store(newOwnAddrs(all))
	former := a.exchangeIdentity(own)
	generation := a.putInForce(next, all)
	a.tokens.Apply(a.fetches(next.cfg))
	a.closeUnlessInForce(former)
	a.reload.tried = next.fingerprint
	a.metrics.Configure(metricNames(next.cfg))
	a.window.Configure(ruleIDs(next.cfg))
	for _, l := range opened {
		a.serve(l)
	}
	for _, l := range gone {
		a.retire(l)
	}
	if added {
		a.log.Warn("the CA has a new generation: clients of the added hosts must read the CA file again", "publish", next.cfg.CA.Publish)
	}
	a.log.Info("configuration in force", "generation", generation, "rules", len(next.cfg.Rules), "secrets", len(next.cfg.Secrets))
	a.warn(next.cfg)
	a.record(audit.Event{Type: audit.ConfigReloaded, ConfigGeneration: generation})
	return nil
}

// keepInjectors makes next use the injectors of old for the credentials that did not change: they
// keep what they have rendered, and the tokens they hold.
func keepInjectors(next, old *config.Config) {
	former := map[string]inject.Injector{}
	id := func(rule string, c config.Credential) string {
		return rule + "\x00" + c.Name + "\x00" + c.Kind + "\x00" + c.Key
	}
	each := func(cfg *config.Config, visit func(id string, c *config.Credential)) {
		for i := range cfg.Credentials {
			visit(id("", cfg.Credentials[i]), &cfg.Credentials[i])
		}
		for _, r := range cfg.Rules {
			for i := range r.Attach {
				visit(id(r.ID, r.Attach[i]), &r.Attach[i])
			}
		}
	}
	each(old, func(id string, c *config.Credential) { former[id] = c.Injector })
	each(next, func(id string, c *config.Credential) {
		if i := former[id]; i != nil {
			c.Injector = i
		}
	})
}

// warn logs what the configuration's author should look at.
func (a *App) warn(cfg *config.Config) {
	for _, w := range cfg.Warnings {
		a.log.Warn("configuration", "warning", w.Message, "file", w.File, "line", w.Line, "hint", w.Hint)
	}
}

// needsRestart refuses what cannot be changed while serving.
func needsRestart(old, next *config.Config) error {
	var keys []string
	o, n := old.CA, next.CA
	if o.Publish != n.Publish || o.State != n.State || o.Unconstrained != n.Unconstrained || o.Cert != n.Cert || o.Key != n.Key {
		keys = append(keys, "ca")
	}
	if ol, nl := old.Limits, next.Limits; ol.Connections != nl.Connections || ol.HeaderBytes != nl.HeaderBytes ||
		ol.HeaderRead != nl.HeaderRead || ol.Handshake != nl.Handshake || ol.Idle != nl.Idle || ol.Streams != nl.Streams {
		keys = append(keys, "limits of client connections (connections, header_bytes, header_read, handshake, idle, streams)")
	}
	if len(keys) == 0 {
		return nil
	}
	return fmt.Errorf("%s: a change needs a restart", strings.Join(keys, ", "))
}

// oneLine is text as one line, for the audit.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

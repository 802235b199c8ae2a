package app

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/watcher"
)

// sinks gives every event to each of several.
type sinks []audit.Sink

func (s sinks) Record(e *audit.Event) {
	for _, k := range s {
		k.Record(e)
	}
}

// auditLog is the configured audit log, which a reload may replace. The zero value records nothing.
type auditLog struct {
	p    atomic.Pointer[audit.Log]
	lost atomic.Uint64 // by logs that were replaced
}

func (l *auditLog) Record(e *audit.Event) {
	if k := l.p.Load(); k != nil {
		k.Record(e)
	}
}

func (l *auditLog) full() bool {
	k := l.p.Load()
	return k != nil && k.Full()
}

func (l *auditLog) dropped() uint64 {
	n := l.lost.Load()
	if k := l.p.Load(); k != nil {
		n += k.Dropped()
	}
	return n
}

func (l *auditLog) reopen() error {
	if k := l.p.Load(); k != nil {
		return k.Reopen()
	}
	return nil
}

// replace puts next, which may be nil, in force and closes the one before.
func (l *auditLog) replace(next *audit.Log) error {
	old := l.p.Swap(next)
	if old == nil {
		return nil
	}
	err := old.Close()
	l.lost.Add(old.Dropped())
	return err
}

// record completes and records one of the application's own events.
func (a *App) record(e audit.Event) {
	e.Time = time.Now().UTC()
	a.sinks.Record(&e)
}

// looks remembers the last trouble of each secret, so that one that stays unreadable is told of once.
type looks struct {
	mu      sync.Mutex
	trouble map[string]string
}

// changed notes problem (empty: none) and reports whether it is news.
func (l *looks) changed(name, problem string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble[name] == problem {
		return false
	}
	if l.trouble == nil {
		l.trouble = map[string]string{}
	}
	l.trouble[name] = problem
	return true
}

// onChange counts every look at a secret, and audits what is news. The store logs.
func (a *App) onChange(c watcher.Change) {
	switch c.Result { // what no look found
	case "expired":
		a.record(audit.Event{Type: audit.SecretExpired, Secret: c.Name, Version: c.Generation, Detail: c.Reason})
		return
	case "revoked":
		a.record(audit.Event{Type: audit.SecretRevoked, Secret: c.Name, Version: c.Generation, Detail: c.Reason})
		return
	}
	a.metrics.SecretReload(c.Name, c.Result)
	problem := ""
	if c.Result == "error" {
		problem = c.Reason
	}
	news := a.looks.changed(c.Name, problem)
	switch {
	case c.Result == "rotated":
		a.record(audit.Event{Type: audit.SecretRotated, Secret: c.Name, Version: c.Generation})
	case c.Result == "error" && news:
		a.record(audit.Event{Type: audit.SecretStale, Secret: c.Name, Version: c.Generation, Detail: c.Reason})
	}
}

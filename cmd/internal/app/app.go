package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject/mint"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy"
	"github.com/attache-proxy/attache/proxy/admin"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/dial"
	"github.com/attache-proxy/attache/proxy/mitm"
	"github.com/attache-proxy/attache/watcher"
	"github.com/attache-proxy/attache/watcher/dirwatch"
)

// ErrKilled is what [App.Run] returns when a second signal asked it to stop at once.
var ErrKilled = errors.New("stopped before what was under way had finished")

// Options of an App. The zero value is safe.
type Options struct {
	Log      *slog.Logger                // nil: nothing is logged
	Version  string                      // of the binary, as metrics and admin show it
	Requires string                      // version that requires: is compared with; empty: satisfies any
	Stdout   *os.File                    // what audit.file "-" writes to; nil: the standard output
	Sink     audit.Sink                  // receives every event beside the configured sinks; may be nil
	Getenv   func(string) (string, bool) // nil: the process's environment
	Profile  string                      // laid over the configuration; empty: none
	Dir      string                      // where the configuration's relative paths start; empty: the process's directory
	Frozen   *config.Frozen              // what to load in place of the files at path; nil: the files, whenever they change
	Command  *Command                    // what it serves; nil: whoever its listeners admit
	// MayRun says of files that were read whether their secrets may come from commands; nil: not.
	// A frozen configuration says so itself.
	MayRun func([]config.File) bool
	// Process says that the App is the whole process: it handles signals and hardens the process.
	Process bool
}

// App is one running Attaché.
type App struct {
	path string
	o    Options
	log  *slog.Logger

	live    proxy.Live
	proxy   *proxy.Proxy
	pool    *dial.Pool
	ca      *mitm.Authority
	store   *watcher.Store
	tokens  *mint.Cache
	dirs    *dirwatch.Watcher
	audit   auditLog
	recent  *audit.Recent
	metrics *admin.Metrics
	window  *admin.Window
	feed    *admin.Feed
	sinks   sinks

	own      atomic.Pointer[ownAddrs]
	ready    chan struct{} // closed once the listeners accept
	applied  chan struct{} // closed once every secret has been tried
	started  atomic.Bool
	fatal    chan error // a listener died
	draining atomic.Bool
	reload   reloader
	looks    looks
	manager  manager       // that started the process
	passed   passedSockets // that it opened for us

	mu  sync.Mutex
	now inForce

	ctx     context.Context // ends when what works in the background must stop
	cancel  context.CancelFunc
	serving sync.WaitGroup // the listeners' Serve calls
	working sync.WaitGroup // everything else that runs until the end
}

// inForce is what the last successful load built. App.mu guards it.
type inForce struct {
	*built
	identity   *ownIdentity    // nil: none is configured
	shown      *identity.State // to upstreams
	showing    *ownIdentity    // of the configuration that was last published
	set        *secret.Set     // the newest, in force unless hold
	hold       bool            // between two configurations: secrets are published together with the new one
	generation uint64
	loaded     time.Time
	lastError  string // of a reload since
	listeners  []*listener
}

// New loads and checks the configuration at path. It starts and contacts nothing. An error is a
// [UsageError].
func New(path string, o Options) (*App, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	if err := refuseHTTP2Debug(o.Getenv); err != nil {
		return nil, err
	}
	a := &App{path: path, o: o, log: o.Log, ready: make(chan struct{}), applied: make(chan struct{}), fatal: make(chan error, 1)}
	a.reload.init()
	b, err := a.load()
	if err != nil {
		return nil, &UsageError{Err: err}
	}
	a.now.built, a.now.hold = b, true
	return a, nil
}

// Warnings are what the configuration's author should look at.
func (a *App) Warnings() []config.Problem { return a.config().Warnings }

// Configuration is the one in force. Do not change it.
func (a *App) Configuration() *config.Config { return a.config() }

// Ready is closed once every listener accepts connections.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Addr is the address of the named listener ("proxy", "admin", "health", "route HOST"), nil if there
// is none. It may be called once [App.Ready] is closed.
func (a *App) Addr(name string) net.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.now.listeners {
		if l.name == name {
			return l.Addr()
		}
	}
	return nil
}

// CAPEM holds the roots that clients must trust. It may be called once [App.Ready] is closed.
func (a *App) CAPEM() []byte { return a.ca.CAPEM() }

// Started reports whether every secret that is not optional, and the proxy's own identity if it is to have one, has been there once. What a reload adds
// later does not take it back: one missing secret must not take a pod out. It may be called once
// [App.Ready] is closed.
func (a *App) Started() bool {
	if a.started.Load() {
		return true
	}
	select {
	case <-a.applied:
	default:
		return false // the store knows of no secret yet
	}
	warm, _ := a.store.Warm()
	warm = warm && a.hasIdentity() && a.hasTokens()
	if warm {
		a.started.Store(true)
	}
	return warm
}

// Run serves until ctx ends or, for a Process, until a signal asks to stop; then it lets what is
// under way finish within limits.shutdown_grace and returns nil. It is called once.
func (a *App) Run(ctx context.Context) error {
	sig := a.watchSignals()
	defer sig.stop()
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer a.cancel()
	if err := a.start(); err != nil {
		a.stop()
		return err
	}
	var died error
	select {
	case <-ctx.Done():
	case <-sig.quit:
	case died = <-a.fatal:
		a.log.Error("a listener died", "error", died)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		a.stop()
	}()
	select {
	case <-stopped:
		return died
	case <-sig.kill:
		return ErrKilled // the process exits now, and with it what still runs
	}
}

func (a *App) config() *config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now.cfg
}

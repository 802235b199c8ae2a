package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elazarl/goproxy"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/audit"
)

// ServerLimits bound the clients' side. Zero fields take the defaults below.
type ServerLimits struct {
	Connections int           // open client connections, half of them for one address beyond this machine; 10,000
	HeaderBytes int           // of a request's header; 64 KiB
	HeaderRead  time.Duration // to read a header; 10 s
	Handshake   time.Duration // of TLS inside a tunnel; 10 s
	Idle        time.Duration // between requests of a connection; 5 min
	Streams     int           // HTTP/2 streams at once on a connection; 250
}

// Options of a Proxy. Leaf is required where any host is intercepted.
type Options struct {
	Log       *slog.Logger
	Sinks     audit.Sink                                  // receives every event; nil: none
	AuditFull func() bool                                 // whether requests must be refused for want of audit; nil: never
	Leaf      func(host string) (*tls.Certificate, error) // signs for an intercepted host
	Server    ServerLimits
	// Reread looks for another version of a secret that an upstream refused, and reports whether the
	// Snapshot in force has one now. It is bounded in time and in how often it looks. nil: never.
	Reread func(ctx context.Context, refused secret.Value) bool
	Now    func() time.Time // nil: time.Now

	// retireGrace is how long after the end of its SVIDs an idle connection stays open, so that a request on
	// its way is told why it is refused; 10 s.
	retireGrace time.Duration
	// freshTime is how long Shutdown waits for the first requests on connections that it finds without one; 1 s.
	freshTime time.Duration
}

// Proxy serves clients by the Snapshot in force.
type Proxy struct {
	opts     Options
	live     *Live
	log      *slog.Logger
	now      func() time.Time
	ids      *requestIDs
	front    *goproxy.ProxyHttpServer
	tls      *tls.Config // inside tunnels
	outerTLS *tls.Config // of listeners that speak TLS themselves
	inner    *http.Server
	workers  *workers
	handoff  *handoff
	conns    *conns
	raw      rawConns
	buffers  buffers
	reasons  map[string]ReasonInfo

	mu       sync.Mutex
	servers  []*http.Server // of the listeners
	fronts   []*listener
	closing  chan struct{} // closed when Shutdown begins
	stopOnce sync.Once
	serving  sync.WaitGroup // the inner server
	fresh    tally          // connections on which no request has come yet; see [conn.expectRequest]
	handlers gate           // everything that is being served, tunnels included
	life     context.Context
	kill     context.CancelCauseFunc // ends life: all that is being served
	inFlight atomic.Int64
}

// New returns a Proxy that serves nothing yet. Shutdown releases it.
func New(live *Live, o Options) *Proxy {
	o = withDefaults(o)
	p := &Proxy{
		opts: o, live: live, log: o.Log, now: o.Now, ids: newRequestIDs(),
		handoff: newHandoff(), conns: newConns(o.Server.Connections), closing: make(chan struct{}),
		buffers: newBuffers(), reasons: map[string]ReasonInfo{},
	}
	for _, r := range Reasons() {
		p.reasons[r.Code] = r
	}
	p.life, p.kill = context.WithCancelCause(context.Background())
	p.front = p.newFront()
	p.tls = p.newTLSConfig()
	p.outerTLS = p.newOuterTLS()
	p.workers = newWorkers(p.serveIntercepted)
	p.inner = p.newServer(http.HandlerFunc(p.serveInner))
	p.inner.Protocols.SetHTTP2(true)
	p.inner.ConnContext = withConn
	p.serving.Go(func() { _ = p.inner.Serve(p.handoff) })
	live.subscribe(p.raw.reconsider)
	return p
}

func withDefaults(o Options) Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.retireGrace = orDuration(o.retireGrace, 10*time.Second)
	o.freshTime = orDuration(o.freshTime, time.Second)
	l := &o.Server
	l.Connections = orInt(l.Connections, 10_000)
	l.HeaderBytes = orInt(l.HeaderBytes, 64<<10)
	l.Streams = orInt(l.Streams, 250)
	l.HeaderRead = orDuration(l.HeaderRead, 10*time.Second)
	l.Handshake = orDuration(l.Handshake, 10*time.Second)
	l.Idle = orDuration(l.Idle, 5*time.Minute)
	return o
}

func orInt(v, d int) int {
	if v > 0 {
		return v
	}
	return d
}

func orDuration(v, d time.Duration) time.Duration {
	if v > 0 {
		return v
	}
	return d
}

func (p *Proxy) newServer(h http.Handler) *http.Server {
	l := p.opts.Server
	s := &http.Server{
		Handler:           p.gated(h),
		BaseContext:       func(net.Listener) context.Context { return p.life },
		ReadHeaderTimeout: l.HeaderRead,
		IdleTimeout:       l.Idle,
		MaxHeaderBytes:    l.HeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: l.Streams,
			MaxReadFrameSize:     16 << 10, // a connection keeps a buffer of this size; net/http's own is 1 MiB
			SendPingTimeout:      15 * time.Second,
			PingTimeout:          15 * time.Second,
			// By net/http's defaults one upload that waits for its upstream could fill all that a connection may hold.
			MaxReceiveBufferPerStream:     streamAhead,
			MaxReceiveBufferPerConnection: min(l.Streams, streamsAhead) * streamAhead,
		},
		Protocols: new(http.Protocols),
		// net/http logs what clients do wrong, with their bytes in it; what
		// matters of that is in the audit.
		ErrorLog:                     log.New(io.Discard, "", 0),
		DisableGeneralOptionsHandler: true,
		ConnState:                    p.conns.state,
	}
	s.Protocols.SetHTTP1(true)
	return s
}

// What a client of HTTP/2 may send ahead of whoever reads it: in bytes of one stream, and of how many streams of a
// connection before its others have to wait.
const (
	streamAhead  = 256 << 10
	streamsAhead = 64
)

var errShutdown = errors.New("shutdown") // a constant: never assigned again

// gated lets Shutdown wait for h: http.Server.Close does not.
func (p *Proxy) gated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.handlers.enter() {
			panic(http.ErrAbortHandler) // returning would answer 200
		}
		defer p.handlers.leave()
		h.ServeHTTP(w, r)
	})
}

// Serve accepts proxy clients from l until Shutdown and then returns
// [http.ErrServerClosed]. The name stands in the audit.
func (p *Proxy) Serve(l net.Listener, name string) error {
	return p.serve(l, name, http.HandlerFunc(p.serveOuter))
}

// Route is the destination of a listener for clients that take a base URL.
type Route struct {
	Name   string // in the audit
	Scheme string // "https" or "http"
	Host   string // normalised
	Port   uint16
	Names  []string // further names by which clients may address the listener
}

// ServeRoute accepts clients whose every request is meant for r, until
// Shutdown; it then returns [http.ErrServerClosed].
func (p *Proxy) ServeRoute(l net.Listener, r Route) error {
	return p.serve(l, r.Name, p.routeHandler(r))
}

func (p *Proxy) serve(l net.Listener, name string, h http.Handler) error {
	s := p.newServer(h)
	front := p.newListener(l, name, false)
	return p.serveBy(s, front, front)
}

// serveBy serves what l accepts of front by s, until Shutdown.
func (p *Proxy) serveBy(s *http.Server, l net.Listener, front *listener) error {
	s.ConnContext = withConn
	p.mu.Lock()
	select {
	case <-p.closing:
		p.mu.Unlock()
		_ = l.Close()
		return http.ErrServerClosed
	default:
	}
	p.servers, p.fronts = append(p.servers, s), append(p.fronts, front)
	p.mu.Unlock()
	return s.Serve(l)
}

// Shutdown closes the listeners, waits a moment for requests that are about to come, tells clients to go elsewhere (GOAWAY,
// Connection: close), and waits for requests, tunnels and upgraded connections
// until ctx ends; then it closes what is left and returns the context's error.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.stopOnce.Do(func() { close(p.closing) })
	p.mu.Lock()
	servers := append([]*http.Server{p.inner}, p.servers...)
	fronts := p.fronts
	p.mu.Unlock()
	for _, l := range fronts {
		_ = l.stop()
	}
	p.awaitRequests(ctx, fronts)
	var wg sync.WaitGroup
	errs := make([]error, len(servers)+1)
	for i, s := range servers {
		wg.Go(func() { errs[i] = s.Shutdown(ctx) })
	}
	wg.Go(func() { errs[len(servers)] = p.raw.tally.wait(ctx) })
	wg.Wait()
	p.kill(errShutdown)
	for _, s := range servers {
		_ = s.Close()
	}
	p.raw.closeAll(reasonShutdown)
	p.conns.closeAll()
	p.handlers.wait()
	p.workers.end()
	p.serving.Wait()
	return errors.Join(errs...)
}

// awaitRequests waits, for a moment and until ctx ends at most, for the first requests on connections that have been accepted.
func (p *Proxy) awaitRequests(ctx context.Context, fronts []*listener) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.freshTime)
	defer cancel()
	for _, l := range fronts {
		select {
		case <-l.drained:
		case <-ctx.Done():
		}
	}
	_ = p.fresh.wait(ctx)
}

// InFlight counts the requests under way.
func (p *Proxy) InFlight() int64 { return p.inFlight.Load() }

// Tunnels counts open tunnels and upgraded connections.
func (p *Proxy) Tunnels() int64 { return p.raw.count() }

func (p *Proxy) record(e *audit.Event) {
	if p.opts.Sinks != nil {
		p.opts.Sinks.Record(e)
	}
}

func (p *Proxy) auditFull() bool { return p.opts.AuditFull != nil && p.opts.AuditFull() }

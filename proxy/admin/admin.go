package admin

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/attache-proxy/attache/proxy/audit"
)

// State is where admin reads what it shows. The application implements it.
// Every value it returns is free of secrets.
type State interface {
	Started() bool // every secret that startup waits for has been there once
	Draining() bool
	Degraded() []string // one line for each thing that does not work, for /readyz?verbose: "rule stripe: secret \"stripe-key\": not found"
	Config() ConfigStatus
	Rules() []RuleStatus
	Secrets() []SecretStatus
	CA() []CAStatus
	OwnIdentity() *IdentityStatus // nil: none is configured
	// Explain tells what would become of a call now, as a value to be marshalled as JSON; an error says what
	// is wrong with the question.
	Explain(method, url, caller string) (any, error)
	Reload(ctx context.Context) error // error text names file, line and column
}

// Options of the handlers.
type Options struct {
	Log     *slog.Logger
	Version string
	// Hostname is the machine's or the pod's, to tell one page from another; may be empty.
	Hostname string
	Recent   *audit.Recent
	Metrics  *Metrics
	Window   *Window
	Feed     *Feed
	Reasons  map[string]Reason
	Token    func(presented string) bool // admin_token, compared in constant time; nil: no token is accepted
	Unix     bool                        // the listener is a unix socket of mode 0600: POST is allowed
	Host     string                      // by which the listener may be called beside IP literals and localhost; may be empty
}

// handler serves one listener.
type handler struct {
	state  State
	o      Options
	origin *http.CrossOriginProtection
	pages  map[string]page
}

// page is one path.
type page struct {
	about string // for the index
	probe bool   // answers under any Host: kubelets and load balancers choose theirs
	get   func(w http.ResponseWriter, r *http.Request)
	post  func(w http.ResponseWriter, r *http.Request)
}

// Handler serves everything of DESIGN §10: probes, /metrics, /api/…, POST /-/reload.
func Handler(s State, o Options) http.Handler {
	h := newHandler(s, o)
	h.addProbes()
	h.addAPI()
	h.pages["/"] = page{get: h.home(pageOnce())}
	h.pages["/-/reload"] = page{post: h.reload, about: "POST: load the configuration anew"}
	return h
}

// HealthHandler serves only the probes and /metrics: it may listen anywhere.
func HealthHandler(s State, o Options) http.Handler {
	h := newHandler(s, o)
	h.addProbes()
	for path, p := range h.pages {
		p.probe = true
		h.pages[path] = p
	}
	return h
}

func newHandler(s State, o Options) *handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{state: s, o: o, origin: http.NewCrossOriginProtection(), pages: map[string]page{}}
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("X-Content-Type-Options", "nosniff")

	p, ok := h.page(r.URL.Path)
	if !ok {
		refuse(w, http.StatusNotFound, "not_found", "there is nothing at this path", "")
		return
	}
	if !p.probe && !h.hostAllowed(r) {
		refuse(w, http.StatusMisdirectedRequest, "admin_host", "this listener answers to an IP address or localhost only",
			"A name that leads here may be a web page's doing. Call it by its address.")
		return
	}
	if !p.probe && foreign(r) {
		refuse(w, http.StatusForbidden, "admin_cross_origin", "a web page of another origin sent this", "")
		return
	}
	switch {
	case (r.Method == http.MethodGet || r.Method == http.MethodHead) && p.get != nil:
		p.get(w, r)
	case r.Method == http.MethodPost && p.post != nil:
		if h.mayChange(w, r) {
			p.post(w, r)
		}
	default:
		head.Set("Allow", p.methods())
		refuse(w, http.StatusMethodNotAllowed, "method_unsupported", "this path takes "+p.methods()+" only", "")
	}
}

// page finds what serves a path.
func (h *handler) page(path string) (page, bool) {
	if p, ok := h.pages[path]; ok {
		return p, true
	}
	if strings.HasPrefix(path, decisionPath) {
		p, ok := h.pages[decisionPath]
		return p, ok
	}
	return page{}, false
}

func (p page) methods() string {
	if p.post != nil {
		return "POST"
	}
	return "GET, HEAD"
}

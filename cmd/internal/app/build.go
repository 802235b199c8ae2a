package app

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy"
	"github.com/attache-proxy/attache/proxy/dial"
)

// built is a configuration made ready. All but the upstreams is immutable; App.mu guards those once
// it is in force.
type built struct {
	cfg         *config.Config
	fingerprint string
	private     bool // only callers are served
	callers     *identity.Authenticator
	rules       []route // in the order of cfg.Rules
	direct      route
	gateway     *route // nil: there is none
}

// route is how one rule's requests reach their upstream.
type route struct {
	profile  dial.Profile
	client   secret.Ref   // holds the certificate of profile.Client; empty: none
	cert     secret.Value // the version that upstream was made with, or failed with
	upstream *dial.Upstream
	err      error // why upstream is nil
}

// load reads the configuration and every file that it names; every fault is told.
func (a *App) load() (*built, error) {
	print := a.fingerprint(nil) // before reading: what is written meanwhile is a change
	files, err := a.files()
	if err != nil {
		return nil, err
	}
	env := config.Env{Getenv: a.o.Getenv, Version: a.o.Requires, Dir: a.o.Dir}
	switch {
	case a.o.Frozen != nil:
		env.Dir, env.MayRun = a.o.Frozen.Dir, a.o.Frozen.MayRun
	case a.o.MayRun != nil:
		env.MayRun = a.o.MayRun(files)
	}
	cfg, err := config.LoadFiles(files, env)
	if err != nil {
		return nil, err
	}
	if a.o.Command != nil {
		if err := a.o.Command.adapt(cfg); err != nil {
			return nil, err
		}
	}
	b := &built{cfg: cfg, private: a.o.Command != nil, fingerprint: print + a.fingerprint(cfg)}
	var faults config.Errors
	callers, errs := identity.New(cfg.Callers)
	b.callers = callers
	via, err := a.via(cfg.Egress)
	for _, err := range append(errs, err) {
		if err != nil {
			faults = append(faults, config.Problem{File: a.path, Message: err.Error()})
		}
	}
	b.direct = route{profile: dial.Profile{
		Via: via, AnyClear: true, MaxInFlight: cfg.Limits.InFlight,
		ResponseHeader: max(0, cfg.Limits.ResponseHeader), Connect: cfg.Limits.Connect,
	}}
	if b.gateway, err = gatewayOf(cfg); err != nil {
		faults = append(faults, config.Problem{File: a.path, Message: "gateway: " + err.Error()})
	}
	for _, r := range cfg.Rules {
		way, err := a.routeOf(r, via)
		if err != nil {
			faults = append(faults, faultAt(r, err))
		}
		b.rules = append(b.rules, way)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return b, nil
}

// faultAt is a fault of a rule that shows only when its files are read.
func faultAt(r config.Rule, err error) config.Problem {
	p := config.Problem{File: r.Pos, Message: fmt.Sprintf("rule %q: %v", r.ID, err)}
	if i := strings.LastIndexByte(r.Pos, ':'); i >= 0 {
		if line, err := strconv.Atoi(r.Pos[i+1:]); err == nil {
			p.File, p.Line = r.Pos[:i], line
		}
	}
	return p
}

// routeOf is the profile of one rule, but for the client certificate.
func (a *App) routeOf(r config.Rule, via *dial.Via) (route, error) {
	u := r.Upstream
	p := dial.Profile{
		ConnectTo: u.ConnectTo, ServerName: u.ServerName, SVID: u.SVID, Via: via,
		Protocol: dial.Protocol(u.Protocol), Plaintext: u.Plaintext,
		MaxInFlight: r.Limits.InFlight, ResponseHeader: max(0, r.Limits.ResponseHeader), Connect: r.Limits.Connect,
		// A rule for http:// hosts may forward what carries no credential of ours. One that turns
		// https into clear text may not: the client meant what it sent to be encrypted.
		AnyClear: len(r.Attach) == 0 && !u.Plaintext,
	}
	for _, cidr := range u.Allow {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return route{}, fmt.Errorf("upstream.allow: %w", err)
		}
		p.Allow = append(p.Allow, prefix)
	}
	if u.CA != "" {
		pem, err := a.readNamed(u.CA)
		if err != nil {
			return route{}, fmt.Errorf("upstream.ca %q: %w", u.CA, cause(err))
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return route{}, fmt.Errorf("upstream.ca %q: holds no certificate in PEM", u.CA)
		}
		p.CA = pem
	}
	if err := peerOf(&p, u.Peer); err != nil {
		return route{}, fmt.Errorf("upstream.peer: %w", err)
	}
	return route{profile: p, client: u.Client}, nil
}

// cause is what went wrong with a file, without its name.
func cause(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// via is the proxy of egress.via, nil if there is none. Its password is looked up at each dial.
func (a *App) via(e config.Egress) (*dial.Via, error) {
	if e.Via == "" {
		return nil, nil
	}
	u, err := url.Parse(e.Via)
	if err != nil {
		return nil, errors.New("egress.via: not a URL")
	}
	v := &dial.Via{URL: u, Key: e.User + " " + string(e.Password)}
	if e.CA != "" {
		if v.CA, err = a.readNamed(e.CA); err != nil {
			return nil, fmt.Errorf("egress.via: ca %q: %w", e.CA, cause(err))
		}
		if !x509.NewCertPool().AppendCertsFromPEM(v.CA) {
			return nil, fmt.Errorf("egress.via: ca %q: holds no certificate in PEM", e.CA)
		}
	}
	if e.User == "" && e.Password == "" {
		return v, nil
	}
	v.Authorization = func() (string, error) {
		password := ""
		if e.Password != "" {
			value, err := a.live.Load().Secrets.Lookup(e.Password)
			if err != nil {
				return "", err
			}
			password = value.Reveal()
		}
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(e.User+":"+password)), nil
	}
	return v, nil
}

// connect makes every upstream that is not there yet, or whose client certificate is another version
// now. A certificate that cannot be used never replaces one that can (promise 9).
func (b *built) connect(pool *dial.Pool, set *secret.Set, log *slog.Logger) {
	b.direct.connect(pool, set)
	if b.gateway != nil {
		if err := b.gateway.connect(pool, set); err != nil {
			log.Warn("gateway cannot be used", "error", err)
		}
	}
	for i := range b.rules {
		r := &b.rules[i]
		if err := r.connect(pool, set); err != nil {
			log.Warn("upstream cannot be used", "rule", b.cfg.Rules[i].ID, "error", err, "former_serves", r.upstream != nil)
		}
	}
}

func (r *route) connect(pool *dial.Pool, set *secret.Set) error {
	if r.client == "" {
		if r.upstream == nil {
			r.upstream, r.err = pool.Upstream(r.profile)
		}
		return r.err
	}
	cert, err := set.Lookup(r.client)
	switch {
	case err != nil && r.upstream == nil:
		r.err = err
		return err
	case err != nil || cert.Same(r.cert):
		return nil
	}
	r.cert = cert
	p := r.profile
	p.Client, p.ClientName = []byte(cert.Reveal()), cert.String()
	up, err := pool.Upstream(p)
	if err == nil {
		r.upstream, r.err = up, nil
	} else if r.upstream == nil {
		r.err = err
	}
	return err
}

// clientsDiffer reports whether set has another version of any client certificate.
func (b *built) clientsDiffer(set *secret.Set) bool {
	return slices.ContainsFunc(b.rules, func(r route) bool {
		if r.client == "" {
			return false
		}
		cert, err := set.Lookup(r.client)
		return err == nil && !cert.Same(r.cert)
	})
}

// upstreams are all that the configuration uses.
func (b *built) upstreams() []*dial.Upstream {
	var all []*dial.Upstream
	ways := append([]route{b.direct}, b.rules...)
	if b.gateway != nil {
		ways = append(ways, *b.gateway)
	}
	for _, r := range ways {
		if r.upstream != nil {
			all = append(all, r.upstream)
		}
	}
	return all
}

// snapshot is the configuration as requests see it.
func (b *built) snapshot(generation uint64, set *secret.Set) *proxy.Snapshot {
	s := &proxy.Snapshot{
		Generation: generation, Policy: b.cfg.Policy, Secrets: set, Callers: b.callers,
		Limits: limitsOf(b.cfg.Limits), Direct: b.direct.upstream, ObserveUntil: b.cfg.ObserveUntil,
		AuditPaths: b.cfg.Audit.Paths, IPConnectSNI: b.cfg.Listen.IPConnectSNI,
		CallersOnly: b.private || beyondLoopback(b.cfg.Listen) && !b.cfg.Listen.UnsafeOpen,
	}
	if b.gateway != nil && b.gateway.upstream != nil {
		s.Gateway = &proxy.Gateway{Upstream: b.gateway.upstream, Audience: b.cfg.Gateway.Audience}
	}
	for i, r := range b.cfg.Rules {
		rule := proxy.Rule{
			Strip: r.Strip, Pass: r.Pass, AllowPlaintext: r.AllowPlaintext, Plaintext: r.Upstream.Plaintext,
			Upstream: b.rules[i].upstream, UpstreamErr: b.rules[i].err, Limits: limitsOf(r.Limits), NoRetry401: r.NoRetry401,
		}
		switch r.Scrub {
		case "headers":
			rule.Scrub = proxy.ScrubHeaders
		case "off":
			rule.Scrub = proxy.ScrubOff
		}
		for _, u := range r.Upgrades {
			rule.Upgrades = append(rule.Upgrades, strings.ToLower(u))
		}
		for _, c := range r.Attach {
			rule.Attach = append(rule.Attach, proxy.Credential{Name: c.Name, Kind: c.Kind, Injector: c.Injector})
		}
		s.Rules = append(s.Rules, rule)
	}
	return s
}

func limitsOf(l config.Limits) proxy.Limits {
	return proxy.Limits{
		RequestBody: l.RequestBody, ResponseHeader: l.ResponseHeader,
		StreamIdle: l.StreamIdle, Total: l.Total,
	}
}

// caHosts are the host patterns that the CA must permit.
func caHosts(cfg *config.Config) []string { return cfg.Policy.InterceptedHosts() }

// files are what the configuration is loaded from.
func (a *App) files() ([]config.File, error) {
	if a.o.Frozen != nil {
		return a.o.Frozen.Files, nil
	}
	return config.Read(a.path, a.o.Profile)
}

// readNamed reads a file that the configuration names.
func (a *App) readNamed(path string) ([]byte, error) {
	if a.o.Frozen == nil {
		return os.ReadFile(path)
	}
	data, ok := a.o.Frozen.Named[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

// fingerprint changes whenever the configuration's files do or, given a configuration, the files that
// it names. A frozen one does not change.
func (a *App) fingerprint(cfg *config.Config) string {
	switch {
	case a.o.Frozen != nil:
		return "frozen"
	case cfg == nil:
		return fingerprint(config.Paths(a.path, a.o.Profile)...)
	default:
		return fingerprint(cfg.Named()...)
	}
}

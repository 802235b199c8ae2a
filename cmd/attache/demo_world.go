package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/proxy/audit"
)

// demoPatience is how long the demo waits for anything that should be quick.
const demoPatience = 5 * time.Second

// demoWorld is all that the demo plays in: an API, its key in a file, a configuration, and the very
// proxy that serve runs.
type demoWorld struct {
	dir    string
	api    *payAPI
	app    *app.App
	proxy  string // address
	roots  *x509.CertPool
	tokens map[string]string // by caller
	keys   [2]string         // before and after the rotation
	events demoEvents

	cancel context.CancelFunc
	done   chan struct{} // closed when the proxy has stopped
	err    error         // why it stopped, set before done is closed
}

func newDemoWorld(ctx context.Context) (*demoWorld, error) {
	w := &demoWorld{tokens: map[string]string{"checkout": rand.Text(), "reports": rand.Text()}}
	if err := w.open(ctx, w.files); err != nil {
		return nil, err
	}
	return w, nil
}

// open brings everything up, by a configuration and the files that it names.
func (w *demoWorld) open(ctx context.Context, files func() map[string]string) (err error) {
	w.keys = [2]string{"demo_" + rand.Text()[:8], "demo_" + rand.Text()[:8]}
	w.events, w.done = make(demoEvents, 1000), make(chan struct{})
	defer func() {
		if err != nil {
			_ = w.close()
		}
	}()
	if w.api, err = newPayAPI(); err != nil {
		return err
	}
	if w.dir, err = os.MkdirTemp("", "attache-demo-"); err != nil {
		return err
	}
	for name, content := range files() {
		if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return w.start(ctx)
}

func (w *demoWorld) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

func (w *demoWorld) files() map[string]string {
	config := fmt.Sprintf(`version: 1
listen: {proxy: "127.0.0.1:0", admin: none}
callers:
  checkout: {token: checkout-token}
  reports: {token: reports-token}
ca: {publish: %q}
secrets:
  pay-key: {file: %q}
  checkout-token: {file: %q}
  reports-token: {file: %q}
credentials:
  pay-key: {bearer: pay-key}
rules:
  - id: pay
    hosts: api.pay.test
    methods: POST
    paths: /v1/**
    callers: checkout
    attach: pay-key
    upstream: {connect_to: %q, ca: %q}
audit: {file: %q}
`, w.path("trust"), w.path("pay-key"), w.path("checkout-token"), w.path("reports-token"),
		w.api.addr, w.path("upstream.pem"), w.path("audit.jsonl"))
	return map[string]string{
		"attache.yaml": config, "pay-key": w.keys[0], "upstream.pem": string(w.api.pem),
		"checkout-token": w.tokens["checkout"], "reports-token": w.tokens["reports"],
	}
}

// start runs the proxy and waits until it is ready.
func (w *demoWorld) start(ctx context.Context) error {
	build := thisBuild()
	a, err := app.New(w.path("attache.yaml"), app.Options{Version: build.Version, Sink: w.events, Process: true})
	if err != nil {
		return err
	}
	w.app = a
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer close(w.done)
		w.err = a.Run(ctx)
	}()
	select {
	case <-a.Ready():
	case <-w.done:
		return w.err
	}
	limit := time.Now().Add(demoPatience)
	for !a.Started() {
		if time.Now().After(limit) {
			return errors.New("the key's file was not read in time")
		}
		time.Sleep(time.Millisecond)
	}
	w.proxy = a.Addr("proxy").String()
	w.roots = x509.NewCertPool()
	w.roots.AppendCertsFromPEM(a.CAPEM())
	return nil
}

// close takes everything down and leaves nothing behind.
func (w *demoWorld) close() error {
	var err error
	if w.cancel != nil {
		w.cancel()
		<-w.done
		err = w.err
	}
	if w.api != nil {
		w.api.close()
	}
	if w.dir != "" {
		err = errors.Join(err, os.RemoveAll(w.dir))
	}
	return err
}

// keep prints what the API receives until the proxy is told to stop.
func (w *demoWorld) keep(out io.Writer) {
	w.api.tellOf(func(r *http.Request) {
		fmt.Fprintf(out, "     %s %s  Authorization: %s\n", r.Method, r.URL.Path, r.Header.Get("Authorization"))
	})
	<-w.done
}

// demoEvents receives the audit. It never blocks: what nobody reads is dropped.
type demoEvents chan demoEvent

func (c demoEvents) Record(e *audit.Event) {
	if e.Type != audit.Request {
		return
	}
	select {
	case c <- demoEventOf(e):
	default:
	}
}

// event is the next event of the audit.
func (w *demoWorld) event() (demoEvent, error) {
	select {
	case e := <-w.events:
		return e, nil
	case <-time.After(demoPatience):
		return demoEvent{}, errors.New("the audit is missing an event")
	}
}

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var soakFor = flag.Duration("soak", 4*time.Second, "how long TestSoak keeps Attaché under load")

// TestSoak keeps one Attaché under mixed load: HTTP/1.1 and HTTP/2 calls, uploads,
// streams, tunnels, rotations and reloads of the configuration, clients and
// upstreams that break off. No call fails that nobody broke, and what the process
// holds at the end is what it held near the beginning.
//
//	go test ./cmd/attache/e2e -run TestSoak -soak 10m -v -timeout 20m
func TestSoak(t *testing.T) {
	k := newSoak(t)
	ctx, cancel := context.WithTimeout(t.Context(), *soakFor)
	defer cancel()
	var wg sync.WaitGroup
	for what, work := range k.work() {
		wg.Go(func() {
			for ctx.Err() == nil {
				k.count(ctx, what, work(ctx))
			}
		})
	}
	wg.Go(func() { k.rotate(ctx) })
	wg.Go(func() { k.reload(ctx) })
	k.observe(ctx)
	wg.Wait()
	k.judge()
}

type soak struct {
	*server
	keys   []atomic.Pointer[string] // the secret's versions that the upstream takes: the last and the one before
	h1, h2 *http.Client
	roots  *tls.Config // of the upstream's own authority, for tunnels

	mu      sync.Mutex
	done    map[string]int // calls, by kind
	failed  map[string]int // by kind and cause
	samples []sample
}

type sample struct {
	at                         time.Duration
	resident                   int64 // MiB
	goroutines, fds, perSecond int
}

const soakRules = `
secrets: {key: {file: @dir/key}}
rules:
  - {id: raw, hosts: raw.test, tunnel: true, upstream: {connect_to: "@site"}}
  - {id: api, hosts: api.test, attach: {bearer: key}, upstream: {connect_to: "@site", ca: "@ca"}}
  - {id: gone, hosts: gone.test, attach: {bearer: key}, upstream: {connect_to: "127.0.0.1:1", ca: "@ca"}}
`

func newSoak(t *testing.T) *soak {
	t.Helper()
	k := &soak{keys: make([]atomic.Pointer[string], 2), done: map[string]int{}, failed: map[string]int{}}
	first := newCanary()
	k.keys[0].Store(&first)
	k.keys[1].Store(&first)
	ca := newAuthority(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{ca.leaf(t, time.Now().Add(24*time.Hour), "api.test", "raw.test")},
		NextProtos:   []string{"h2", "http/1.1"},
	})
	ok(t, err)
	up := &http.Server{Handler: http.HandlerFunc(k.upstream), ErrorLog: log.New(io.Discard, "", 0)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = up.Serve(l) })
	t.Cleanup(func() { _ = up.Close(); serving.Wait() })
	k.server = serve(t, serveOptions{
		Config: soakRules, Secrets: map[string]string{"key": first},
		Vars: map[string]string{"site": l.Addr().String(), "ca": ca.file},
	})
	k.h1, k.h2 = k.client(clientOptions{H1: true}), k.client(clientOptions{})
	k.roots = &tls.Config{RootCAs: newPool(t, ca.file), ServerName: "raw.test"}
	return k
}

// upstream takes the last two versions of the secret, and does what is asked of it.
func (k *soak) upstream(w http.ResponseWriter, r *http.Request) {
	if r.Host == "api.test" {
		got := r.Header.Get("Authorization")
		if got != "Bearer "+*k.keys[0].Load() && got != "Bearer "+*k.keys[1].Load() {
			http.Error(w, "neither the secret nor the one before", http.StatusUnauthorized)
			return
		}
	}
	switch r.URL.Path {
	case "/upload":
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			_, _ = fmt.Fprint(w, n)
		}
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 10 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
		}
	case "/echo": // the credential, which must come back masked
		_, _ = io.WriteString(w, r.Header.Get("Authorization"))
	case "/break":
		_, _ = w.Write(make([]byte, 10_000))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		_, _ = w.Write(pattern(2000))
	}
}

// work is what goes on all the time. Each returns nil, or why a call failed that should not have.
func (k *soak) work() map[string]func(context.Context) error {
	get := func(c *http.Client, path string, want func(*http.Response, []byte) error) func(context.Context) error {
		return func(ctx context.Context) error { return k.call(ctx, c, http.MethodGet, path, nil, want) }
	}
	small := whole(pattern(2000))
	upload := func(c *http.Client) func(context.Context) error {
		return func(ctx context.Context) error {
			n := rand.IntN(200_000)
			return k.call(ctx, c, http.MethodPost, "/upload", bytes.NewReader(make([]byte, n)), whole([]byte(strconv.Itoa(n))))
		}
	}
	masked := func(_ *http.Response, b []byte) error {
		if !strings.HasPrefix(string(b), "Bearer ***") {
			return errors.New("the credential came back")
		}
		return nil
	}
	return map[string]func(context.Context) error{
		"h1": get(k.h1, "/", small), "h2": get(k.h2, "/", small), "h2, second": get(k.h2, "/", small),
		"h1, echo": get(k.h1, "/echo", masked), "h2, echo": get(k.h2, "/echo", masked),
		"h1, upload": upload(k.h1), "h2, upload": upload(k.h2),
		"h1, events": get(k.h1, "/events", events), "h2, events": get(k.h2, "/events", events),
		"h1, upstream breaks off": k.broken(k.h1), "h2, upstream breaks off": k.broken(k.h2),
		"client leaves": k.leave, "tunnel": k.tunnelled, "new connection": k.fresh,
		"no rule": k.refusedCall("no_rule"), "nobody there": k.refusedCall("connect_failed"),
	}
}

func whole(want []byte) func(*http.Response, []byte) error {
	return func(_ *http.Response, b []byte) error {
		if !bytes.Equal(b, want) {
			return fmt.Errorf("%d bytes of body, want other %d", len(b), len(want))
		}
		return nil
	}
}

func events(_ *http.Response, b []byte) error {
	if n := strings.Count(string(b), "data: "); n != 10 {
		return fmt.Errorf("%d events of 10", n)
	}
	return nil
}

func (k *soak) call(ctx context.Context, c *http.Client, method, path string, body io.Reader, want func(*http.Response, []byte) error) error {
	r, err := http.NewRequestWithContext(ctx, method, "https://api.test"+path, body)
	if err != nil {
		return err
	}
	res, err := c.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s %.80s", res.Status, b)
	}
	return want(res, b)
}

// broken calls what the upstream does not answer to the end: the client must hear of it.
func (k *soak) broken(c *http.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		err := k.call(ctx, c, http.MethodGet, "/break", nil, func(*http.Response, []byte) error { return nil })
		if err == nil {
			return errors.New("half an answer came as a whole one")
		}
		return nil
	}
}

// leave goes away in the middle of an upload.
func (k *soak) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(20))*time.Millisecond)
	defer cancel()
	_ = k.call(ctx, k.h1, http.MethodPost, "/upload", neverEnding{}, func(*http.Response, []byte) error { return nil })
	return nil
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

// tunnelled makes a call through a tunnel that nobody opens.
func (k *soak) tunnelled(ctx context.Context) error {
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: k.proxy}), TLSClientConfig: k.roots, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://raw.test/", nil)
	if err != nil {
		return err
	}
	res, err := tr.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	return whole(pattern(2000))(res, b)
}

func (k *soak) fresh(ctx context.Context) error {
	tr := k.h1.Transport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	return k.call(ctx, &http.Client{Transport: tr}, http.MethodGet, "/", nil, whole(pattern(2000)))
}

func (k *soak) refusedCall(reason string) func(context.Context) error {
	host := map[string]string{"no_rule": "other.test", "connect_failed": "gone.test"}[reason]
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			return err
		}
		res, err := k.h1.Do(r)
		if err != nil {
			if strings.Contains(err.Error(), reason) { // at CONNECT
				return nil
			}
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if b, _ := io.ReadAll(res.Body); !strings.Contains(string(b), reason) {
			return fmt.Errorf("%s %.80s", res.Status, b)
		}
		return nil
	}
}

func (k *soak) count(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return // broken off by the end of the test
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.done[what]++
	if err != nil {
		k.failed[what+": "+cause(err)]++
	}
}

// cause is err without what differs between two of a kind.
func cause(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// rotate writes the secret anew, the upstream taking the version before it.
func (k *soak) rotate(ctx context.Context) {
	for wait(ctx, 2*time.Second) {
		next := newCanary()
		k.keys[1].Store(k.keys[0].Load())
		k.keys[0].Store(&next)
		k.write("key", next)
	}
}

// reload changes the configuration, and now and then breaks it.
func (k *soak) reload(ctx context.Context) {
	for i := 0; wait(ctx, 1500*time.Millisecond); i++ {
		text := soakRules + fmt.Sprintf("  - {id: more-%d, hosts: more.test, deny: never}\n", i)
		if i%4 == 3 {
			text = "rules: [ broken"
		}
		k.write("attache.yaml", k.replace.Replace(completed(text)))
	}
}

// completed adds what reconfigure adds to a configuration.
func completed(text string) string {
	return text + "\nversion: 1\nlisten: {proxy: \"@proxy\", admin: \"@admin\"}\nca: {publish: @dir/trust, state: @dir/ca}\naudit: {file: @dir/audit.jsonl}\n"
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// observe notes what the process holds, until ctx ends.
func (k *soak) observe(ctx context.Context) {
	begun, calls := time.Now(), 0
	every := max(500*time.Millisecond, *soakFor/40)
	for wait(ctx, every) {
		k.mu.Lock()
		n := 0
		for _, d := range k.done {
			n += d
		}
		k.mu.Unlock()
		now := k.hold(time.Since(begun))
		now.perSecond = int(float64(n-calls) / every.Seconds())
		calls = n
		k.samples = append(k.samples, now)
	}
}

func (k *soak) hold(at time.Duration) sample {
	number := func(name string) int {
		f, _ := strconv.ParseFloat(k.metric(name), 64)
		return int(f)
	}
	return sample{at: at, resident: k.resident() >> 10, goroutines: number("go_goroutines"), fds: number("process_open_fds")}
}

// judge tells what happened, and fails for what should not have.
func (k *soak) judge() {
	k.h1.CloseIdleConnections()
	k.h2.CloseIdleConnections()
	k.t.Logf("%8s %6s %8s %10s %5s", "after", "MiB", "calls/s", "goroutines", "fds")
	for _, s := range k.samples {
		k.t.Logf("%8s %6d %8d %10d %5d", s.at.Round(time.Second), s.resident, s.perSecond, s.goroutines, s.fds)
	}
	total := 0
	for _, what := range slices.Sorted(maps.Keys(k.done)) {
		k.t.Logf("%8d %s", k.done[what], what)
		total += k.done[what]
		if k.done[what] == 0 {
			k.t.Errorf("%s: not one call", what)
		}
	}
	k.t.Logf("%8d calls, %s rotations, %s configurations", total, k.metric(`attache_secret_generation{secret="key"}`), k.metric("attache_config_generation"))
	for _, what := range slices.Sorted(maps.Keys(k.failed)) {
		k.t.Errorf("%d × %s", k.failed[what], what)
	}
	var rest sample
	k.await("goroutines and descriptors as at rest", func() bool {
		rest = k.hold(0)
		return rest.goroutines < 150 && rest.fds < 60
	})
	k.t.Logf("at rest: %d MiB, %d goroutines, %d descriptors", rest.resident, rest.goroutines, rest.fds)
	if n := len(k.samples); n >= 8 && os.Getenv(envRace) == "" {
		early, late := k.samples[n/4].resident, k.samples[n-1].resident
		if late > early+24 {
			k.t.Errorf("resident memory grew from %d to %d MiB", early, late)
		}
	}
}

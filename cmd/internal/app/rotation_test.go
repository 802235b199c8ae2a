package app

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/watcher/source"
)

// The whole proof: go test ./cmd/internal/app -run TestRotationUnderLoad -rotation.full -v
var rotationFull = flag.Bool("rotation.full", false, "20,000 calls and at least 20 rotations for each style of write; 1,000 rotations for leaks")

const overlap = 500 * time.Millisecond // in which the vendor accepts both versions

// vendor accepts the newest key, and the one before it for the overlap.
type vendor struct {
	clock    *fairClock
	mu       sync.Mutex
	issued   map[string]time.Duration // when
	revoked  map[string]time.Duration // when; 0: not
	newest   string
	firstUse map[string]time.Duration // after issue
	calls    int
	torn     []string
	late     []string // calls with a version that is accepted no longer
}

func (v *vendor) issue(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock.now()
	if v.newest != "" {
		v.revoked[v.newest] = now + overlap
	}
	v.issued[key], v.newest = now, key
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock.now()
	v.calls++
	at, known := v.issued[key]
	if !known {
		v.torn = append(v.torn, key)
	} else if _, used := v.firstUse[key]; !used {
		v.firstUse[key] = now - at
	}
	if end := v.revoked[key]; !known || end != 0 && now > end {
		v.late = append(v.late, fmt.Sprintf("%.17s %v after its end", key, now-end))
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func newVendor(t *testing.T) *vendor {
	return &vendor{
		clock: newFairClock(t), issued: map[string]time.Duration{}, revoked: map[string]time.Duration{},
		firstUse: map[string]time.Duration{},
	}
}

// style is one way to replace a file.
type style struct {
	setUp  func(t *testing.T, dir, text string)
	rotate func(t *testing.T, dir, text string)
	poll   time.Duration // no notices: found by polling alone
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func styles() map[string]style {
	whole := func(t *testing.T, dir, text string) { put(t, dir+"/key", text) }
	renamed := func(t *testing.T, dir, text string) {
		put(t, dir+"/.key.tmp", text)
		must(t, os.Rename(dir+"/.key.tmp", dir+"/key"))
	}
	return map[string]style{
		"in-place write": {setUp: whole, rotate: whole},
		"temp+rename":    {setUp: whole, rotate: renamed},
		"poll alone":     {setUp: whole, rotate: renamed, poll: 250 * time.Millisecond},
		"editor": {setUp: whole, rotate: func(t *testing.T, dir, text string) {
			must(t, os.Rename(dir+"/key", dir+"/key~"))
			put(t, dir+"/key", text+"\n")
		}},
		"..data swap": { // the kubelet's sequence, k8s.io/kubernetes/pkg/volume/util/atomic_writer.go
			setUp: func(t *testing.T, dir, text string) {
				put(t, dir+"/..0/key", text)
				must(t, os.Symlink("..0", dir+"/..data"))
				must(t, os.Symlink("..data/key", dir+"/key"))
			},
			rotate: func(t *testing.T, dir, text string) {
				old, err := os.Readlink(dir + "/..data")
				must(t, err)
				put(t, dir+"/.."+text[:20]+"/key", text)
				must(t, os.Symlink(".."+text[:20], dir+"/..data_tmp"))
				must(t, os.Rename(dir+"/..data_tmp", dir+"/..data"))
				must(t, os.RemoveAll(dir+"/"+old))
			},
		},
		"CSI chain": { // ..data → a directory of links to files kept elsewhere
			setUp: func(t *testing.T, dir, text string) {
				put(t, dir+"/store/0/key", text)
				must(t, os.Mkdir(dir+"/..0", 0o700))
				must(t, os.Symlink("../store/0/key", dir+"/..0/key"))
				must(t, os.Symlink("..0", dir+"/..data"))
				must(t, os.Symlink("..data/key", dir+"/key"))
			},
			rotate: func(t *testing.T, dir, text string) {
				old, err := os.Readlink(dir + "/..data")
				must(t, err)
				id := text[:20]
				put(t, dir+"/store/"+id+"/key", text)
				must(t, os.Mkdir(dir+"/.."+id, 0o700))
				must(t, os.Symlink("../store/"+id+"/key", dir+"/.."+id+"/key"))
				must(t, os.Symlink(".."+id, dir+"/..data_tmp"))
				must(t, os.Rename(dir+"/..data_tmp", dir+"/..data"))
				must(t, os.RemoveAll(dir+"/"+old))
				must(t, os.RemoveAll(dir+"/store/"+old[2:]))
			},
		},
	}
}

func TestRotationUnderLoad(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("renames over open files and symlinks need privileges on Windows")
	}
	l := loadOf{clients: 16, rotations: 4, pause: 100 * time.Millisecond}
	if *rotationFull {
		l = loadOf{clients: 64, rotations: 20, calls: 20_000, pause: 4 * time.Millisecond}
	}
	for name, st := range styles() {
		t.Run(name, func(t *testing.T) { rotateUnderLoad(t, st, l) })
	}
}

// loadOf is how much is asked of a proxy while secrets rotate.
type loadOf struct {
	clients, rotations int
	calls              int64         // at least
	pause              time.Duration // of a client between calls
}

func rotateUnderLoad(t *testing.T, st style, load loadOf) {
	v := newVendor(t)
	s := newSite(t, v.ServeHTTP)
	key := func(i int) string { return fmt.Sprintf("made-up-key-%04d-%s", i, strings.Repeat("x", 200)) }
	secrets := t.TempDir()
	v.issue(key(0))
	st.setUp(t, secrets, key(0))
	config := strings.NewReplacer("@dir/key", secrets+"/key", "id: site,", "id: site, retry_401: false,").Replace(basic)
	r := launchPrepared(t, s, config, nil, func(a *App) {
		if sec := &a.now.cfg.Secrets[0]; st.poll > 0 {
			sec.Source, sec.Poll = unnoticed{sec.Source, secrets}, st.poll
		}
	})
	await(t, "started", r.Started)
	var failed, done atomic.Int64
	var workers, warm sync.WaitGroup
	stop, handshakes := make(chan struct{}), make(chan struct{}, 4)
	for i := range load.clients {
		c := r.clientOf(i%2 == 0)
		warm.Add(1)
		workers.Go(func() {
			handshakes <- struct{}{}
			first := sync.OnceFunc(func() { <-handshakes; warm.Done() })
			defer first()
			tick := time.NewTicker(load.pause)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				res, err := c.Get("https://example.com/")
				if err != nil {
					failed.Add(1)
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				first()
				if done.Add(1); res.StatusCode/100 != 2 {
					failed.Add(1)
				}
			}
		})
	}
	warm.Wait() // many handshakes at once are another test
	loaded := v.clock.now()
	n := 0
	for n < load.rotations || done.Load() < load.calls {
		v.clock.pass(overlap) // a ticker would hurry after a stall
		n++
		v.issue(key(n))
		st.rotate(t, secrets, key(n))
	}
	v.clock.pass(overlap)
	loaded = v.clock.now() - loaded
	close(stop)
	workers.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	var uses []time.Duration
	for i := 1; i <= n; i++ {
		use, ok := v.firstUse[key(i)]
		if !ok {
			t.Errorf("version %d was never used", i)
		}
		uses = append(uses, use)
	}
	slices.Sort(uses)
	mid := uses[len(uses)/2]
	t.Logf("%d calls, %d rotations in %v, %d failed, %d torn; first use after %v to %v, median %v; the machine stood still for %v",
		done.Load(), n, loaded, failed.Load(), len(v.torn), uses[0], uses[len(uses)-1], mid, v.clock.stood())
	if failed.Load() > 0 || len(v.torn) > 0 || done.Load() == 0 {
		t.Errorf("%d of %d calls failed, %d torn values: %.40q; %q", failed.Load(), done.Load(), len(v.torn), v.torn, v.late)
	}
	// The median, because a machine that runs other tests may take its time for one of them; 0 failed calls
	// bound the rest.
	bound := 300 * time.Millisecond
	if st.poll > 0 {
		bound = st.poll + 150*time.Millisecond // rotations come every other poll: all may come just after one
	}
	if mid > bound {
		t.Errorf("first use after %v, want %v", mid, bound)
	}
}

// unnoticed reads one file and has another watched.
type unnoticed struct {
	source.Source
	decoy string
}

func (u unnoticed) Paths() []string { return []string{filepath.Join(u.decoy, "decoy")} }

// clientOf calls over a connection of its own.
func (r *running) clientOf(h2 bool) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.CAPEM())
	tr := &http.Transport{
		Proxy:             http.ProxyURL(&url.URL{Scheme: "http", Host: r.Addr("proxy").String()}),
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: h2,
	}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// TestOldRevokedAtOnce: the vendor refuses the old key the moment that the new one is written, before
// any notice of it can have come. The call finds it and is sent once more.
func TestOldRevokedAtOnce(t *testing.T) {
	v := newVendor(t)
	s := newSite(t, v.ServeHTTP)
	v.issue("made-up-key-0000")
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-0000"})
	c := r.client()
	call := func() int {
		status, _ := get(t, c, "https://example.com/")
		return status
	}
	if status := call(); status != 200 {
		t.Fatal(status)
	}
	v.issue("made-up-key-0001")
	v.mu.Lock()
	v.revoked["made-up-key-0000"] = -time.Second
	v.mu.Unlock()
	r.write("key.next", "made-up-key-0001")
	must(t, os.Rename(filepath.Join(r.dir, "key.next"), filepath.Join(r.dir, "key")))
	if status := call(); status != 200 {
		t.Errorf("%d: the 401 passed", status)
	}
	v.mu.Lock()
	calls := v.calls
	v.mu.Unlock()
	if calls > 3 {
		t.Errorf("%d calls at the vendor for two of the client", calls)
	}
}

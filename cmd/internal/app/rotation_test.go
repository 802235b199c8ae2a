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
)

// The whole proof: go test ./cmd/internal/app -run TestRotationUnderLoad -rotation.full -v
var rotationFull = flag.Bool("rotation.full", false, "20 rotations in 10 s for each style of write, and as many calls as the machine can")

const overlap = 500 * time.Millisecond // in which the vendor accepts both versions

// vendor accepts the newest key, and the one before it for the overlap.
type vendor struct {
	mu       sync.Mutex
	issued   map[string]time.Time // when
	revoked  map[string]time.Time // when; zero: not
	newest   string
	firstUse map[string]time.Duration // after issue
	calls    int
	torn     []string
}

func (v *vendor) issue(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if v.newest != "" {
		v.revoked[v.newest] = now.Add(overlap)
	}
	v.issued[key], v.newest = now, key
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	v.calls++
	at, known := v.issued[key]
	if !known {
		v.torn = append(v.torn, key)
	} else if _, used := v.firstUse[key]; !used {
		v.firstUse[key] = now.Sub(at)
	}
	if end := v.revoked[key]; !known || !end.IsZero() && now.After(end) {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// style is one way to replace a file.
type style struct {
	setUp  func(t *testing.T, dir, text string)
	rotate func(t *testing.T, dir, text string)
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
	return map[string]style{
		"in-place write": {whole, whole},
		"temp+rename": {whole, func(t *testing.T, dir, text string) {
			put(t, dir+"/.key.tmp", text)
			must(t, os.Rename(dir+"/.key.tmp", dir+"/key"))
		}},
		"editor": {whole, func(t *testing.T, dir, text string) {
			must(t, os.Rename(dir+"/key", dir+"/key~"))
			put(t, dir+"/key", text+"\n")
		}},
		"..data swap": { // the kubelet's sequence, k8s.io/kubernetes/pkg/volume/util/atomic_writer.go
			func(t *testing.T, dir, text string) {
				put(t, dir+"/..0/key", text)
				must(t, os.Symlink("..0", dir+"/..data"))
				must(t, os.Symlink("..data/key", dir+"/key"))
			},
			func(t *testing.T, dir, text string) {
				old, err := os.Readlink(dir + "/..data")
				must(t, err)
				put(t, dir+"/.."+text[:20]+"/key", text)
				must(t, os.Symlink(".."+text[:20], dir+"/..data_tmp"))
				must(t, os.Rename(dir+"/..data_tmp", dir+"/..data"))
				must(t, os.RemoveAll(dir+"/"+old))
			},
		},
	}
}

func TestRotationUnderLoad(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("renames over open files and symlinks need privileges on Windows")
	}
	rotations, pause := 4, 40*time.Millisecond
	if *rotationFull {
		rotations, pause = 20, 4*time.Millisecond
	}
	for name, st := range styles() {
		t.Run(name, func(t *testing.T) { rotateUnderLoad(t, st, rotations, pause) })
	}
}

func rotateUnderLoad(t *testing.T, st style, rotations int, pause time.Duration) {
	v := &vendor{issued: map[string]time.Time{}, revoked: map[string]time.Time{}, firstUse: map[string]time.Duration{}}
	s := newSite(t, v.ServeHTTP)
	key := func(i int) string { return fmt.Sprintf("made-up-key-%04d-%s", i, strings.Repeat("x", 200)) }
	secrets := t.TempDir()
	v.issue(key(0))
	st.setUp(t, secrets, key(0))
	r := launch(t, s, strings.NewReplacer("@dir/key", secrets+"/key", "id: site,", "id: site, retry_401: false,").Replace(basic), nil)
	var failed, done atomic.Int64
	var workers, warm sync.WaitGroup
	stop := make(chan struct{})
	for i := range 64 {
		c := r.clientOf(i%2 == 0)
		warm.Add(1)
		workers.Go(func() {
			first := sync.OnceFunc(warm.Done)
			defer first()
			tick := time.NewTicker(pause)
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
	warm.Wait() // 64 handshakes at once are another test
	every := time.NewTicker(500 * time.Millisecond)
	defer every.Stop()
	for i := 1; i <= rotations; i++ {
		<-every.C
		v.issue(key(i))
		st.rotate(t, secrets, key(i))
	}
	<-every.C
	close(stop)
	workers.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	var uses []time.Duration
	for i := 1; i <= rotations; i++ {
		use, ok := v.firstUse[key(i)]
		if !ok {
			t.Errorf("version %d was never used", i)
		}
		uses = append(uses, use)
	}
	slices.Sort(uses)
	t.Logf("%d calls, %d failed, %d torn; first use after %v to %v", done.Load(), failed.Load(), len(v.torn), uses[0], uses[len(uses)-1])
	if failed.Load() > 0 || len(v.torn) > 0 || done.Load() == 0 {
		t.Errorf("%d of %d calls failed, %d torn values: %.40q", failed.Load(), done.Load(), len(v.torn), v.torn)
	}
	// The median, because a machine that runs other tests may take its time for one of them; 0 failed calls
	// bound the rest.
	if mid := uses[len(uses)/2]; mid > 300*time.Millisecond {
		t.Errorf("first use after %v", mid)
	}
}

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
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// TestOldRevokedAtOnce: the vendor refuses the old key the moment that the new one is written, before
// any notice of it can have come. The call finds it and is sent once more.
func TestOldRevokedAtOnce(t *testing.T) {
	v := &vendor{issued: map[string]time.Time{}, revoked: map[string]time.Time{}, firstUse: map[string]time.Duration{}}
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
	v.revoked["made-up-key-0000"] = time.Now().Add(-time.Second)
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

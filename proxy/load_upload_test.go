package proxy

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/policy"
)

// waiting is an injector that waits until its request is given up: nobody reads the request's body meanwhile.
type waiting struct{}

func (waiting) Owns() inject.Owned    { return inject.Owned{} }
func (waiting) Secrets() []secret.Ref { return nil }
func (waiting) Inject(ctx context.Context, _ *http.Request, _ *secret.Set) error {
	<-ctx.Done()
	return ctx.Err()
}

// upload is a body that tells when so much of it was sent that its stream can take no more.
type upload struct {
	left int
	full chan struct{}
	once sync.Once
}

func (u *upload) Read(b []byte) (int, error) {
	n := min(len(b), u.left, 8<<10)
	if u.left -= n; n == 0 {
		u.once.Do(func() { close(u.full) })
		return 0, io.EOF
	}
	return n, nil
}

// TestStalledUploadHoldsNoOther: uploads that nobody reads hold what is their own, and other requests of their connection go on.
func TestStalledUploadHoldsNoOther(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if n == 4<<20 {
			_, _ = io.WriteString(w, "whole")
		}
	})
	stalls := rule{spec: policy.Spec{ID: "stalls", Hosts: []string{"api.test"}, Paths: []string{"/stalls"}}, attach: []inject.Injector{waiting{}}, to: to}
	s := newStage(t, Options{}, stalls, api(to))
	c := s.client(true, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	warm, err := c.Get("https://api.test/") // so that there is one connection
	if err != nil {
		t.Fatal(err)
	}
	_ = warm.Body.Close()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for i := range 16 {
		u := &upload{left: streamAhead, full: make(chan struct{})}
		wg.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.test/stalls", u)
			if res, err := c.Do(req); err == nil {
				_ = res.Body.Close()
			}
		})
		select {
		case <-u.full:
		case <-limit.C:
			t.Fatalf("upload %d cannot send what is its own", i)
		}
	}
	res, err := c.Post("https://api.test/", "text/plain", strings.NewReader(strings.Repeat("x", 4<<20)))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(res.Body); string(b) != "whole" {
		t.Errorf("beside stalled uploads: %s, %q, %v", res.Status, b, err)
	}
}

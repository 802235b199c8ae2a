package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/audit"
)

const newKey = `neuer/+=%&<"\Schluessel`

// revoking is an upstream that refuses all but the new key, and tells how many
// requests with the old one it saw.
func revoking(t *testing.T, old, renewed *atomic.Int32) string {
	return upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer "+newKey || len(r.Header["Authorization"]) != 1 {
			old.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "revoked")
			return
		}
		renewed.Add(1)
		fmt.Fprintf(w, "%s %d %x", r.URL.RawQuery, len(body), body[:min(len(body), 4)])
	})
}

func (s *stage) rotate() {
	e, _ := s.live.Load().Secrets.Entry("key")
	s.live.SetSecrets(secret.NewSet(map[string]secret.Entry{
		"key": {Current: secret.New("key", 2, time.Now(), []byte(newKey)), Previous: e.Current},
	}))
}

func TestOldRevokedAtOnce(t *testing.T) {
	small, large := strings.Repeat("b", retryBody), strings.Repeat("b", retryBody+1)
	for name, c := range map[string]struct {
		body    func() io.Reader // nil: none
		header  string
		value   string
		off     bool // retry_401: false
		rereads bool // the new version is found by the re-read; else nobody finds one
		status  int
		want    string
		old     int32
	}{
		"no body":            {rereads: true, status: 200, want: "q=1&%7A=y 0 ", old: 1},
		"small body":         {body: func() io.Reader { return strings.NewReader(small) }, rereads: true, status: 200, want: "q=1&%7A=y 65536 62626262", old: 1},
		"body over 64 KiB":   {body: func() io.Reader { return strings.NewReader(large) }, rereads: true, status: 401, want: "revoked", old: 1},
		"length unknown":     {body: func() io.Reader { return io.MultiReader(strings.NewReader("bbbb")) }, rereads: true, status: 401, want: "revoked", old: 1},
		"gRPC":               {body: func() io.Reader { return strings.NewReader("bbbb") }, header: "Content-Type", value: "application/grpc+proto", rereads: true, status: 401, want: "revoked", old: 1},
		"expects 100":        {body: func() io.Reader { return strings.NewReader("bbbb") }, header: "Expect", value: "100-continue", rereads: true, status: 401, want: "revoked", old: 1},
		"retry_401: false":   {off: true, rereads: true, status: 401, want: "revoked", old: 1},
		"no newer is found":  {status: 401, want: "revoked", old: 1},
		"upgrade websocket":  {header: "Upgrade", value: "websocket", rereads: true, status: 401, want: "revoked", old: 1},
		"client's own value": {header: "Authorization", value: "Bearer " + newKey, rereads: true, status: 200, want: "q=1&%7A=y 0 ", old: 1},
	} {
		for _, h2 := range []bool{false, true} {
			if h2 && (name == "upgrade websocket" || name == "expects 100") {
				continue
			}
			t.Run(fmt.Sprint(name, " h2 ", h2), func(t *testing.T) {
				var old, renewed, rereads atomic.Int32
				var s *stage
				o := Options{Reread: func(_ context.Context, v secret.Value) bool {
					rereads.Add(1)
					if v.Name() != "key" || v.Generation() != 1 {
						t.Errorf("asked for %v", v)
					}
					if c.rereads {
						s.rotate()
					}
					return c.rereads
				}}
				r := api(revoking(t, &old, &renewed))
				r.change = func(r *Rule) { r.NoRetry401 = c.off }
				s = newStage(t, o, r)
				var body io.Reader
				method := http.MethodGet
				if c.body != nil {
					method, body = http.MethodPost, c.body()
				}
				req, err := http.NewRequestWithContext(t.Context(), method, "https://api.test/x?q=1&%7A=y", body)
				if err != nil {
					t.Fatal(err)
				}
				if c.header != "" {
					req.Header.Set(c.header, c.value)
					if c.header == "Upgrade" {
						req.Header.Set("Connection", "Upgrade")
					}
				}
				res, err := s.client(h2, nil).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != c.status || string(got) != c.want {
					t.Errorf("%d %s, want %d %s", res.StatusCode, got, c.status, c.want)
				}
				attempts := 1
				if c.status == 200 {
					attempts = 2
				}
				e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Method == method })
				if e.Attempts != attempts || e.UpstreamStatus != c.status || e.Credentials[0].Generation != uint64(attempts) {
					t.Errorf("event %+v", e)
				}
				if old.Load() != c.old || int(renewed.Load()) != attempts-1 {
					t.Errorf("the upstream saw %d with the old and %d with the new key", old.Load(), renewed.Load())
				}
				if asked := rereads.Load() > 0; asked != (c.status == 200 || name == "no newer is found") {
					t.Errorf("asked for another version: %v", asked)
				}
			})
		}
	}
}

// A 401 with the newest version, too, passes: once is enough.
func TestSecond401Passes(t *testing.T) {
	var calls atomic.Int32
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	})
	var s *stage
	s = newStage(t, Options{Reread: func(context.Context, secret.Value) bool { s.rotate(); return true }}, api(to))
	res, err := s.client(false, nil).Get("https://api.test/")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 401 || calls.Load() != 2 {
		t.Errorf("%d after %d calls", res.StatusCode, calls.Load())
	}
}

// A newer version that is there already needs no look.
func TestRetryWithPublishedVersionAsksNobody(t *testing.T) {
	arrived, goOn := make(chan struct{}, 2), make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+newKey {
			return
		}
		arrived <- struct{}{}
		<-goOn
		w.WriteHeader(http.StatusUnauthorized)
	})
	s := newStage(t, Options{Reread: func(context.Context, secret.Value) bool { t.Error("asked"); return false }}, api(to))
	go func() {
		<-arrived
		s.rotate()
		close(goOn)
	}()
	res, err := s.client(false, nil).Post("https://api.test/", "text/plain", bytes.NewReader([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 200 {
		t.Error(res.Status)
	}
}

// A new version that cannot be presented leaves the caller with the 401.
func TestRetryThatCannotInjectPassesThe401(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	var s *stage
	r := api(to)
	r.attach = append(r.attach, header{"X-Other", "", "plain"})
	s = newStage(t, Options{Reread: func(context.Context, secret.Value) bool { s.rotate(); return true }}, r) // "plain" is gone then
	res, err := s.client(true, nil).Get("https://api.test/")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Status != 0 })
	if res.StatusCode != 401 || e.Attempts != 1 || e.Credentials[0].Outcome != "attached" {
		t.Errorf("%s %+v", res.Status, e)
	}
}

// A body that breaks off is refused as ever, and nothing is sent.
func TestKeptBodyThatBreaksOff(t *testing.T) {
	var calls atomic.Int32
	to := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			calls.Add(1)
		}
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\n\r\nhalf")
	_ = tc.CloseWrite()
	e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Method == "POST" })
	if e.Status == 200 || calls.Load() != 0 {
		t.Errorf("%+v", e)
	}
}

// An answer is masked by the version in force and the one before it. Two
// versions on, the first attempt's would come back in clear, so the 401 passes.
func TestRetryTwoVersionsOnPassesThe401(t *testing.T) {
	arrived, goOn := make(chan struct{}, 2), make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-goOn
		w.WriteHeader(http.StatusUnauthorized)
	})
	s := newStage(t, Options{}, api(to))
	go func() {
		<-arrived
		s.rotate()
		e, _ := s.live.Load().Secrets.Entry("key")
		s.live.SetSecrets(secret.NewSet(map[string]secret.Entry{
			"key": {Current: secret.New("key", 3, time.Now(), []byte("a third key of some length")), Previous: e.Current},
		}))
		close(goOn)
	}()
	res, err := s.client(false, nil).Get("https://api.test/")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if e := s.events.wait(t, func(e audit.Event) bool { return e.Status == 401 }); e.Attempts != 1 {
		t.Errorf("%d attempts", e.Attempts)
	}
}

package proxy

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// TestRequestBodyLimit: a body that is announced to be too large is not sent at all, and one that turns out to be is
// broken off: the upstream never takes a part of it for the whole.
func TestRequestBodyLimit(t *testing.T) {
	const limit = 100 << 10
	var began, whole atomic.Int64
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		began.Add(1)
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			whole.Add(1)
			fmt.Fprint(w, n)
		}
	})
	r := api(to)
	r.change = func(r *Rule) { r.Limits.RequestBody = limit }
	newStage(t, Options{}, r).both(func(s *stage, h2 bool) {
		for name, c := range map[string]struct {
			size   int
			sized  bool
			passes bool
			begins bool // at the upstream
		}{
			"sized, at the limit":   {limit, true, true, true},
			"sized, beyond":         {limit + 1, true, false, false},
			"unknown, at the limit": {limit, false, true, true},
			"unknown, beyond":       {limit + 1, false, false, true},
			"unknown, far beyond":   {40 * limit, false, false, true},
		} {
			began.Store(0)
			whole.Store(0)
			var body io.Reader = strings.NewReader(strings.Repeat("x", c.size))
			if !c.sized {
				body = io.MultiReader(body)
			}
			req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, "https://api.test/"+url.PathEscape(name), body)
			if err != nil {
				s.Fatal(err)
			}
			res, err := s.client(h2, nil).Do(req)
			if err != nil {
				s.Fatalf("%s: %v", name, err)
			}
			text, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if c.passes {
				if res.StatusCode != 200 || string(text) != fmt.Sprint(c.size) {
					s.Errorf("%s: %s %s", name, res.Status, text)
				}
				continue
			}
			if res.StatusCode != http.StatusRequestEntityTooLarge || reasonOf(s.T, string(text)) != reasonBodyTooLarge {
				s.Errorf("%s: %s %s", name, res.Status, text)
			}
			if whole.Load() > 0 || !c.begins && began.Load() > 0 {
				s.Errorf("%s: the upstream saw %d requests, %d of them whole", name, began.Load(), whole.Load())
			}
		}
	})
	if e := s413(t, to); e.Fault != "caller" || e.Rule != "api" {
		t.Errorf("event %+v", e)
	}
}

// s413 is the event of a request that a limit of one byte refuses.
func s413(t *testing.T, to string) audit.Event {
	r := api(to)
	r.change = func(r *Rule) { r.Limits.RequestBody = 1 }
	s := newStage(t, Options{}, r)
	s.say(s.open("api.test:443", "api.test"), "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\nxx")
	return s.events.wait(t, func(e audit.Event) bool { return e.Reason == reasonBodyTooLarge })
}

// TestTwoProxyAuthorizations: which of them another would believe is unknown, so neither counts.
func TestTwoProxyAuthorizations(t *testing.T) {
	r := api(upstream(t, func(http.ResponseWriter, *http.Request) {}))
	r.spec.Callers = []string{"app"}
	s := newStage(t, Options{}, r)
	line := func(password string) string {
		return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("app:"+password)) + "\r\n"
	}
	for head, want := range map[string]int{
		line("open-sesame"):                       200,
		line("open-sesame") + line("open-sesame"): 407,
		line("open-sesame") + line("wrong"):       407,
		line("wrong") + line("open-sesame"):       407,
	} {
		res, _ := s.say(s.dial(), "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n"+head+"\r\n")
		if res.StatusCode != want {
			t.Errorf("%q: %s, want %d", head, res.Status, want)
		}
	}
}

// TestOneContinue: a client whose body was asked for already is not told a second time when the upstream asks at last.
func TestOneContinue(t *testing.T) {
	pki, err := testPKI()
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pki.leaf}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body) // it comes without being asked for, in the end
		_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
	}()
	s := newStage(t, Options{}, api(l.Addr().String()))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, "POST / HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	answers := bufio.NewReader(tc)
	for _, want := range []int{100, 204} {
		res, err := http.ReadResponse(answers, nil)
		if err != nil || res.StatusCode != want {
			t.Fatalf("%v, %v; want %d", res, err, want)
		}
		if want == 100 {
			_, _ = io.WriteString(tc, "ok")
		}
	}
}

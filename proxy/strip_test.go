package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/inject/secret"
)

// saw is an upstream that answers with the names and values of the headers and trailers that it got, all but ours.
func saw(t *testing.T) string {
	return upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		var all []string
		for _, h := range []http.Header{r.Header, r.Trailer} {
			for name, values := range h {
				for _, v := range values {
					if v != "Bearer "+canary && v != canary && name != "Accept-Encoding" && name != "Te" && name != "Content-Length" {
						all = append(all, name+"="+v)
					}
				}
			}
		}
		slices.Sort(all)
		_, _ = io.WriteString(w, strings.Join(all, " "))
	})
}

// TestPassDoesNotOpenWhatIsAttached: pass: lets the client's other credentials through, never one in the place of ours.
func TestPassDoesNotOpenWhatIsAttached(t *testing.T) {
	r := api(saw(t))
	r.change = func(r *Rule) { r.Pass = []string{"Authorization", "X-Api-Key"} }
	s := newStage(t, Options{}, r)
	head := "Host: api.test\r\nAuthorization: mine\r\nAUTHORIZATION: mine\r\nX-Api-Key: passes\r\nPrivate-Token: mine\r\n"
	if _, got := s.say(s.open("api.test:443", "api.test"), "GET / HTTP/1.1\r\n"+head+"\r\n"); got != "X-Api-Key=passes" {
		t.Errorf("the upstream saw %q", got)
	}
	head += "Transfer-Encoding: chunked\r\nTrailer: Authorization, X-Sum\r\n\r\n0\r\nAuthorization: mine\r\nX-Sum: 1\r\n"
	if _, got := s.say(s.open("api.test:443", "api.test"), "POST / HTTP/1.1\r\n"+head+"\r\n"); got != "X-Api-Key=passes X-Sum=1" {
		t.Errorf("the upstream saw %q", got)
	}
}

// TestPathOverrides: where paths are restricted, headers that frameworks take for the path go; elsewhere they are the
// client's business.
func TestPathOverrides(t *testing.T) {
	to := saw(t)
	for _, restricted := range []bool{false, true} {
		r := api(to)
		want := "X-Original-Url=/admin X-Rewrite-Url=/admin X_rewrite_url=/admin"
		if restricted {
			r.spec.Paths, want = []string{"/v1/**"}, ""
		}
		s := newStage(t, Options{}, r)
		head := "Host: api.test\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX_rewrite_url: /admin\r\n\r\n"
		if _, got := s.say(s.open("api.test:443", "api.test"), "GET /v1/x HTTP/1.1\r\n"+head); got != want {
			t.Errorf("restricted %v: the upstream saw %q, want %q", restricted, got, want)
		}
	}
}

// TestWhatSpeaksToTheProxyStaysThere: however it is spelt; a token in Proxy-Authorization is the caller's own.
func TestWhatSpeaksToTheProxyStaysThere(t *testing.T) {
	to := saw(t)
	for name, r := range map[string]rule{"attaches": api(to), "attaches nothing": {spec: api(to).spec, to: to}} {
		s := newStage(t, Options{}, r)
		for _, line := range []string{
			"Proxy-Authorization: Basic eDp5", "PROXY-AUTHORIZATION: Basic eDp5", "Proxy_Authorization: Basic eDp5",
			"Proxy-Features: x", "proxy_connection: close", "X_Spiffe_Id: spiffe://a/b", "X_real_ip: 1.2.3.4", "X_Forwarded_Client_Cert: x",
		} {
			if _, got := s.say(s.open("api.test:443", "api.test"), "GET / HTTP/1.1\r\nHost: api.test\r\n"+line+"\r\n\r\n"); got != "" {
				t.Errorf("%s: %q: the upstream saw %q", name, line, got)
			}
		}
	}
}

// TestSecondAttemptIsMasked: an answer to a request that was sent again is masked of both versions it may hold: its
// own, and the one before.
func TestSecondAttemptIsMasked(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+newKey {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		fmt.Fprintf(w, "<%s> <%s>", newKey, canary)
	})
	var s *stage
	s = newStage(t, Options{Reread: func(context.Context, secret.Value) bool { s.rotate(); return true }}, api(to))
	res, body := s.get(false, "/")
	want := "<" + strings.Repeat("*", len(newKey)) + "> <" + strings.Repeat("*", len(canary)) + ">"
	if body != want || res.Header.Get("X-Echo") != "Bearer "+strings.Repeat("*", len(newKey)) {
		t.Errorf("%q, %q; want %q", body, res.Header.Get("X-Echo"), want)
	}
}

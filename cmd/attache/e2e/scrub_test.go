package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// gossip is an upstream that repeats the credential wherever a broken server
// can, by path. What of it reaches anyone is found by the search at each test's end.
func gossip(w http.ResponseWriter, r *http.Request) {
	value := r.Header.Get("Authorization")
	secret := strings.TrimPrefix(value, "Bearer ")
	answers := gossips(secret)
	raw, known := answers[strings.TrimPrefix(r.URL.Path, "/")]
	if !known {
		w.Header().Set("X-Echo", value)
		_, _ = io.WriteString(w, "you sent "+value)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(rw, int64(rw.Reader.Buffered())))
	_, _ = io.WriteString(c, raw)
	_ = c.Close()
}

// gossips are the answers by path.
func gossips(secret string) map[string]string {
	head := func(lines ...string) string { return crlf(append([]string{"HTTP/1.1 200 " + secret}, lines...)...) }
	return map[string]string{
		"no-http":          secret + "\r\n\r\n",
		"version":          crlf("HTTP/9.9 200 " + secret),
		"status":           crlf("HTTP/1.1 " + secret + " OK"),
		"header":           head("X-Echo " + secret),
		"header-name":      head(secret + ": x"),
		"huge-header":      head("X-Echo: " + strings.Repeat(secret, 300<<10/len(secret))),
		"length":           head("Content-Length: " + secret),
		"lengths":          head("Content-Length: 5", "Content-Length: "+secret),
		"transfer-coding":  head("Transfer-Encoding: " + secret),
		"content-coding":   head("Content-Encoding: "+secret, "Content-Length: 1") + "x",
		"no-gzip":          head("Content-Encoding: gzip", "Content-Length: "+strconv.Itoa(len(secret))) + secret,
		"no-zstd":          head("Content-Encoding: zstd", "Content-Length: "+strconv.Itoa(len(secret))) + secret,
		"no-brotli":        head("Content-Encoding: br", "Content-Length: "+strconv.Itoa(len(secret))) + secret,
		"chunk":            head("Transfer-Encoding: chunked") + secret + "\r\n",
		"chunk-extension":  head("Transfer-Encoding: chunked") + "1;" + secret + "=x\r\nx\r\n0\r\n\r\n",
		"trailer":          head("Transfer-Encoding: chunked") + "1\r\nx\r\n0\r\n" + secret + "\r\n\r\n",
		"truncated":        head("Content-Length: 1000") + secret,
		"truncated-in-it":  head("Content-Length: 1000") + secret[:len(secret)-1],
		"grpc-compressed":  head("Content-Type: application/grpc", "Content-Length: 1000") + "\x01\x00\x00\x00\xff" + secret,
		"unasked-switch":   crlf("HTTP/1.1 101 "+secret, "Connection: Upgrade", "Upgrade: "+secret),
		"proxy-auth":       crlf("HTTP/1.1 407 "+secret, "Proxy-Authenticate: Basic realm="+secret, "Content-Length: 0"),
		"challenge":        crlf("HTTP/1.1 401 "+secret, `WWW-Authenticate: Bearer error="`+secret+`"`, "Content-Length: 0"),
		"no-content":       crlf("HTTP/1.1 204 "+secret) + secret,
		"unsolicited":      crlf("HTTP/1.1 200 OK", "Content-Length: 2") + "ok" + crlf("HTTP/1.1 408 "+secret),
		"hints":            crlf("HTTP/1.1 103 "+secret, "Link: <"+secret+">") + crlf("HTTP/1.1 200 OK", "Content-Length: 2") + "ok",
		"many-hints":       strings.Repeat(crlf("HTTP/1.1 103 "+secret, "Link: <"+secret+">"), 20),
		"redirect":         crlf("HTTP/1.1 302 "+secret, "Location: https://x.test/?k="+url.QueryEscape(secret), "Content-Length: 0"),
		"bad-redirect":     crlf("HTTP/1.1 302 "+secret, "Location: %zz"+secret, "Content-Length: 0"),
		"bad-cookie":       crlf("HTTP/1.1 200 OK", "Set-Cookie: "+secret, "Content-Length: 0"),
		"proxy-status":     crlf("HTTP/1.1 200 OK", "Proxy-Status: x; details="+strconv.Quote(secret), "Content-Length: 0"),
		"nothing":          "",
		"status-of-us":     crlf("HTTP/1.1 502 "+secret, "Content-Type: application/problem+json", "Content-Length: "+strconv.Itoa(len(secret))) + secret,
		"announced":        crlf("HTTP/1.1 200 OK", "Trailer: X-"+url.PathEscape(secret), "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"connection-names": crlf("HTTP/1.1 200 OK", "Connection: "+secret, "Content-Length: 0"),
	}
}

// callGossip asks for every answer over both versions, and for some twice, so
// that connections are used again.
func callGossip(t *testing.T, s *server) {
	t.Helper()
	for path := range gossips("-") {
		for _, h1 := range []bool{true, false} {
			c := s.client(clientOptions{H1: h1})
			_, _ = s.try(c, s.request(http.MethodGet, "https://api.test/"+path, nil))
			_, _ = s.try(c, s.request(http.MethodPost, "https://api.test/"+path, strings.NewReader("x=1")))
		}
		// What the client's library would not show.
		w := s.tunnel("api.test").send(crlf("GET /"+path+" HTTP/1.1", "Host: api.test", "Connection: close"))
		_, _ = io.Copy(io.Discard, w.r)
	}
	a := s.get(s.client(clientOptions{}), "https://api.test/").fine(t)
	if !bytes.HasPrefix(a.body, []byte("you sent ")) || !bytes.Contains(a.body, []byte("*****")) {
		t.Errorf("after all that, the answer is %q", a.body)
	}
}

// TestErrorMessagesAndPanics: whatever a broken upstream does with the
// credential, no message of ours carries it.
func TestErrorMessagesAndPanics(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{Handler: gossip, H1: true})
	callGossip(t, s)
}

func TestLogsAtDebug(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			up, key := newSite(t, siteOptions{Handler: gossip, H1: true}), newCanary()
			s := serve(t, serveOptions{
				Config: oneRule, Vars: siteVars(up), Secrets: map[string]string{"key": key},
				Args: []string{"--log-level", "debug", "--log-format", format},
			})
			callGossip(t, s)
			next := newCanary()
			s.secret(next)
			s.write("key", next)
			s.await("the next version", func() bool {
				s.get(s.client(clientOptions{}), "https://api.test/")
				return up.last(t).Header.Get("Authorization") == "Bearer "+next
			})
			s.write("key", next+"\x00"+next) // refused
			s.await("the refusal of the version after", func() bool { return s.auditCount("secret.stale") > 0 })
		})
	}
}

// TestAuditEventsAndMetrics: what was masked is counted and told, by rule.
func TestAuditEventsAndMetrics(t *testing.T) {
	t.Parallel()
	s, _, _ := serveRules(t, oneRule+"\naudit: {file: @dir/audit.jsonl, paths: true}\n", siteOptions{Handler: gossip})
	s.get(s.client(clientOptions{}), "https://api.test/v1/pay?x=1").fine(t)
	s.await("the audited call", func() bool {
		return slices.ContainsFunc(s.audit(), func(e event) bool { return e["redacted"] == 2.0 && e.str("rule") == "api" })
	})
	if got := s.metric(`attache_redactions_total{rule="api"}`); got != "2" {
		t.Errorf("attache_redactions_total is %q, want 2: a header and a body", got)
	}
}

// TestAdminAPI: nothing that the admin listener serves holds the
// secret: collect reads all of it, finish searches it.
func TestAdminAPI(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{Handler: gossip, H1: true})
	stream, err := http.Get("http://" + s.admin + "/api/events")
	ok(t, err)
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(s.received, stream.Body) }) // as calls end
	callGossip(t, s)
	s.collect()
	told := 0
	for _, e := range s.audit() {
		if id := e.str("request_id"); id != "" {
			if status, _ := s.adminCall(http.MethodGet, "/api/decision/"+id, nil); status == http.StatusOK {
				told++
			}
		}
	}
	if told == 0 {
		t.Error("no call is told of")
	}
	for _, args := range [][]string{{"status"}, {"status", "--output", "json"}, {"explain", "--live", "GET", "https://api.test/"}} {
		_, err := s.ask(args...)
		ok(t, err)
	}
	s.await("an event in the stream", func() bool { return bytes.Contains(s.received.Bytes(), []byte("event: audit")) })
	_ = stream.Body.Close()
	reading.Wait()
}

func TestPprof(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{})
	s.get(s.client(clientOptions{}), "https://api.test/").fine(t)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/debug/vars", "/debug/requests", "/api/config/raw"} {
		r, err := http.Get("http://" + s.admin + path)
		ok(t, err)
		_, _ = io.Copy(s.received, r.Body)
		_ = r.Body.Close()
		if r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s, want 404", path, r.Status)
		}
	}
}

// TestConfigDump: every command that prints of a configuration, with the secret
// at hand.
func TestConfigDump(t *testing.T) {
	t.Parallel()
	s, _, _ := serveOne(t, siteOptions{Handler: gossip})
	attache := os.Getenv(envBinary)
	for _, args := range [][]string{
		{"check"}, {"check", "--resolve"}, {"check", "--resolve", "--output", "json"},
		{"explain", "GET", "https://api.test/"}, {"explain", "GET", "https://api.test/", "--output", "json"},
		{"explain", "GET", "https://evil.test/"},
	} {
		out, err := s.program(nil, attache, append(args, "--config", s.config)...)
		ok(t, err)
		if len(out) == 0 {
			t.Errorf("%v printed nothing", args)
		}
	}
	for _, args := range [][]string{{"schema"}, {"version"}, {"--help"}} {
		_, err := s.program(nil, attache, args...)
		ok(t, err)
	}
}

// TestSecretsThatLookLikeFormats: a secret's characters mean nothing to us.
func TestSecretsThatLookLikeFormats(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"%s%d%!v(MISSING)%%", `.*[a-z]+(?i)\b$^|`, "{{.Secret}}${HOME}<>", "************", "a,b;c=d:e=f;g==h"} {
		t.Run("", func(t *testing.T) {
			up := newSite(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Echo", r.Header.Get("Authorization"))
				_, _ = io.WriteString(w, "<"+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+">")
			}})
			s := serve(t, serveOptions{Config: oneRule, Vars: siteVars(up), Files: map[string]string{"key": key}})
			a := s.get(s.client(clientOptions{}), "https://api.test/").fine(t)
			if want := "<" + strings.Repeat("*", len(key)) + ">"; string(a.body) != want || a.Header.Get("X-Echo") != "Bearer "+want[1:len(want)-1] {
				t.Errorf("%s came as %q and %q", key, a.body, a.Header.Get("X-Echo"))
			}
			attached(t, up, key)
		})
	}
}

// TestScrubConfigured: `scrub: headers` and `scrub: false` in a file do what
// they say; the secret is not searched for where it is let through.
func TestScrubConfigured(t *testing.T) {
	t.Parallel()
	for extent, want := range map[string]string{"all": "masked masked", "headers": "masked plain", "false": "plain plain"} {
		t.Run(extent, func(t *testing.T) {
			const key = "not-searched-for-0123456789"
			up := newSite(t, siteOptions{Handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Echo", key)
				_, _ = io.WriteString(w, key)
			}})
			config := strings.Replace(oneRule, "attach:", "scrub: "+extent+", attach:", 1)
			s := serve(t, serveOptions{Config: config, Vars: siteVars(up), Files: map[string]string{"key": key}})
			a := s.get(s.client(clientOptions{}), "https://api.test/").fine(t)
			how := map[bool]string{true: "plain", false: "masked"}
			if got := fmt.Sprint(how[a.Header.Get("X-Echo") == key], " ", how[string(a.body) == key]); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			attached(t, up, key)
		})
	}
}

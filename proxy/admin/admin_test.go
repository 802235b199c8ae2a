package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/build"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

const goodToken = "the-admin-token"

// fakeState is an application that admin looks at.
type fakeState struct {
	started, draining bool
	degraded          []string
	reloads           atomic.Int32
	reloadErr         error
	secrets           []SecretStatus
	identity          *IdentityStatus
}

func (s *fakeState) Started() bool      { return s.started }
func (s *fakeState) Draining() bool     { return s.draining }
func (s *fakeState) Degraded() []string { return s.degraded }
func (s *fakeState) Config() ConfigStatus {
	return ConfigStatus{Generation: 3, Loaded: time.Unix(1000, 0).UTC(), Files: []string{"attache.yaml"}}
}
func (s *fakeState) Rules() []RuleStatus {
	return []RuleStatus{{ID: "stripe", Hosts: []string{"api.test"}, Action: "allow", Credentials: []string{"stripe"}}}
}
func (s *fakeState) Secrets() []SecretStatus {
	return append([]SecretStatus{{Name: "stripe-key", State: "READY", Healthy: true, Source: "file /k", Generation: 7, Rules: []string{"stripe"}}}, s.secrets...)
}
func (s *fakeState) CA() []CAStatus               { return nil }
func (s *fakeState) OwnIdentity() *IdentityStatus { return s.identity }
func (s *fakeState) Explain(method, url, caller string) (any, error) {
	if url == "" {
		return nil, errors.New("URL: must not be empty")
	}
	return map[string]string{"method": method, "url": url, "caller": caller}, nil
}
func (s *fakeState) Reload(context.Context) error {
	s.reloads.Add(1)
	return s.reloadErr
}

// call is a request over a real connection and its answer.
type call struct {
	method, path, host string
	header             map[string]string
}

func (c call) do(t *testing.T, client *http.Client, base string) (int, http.Header, string) {
	t.Helper()
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+c.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.host != "" {
		req.Host = c.host
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func newOptions() Options {
	return Options{
		Version: "v1.2.3", Recent: audit.NewRecent(10), Metrics: NewMetrics("v1.2.3", Gauges{}),
		Window: NewWindow(time.Now()), Feed: NewFeed(), Reasons: map[string]Reason{"no_rule": {403, "policy", "No rule names the host.", "Add a rule."}},
		Token: func(s string) bool { return s == goodToken },
	}
}

func serve(t *testing.T, h http.Handler) (string, *http.Client) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL, s.Client()
}

// The loopback interface is shared with the application: over TCP nothing can be changed without the token.
func TestAdminFromApp(t *testing.T) {
	for name, tc := range map[string]struct {
		noToken bool
		header  map[string]string
		want    int
		reason  string
	}{
		"nothing":              {false, nil, 403, "admin_read_only"},
		"wrong token":          {false, map[string]string{"Authorization": "Bearer wrong"}, 403, "admin_token_wrong"},
		"empty token":          {false, map[string]string{"Authorization": "Bearer "}, 403, "admin_read_only"},
		"basic":                {false, map[string]string{"Authorization": "Basic " + goodToken}, 403, "admin_read_only"},
		"no token configured":  {true, map[string]string{"Authorization": "Bearer " + goodToken}, 403, "admin_token_wrong"},
		"empty, none required": {true, map[string]string{"Authorization": "Bearer"}, 403, "admin_read_only"},
		"right token":          {false, map[string]string{"Authorization": "bearer " + goodToken}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := &fakeState{started: true}, newOptions()
			var log bytes.Buffer
			o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			if tc.noToken {
				o.Token = nil
			}
			base, client := serve(t, Handler(s, o))
			status, head, body := call{method: "POST", path: "/-/reload", header: tc.header}.do(t, client, base)
			if status != tc.want || (s.reloads.Load() == 1) != (tc.want == 200) {
				t.Fatalf("%d, %d reloads: %s", status, s.reloads.Load(), body)
			}
			if tc.reason == "" {
				return
			}
			var p problem
			if err := json.Unmarshal([]byte(body), &p); err != nil || p.Reason != tc.reason || p.Status != status {
				t.Errorf("%s, %v; want reason %s", body, err, tc.reason)
			}
			if tc.reason == "admin_read_only" && p.Hint == "" {
				t.Error("no hint how to do it")
			}
			if head.Get("Content-Type") != "application/problem+json" || head.Get("WWW-Authenticate") != "" {
				t.Errorf("head %v", head)
			}
			if strings.Contains(log.String()+body, goodToken) || strings.Contains(log.String()+body, "wrong") && strings.Contains(log.String(), "Bearer") {
				t.Errorf("the token is told: %s %s", log.String(), body)
			}
		})
	}
}

// A page in a browser on this machine can send requests here, as a foreign origin or under a
// name of its own that leads here.
func TestAdminFromBrowser(t *testing.T) {
	s := &fakeState{started: true}
	base, client := serve(t, Handler(s, newOptions()))
	port := base[strings.LastIndex(base, ":"):]
	bearer := func(more ...string) map[string]string {
		h := map[string]string{"Authorization": "Bearer " + goodToken}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	for name, tc := range map[string]struct {
		call
		want int
	}{
		"cross-site":              {call{"POST", "/-/reload", "", bearer("Sec-Fetch-Site", "cross-site")}, 403},
		"same-site":               {call{"POST", "/-/reload", "", bearer("Sec-Fetch-Site", "same-site")}, 403},
		"other origin":            {call{"POST", "/-/reload", "", bearer("Origin", "https://evil.test")}, 403},
		"no origin to tell":       {call{"POST", "/-/reload", "", bearer("Origin", "null")}, 403},
		"other port":              {call{"POST", "/-/reload", "localhost" + port, bearer("Origin", "http://localhost:1")}, 403},
		"rebound POST":            {call{"POST", "/-/reload", "evil.test", bearer("Origin", "http://evil.test", "Sec-Fetch-Site", "same-origin")}, 421},
		"rebound GET":             {call{"GET", "/api/secrets", "evil.test" + port, nil}, 421},
		"rebound index":           {call{"GET", "/", "evil.test", nil}, 421},
		"rebound summary":         {call{"GET", "/api/summary", "evil.test", nil}, 421},
		"rebound events":          {call{"GET", "/api/events", "evil.test", nil}, 421},
		"cross-site GET":          {call{"GET", "/api/summary", "", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}}, 403},
		"same-site events":        {call{"GET", "/api/events", "", map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}}, 403},
		"framed by another":       {call{"GET", "/", "", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}}, 403},
		"followed link":           {call{"GET", "/", "", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}}, 200},
		"rebound metrics":         {call{"GET", "/metrics", "evil.test", nil}, 421},
		"looks local":             {call{"GET", "/", "localhost.evil.test", nil}, 421},
		"looks like an address":   {call{"GET", "/", "127.0.0.1.evil.test", nil}, 421},
		"probe under any name":    {call{"GET", "/livez", "pod.svc.example", nil}, 200},
		"localhost":               {call{"GET", "/api/rules", "LocalHost.:15000", nil}, 200},
		"IPv6":                    {call{"GET", "/api/rules", "[::1]:15000", nil}, 200},
		"IPv6 without port":       {call{"GET", "/api/rules", "[::1]", nil}, 200},
		"same origin, with token": {call{"POST", "/-/reload", "", bearer("Origin", base, "Sec-Fetch-Site", "same-origin")}, 200},
		"preflight":               {call{"OPTIONS", "/-/reload", "", map[string]string{"Origin": "https://evil.test"}}, 405},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.reloads.Load()
			status, head, body := tc.do(t, client, base)
			if status != tc.want {
				t.Errorf("%d, want %d: %s", status, tc.want, body)
			}
			if reloaded := s.reloads.Load() > before; reloaded != (tc.method == "POST" && tc.want == 200) {
				t.Errorf("reloaded: %v", reloaded)
			}
			for k := range head {
				if strings.HasPrefix(k, "Access-Control-") {
					t.Errorf("CORS header %s", k)
				}
			}
			if head.Get("X-Content-Type-Options") != "nosniff" || head.Get("Cache-Control") != "no-store" || !strings.HasPrefix(head.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("head %v", head)
			}
		})
	}
}

func TestConfiguredHostIsAnswered(t *testing.T) {
	o := newOptions()
	o.Host = "attache.internal"
	base, client := serve(t, Handler(&fakeState{}, o))
	for host, want := range map[string]int{"Attache.internal:15000": 200, "other.internal": 421, "": 200} {
		if status, _, body := (call{path: "/api/status", host: host}).do(t, client, base); status != want {
			t.Errorf("%q: %d, want %d: %s", host, status, want, body)
		}
	}
}

func TestUnixSocketMayReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("no unix sockets here:", err)
	}
	s, o := &fakeState{started: true}, newOptions()
	o.Unix, o.Token = true, nil
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: Handler(s, o)}}
	srv.Start()
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	if status, _, body := (call{method: "POST", path: "/-/reload"}).do(t, client, "http://attache"); status != 200 || !strings.Contains(body, `"generation": 3`) {
		t.Errorf("%d %s", status, body)
	}
	for name, header := range map[string]map[string]string{
		"rebound": {"Origin": "http://attache", "Sec-Fetch-Site": "same-origin"}, "cross-site": {"Sec-Fetch-Site": "cross-site"},
	} {
		if status, _, body := (call{method: "POST", path: "/-/reload", header: header}).do(t, client, "http://attache"); status < 400 {
			t.Errorf("%s, passed on to the socket: %d %s", name, status, body)
		}
	}
	s.reloadErr = errors.New("attache.yaml:3:5: rules[0].path: unknown key")
	status, _, body := call{method: "POST", path: "/-/reload"}.do(t, client, "http://attache")
	if status != 422 || !strings.Contains(body, "attache.yaml:3:5") || !strings.Contains(body, "config_rejected") {
		t.Errorf("%d %s; want what is wrong and where", status, body)
	}
}

func TestProbes(t *testing.T) {
	degraded := []string{`rule stripe: secret "stripe-key": not found`}
	for name, tc := range map[string]struct {
		state                     *fakeState
		live, start, ready        int
		verbose                   string
		startedButDegradedIsReady bool
	}{
		"starting": {&fakeState{degraded: degraded}, 200, 503, 503, "starting, 1 degraded\nrule stripe: secret \"stripe-key\": not found\n", false},
		"ready":    {&fakeState{started: true}, 200, 200, 200, "ready\n", false},
		"degraded": {&fakeState{started: true, degraded: degraded}, 200, 200, 200, "ready, 1 degraded\nrule stripe: secret \"stripe-key\": not found\n", true},
		"draining": {&fakeState{started: true, draining: true}, 200, 200, 503, "draining\n", false},
	} {
		for which, h := range map[string]http.Handler{"admin": Handler(tc.state, newOptions()), "health": HealthHandler(tc.state, newOptions())} {
			t.Run(name+" "+which, func(t *testing.T) {
				base, client := serve(t, h)
				for path, want := range map[string]int{"/livez": tc.live, "/startupz": tc.start, "/readyz": tc.ready} {
					for _, method := range []string{"GET", "HEAD"} {
						status, _, body := call{method: method, path: path, host: "any.example"}.do(t, client, base)
						if status != want || strings.Contains(body, "stripe") {
							t.Errorf("%s %s: %d %q, want %d and no details", method, path, status, body, want)
						}
					}
				}
				if _, _, body := (call{path: "/readyz?verbose"}).do(t, client, base); body != tc.verbose {
					t.Errorf("verbose: %q, want %q", body, tc.verbose)
				}
			})
		}
	}
}

func TestHealthListenerShowsNothingElse(t *testing.T) {
	s, o := &fakeState{started: true}, newOptions()
	o.Unix = true // even then
	base, client := serve(t, HealthHandler(s, o))
	for _, path := range []string{"/", "/api/rules", "/api/secrets", "/api/status", "/debug/pprof/", "/-/reload"} {
		for _, method := range []string{"GET", "POST"} {
			if status, _, _ := (call{method: method, path: path, host: "x.example"}).do(t, client, base); status != 404 {
				t.Errorf("%s %s: %d, want 404", method, path, status)
			}
		}
	}
	if status, _, body := (call{path: "/metrics", host: "x.example"}).do(t, client, base); status != 200 || !strings.Contains(body, "attache_build_info") {
		t.Errorf("/metrics: %d", status)
	}
	if s.reloads.Load() != 0 {
		t.Error("reloaded")
	}
}

func TestOnlyReadingMethods(t *testing.T) {
	base, client := serve(t, Handler(&fakeState{started: true}, newOptions()))
	auth := map[string]string{"Authorization": "Bearer " + goodToken}
	for _, path := range []string{"/", "/livez", "/metrics", "/api/rules", "/api/secrets", "/api/decisions", "/api/config", "/api/ca", "/api/status", "/api/summary", "/api/identity", "/api/explain?url=https://x"} {
		if status, _, body := (call{path: path}).do(t, client, base); status != 200 || body == "" {
			t.Errorf("GET %s: %d", path, status)
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
			status, head, _ := call{method: method, path: path, header: auth}.do(t, client, base)
			if status != 405 || head.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, path, status, head.Get("Allow"))
			}
		}
	}
	for path, want := range map[string]int{"/-/reload": 405, "/debug/pprof/": 404, "/debug/vars": 404, "/api": 404, "//": 404, "/api/../": 404} {
		if status, _, _ := (call{path: path, header: auth}).do(t, client, base); status != want {
			t.Errorf("GET %s: %d, want %d", path, status, want)
		}
	}
}

func TestIndexListsEverything(t *testing.T) {
	h := Handler(&fakeState{}, newOptions()).(*handler)
	base, client := serve(t, h)
	_, _, body := call{path: "/"}.do(t, client, base)
	for path := range h.pages {
		if !strings.Contains(body, path) {
			t.Errorf("%s is not in the index", path)
		}
	}
}

func TestAPI(t *testing.T) {
	o := newOptions()
	o.Recent.Record(&audit.Event{Type: audit.Request, RequestID: "a", Decision: audit.Refuse, Reason: "no_rule"})
	o.Recent.Record(&audit.Event{Type: audit.Request, RequestID: "b", Decision: audit.Allow, Rule: "stripe"})
	base, client := serve(t, Handler(&fakeState{started: true, degraded: []string{"x"}}, o))
	for path, want := range map[string]string{
		"/api/status":                  `{"version":"v1.2.3","state":"ready","config_generation":3,"degraded":["x"]}`,
		"/api/config":                  `{"generation":3,"loaded":"1970-01-01T00:16:40Z","files":["attache.yaml"]}`,
		"/api/rules":                   `[{"id":"stripe","hosts":["api.test"],"action":"allow","credentials":["stripe"]}]`,
		"/api/secrets":                 `[{"name":"stripe-key","source":"file /k","state":"READY","healthy":true,"generation":7,"rules":["stripe"]}]`,
		"/api/ca":                      `[]`,
		"/api/decisions?request_id=zz": `{"refusals":[],"recent":[]}`,
		"/api/decisions?request_id=b":  `{"refusals":[],"recent":[{"type":"request","time":"0001-01-01T00:00:00.000Z","request_id":"b","decision":"allow","rule":"stripe","bytes":{"in":0,"out":0}}]}`,
	} {
		_, head, body := call{path: path}.do(t, client, base)
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(body)); err != nil || compact.String() != want {
			t.Errorf("%s: %s, %v; want %s", path, compact.String(), err, want)
		}
		if head.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", path, head)
		}
	}
	_, _, body := call{path: "/api/decisions"}.do(t, client, base)
	var d struct{ Refusals, Recent []map[string]any }
	if err := json.Unmarshal([]byte(body), &d); err != nil || len(d.Refusals) != 1 || len(d.Recent) != 2 || d.Recent[0]["request_id"] != "b" {
		t.Errorf("%s, %v", body, err)
	}
}

// Admin cannot reach secret bytes (DESIGN §3): of ours it imports the audit only, which
// imports nothing of ours.
func TestCannotReachSecrets(t *testing.T) {
	const ours = "github.com/attache-proxy/attache/"
	allowed := map[string]bool{ours + "proxy/audit": true}
	for _, dir := range []string{".", "../audit"} {
		p, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range p.Imports {
			if strings.HasPrefix(path, ours) && (!allowed[path] || dir != ".") {
				t.Errorf("%s imports %s", dir, path)
			}
			if path == "net/http/pprof" || path == "expvar" {
				t.Errorf("%s imports %s, which shows memory", dir, path)
			}
		}
	}
}

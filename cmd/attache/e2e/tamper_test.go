package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestConnectionHeaderDropsCredential(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{H1: true})
	for _, line := range []string{
		"Connection: authorization, x-api-key", "Connection: close, Authorization", "Proxy-Connection: authorization",
		"Connection: AUTHORIZATION\r\nConnection: authorization",
	} {
		s.raw("api.test", crlf("GET / HTTP/1.1", "Host: api.test", line)).fine(t)
		attached(t, up, key)
	}
}

func TestDuplicateAndCaseVariantHeaders(t *testing.T) {
	t.Parallel()
	s, up, key := serveRules(t, `
secrets: {key: {file: @dir/key}}
rules:
  - id: api
    hosts: api.test
    attach: [{bearer: key}, {header: {name: X-Api-Key, secret: key}}]
    upstream: {connect_to: "@site", ca: @siteca}
`, siteOptions{})
	const forged = "forged-by-the-client"
	lines := []string{
		"authorization: " + forged, "AUTHORIZATION: Bearer " + forged, "Authorization: " + forged,
		"x-api-key: " + forged, "X_Api_Key: " + forged, "x_api-key: " + forged, "X-API-KEY: " + forged,
	}
	onlyOurs := func(where string) {
		t.Helper()
		got := attached(t, up, key)
		if v := got.Header.Values("X-Api-Key"); len(v) != 1 || v[0] != key {
			t.Errorf("%s: the upstream got %d values of X-Api-Key, or another one", where, len(v))
		}
		for _, h := range []http.Header{got.Header, got.Trailer} {
			for name, values := range h {
				if strings.Contains(strings.Join(values, ","), forged) {
					t.Errorf("%s: the client's %s came through", where, name)
				}
			}
		}
	}
	s.raw("api.test", crlf(append([]string{"GET / HTTP/1.1", "Host: api.test"}, lines...)...)).fine(t)
	onlyOurs("HTTP/1.1")

	trailers := strings.Join(lines, "\r\n")
	s.raw("api.test", crlf("POST / HTTP/1.1", "Host: api.test", "Transfer-Encoding: chunked", "Trailer: Authorization, X_Api_Key, X-Sum")+
		"1\r\na\r\n0\r\nX-Sum: 1\r\n"+trailers+"\r\n\r\n").fine(t)
	onlyOurs("trailers")
	if got := up.last(t).Trailer.Get("X-Sum"); got != "1" {
		t.Errorf("the client's own trailer came as %q", got)
	}

	fields := []string{":method: GET", ":scheme: https", ":path: /", ":authority: api.test"}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		fields = append(fields, strings.ToLower(name)+":"+value)
	}
	if a := s.h2("api.test").ask(fields...); a.status != "200" {
		t.Fatalf("HTTP/2: %v", a)
	}
	onlyOurs("HTTP/2")
}

const queryRule = `
secrets: {key: {file: @dir/key}}
rules:
  - {id: api, hosts: api.test, attach: {query: {name: api_key, secret: key}}, upstream: {connect_to: "@site", ca: @siteca}}
`

func TestDuplicateQueryParameter(t *testing.T) {
	t.Parallel()
	s, up, key := serveRules(t, queryRule, siteOptions{})
	for _, query := range []string{
		"api_key=x&api_key=y", "%61pi_key=x&a=1&api%5Fkey=y", "api_key", "API_KEY=kept&api_key=x", "api_key=", "a=1&api_key=x&b=2",
	} {
		s.get(s.client(clientOptions{}), "https://api.test/?"+query).fine(t)
		_, raw, _ := strings.Cut(up.last(t).URI, "?")
		var ours int
		for pair := range strings.SplitSeq(raw, "&") {
			name, value, _ := strings.Cut(pair, "=")
			name, value = unescape(t, name), unescape(t, value)
			switch {
			case name == "api_key" && value == key:
				ours++
			case name == "api_key":
				t.Errorf("%q: the client's value came through", query)
			}
		}
		if ours != 1 {
			t.Errorf("%q: ours came %d times", query, ours)
		}
		if strings.Contains(query, "b=2") && !strings.HasPrefix(raw, "a=1&b=2") {
			t.Errorf("%q: the rest of the query is not as it was", query)
		}
	}
}

func TestQueryKeptVerbatim(t *testing.T) {
	t.Parallel()
	const query = "z=1&b=%zz&a=2;c=3&y=%2F&&q=%7e&=&e"
	t.Run("with a query credential", func(t *testing.T) {
		s, up, _ := serveRules(t, queryRule, siteOptions{H1: true})
		a := s.raw("api.test", crlf("GET /?"+query+" HTTP/1.1", "Host: api.test"))
		if a.StatusCode == http.StatusBadRequest {
			up.untouched(t)
		} else if got := up.last(t).URI; !strings.HasPrefix(got, "/?"+query+"&api_key=") {
			t.Errorf("the upstream got another query than the client sent, with ours at its end")
		}
		const plain = "z=1&y=%2F&&q=%7e&=&e&a=+%20"
		s.raw("api.test", crlf("GET /?"+plain+" HTTP/1.1", "Host: api.test")).fine(t)
		if got := up.last(t).URI; !strings.HasPrefix(got, "/?"+plain+"&api_key=") {
			t.Errorf("the upstream got another query than the client sent, with ours at its end")
		}
	})
	t.Run("with a header credential", func(t *testing.T) {
		s, up, key := serveOne(t, siteOptions{H1: true})
		for _, uri := range []string{"/?" + query, "/?", "/a%2fb?x", "/%41?%41"} {
			s.raw("api.test", crlf("GET "+uri+" HTTP/1.1", "Host: api.test")).fine(t)
			if got := attached(t, up, key).URI; got != uri {
				t.Errorf("the upstream got %q, the client sent %q", got, uri)
			}
		}
	})
}

func TestSecondCredential(t *testing.T) {
	t.Parallel()
	theirs := []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Auth-Token", "Private-Token", "X-Vendor-Key"}
	for name, c := range map[string]struct {
		option string
		passes []string
	}{
		"removed": {"strip: [x_vendor-key],", nil},
		"passed":  {"pass: [X-Api-Key],", []string{"X-Api-Key", "X-Vendor-Key"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, up, key := serveRules(t, strings.Replace(oneRule, "attach:", c.option+" attach:", 1), siteOptions{})
			req := s.request(http.MethodGet, "https://api.test/", nil)
			for _, h := range theirs {
				req.Header.Set(h, "of-the-client")
			}
			s.do(s.client(clientOptions{}), req).fine(t)
			got := attached(t, up, key)
			for _, h := range theirs {
				if there := got.Header.Get(h) != ""; there != slices.Contains(c.passes, h) {
					t.Errorf("%s came through: %v", h, there)
				}
			}
			s.await("the audit to know of the client's credential", func() bool {
				for _, e := range s.audit() {
					if e["client_credential"] == true {
						return true
					}
				}
				return false
			})
		})
	}
}

func TestConnectionBoundAuth(t *testing.T) {
	t.Parallel()
	s, up, _ := serveRules(t, `
secrets: {key: {file: @dir/key}}
rules:
  - {id: api, hosts: api.test, attach: {header: {name: X-Key, secret: key}}, pass: [Authorization], upstream: {connect_to: "@site", ca: @siteca}}
  - {id: plain, hosts: plain.test, upstream: {connect_to: "@site", ca: @siteca}}
`, siteOptions{Names: []string{"api.test", "plain.test"}})
	for _, host := range []string{"api.test", "plain.test"} {
		for _, value := range []string{"NTLM TlRMTVNTUAABAAAA", "Negotiate YIIB", "negotiate YIIB", "NTLM"} {
			for _, h1 := range []bool{true, false} {
				req := s.request(http.MethodGet, "https://"+host+"/", nil)
				req.Header.Set("Authorization", value)
				s.do(s.client(clientOptions{H1: h1}), req).refused(t, http.StatusForbidden, "connection_auth")
			}
		}
	}
	up.untouched(t)
}

func TestPathTraversalPastRule(t *testing.T) {
	t.Parallel()
	s, up, key := serveRules(t, strings.Replace(oneRule, "attach:", "paths: [/v1/**, /health], attach:", 1), siteOptions{})
	for _, path := range []string{
		"/v1/../admin", "/v1/./../admin", "/v1/%2e%2e/admin", "/v1/%2E%2e/admin", "/v1/.%2e/admin", "/v1/..", "/v1/.", "/v1//x", "//v1/x",
		"/v1/%2fadmin", "/v1/..%2fadmin", "/v1/%5c..%5cadmin", `/v1/..\admin`, "/v1/..;/admin", "/v1/x;y=1", "/v1/%3b/x", "/v1/%00",
		"/v1/%252e%252e/admin", "/v1/%252f", "/v1/%25%32%65", "/v1/%ff", "/v1/%c0%ae%c0%ae/admin",
	} {
		s.raw("api.test", crlf("GET "+path+" HTTP/1.1", "Host: api.test")).refused(t, http.StatusBadRequest, "path_ambiguous")
		a := s.h2("api.test").ask(":method: GET", ":scheme: https", ":path: "+path, ":authority: api.test")
		if a.status != "400" && a.reset == 0 {
			t.Errorf("%s on HTTP/2: %v", path, a)
		}
	}
	for _, path := range []string{"/v2/x", "/", "/v1x", "/V1/x", "/health/x", "/admin?/v1/x"} {
		s.raw("api.test", crlf("GET "+path+" HTTP/1.1", "Host: api.test")).refused(t, http.StatusForbidden, "path_not_allowed")
	}
	up.untouched(t)
	for _, path := range []string{"/v1/x", "/v1/a.b/..c/d..", "/v1/%20x", "/v1/%C3%BC?u=/../admin", "/health"} {
		s.raw("api.test", crlf("GET "+path+" HTTP/1.1", "Host: api.test")).fine(t)
		if got := attached(t, up, key).URI; got != path {
			t.Errorf("the upstream got %q, the client sent %q", got, path)
		}
	}
}

func TestMethodOverride(t *testing.T) {
	t.Parallel()
	s, up, key := serveRules(t, strings.Replace(oneRule, "attach:", "methods: [GET, POST], attach:", 1), siteOptions{H1: true})
	for _, method := range []string{"DELETE", "PUT", "PATCH", "get", "OPTIONS", "PROPFIND"} {
		s.raw("api.test", crlf(method+" / HTTP/1.1", "Host: api.test")).refused(t, http.StatusForbidden, "method_not_allowed")
	}
	s.raw("api.test", crlf("TRACE / HTTP/1.1", "Host: api.test")).refused(t, http.StatusMethodNotAllowed, "method_unsupported")
	up.untouched(t)
	s.raw("api.test", crlf("HEAD / HTTP/1.1", "Host: api.test")).fine(t) // GET implies it

	overrides := []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override"}
	head := []string{"POST /?a=1&_method=DELETE&b=2 HTTP/1.1", "Host: api.test", "Content-Length: 0"}
	for _, o := range overrides {
		head = append(head, o+": DELETE")
	}
	a := s.raw("api.test", crlf(head...))
	if a.StatusCode >= 400 {
		return // refused is right, too
	}
	last := attached(t, up, key)
	for name, values := range last.Header {
		if slices.Contains(values, "DELETE") {
			t.Errorf("the upstream got %s", name)
		}
	}
	if strings.Contains(last.URI, "_method") {
		t.Errorf("the upstream got %q", last.URI)
	}
}

func TestCallerHeaderForgery(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	forged := []string{
		"X-Forwarded-Client-Cert", "X-Spiffe-Id", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
		"X-Real-Ip", "X_Forwarded_For", "Proxy-Authorization",
	}
	for _, h1 := range []bool{true, false} {
		req := s.request(http.MethodGet, "https://api.test/", nil)
		for _, name := range forged {
			req.Header[name] = []string{"spiffe://acme.example/ns/forged"}
		}
		s.do(s.client(clientOptions{H1: h1}), req).fine(t)
		last := attached(t, up, key)
		for name, values := range last.Header {
			if strings.Contains(strings.Join(values, ","), "forged") {
				t.Errorf("the upstream got %s", name)
			}
		}
		for _, name := range []string{"Via", "X-Forwarded-For", "Forwarded"} {
			if got := last.Header.Get(name); got != "" {
				t.Errorf("the upstream got %s: %s", name, got)
			}
		}
	}
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	out, err := url.QueryUnescape(s)
	ok(t, err)
	return out
}

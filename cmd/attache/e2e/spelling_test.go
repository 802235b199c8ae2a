package e2e

import (
	"net/http"
	"testing"
)

// sameOrRefused fails the test unless the answer is what the plain spelling of
// the host gets, forwarded in the plain spelling, or a refusal.
func sameOrRefused(t *testing.T, a answer, up *site, key, what string) {
	t.Helper()
	if a.StatusCode >= 400 {
		if a.reason() == "" && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s without a reason", what, a.Status)
		}
		return
	}
	if last := attached(t, up, key); last.Host != "api.test" {
		t.Errorf("%s: forwarded as %q", what, last.Host)
	}
}

func TestDuplicateHost(t *testing.T) {
	t.Parallel()
	s, up, evil, _ := serveTwo(t)
	for _, lines := range [][]string{
		{"GET / HTTP/1.1", "Host: api.test", "Host: evil.test"},
		{"GET / HTTP/1.1", "Host: evil.test", "Host: api.test"},
		{"GET / HTTP/1.1", "Host: api.test", "Host: api.test"},
		{"GET / HTTP/1.1", "Host: api.test", " evil.test"},
		{"GET / HTTP/1.1", "Host: api.test, evil.test"},
		{"GET / HTTP/1.1", "Host: api.test,evil.test"},
		{"GET / HTTP/1.1"},
	} {
		s.raw("api.test", crlf(lines...)).not2xx(t, lines[len(lines)-1])
	}
	up.untouched(t)
	evil.untouched(t)
}

func TestHostWithPort(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	s.raw("api.test", crlf("GET / HTTP/1.1", "Host: api.test:443")).fine(t)
	if last := attached(t, up, key); last.Host != "api.test" && last.Host != "api.test:443" {
		t.Errorf("forwarded as %q", last.Host)
	}
	for _, host := range []string{"api.test:444", "api.test:80", "api.test:0", "api.test:65979", "api.test:", "api.test:443:443", "api.test:+443", "api.test:0443"} {
		a := s.raw("api.test", crlf("GET / HTTP/1.1", "Host: "+host))
		if host == "api.test:" || host == "api.test:0443" {
			sameOrRefused(t, a, up, key, host)
			continue
		}
		a.not2xx(t, host)
	}
	s.raw("api.test", crlf("GET / HTTP/1.1", "Host: api.test:444")).refused(t, http.StatusMisdirectedRequest, "misdirected")
}

func TestHostTrailingDot(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	for _, host := range []string{"api.test.", "api.test.:443", "api.test..", ".api.test"} {
		sameOrRefused(t, s.raw("api.test", crlf("GET / HTTP/1.1", "Host: "+host)), up, key, host)
	}
	w := s.dial()
	if a := w.connect("api.test.:443", ""); a.StatusCode != http.StatusOK {
		return // refused is right, too
	}
	inner, err := w.over(tlsFor("api.test"))
	ok(t, err)
	sameOrRefused(t, inner.send(crlf("GET / HTTP/1.1", "Host: api.test")).response(http.MethodGet), up, key, "CONNECT api.test.")
}

func TestHostUpperCase(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	w := s.dial()
	w.connect("API.Test:443", "").fine(t)
	inner, err := w.over(tlsFor("aPi.test"))
	ok(t, err)
	inner.send(crlf("GET / HTTP/1.1", "Host: api.TEST")).response(http.MethodGet).fine(t)
	if last := attached(t, up, key); last.Host != "api.test" || last.SNI != "api.test" {
		t.Errorf("forwarded as %q, SNI %q", last.Host, last.SNI)
	}
}

func TestHostIDNA(t *testing.T) {
	t.Parallel()
	const ascii = "xn--bcher-kva.test"
	s, up, key := serveRules(t, `
secrets: {key: {file: @dir/key}}
rules:
  - {id: api, hosts: "bücher.test", attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
`, siteOptions{Names: []string{ascii}})
	s.raw(ascii, crlf("GET / HTTP/1.1", "Host: "+ascii)).fine(t)
	if last := attached(t, up, key); last.Host != ascii || last.SNI != ascii {
		t.Errorf("forwarded as %q, SNI %q", last.Host, last.SNI)
	}
	for _, host := range []string{"bücher.test", "BÜCHER.test", "bu\u0308cher.test", "b\u00fccher\u3002test", "xn--bcher-kva.test\u200b", "xn--bcher-kvaa.test", "b\xfccher.test"} {
		a := s.raw(ascii, crlf("GET / HTTP/1.1", "Host: "+host))
		if a.StatusCode < 400 {
			if last := attached(t, up, key); last.Host != ascii {
				t.Errorf("%q: forwarded as %q", host, last.Host)
			}
		}
	}
	s.raw(ascii, crlf("GET / HTTP/1.1", "Host: b%C3%BCcher.test")).not2xx(t, "percent-encoded")
}

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// smuggled is the request that a confused proxy or upstream would find behind
// the first.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n"

// noSmuggling sends requests whose framing is ambiguous or wrong and fails the
// test unless each is refused with 400, the connection is closed, and nothing
// of what stood behind it reaches the upstream.
func noSmuggling(t *testing.T, requests ...string) {
	t.Helper()
	s, up, _ := serveOne(t, siteOptions{})
	for i, request := range requests {
		// A path of its own: what became of the request before may be told late.
		request = strings.Replace(request, " / ", fmt.Sprintf(" /%d ", i), 1)
		checkSmuggling(t, up, s.tunnel("api.test"), "https", request)
	}
}

func checkSmuggling(t *testing.T, up *site, w *wire, where, request string) {
	t.Helper()
	_, path, _ := strings.Cut(request, " ")
	path, _, _ = strings.Cut(path, " ")
	path = path[strings.LastIndexByte(path, '/'):]
	w.send(request)
	a, err := w.tryResponse(http.MethodPost)
	if err != nil {
		t.Errorf("%s %q: %v, want 400", where, request, err)
		return
	}
	if a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusNotImplemented {
		t.Errorf("%s %q: %s, want 400", where, request, a.Status)
	}
	if rest, err := io.ReadAll(w.r); len(rest) > 0 || err != nil && !gone(err) {
		t.Errorf("%s %q: after the refusal came %q, %v, want the end", where, request, rest, err)
	}
	n := 0
	for _, r := range up.requests() {
		if strings.HasSuffix(r.URI, path) {
			n++
		}
		if strings.Contains(r.URI, "smuggled") {
			t.Errorf("%s %q: the upstream got %s", where, request, r.URI)
		}
	}
	if n > 1 {
		t.Errorf("%s %q: the upstream got %d requests", where, request, n)
	}
}

func post(lines ...string) string {
	return crlf(append([]string{"POST / HTTP/1.1", "Host: api.test"}, lines...)...)
}

func TestRequestSmugglingCLTE(t *testing.T) {
	t.Parallel()
	noSmuggling(t,
		post("Content-Length: 6", "Transfer-Encoding: chunked")+"0\r\n\r\n"+smuggled,
		post("Content-Length: 6", "Transfer-Encoding: chunked")+"1\r\na\r\n0\r\n\r\n"+smuggled,
		post("Content-Length: 0", "Transfer-Encoding: chunked")+"0\r\n\r\n"+smuggled,
	)
}

func TestRequestSmugglingTECL(t *testing.T) {
	t.Parallel()
	noSmuggling(t,
		post("Transfer-Encoding: chunked", "Content-Length: 4")+fmt.Sprintf("%x\r\n", len(smuggled))+smuggled+"\r\n0\r\n\r\n",
		post("transfer_encoding: chunked", "Content-Length: 4")+"0\r\n\r\n"+smuggled,
		strings.Replace(post("Transfer-Encoding: chunked"), "HTTP/1.1", "HTTP/1.0", 1)+"0\r\n\r\n"+smuggled,
	)
}

func TestRequestSmugglingTETE(t *testing.T) {
	t.Parallel()
	noSmuggling(t,
		post("Transfer-Encoding: chunked", "Transfer-Encoding: identity")+"0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked, identity")+"0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")+"0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: xchunked")+"0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked\x0b")+"0\r\n\r\n"+smuggled,
		post("Transfer-Encoding : chunked")+"0\r\n\r\n"+smuggled,
		post(" Transfer-Encoding: chunked")+"0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: gzip, chunked")+"0\r\n\r\n"+smuggled,
		post("X: a\rTransfer-Encoding: chunked")+"0\r\n\r\n"+smuggled,
	)
}

func TestRequestSmugglingBareLF(t *testing.T) {
	t.Parallel()
	noSmuggling(t,
		"POST / HTTP/1.1\nHost: api.test\nContent-Length: 0\n\n"+smuggled,
		"POST / HTTP/1.1\r\nHost: api.test\r\nX: a\nContent-Length: 40\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"1\na\r\n0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"1\r\na\n0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"0\n\n"+smuggled,
	)
}

func TestRequestSmugglingObsFold(t *testing.T) {
	t.Parallel()
	noSmuggling(t,
		post("X: a", " Content-Length: 40", "Content-Length: 0")+smuggled,
		post("Transfer-Encoding:", " chunked")+"0\r\n\r\n"+smuggled,
		post("Transfer-Encoding:", "\tchunked", "Content-Length: 5")+"0\r\n\r\n"+smuggled,
	)
}

func TestRequestSmugglingChunkExtension(t *testing.T) {
	t.Parallel()
	noSmuggling(t,
		post("Transfer-Encoding: chunked")+"1;a=b\r\na\r\n0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"1;\na\r\na\r\n0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"1 \r\na\r\n0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"0x1\r\na\r\n0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"10000000000000001\r\na\r\n0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"-1\r\na\r\n0\r\n\r\n"+smuggled,
		post("Transfer-Encoding: chunked")+"1\r\nab\r\n0\r\n\r\n"+smuggled,
	)
}

func TestRequestSmugglingNegativeLength(t *testing.T) {
	t.Parallel()
	noSmuggling(t,
		post("Content-Length: -1")+smuggled,
		post("Content-Length: +5")+"hello"+smuggled,
		post("Content-Length: 5, 5")+"hello"+smuggled,
		post("Content-Length: 5", "Content-Length: 6")+"hello"+smuggled,
		post("Content-Length: 5", "Content-Length: 5")+"hello"+smuggled,
		post("Content-Length: 0x5")+"hello"+smuggled,
		post("Content-Length: ")+smuggled,
		post("Content-Length: 99999999999999999999")+smuggled,
		post("Content_Length: 5", "Content-Length: 0")+smuggled,
	)
}

// TestRequestSmugglingAfterUpgrade: an Upgrade that is not switched to does
// not end the scrutiny of what follows it.
func TestRequestSmugglingAfterUpgrade(t *testing.T) {
	t.Parallel()
	s, up, _ := serveOne(t, siteOptions{})
	for _, protocol := range []string{"h2c", "foo", "websocket"} {
		w := s.tunnel("api.test")
		w.send(crlf("GET / HTTP/1.1", "Host: api.test", "Connection: Upgrade", "Upgrade: "+protocol))
		w.response(http.MethodGet)
		if _, err := io.WriteString(w.conn, post("Content-Length: 6", "Transfer-Encoding: chunked")+"0\r\n\r\n"+smuggled); err != nil {
			continue // closed: no way in
		}
		if a, err := w.tryResponse(http.MethodPost); err == nil && a.StatusCode != http.StatusBadRequest {
			t.Errorf("after Upgrade: %s, ambiguous framing got %s", protocol, a.Status)
		}
	}
	for _, r := range up.requests() {
		if r.Method != http.MethodGet || r.URI != "/" {
			t.Errorf("the upstream got %s %s", r.Method, r.URI)
		}
	}
}

// TestRequestSmugglingOutside holds the same for requests outside a tunnel.
func TestRequestSmugglingOutside(t *testing.T) {
	t.Parallel()
	up := newSite(t, siteOptions{Clear: true})
	s := serve(t, serveOptions{Vars: siteVars(up), Config: `
rules: [{id: clear, hosts: "http://clear.test", upstream: {connect_to: "@site"}}]
`})
	s.dial().send(crlf("GET http://clear.test/ HTTP/1.1", "Host: clear.test")).response(http.MethodGet).fine(t)
	clearPost := func(lines ...string) string {
		return crlf(append([]string{"POST http://clear.test/ HTTP/1.1", "Host: clear.test"}, lines...)...)
	}
	for i, request := range []string{
		clearPost("Content-Length: 6", "Transfer-Encoding: chunked") + "0\r\n\r\n" + smuggled,
		clearPost("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n" + smuggled,
		clearPost("Transfer-Encoding: chunked") + "1;a=b\r\na\r\n0\r\n\r\n" + smuggled,
		clearPost("X: a", " b") + smuggled,
		clearPost("Content-Length: -1") + smuggled,
		"POST http://clear.test/ HTTP/1.1\nHost: clear.test\n\n" + smuggled,
	} {
		request = strings.Replace(request, "clear.test/ ", fmt.Sprintf("clear.test/%d ", i), 1)
		checkSmuggling(t, up, s.dial(), "http", request)
	}
}

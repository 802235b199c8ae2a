package dial

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzHead: what the fetcher writes is, byte for byte, what net/http writes, and one request of the same meaning.
func FuzzHead(f *testing.F) {
	f.Add("GET", "https://api.test:443/v1/a?b=c", "api.test", "X-Api-Key", "value", "agent/1.0")
	f.Add("HEAD", "http://[::1]:8080?x", "[::1]:8080", "accept", " two words\t", "")
	f.Add("OPTIONS", "https://api.test/%2f/ü?q=a b", "", "Content-Length", "3", "a\r\nb: c")
	f.Add("GET\r\n", "https://api.test/\r\nX: y", "a\r\nb", "A\r\nB", "c\r\nd: e", "x")
	f.Fuzz(func(t *testing.T, method, address, host, name, value, agent string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		req := &http.Request{Method: method, URL: u, Host: host, Header: http.Header{name: {value, "again"}, "User-Agent": {agent}, "Zz": {"last"}, "Aa": {"first"}}}
		if validRequest(req) != nil {
			return
		}
		var ours, theirs bytes.Buffer
		w := bufio.NewWriter(&ours)
		writeHead(w, req)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := req.Write(&theirs); err != nil || ours.String() != theirs.String() {
			t.Fatalf("wrote %q, net/http %q, %v", &ours, &theirs, err)
		}
		got, err := http.ReadRequest(bufio.NewReader(&ours))
		if err != nil || got.Method != method || got.RequestURI != u.RequestURI() || strings.Contains(got.RequestURI, " ") {
			t.Fatalf("read again: %+v, %v", got, err)
		}
	})
}

// TestMalformedRequestsAreNotWritten: nothing that a client, a rule or a secret says begins a line of its own.
func TestMalformedRequestsAreNotWritten(t *testing.T) {
	for what, change := range map[string]func(*http.Request){
		"method":       func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX:" },
		"host":         func(r *http.Request) { r.Host = "api.test\r\nX: y" },
		"zone":         func(r *http.Request) { r.Host = "[fe80::1%25en0]" },
		"query":        func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX: y" },
		"space":        func(r *http.Request) { r.URL.RawQuery = "a b" },
		"opaque":       func(r *http.Request) { r.URL.Opaque = "/ HTTP/1.1\nX: y" },
		"header name":  func(r *http.Request) { r.Header["X: y\r\nZ"] = []string{"z"} },
		"header value": func(r *http.Request) { r.Header["X"] = []string{"y\r\nZ: z"} },
		"scheme":       func(r *http.Request) { r.URL.Scheme = "ftp" },
	} {
		req, err := http.NewRequest(http.MethodGet, "https://api.test/path?q", nil)
		if err != nil {
			t.Fatal(err)
		}
		if validRequest(req) != nil {
			t.Fatal("a plain request is refused")
		}
		change(req)
		if validRequest(req) == nil {
			t.Errorf("%s: passes", what)
		}
	}
}

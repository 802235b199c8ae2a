package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func wellFormed() []string {
	return []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\rcGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\n\n\n\n\r\n00a\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + strings.Repeat("v", 5000) + "\r\n\r\n",
		"GET /" + strings.Repeat("p", 300) + " HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03\x01 anything\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello\n",
	}
}

// smuggling is the corpus of RequestSmuggling: what intermediaries are known to disagree on.
func smuggling() map[string]string {
	const h = "POST / HTTP/1.1\r\nHost: a\r\n"
	const evil = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
	return map[string]string{
		"CLTE":                h + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
		"TECL":                h + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + evil,
		"TETE":                h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"TETESame":            h + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TEList":              h + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"TEObfuscated":        h + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"TETabbed":            h + "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
		"TEUnderscore":        h + "Transfer_Encoding: chunked\r\n\r\n",
		"TEHTTP10":            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TELongPadding":       h + "Transfer-Encoding: " + strings.Repeat(" ", 200) + "chunked\r\n\r\n",
		"TwoCL":               h + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"TwoCLSame":           h + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
		"CLList":              h + "Content-Length: 1, 1\r\n\r\na",
		"CLUnderscore":        h + "Content_Length: 9\r\n\r\n",
		"NegativeLength":      h + "Content-Length: -1\r\n\r\n",
		"PlusLength":          h + "Content-Length: +1\r\n\r\na",
		"HexLength":           h + "Content-Length: 0x1\r\n\r\na",
		"EmptyLength":         h + "Content-Length:\r\n\r\n",
		"HugeLength":          h + "Content-Length: 99999999999999999999\r\n\r\n",
		"BareLFInHead":        "POST / HTTP/1.1\nHost: a\n\n",
		"BareLFBetween":       h + "A: b\nContent-Length: 5\r\n\r\nhello",
		"BareCR":              h + "A: b\rContent-Length: 5\r\n\r\n",
		"ObsFold":             h + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"ObsFoldTab":          h + "A: b\r\n\tc\r\n\r\n",
		"NoColon":             h + "Transfer-Encoding chunked\r\n\r\n",
		"ChunkExtension":      h + "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
		"ChunkBareLF":         h + "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
		"ChunkSizeSpace":      h + "Transfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
		"ChunkSizeSign":       h + "Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n",
		"ChunkSizeOverflow":   h + "Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n0\r\n\r\n",
		"ChunkNoEnd":          h + "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
		"TrailerCL":           h + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\nhello",
		"TrailerTE":           h + "Transfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
		"TrailerFold":         h + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",
		"SecondRequestBareLF": "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\nHost: a\n\n",
	}
}

// feed passes s in pieces of n bytes and returns what came through.
func feed(s string, n int) (string, error) {
	f := newFraming()
	var out strings.Builder
	for len(s) > 0 {
		piece := s[:min(n, len(s))]
		s = s[len(piece):]
		ok, err := f.check([]byte(piece))
		out.WriteString(piece[:ok])
		if err != nil {
			return out.String(), err
		}
	}
	return out.String(), nil
}

func TestFramingPassesWellFormedRequests(t *testing.T) {
	for _, s := range wellFormed() {
		for n := 1; n <= len(s); n++ {
			if out, err := feed(s, n); err != nil || out != s {
				t.Fatalf("in pieces of %d: %q: %v after %d bytes", n, s, err, len(out))
			}
		}
	}
}

func TestFramingRefusesSmuggling(t *testing.T) {
	for name, s := range smuggling() {
		t.Run(name, func(t *testing.T) {
			for n := 1; n <= len(s); n++ {
				out, err := feed(s, n)
				if !errors.Is(err, errFraming) {
					t.Fatalf("in pieces of %d: passed", n)
				}
				if strings.Contains(out, "/evil HTTP/1.1\r\nHost: a\r\n\r\n") {
					t.Fatalf("in pieces of %d: the smuggled request came through", n)
				}
			}
		})
	}
}

// FuzzFraming holds that chunking does not change the verdict, that what
// passes is what came, and that net/http reads the same requests out of it.
func FuzzFraming(f *testing.F) {
	for _, s := range wellFormed() {
		f.Add([]byte(s), 7)
	}
	for _, s := range smuggling() {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		n = max(1, n%4096)
		whole, err1 := feed(string(b), len(b)+1)
		pieces, err2 := feed(string(b), n)
		if (err1 == nil) != (err2 == nil) || err1 == nil && whole != pieces {
			t.Fatalf("whole: %q, %v; in pieces of %d: %q, %v", whole, err1, n, pieces, err2)
		}
		if !bytes.HasPrefix(b, []byte(whole)) || !bytes.HasPrefix(b, []byte(pieces)) {
			t.Fatal("what passed is not what came")
		}
		agreeWithNetHTTP(t, whole)
	})
}

// agreeWithNetHTTP walks the requests in s as both read them.
func agreeWithNetHTTP(t *testing.T, s string) {
	src := strings.NewReader(s)
	r := bufio.NewReaderSize(src, 16)
	at := func() int { return len(s) - src.Len() - r.Buffered() }
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if req.Method == http.MethodConnect || len(req.Header["Upgrade"]) > 0 {
			return
		}
		g := newFraming()
		if _, err := g.check([]byte(s[:at()])); err != nil || g.state == framingRaw {
			return
		}
		if g.state != framingHead || !g.first {
			t.Fatalf("net/http ends a request at byte %d of %q; framing is in state %d", at(), s, g.state)
		}
	}
}

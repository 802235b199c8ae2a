package dial

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnswerThatNobodyAskedFor: what an upstream sends while no request is under way answers none, be it
// a time-out told late or what somebody made it say to the next caller.
func TestAnswerThatNobodyAskedFor(t *testing.T) {
	const asked, unasked = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nasked", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked"
	ca := newAuthority(t, "root")
	conf := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "api.test", nil)}}
	for name, says := range map[string]func(c net.Conn){
		"in one write":   func(c net.Conn) { _, _ = io.WriteString(c, asked+unasked) },
		"in two writes":  func(c net.Conn) { _, _ = io.WriteString(c, asked); _, _ = io.WriteString(c, unasked) },
		"a time-out":     func(c net.Conn) { _, _ = io.WriteString(c, asked+"HTTP/1.1 408 Request Timeout\r\n\r\n") },
		"without a body": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n"+unasked) },
		"a farewell": func(c net.Conn) {
			_, _ = io.WriteString(c, asked)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		},
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				said := make(chan struct{})
				var conns atomic.Int64
				port := listen(t, func(c net.Conn) {
					if scheme == "https" {
						c = tls.Server(c, conf)
					}
					first := conns.Add(1) == 1
					r := bufio.NewReader(c)
					for {
						if _, err := http.ReadRequest(r); err != nil {
							return
						}
						if !first {
							_, _ = io.WriteString(c, asked)
							continue
						}
						says(c)
						close(said)
						_, _ = io.Copy(io.Discard, r) // a second request here is not answered
						return
					}
				})
				u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback, AnyClear: true})
				text(t, u, request(t, "GET", scheme+"://api.test:"+port+"/", ""))
				<-said
				rest(u)
				if got := text(t, u, request(t, "GET", scheme+"://api.test:"+port+"/", "")); got != "asked" || conns.Load() != 2 {
					t.Errorf("%q on %d connections", got, conns.Load())
				}
			})
		}
	}
}

// rest makes idle connections idle for longer than hardly.
func rest(u *Upstream) {
	f := &u.current().gets
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, idle := range f.idle {
		for _, c := range idle {
			c.since = c.since.Add(-hardlyIdle)
		}
	}
}

// TestConnectionsAreKept: a connection serves the next request, unless it was left in the middle of an answer or the
// server closes it.
func TestConnectionsAreKept(t *testing.T) {
	ca := newAuthority(t, "root")
	srv := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "api.test", nil)}}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			_, _ = w.Write(make([]byte, 1<<20))
		case "/last":
			w.Header().Set("Connection", "close")
		case "/chunks":
			w.Header().Set("Trailer", "Sum")
			_, _ = io.WriteString(w, "a")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "b")
			w.Header().Set("Sum", "2")
		case "/none":
			w.WriteHeader(http.StatusNotModified)
		}
	})
	u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback})
	for i, step := range []struct {
		method, path string
		read         bool
		conns        int64
	}{
		{"GET", "/", true, 1},
		{"GET", "/chunks", true, 1},
		{"HEAD", "/long", true, 1},
		{"OPTIONS", "/none", true, 1},
		{"GET", "/long", true, 1},
		{"GET", "/long", false, 1},
		{"GET", "/", true, 2}, // the rest of the answer might have taken for ever
		{"GET", "/last", true, 2},
		{"GET", "/", true, 3},
	} {
		resp, err := u.RoundTrip(request(t, step.method, "https://api.test:"+srv.port+step.path, ""))
		if err != nil {
			t.Fatal(step, err)
		}
		if step.read {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		if err2 := resp.Body.Close(); err != nil || err2 != nil || srv.conns.Load() != step.conns {
			t.Errorf("step %d: %v, %v, %d connections; want %d", i, err, err2, srv.conns.Load(), step.conns)
		}
		if step.path == "/chunks" && resp.Trailer.Get("Sum") != "2" {
			t.Errorf("trailer %v", resp.Trailer)
		}
	}
}

// TestInterimAnswersAreBounded: where nobody hears of 1xx answers, all of them together are one header.
func TestInterimAnswersAreBounded(t *testing.T) {
	var sent atomic.Int64
	port := listen(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		for {
			n, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("x", 1000)+"\r\n\r\n")
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	u := upstream(t, newPool(t, Options{}), Profile{Allow: loopback, AnyClear: true})
	refused(t, u, request(t, "GET", "http://api.test:"+port+"/", ""), BadResponse)
}

// TestIdleConnectionsEnd: what is idle ends in time, is bounded in number, and gives its memory back.
func TestIdleConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := &transports{h1: &http.Transport{}, h2: &http.Transport{}}
		f := &ts.gets
		f.ts = ts
		var closed atomic.Int64
		put := func(key string) {
			f.put(&fetchConn{Conn: &closing{closed: &closed}, of: f, key: key})
		}
		hosts := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.idle)
		}
		for range idlePerHost + 3 {
			put("https://a.test:443")
		}
		if closed.Load() != 3 {
			t.Errorf("%d closed over the bound", closed.Load())
		}
		time.Sleep(idleTimeout / 2)
		put("https://b.test:443")
		time.Sleep(idleTimeout/2 + time.Millisecond)
		synctest.Wait()
		if closed.Load() != idlePerHost+3 || hosts() != 1 {
			t.Errorf("%d closed, %d hosts are kept", closed.Load(), hosts())
		}
		time.Sleep(idleTimeout / 2)
		synctest.Wait()
		if closed.Load() != idlePerHost+4 || hosts() != 0 {
			t.Errorf("%d closed, %d hosts are kept", closed.Load(), hosts())
		}
		put("https://b.test:443")
		if f.CloseIdleConnections(); closed.Load() != idlePerHost+5 {
			t.Error("not closed when asked")
		}
		put("https://b.test:443")
		ts.retired.Store(true)
		if put("https://c.test:443"); closed.Load() != idlePerHost+7 {
			t.Error("kept though the transports are retired")
		}
	})
}

// closing counts that it is closed.
type closing struct {
	net.Conn
	closed *atomic.Int64
}

func (c *closing) Close() error { c.closed.Add(1); return nil }

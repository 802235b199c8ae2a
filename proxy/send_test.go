package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// unmaskedAPI is api, its answers as the upstream sent them.
func unmaskedAPI(to string) rule {
	r := api(to)
	r.change = func(r *Rule) { r.Scrub = ScrubOff }
	return r
}

// TestRequestsOfOneHop: what a client says to its neighbour, and what it lists in Connection, goes no
// further (RFC 9110 §7.6.1); that it takes trailers does (§10.1.4), and nothing is made up.
func TestRequestsOfOneHop(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, agent := r.Header["User-Agent"]
		fmt.Fprintf(w, "te=%q mine=%q alive=%q close=%v agent=%v length=%d chunked=%v", r.Header["Te"], r.Header["X-Mine"], r.Header["Keep-Alive"],
			r.Close, agent, r.ContentLength, len(r.TransferEncoding) > 0)
	})
	s := newStage(t, Options{}, api(to))
	for head, want := range map[string]string{
		"GET / HTTP/1.1\r\n":                                                                         `te=[] mine=[] alive=[] close=false agent=false length=0 chunked=false`,
		"POST / HTTP/1.1\r\nContent-Length: 0\r\n":                                                   `te=[] mine=[] alive=[] close=false agent=false length=0 chunked=false`,
		"GET / HTTP/1.1\r\nUser-Agent: me\r\n":                                                       `te=[] mine=[] alive=[] close=false agent=true length=0 chunked=false`,
		"GET / HTTP/1.1\r\nTE: gzip, trailers;q=1\r\nConnection: TE\r\n":                             `te=["trailers"] mine=[] alive=[] close=false agent=false length=0 chunked=false`,
		"GET / HTTP/1.1\r\nTE: gzip\r\nConnection: TE\r\n":                                           `te=[] mine=[] alive=[] close=false agent=false length=0 chunked=false`,
		"GET / HTTP/1.1\r\nConnection: close, x-mine\r\nX-Mine: 1\r\n":                               `te=[] mine=[] alive=[] close=false agent=false length=0 chunked=false`,
		"GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: X-MINE\r\nX-Mine: 1\r\n":            `te=[] mine=[] alive=[] close=false agent=false length=0 chunked=false`,
		"GET / HTTP/1.1\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\n":                                   `te=[] mine=["1"] alive=[] close=false agent=false length=0 chunked=false`,
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: trailer\r\n": `te=[] mine=[] alive=[] close=false agent=false length=-1 chunked=true`,
	} {
		body := ""
		if strings.Contains(head, "chunked") {
			body = "0\r\nX-Sum: 1\r\n\r\n"
		}
		if _, got := s.say(s.open("api.test:443", "api.test"), head+"Host: api.test\r\n\r\n"+body); got != want {
			t.Errorf("%q: the upstream saw\n%s, want\n%s", head, got, want)
		}
	}
}

// TestAnswersAreNotMadeUp: an answer without a type stays without one, whatever its body looks like.
func TestAnswersAreNotMadeUp(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = nil
		w.Header().Set("Date", "Tue, 15 Nov 1994 08:12:31 GMT")
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", "13")
		}
		_, _ = io.WriteString(w, "<html></html>")
		if r.URL.Path == "/streamed" {
			_ = http.NewResponseController(w).Flush()
		}
	})
	for name, rule := range map[string]rule{"masked": api(to), "unmasked": unmaskedAPI(to)} {
		newStage(t, Options{}, rule).both(func(s *stage, h2 bool) {
			for _, path := range []string{"/", "/sized", "/streamed"} {
				res, body := s.get(h2, path)
				if kind, ok := res.Header["Content-Type"]; ok || body != "<html></html>" {
					s.Errorf("%s %s: Content-Type %q, body %q", name, path, kind, body)
				}
				if date := res.Header["Date"]; len(date) != 1 || date[0] != "Tue, 15 Nov 1994 08:12:31 GMT" {
					s.Errorf("%s %s: Date %q", name, path, date)
				}
			}
		})
	}
}

// TestTrailersThatNobodyAnnounced: they arrive, and so do those behind an empty body.
func TestTrailersThatNobodyAnnounced(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/announced" {
			w.Header().Set("Trailer", "X-Known")
		}
		if r.URL.Path != "/empty" {
			_, _ = io.WriteString(w, "body")
		}
		_ = http.NewResponseController(w).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
		if r.URL.Path == "/announced" {
			w.Header().Set("X-Known", "2")
		}
	})
	for name, rule := range map[string]rule{"masked": api(to), "unmasked": unmaskedAPI(to)} {
		newStage(t, Options{}, rule).both(func(s *stage, h2 bool) {
			for path, want := range map[string]string{"/": "", "/empty": "", "/announced": "2"} {
				res, _ := s.get(h2, path)
				if res.Trailer.Get("X-Late") != "1" || res.Trailer.Get("X-Known") != want {
					s.Errorf("%s %s: trailers %v", name, path, res.Trailer)
				}
			}
		})
	}
}

// TestPausesAreNotHeldBack: what an upstream has sent before it pauses arrives during the pause: the header,
// and the part of a body, of known length and unknown.
func TestPausesAreNotHeldBack(t *testing.T) {
	part := strings.Repeat("x", 6<<10) + "\n"
	goOn := make(chan struct{})
	step := func(s *stage) {
		select {
		case goOn <- struct{}{}:
		case <-time.After(10 * time.Second):
			s.Fatal("the upstream is not where it should be")
		}
	}
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		flush := http.NewResponseController(w).Flush
		part := part
		if r.URL.Path == "/events" {
			part = "data: x\n"
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		}
		if r.URL.Path != "/unknown" {
			w.Header().Set("Content-Length", fmt.Sprint(2*len(part)))
		}
		for i := range 3 {
			if i > 0 {
				_, _ = io.WriteString(w, part)
			}
			_ = flush()
			select {
			case <-goOn:
			case <-r.Context().Done():
				return
			}
		}
	})
	for name, rule := range map[string]rule{"masked": api(to), "unmasked": unmaskedAPI(to)} {
		newStage(t, Options{}, rule).both(func(s *stage, h2 bool) {
			for _, path := range []string{"/sized", "/unknown", "/events"} {
				part := part
				if path == "/events" {
					part = "data: x\n"
				}
				res, err := s.client(h2, nil).Get("https://api.test" + path) // returns with the header
				if err != nil {
					s.Fatalf("%s %s: %v", name, path, err)
				}
				body := bufio.NewReader(res.Body)
				for i := range 2 {
					step(s)
					if got, err := body.ReadString('\n'); err != nil || got != part {
						s.Fatalf("%s %s: part %d: %d bytes, %v", name, path, i, len(got), err)
					}
				}
				step(s)
				if _, err := body.ReadByte(); err != io.EOF {
					s.Errorf("%s %s: at the end %v", name, path, err)
				}
				_ = res.Body.Close()
			}
		})
	}
}

// TestClientKeepsItsConnection: that the upstream closes its connection is no concern of the client's, nor is how
// long its own may stay open.
func TestClientKeepsItsConnection(t *testing.T) {
	to := rawUpstream(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	answers := bufio.NewReader(tc)
	for range 3 {
		_, _ = io.WriteString(tc, "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != "ok" || res.Close || len(res.Header["Connection"]) > 0 {
			t.Fatalf("%q, close %v, %v", b, res.Close, res.Header)
		}
	}
	// An answer to HTTP/1.0 that ends with its connection is a whole one, without a length.
	to = rawUpstream(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	s = newStage(t, Options{}, api(to))
	if res, body := s.say(s.open("api.test:443", "api.test"), "GET / HTTP/1.0\r\nHost: api.test\r\n\r\n"); body != "ok" || res.ContentLength != 2 {
		t.Errorf("HTTP/1.0: %q, length %d", body, res.ContentLength)
	}
}

// TestAnswersWithoutBody: HEAD keeps the length it tells of, and 204 and 304 end where their headers do, even if
// their upstream says otherwise, so that the next answer is read as one.
func TestAnswersWithoutBody(t *testing.T) {
	for text, want := range map[string]struct {
		method string
		length int64
	}{
		"HTTP/1.1 200 OK\r\nContent-Length: 4096\r\nConnection: close\r\n\r\n":                 {"HEAD", 4096},
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n":           {"HEAD", -1},
		"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n":                                 {"GET", 0},
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 4096\r\nConnection: close\r\n\r\n":       {"GET", 0},
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n": {"GET", 0},
	} {
		s := newStage(t, Options{}, api(rawUpstream(t, text)))
		tc := s.open("api.test:443", "api.test")
		answers := bufio.NewReader(tc)
		for range 2 {
			start := time.Now()
			_, _ = io.WriteString(tc, want.method+" / HTTP/1.1\r\nHost: api.test\r\n\r\n")
			res, err := http.ReadResponse(answers, &http.Request{Method: want.method})
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if b, err := io.ReadAll(res.Body); len(b) > 0 || err != nil || res.StatusCode >= 500 {
				t.Errorf("%q: %s, body %q, %v", text, res.Status, b, err)
			}
			if want.method == "HEAD" && res.ContentLength != want.length {
				t.Errorf("%q: length %d, want %d", text, res.ContentLength, want.length)
			}
			if d := time.Since(start); d > 4*time.Second { // the upstream closes after five
				t.Errorf("%q: took %v", text, d)
			}
		}
	}
}

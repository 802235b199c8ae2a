package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestErrorsKeepSilent: an upstream that sends nonsense may be sending the credential back.
func TestErrorsKeepSilent(t *testing.T) {
	const canary = "c4n4ry"
	for name, c := range map[string]struct {
		answer string
		reason Reason
	}{
		"not HTTP":      {canary + " " + canary + "\r\n\r\n", BadResponse},
		"bad status":    {"HTTP/1.1 " + canary + "\r\n\r\n", BadResponse},
		"bad header":    {"HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n", BadResponse},
		"bad length":    {"HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n", BadResponse},
		"bad coding":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n", BadResponse},
		"two lengths":   {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", BadResponse},
		"huge header":   {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat(canary, 100_000) + "\r\n\r\n", BadResponse},
		"nothing":       {"", Closed},
		"half a header": {"HTTP/1.1 200 OK\r\nA: " + canary + "\r\n", Closed},
		"bad chunk":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + canary + "\r\n", ""},
		"short body":    {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + canary, ""},
	} {
		for _, method := range []string{"GET", "POST"} { // by a fetcher, by net/http
			t.Run(method+" "+name, func(t *testing.T) {
				port := listen(t, func(conn net.Conn) {
					if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
						_, _ = io.WriteString(conn, c.answer)
					}
				})
				u := upstream(t, newPool(t, Options{}), Profile{Allow: loopback, AnyClear: true})
				req := request(t, method, "http://api.test:"+port+"/"+canary, "")
				req.Header.Set("Authorization", canary)
				if c.reason != "" {
					e := refused(t, u, req, c.reason)
					silent(t, e)
					return
				}
				resp, err := u.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
				silent(t, err)
			})
		}
	}
}

func silent(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if s := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(s, "c4n4ry") {
			t.Errorf("the error repeats what was sent: %s", s)
		}
	}
}

func TestErrorsKeepSilentHTTP2(t *testing.T) {
	ca := newAuthority(t, "root")
	conf := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "api.test", nil)}, NextProtos: []string{"h2"}}
	for name, c := range map[string]struct {
		answer func(*http2.Framer, uint32)
		reason Reason
	}{
		"GOAWAY": {func(fr *http2.Framer, s uint32) {
			_ = fr.WriteGoAway(s, http2.ErrCodeInternal, []byte("c4n4ry"))
			_ = fr.WriteRSTStream(s, http2.ErrCodeInternal)
		}, Closed},
		"huge header": {func(fr *http2.Framer, s uint32) {
			b := header(":status", "200", "a", strings.Repeat("c4n4ry", 60_000))
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: b[:16000]})
			for b = b[16000:]; len(b) > 0; {
				n := min(len(b), 16000)
				_ = fr.WriteContinuation(s, n == len(b), b[:n])
				b = b[n:]
			}
		}, BadResponse},
		"bad status": {func(fr *http2.Framer, s uint32) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: header(":status", "c4n4ry"), EndHeaders: true})
		}, BadResponse},
	} {
		t.Run(name, func(t *testing.T) {
			port := listen(t, func(conn net.Conn) { rawH2(tls.Server(conn, conf), c.answer) })
			u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback})
			req := request(t, "GET", "https://api.test:"+port+"/c4n4ry", "")
			req.ProtoMajor = 2
			silent(t, refused(t, u, req, c.reason))
		})
	}
}

func TestBrokenAnswerHTTP2(t *testing.T) {
	ca := newAuthority(t, "root")
	conf := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "api.test", nil)}, NextProtos: []string{"h2"}}
	port := listen(t, func(conn net.Conn) {
		rawH2(tls.Server(conn, conf), func(fr *http2.Framer, s uint32) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: s, BlockFragment: header(":status", "200"), EndHeaders: true})
			_ = fr.WriteGoAway(s, http2.ErrCodeInternal, []byte("c4n4ry"))
			_ = conn.Close()
		})
	})
	u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback})
	req := request(t, "GET", "https://api.test:"+port+"/", "")
	req.ProtoMajor = 2
	resp, err := u.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	silent(t, because(t, err, Closed))
}

func TestTimeoutsAndCancelling(t *testing.T) {
	ca := newAuthority(t, "root")
	entered := make(chan struct{}, 8)
	srv := certified(t, ca.leaf(t, "api.test", nil), func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // an answer here may outrun the cancelling that caused it
	}, "h2", "http/1.1")
	p := newPool(t, Options{Roots: ca.pool()})
	hasty := upstream(t, p, Profile{Allow: loopback, ResponseHeader: 20 * time.Millisecond})
	patient := upstream(t, p, Profile{Allow: loopback})
	why := errors.New("the caller's reason")
	for _, major := range []int{1, 2} {
		req := request(t, "POST", "https://api.test:"+srv.port+"/", "x")
		req.ProtoMajor = major
		refused(t, hasty, req, HeaderTimeout)
		<-entered
		ctx, cancel := context.WithCancelCause(t.Context())
		req = request(t, "POST", "https://api.test:"+srv.port+"/", "x").WithContext(ctx)
		req.ProtoMajor = major
		go func() { <-entered; cancel(why) }()
		if e := refused(t, patient, req, Cancelled); !errors.Is(e, why) {
			t.Errorf("the cause is %v", e.Err)
		}
	}
}

// TestBrokenRequestBody: what reading the client's body gave comes through, a limit for instance.
func TestBrokenRequestBody(t *testing.T) {
	ca := newAuthority(t, "root")
	srv := certified(t, ca.leaf(t, "api.test", nil), func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, "h2", "http/1.1")
	u := upstream(t, newPool(t, Options{Roots: ca.pool()}), Profile{Allow: loopback})
	for _, major := range []int{1, 2} {
		req := request(t, "POST", "https://api.test:"+srv.port+"/", "")
		req.ProtoMajor, req.ContentLength = major, -1
		req.Body = http.MaxBytesReader(nil, io.NopCloser(strings.NewReader("too long")), 3)
		e := refused(t, u, req, Cancelled)
		if _, is := errors.AsType[*http.MaxBytesError](e); !is {
			t.Errorf("%v", e)
		}
	}
}

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

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestStaleUpstreamConnection: the upstream answers one request, then closes as
// it reads the next. What net/http may repeat is what RFC 9110 §9.2.2 calls safe.
func TestStaleUpstreamConnection(t *testing.T) {
	for name, c := range map[string]struct {
		method, body, key string
		repeats           bool
	}{
		"POST":                       {"POST", "charge", "", false},
		"POST without body":          {"POST", "", "", false},
		"POST idempotent":            {"POST", "charge", "Idempotency-Key", false},
		"POST idempotent, no body":   {"POST", "", "Idempotency-Key", false},
		"POST X-idempotent, no body": {"POST", "", "X-Idempotency-Key", false},
		"DELETE idempotent":          {"DELETE", "", "Idempotency-Key", false},
		"PUT":                        {"PUT", "", "", false},
		"GET":                        {"GET", "", "", true},
	} {
		for _, readFirst := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				var seen atomic.Int64
				var key atomic.Value
				port := listen(t, func(conn net.Conn) {
					br := bufio.NewReader(conn)
					warm, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, warm.Body)
					if warm.URL.Path != "/warm" {
						seen.Add(1) // the repetition, on a fresh connection
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					if !readFirst { // closing while the request is under way: RST
						_, _ = br.Peek(1)
						seen.Add(1)
						return
					}
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					key.Store(req.Header.Get(c.key))
					seen.Add(1)
				})
				u := upstream(t, newPool(t, Options{}), Profile{AnyClear: true, Allow: loopback})
				text(t, u, request(t, c.method, "http://api.test:"+port+"/warm", c.body)) // GETs have connections of their own
				req := request(t, c.method, "http://api.test:"+port+"/v1/charges", c.body)
				if c.key != "" {
					req.Header.Set(c.key, "k1")
				}
				// http.NewRequest gives strings.Reader bodies a GetBody; that alone must not make them repeatable.
				if c.body != "" {
					req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(c.body)), nil }
				}
				if c.repeats {
					text(t, u, req)
					if seen.Load() != 2 {
						t.Errorf("sent %d times", seen.Load())
					}
					return
				}
				e := refused(t, u, req, Closed)
				if n := seen.Load(); n != 1 {
					t.Errorf("sent %d times: %v", n, e)
				}
				if c.key != "" && readFirst && key.Load() != "k1" {
					t.Errorf("the key arrived as %v", key.Load())
				}
				if c.key != "" && req.Header.Get(c.key) != "k1" {
					t.Error("the caller's request was changed")
				}
			})
		}
	}
}

// rawH2 speaks HTTP/2 frames on conn: answer is called with each request's stream, and may write.
func rawH2(conn net.Conn, answer func(fr *http2.Framer, stream uint32)) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	fr := http2.NewFramer(conn, conn)
	_ = fr.WriteSettings()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = fr.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			answer(fr, f.StreamID)
		}
	}
}

func header(fields ...string) []byte {
	var b strings.Builder
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return []byte(b.String())
}

// TestStaleUpstreamConnectionHTTP2: a reset is no proof that nothing was done.
func TestStaleUpstreamConnectionHTTP2(t *testing.T) {
	ca := newAuthority(t, "root")
	conf := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "api.test", nil)}, NextProtos: []string{"h2"}}
	for name, code := range map[string]http2.ErrCode{"protocol error": http2.ErrCodeProtocol, "refused": http2.ErrCodeRefusedStream, "internal": http2.ErrCodeInternal} {
		for _, clear := range []bool{false, true} {
			for _, body := range []string{"", "charge"} {
				t.Run(name+" "+body, func(t *testing.T) {
					var seen atomic.Int64
					port := listen(t, func(conn net.Conn) {
						if !clear {
							conn = tls.Server(conn, conf)
						}
						rawH2(conn, func(fr *http2.Framer, stream uint32) {
							seen.Add(1)
							_ = fr.WriteRSTStream(stream, code)
						})
					})
					prof, scheme := Profile{Allow: loopback}, "https"
					if clear {
						prof, scheme = Profile{Allow: loopback, Protocol: HTTP2, AnyClear: true}, "http"
					}
					u := upstream(t, newPool(t, Options{Roots: ca.pool()}), prof)
					req := request(t, "POST", scheme+"://api.test:"+port+"/v1/charges", body)
					req.ProtoMajor = 2
					if body != "" {
						req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
					}
					refused(t, u, req, Closed)
					if n := seen.Load(); n != 1 {
						t.Errorf("sent %d times", n)
					}
				})
			}
		}
	}
}

package dial

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// proxyPeer is an upstream proxy. It connects every CONNECT to target, if credentials are as wanted.
func proxyPeer(t testing.TB, target, want string, conf *tls.Config) (port string, seen *atomic.Value) {
	seen = new(atomic.Value)
	return listen(t, func(conn net.Conn) {
		if conf != nil {
			conn = tls.Server(conn, conf)
			defer conn.Close()
		}
		br := bufio.NewReader(conn)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		seen.Store(req.Method + " " + req.RequestURI + " " + req.Host)
		if req.Header.Get("Proxy-Authorization") != want {
			_, _ = io.WriteString(conn, "HTTP/1.1 407 c4n4ry\r\nProxy-Authenticate: Basic\r\nContent-Length: 6\r\n\r\nc4n4ry")
			return
		}
		up, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		defer up.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
		done := make(chan struct{})
		go func() { defer close(done); _, _ = io.Copy(up, br); _ = up.(*net.TCPConn).CloseWrite() }()
		_, _ = io.Copy(conn, up)
		if h, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = h.CloseWrite()
		}
		<-done
	}), seen
}

func TestVia(t *testing.T) {
	ca := newAuthority(t, "root")
	srv := certified(t, ca.leaf(t, "api.test", nil), ok, "h2", "http/1.1")
	plain := serve(t, nil, ok)
	secure := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "localhost", nil)}}
	p, own := newPool(t, Options{Roots: ca.pool()}), newAuthority(t, "own")
	private := &tls.Config{Certificates: []tls.Certificate{own.leaf(t, "localhost", nil)}}
	for name, c := range map[string]struct {
		scheme, want string
		ca           []byte
		conf         *tls.Config
		authorize    func() (string, error)
		reason       Reason
	}{
		"http":                   {scheme: "http"},
		"https":                  {scheme: "https", conf: secure},
		"with credentials":       {scheme: "http", want: "Basic dTpw", authorize: func() (string, error) { return "Basic dTpw", nil }},
		"https with them":        {scheme: "https", conf: secure, want: "Basic dTpw", authorize: func() (string, error) { return "Basic dTpw", nil }},
		"without credentials":    {scheme: "http", want: "Basic dTpw", reason: ViaRefused},
		"no credential":          {scheme: "http", authorize: func() (string, error) { return "", errors.New("secret \"p\": not there") }, reason: ViaRefused},
		"CR LF":                  {scheme: "http", authorize: func() (string, error) { return "Basic c4n4ry\r\nX: y", nil }, reason: ViaRefused},
		"https by its own roots": {scheme: "https", conf: private, ca: own.pem()},
		"https by other roots":   {scheme: "https", conf: private, ca: ca.pem(), reason: TLSUnverified},
		"unverified":             {scheme: "https", conf: &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "other.test", nil)}}, reason: TLSUnverified},
	} {
		for _, scheme := range []string{"https", "http"} {
			t.Run(name+" for "+scheme, func(t *testing.T) {
				target := srv
				if scheme == "http" {
					target = plain
				}
				port, seen := proxyPeer(t, target.Listener.Addr().String(), c.want, c.conf)
				// The name is only the proxy's to resolve.
				u := upstream(t, p, Profile{AnyClear: true, ServerName: "api.test", Via: &Via{
					URL: parse(t, c.scheme+"://localhost:"+port), Authorization: c.authorize, Key: name, CA: c.ca,
				}})
				req := request(t, "GET", scheme+"://unknown.test:8443/", "")
				req.ProtoMajor = 2
				if c.reason != "" {
					silent(t, refused(t, u, req, c.reason))
					return
				}
				var info Info
				text(t, u, req.WithContext(WithInfo(t.Context(), nil, &info, nil)))
				if got := seen.Load(); got != "CONNECT unknown.test:8443 unknown.test:8443" {
					t.Errorf("the proxy saw %q", got)
				}
				if info.Addr.Port() != portOf(t, port) {
					t.Errorf("%+v", info)
				}
				refused(t, u, request(t, "GET", scheme+"://169.254.169.254:8443/", ""), AddressForbidden)
			})
		}
	}
}

func TestViaBadAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		reason Reason
	}{
		"403":           {"HTTP/1.1 403 c4n4ry\r\n\r\n", ViaRefused},
		"204":           {"HTTP/1.1 204 No Content\r\n\r\n", ViaRefused},
		"101":           {"HTTP/1.1 101 c4n4ry\r\n\r\n", ViaRefused},
		"only 1xx":      {"HTTP/1.1 103 c4n4ry\r\n\r\n", ViaRefused},
		"endless 1xx":   {strings.Repeat("HTTP/1.1 103 c4n4ry\r\n\r\n", 10_000), ViaRefused},
		"nonsense":      {"c4n4ry\r\n\r\n", ViaRefused},
		"closed":        {"", ViaRefused},
		"endless":       {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: c4n4ry\r\n", 100_000), ViaRefused},
		"silent":        {"wait", ConnectTimeout},
		"half a header": {"HTTP/1.1 200 OK\r\nA", ViaRefused},
	} {
		t.Run(name, func(t *testing.T) {
			port := listen(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				if c.answer == "wait" {
					_, _ = io.Copy(io.Discard, conn)
				}
				_, _ = io.WriteString(conn, c.answer)
			})
			u := upstream(t, newPool(t, Options{}), Profile{Connect: 50 * time.Millisecond, Via: &Via{URL: parse(t, "http://127.0.0.1:"+port)}})
			if c.reason == ViaRefused {
				u = upstream(t, newPool(t, Options{}), Profile{Via: &Via{URL: parse(t, "http://127.0.0.1:"+port)}})
			}
			silent(t, refused(t, u, request(t, "GET", "https://api.test/", ""), c.reason))
		})
	}
}

func TestDialTunnel(t *testing.T) {
	echo := listen(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "hello ")
		_, _ = io.Copy(conn, conn)
		_, _ = io.WriteString(conn, " bye")
	})
	p := newPool(t, Options{})
	// This proxy's answer and the server's first bytes come in one write.
	eager := listen(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nhello ")
		_, _ = io.Copy(conn, br)
		_, _ = io.WriteString(conn, " bye")
	})
	through, _ := proxyPeer(t, "127.0.0.1:"+echo, "", nil)
	via := func(port string) *Via { return &Via{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:" + port}} }
	for name, prof := range map[string]Profile{
		"direct": {Allow: loopback}, "connect_to": {ConnectTo: "127.0.0.1:" + echo}, "via": {Via: via(through)}, "via, early": {Via: via(eager)},
	} {
		t.Run(name, func(t *testing.T) {
			var info Info
			conn, err := upstream(t, p, prof).DialTunnel(WithInfo(t.Context(), nil, &info, nil), "api.test", portOf(t, echo))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "me")
			if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(conn); string(b) != "hello me bye" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			if info.IP() != "127.0.0.1" {
				t.Errorf("%+v", info)
			}
		})
	}
	_, err := upstream(t, p, Profile{}).DialTunnel(t.Context(), "bad host\r\n", 1)
	because(t, err, ConnectFailed)
}

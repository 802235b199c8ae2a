package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestTrailersOfOneHop: trailers pass nothing that an answer's header may not: AltSvcEscape, words in our name, what is of
// one hop. Announced or not, masked or not, and behind a refused upgrade, which ReverseProxy copies.
func TestTrailersOfOneHop(t *testing.T) {
	const never = "Alt-Svc: h3=\":443\"\r\nProxy-Status: attache; error=denied\r\nProxy-Authenticate: Basic\r\n" +
		"Connection: close\r\nKeep-Alive: timeout=5\r\nContent-Length: 9\r\n"
	for name, announced := range map[string]string{
		"announced": "X-End, Alt-Svc, Proxy-Status, Proxy-Authenticate, Keep-Alive", "some": "X-End", "alone": "Alt-Svc", "none": "",
	} {
		head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
		if announced != "" {
			head += "Trailer: " + announced + "\r\n"
		}
		to := rawUpstream(t, head+"\r\n2\r\nok\r\n0\r\nX-End: 1\r\n"+never+"\r\n")
		for _, masked := range []bool{true, false} {
			r := api(to)
			if !masked {
				r.attach = nil
			}
			newStage(t, Options{}, r).both(func(s *stage, h2 bool) {
				s.trailersOfOneHop(name, h2, false)
				if !h2 {
					s.trailersOfOneHop(name+", upgrade", h2, true)
				}
			})
		}
	}
	h := http.Header{"Proxy-Status": {"cdn; received-status=500", "Attache; error=x"}, "Grpc-Status": {"0"}}
	if stripTrailer(h); strings.Join(h["Proxy-Status"], "") != "cdn; received-status=500" || h.Get("Grpc-Status") != "0" {
		t.Errorf("others' trailers came as %v", h)
	}
}

func (s *stage) trailersOfOneHop(what string, h2, upgrade bool) {
	req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
	if upgrade {
		req.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket"}}
	}
	res, err := s.client(h2, nil).Do(req)
	if err != nil {
		s.Fatal(err)
	}
	for name := range res.Trailer {
		if name != "X-End" {
			s.Errorf("%s: announces %s", what, name)
		}
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if len(res.Trailer) != 1 || res.Trailer.Get("X-End") != "1" || err != nil || string(b) != "ok" {
		s.Errorf("%s: %q, %v, trailers %v", what, b, err, res.Trailer)
	}
}

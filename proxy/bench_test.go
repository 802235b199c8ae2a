package proxy

import (
	"io"
	"net/http"
	"testing"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/proxy/audit"
	"github.com/attache-proxy/attache/proxy/policy"
)

type nowhere struct{}

func (nowhere) Record(*audit.Event) {}

// BenchmarkRequest is one small GET through the proxy on a warm connection,
// client and upstream included.
func BenchmarkRequest(b *testing.B) {
	body := make([]byte, 200)
	to := upstream(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	for _, p := range []struct {
		name string
		h2   bool
	}{{"h1", false}, {"h2", true}} {
		b.Run(p.name, func(b *testing.B) {
			s := newStageTB(b, Options{Sinks: nowhere{}}, rule{spec: policy.Spec{ID: "api", Hosts: []string{"api.test"}}, attach: []inject.Injector{header{"Authorization", "Bearer ", "plain"}}, to: to})
			c := s.client(p.h2, nil)
			b.ReportAllocs()
			for b.Loop() {
				res, err := c.Get("https://api.test/small?x=1")
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
}

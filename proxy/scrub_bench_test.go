package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/proxy/policy"
)

// BenchmarkScrub is one GET through the proxy on a warm connection, client and
// upstream included, with and without masking.
func BenchmarkScrub(b *testing.B) {
	line := []byte(`{"id": "ch_1", "amount": 500, "currency": "eur", "paid": true, "note": "nothing to find here"},` + "\n")
	for _, size := range []int{200, 1 << 20} {
		body := bytes.Repeat(line, size/len(line)+1)[:size]
		to := upstream(b, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = w.Write(body)
		})
		for _, h2 := range []bool{false, true} {
			for _, extent := range []struct {
				name  string
				scrub Scrub
			}{{"off", ScrubOff}, {"headers", ScrubHeaders}, {"all", ScrubAll}} {
				b.Run(fmt.Sprintf("%dB/h%d/%s", size, map[bool]int{false: 1, true: 2}[h2], extent.name), func(b *testing.B) {
					s := newStageTB(b, Options{Sinks: nowhere{}}, rule{
						spec:   policy.Spec{ID: "api", Hosts: []string{"api.test"}},
						attach: []inject.Injector{header{"Authorization", "Bearer ", "plain"}}, to: to,
						change: func(r *Rule) { r.Scrub = extent.scrub },
					})
					c := s.client(h2, nil)
					b.ReportAllocs()
					b.SetBytes(int64(size))
					for b.Loop() {
						res, err := c.Get("https://api.test/x")
						if err != nil {
							b.Fatal(err)
						}
						if n, err := io.Copy(io.Discard, res.Body); err != nil || n != int64(size) {
							b.Fatal(n, err)
						}
						_ = res.Body.Close()
					}
				})
			}
		}
	}
}

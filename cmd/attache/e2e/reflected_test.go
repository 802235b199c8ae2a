package e2e

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestReflected: an upstream that repeats the credential, in whatever spelling
// and place, gives it to nobody. That it came through nowhere is what the
// search at the end of every test finds; here it is that the rest did.
func TestReflected(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		value := r.Header.Get("Authorization")
		secret := strings.TrimPrefix(value, "Bearer ")
		w.Header().Set("X-Echo", value)
		w.Header().Set("Trailer", "X-Late")
		w.Header().Set("Link", "</"+url.PathEscape(secret)+">; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		var out io.Writer = w
		if r.URL.Path == "/gzip" {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer func() { _ = z.Close() }()
			out = z
		}
		quoted, _ := json.Marshal(map[string]string{"you_sent": secret})
		for _, text := range []string{
			value, string(quoted), url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte("user:" + secret)),
		} {
			_, _ = io.WriteString(out, "before "+text+" after\n")
		}
		w.Header().Set("X-Late", secret)
	}})
	for _, h1 := range []bool{true, false} {
		for _, path := range []string{"/", "/gzip"} {
			req := s.request(http.MethodGet, "https://api.test"+path, nil)
			req.Header.Set("Accept-Encoding", "identity") // or net/http would decode, and hide what came
			a := s.do(s.client(clientOptions{H1: h1}), req).fine(t)
			if n := strings.Count(string(a.body), "before "); n != 4 || strings.Count(string(a.body), " after\n") != 4 {
				t.Errorf("%s: the body came as %q", path, a.body)
			}
			if got := a.Header.Get("X-Echo"); got != "Bearer "+strings.Repeat("*", len(key)) && got != strings.Repeat("*", len("Bearer "+key)) {
				t.Errorf("%s: X-Echo came as %d bytes, want as many with the secret masked", path, len(got))
			}
			attached(t, up, key)
		}
	}
}

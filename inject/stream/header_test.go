package stream

import (
	"go/build"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestReflectedInHeader(t *testing.T) {
	p := Compile(plainValue, signsValue)
	for _, v := range []string{plainValue, signsValue} {
		for name, form := range encodings(t, v) {
			h := http.Header{
				"Location":   {"https://example/?key=" + form + "&x=1"},
				"Set-Cookie": {"a=b", "token=" + form + "; Path=/"},
				"Link":       {"<" + form + ">; rel=preload"},
				"Etag":       {`"untouched"`},
			}
			shared := h["Set-Cookie"]
			if n := p.MaskHeader(h); n != 3 {
				t.Errorf("%s: %d masked in %v", name, n, h)
			}
			for field, values := range h {
				for _, value := range values {
					if len(form) > 0 && strings.Contains(value, form) {
						t.Errorf("%s: %s: %s", name, field, value)
					}
				}
			}
			if h.Get("Set-Cookie") != "a=b" || h.Get("Etag") != `"untouched"` || !strings.HasSuffix(h["Set-Cookie"][1], "; Path=/") {
				t.Errorf("%s: %v", name, h)
			}
			if !strings.Contains(shared[1], form) {
				t.Errorf("%s: the slice of another header was changed", name)
			}
		}
	}
}

func TestReflectedInHeaderName(t *testing.T) {
	p := Compile("canary-0123456789abcdef")
	h := http.Header{}
	h.Set("X-canary-0123456789abcdef-Y", "1")
	h.Set("X-63616e6172792d30313233343536373839616263646566", "1")
	h.Set("Access-Control-Allow-Credentials", "true")
	if n := p.MaskHeader(h); n != 2 || len(h) != 1 {
		t.Errorf("%d: %v", n, h)
	}
	if n := new(Patterns).MaskHeader(h); n != 0 || len(h) != 1 {
		t.Errorf("%d: %v", n, h)
	}
}

// TestLeafPackage holds DESIGN §3: no package of ours, and nothing that could
// send or store.
func TestLeafPackage(t *testing.T) {
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"bufio", "bytes", "encoding/base64", "encoding/binary", "encoding/hex", "errors", "fmt", "io", "math/bits", "slices",
		"strings", "sync", "time", "unicode/utf16", "unicode/utf8",
		"github.com/andybalholm/brotli", "github.com/klauspost/compress/gzip", "github.com/klauspost/compress/zstd"}
	for _, path := range pkg.Imports {
		if !slices.Contains(allowed, path) {
			t.Errorf("stream imports %s", path)
		}
	}
}

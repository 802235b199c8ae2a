package stream

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// testValue returns a value that looks random, is none anyone issued, and
// differs for each seed.
func testValue(seed uint64, length int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	r := rand.New(rand.NewPCG(seed, 1))
	b := []byte("canary_")
	for len(b) < length {
		b = append(b, letters[r.IntN(len(letters))])
	}
	return string(b[:length])
}

func testValues(n, length int) (values []string) {
	for i := range n {
		values = append(values, testValue(uint64(i), length))
	}
	return values
}

// benchTexts are bodies of 1 MiB in which nothing is found.
func benchTexts() map[string][]byte {
	const size = 1 << 20
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, size)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	fill := func(unit func(i int) string) []byte {
		var b bytes.Buffer
		for i := 0; b.Len() < size; i++ {
			b.WriteString(unit(i))
		}
		return b.Bytes()[:size]
	}
	return map[string][]byte{
		"random": random,
		"base64": []byte(base64.StdEncoding.EncodeToString(random))[:size],
		"json": fill(func(i int) string {
			return fmt.Sprintf(`{"id":"ch_%016x","object":"charge","amount":%d,"currency":"eur","captured":true,"url":"https://api.example/v1/charges/%d","note":"said \"thanks\"\nand left"},`, r.Uint64(), i*17, i)
		}),
		"lines": fill(func(i int) string { return fmt.Sprintf("  \"id\": %d,\r\n", r.Uint32()) }),
		"mixed": fill(func(i int) string {
			return string(random[64*i%size:][:64]) + "example.com/v1/charges/ch_1a2b3c4d5e6f7a8b9c"
		}),
		"html": fill(func(i int) string {
			return fmt.Sprintf("<div class=\"row odd\"><a href=\"/items/%d?a=1&amp;b=%%20x\">Fish &amp; chips</a>&nbsp;&#39;%x&#39;</div>\n", i, r.Uint32())
		}),
		"escaped": fill(func(i int) string {
			return fmt.Sprintf(`%%%02x\u%04x&#%d;`, r.Uint32()&127, r.Uint32()&127, r.Uint32()&127)
		}),
	}
}

// BenchmarkNothingFound is what a 1 MiB body costs in the pieces that a proxy
// copies.
func BenchmarkNothingFound(b *testing.B) {
	for name, text := range benchTexts() {
		for _, n := range []int{1, 3, 10} {
			for _, length := range []int{12, 40} {
				b.Run(fmt.Sprintf("%s/values=%d/length=%d", name, n, length), func(b *testing.B) {
					w := Compile(testValues(n, length)...)
					b.SetBytes(int64(len(text)))
					b.ReportAllocs()
					for b.Loop() {
						out := w.NewWriter(io.Discard, w.NewScrubber(), nil)
						for piece := range chunks(text, 16<<10) { // what a TLS record holds
							if _, err := out.Write(lent(out, piece)); err != nil {
								b.Fatal(err)
							}
						}
						if err := out.Close(); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// lent returns p in w's own memory, into which proxies read.
func lent(w *Writer, p []byte) []byte {
	b := w.AvailableBuffer()
	return b[:copy(b, p)]
}

func chunks(text []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			n := min(size, len(text))
			if !yield(text[:n:n]) {
				return
			}
			text = text[n:]
		}
	}
}

func BenchmarkSmallBody(b *testing.B) {
	text := []byte(strings.Repeat(`{"id":"ch_1","paid":true}`, 8))
	p := Compile(testValues(1, 40)...)
	b.ReportAllocs()
	for b.Loop() {
		w := p.NewWriter(io.Discard, p.NewScrubber(), nil)
		w.Ending()
		w.Write(lent(w, text))
		w.Close()
	}
}

func BenchmarkHeader(b *testing.B) {
	header := map[string][]string{
		"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {"2048"}, "Date": {"Mon, 02 Mar 2026 10:00:00 GMT"},
		"Cache-Control": {"no-cache, no-store"}, "Request-Id": {"req_8f14e45fceea167a"}, "Strict-Transport-Security": {"max-age=63072000; includeSubDomains; preload"},
		"Vary": {"Origin"}, "Access-Control-Allow-Credentials": {"true"}, "Server": {"example"}, "Etag": {`W/"5d8c72a5edda8"`},
	}
	p := Compile(testValues(1, 40)...)
	b.ReportAllocs()
	for b.Loop() {
		p.MaskHeader(header)
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1, 3, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			values := testValues(n, 40)
			b.ReportAllocs()
			for b.Loop() {
				Compile(values...)
			}
		})
	}
}

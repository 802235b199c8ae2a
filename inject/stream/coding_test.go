package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

type encoder interface {
	io.WriteCloser
	Flush() error
}

func newEncoder(t testing.TB, coding string, w io.Writer) encoder {
	switch coding {
	case "gzip":
		return gzip.NewWriter(w)
	case "br":
		return brotli.NewWriter(w)
	case "zstd":
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	t.Fatal(coding)
	return nil
}

func encode(t testing.TB, codings, text string) string {
	for coding := range strings.SplitSeq(codings, ", ") {
		var b strings.Builder
		e := newEncoder(t, coding, &b)
		if _, err := io.WriteString(e, text); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		text = b.String()
	}
	return text
}

func TestReflectedInCodedBody(t *testing.T) {
	p := Compile(signsValue)
	for _, coding := range []string{"gzip", "br", "zstd", "gzip, br", "br, zstd, gzip"} {
		for name, form := range encodings(t, signsValue) {
			text := "{" + form + "}"
			r, err := Decode(coding, strings.NewReader(encode(t, coding, text)))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			w := p.NewWriter(&got, p.NewScrubber(), nil)
			if _, err := io.Copy(w, r); err != nil {
				t.Errorf("%s in %s: %v", name, coding, err)
			}
			if err := errors.Join(w.Close(), r.Close()); err != nil {
				t.Error(err)
			}
			want := scrub(t, p.NewScrubber(), []byte(text), fixed(len(text)))
			if !bytes.Equal(got.Bytes(), want) || w.Count() == 0 {
				t.Errorf("%s in %s: %q, want %q", name, coding, got.Bytes(), want)
			}
		}
	}
}

// TestCodedEventsAreNotDelayed holds that what an encoder flushed can be read
// before anything follows.
func TestCodedEventsAreNotDelayed(t *testing.T) {
	for _, coding := range []string{"gzip", "br", "zstd", "gzip, br", "br, zstd, gzip"} {
		pr, pw := io.Pipe()
		r, err := Decode(coding, pr)
		if err != nil {
			t.Fatal(err)
		}
		var layers []encoder
		var w io.Writer = pw
		names := strings.Split(coding, ", ")
		for i := len(names) - 1; i >= 0; i-- {
			e := newEncoder(t, names[i], w)
			layers = append(layers, e)
			w = e
		}
		next, done := make(chan bool), make(chan error, 1)
		go func() {
			for i := range 3 {
				<-next // not before the event before has been read
				if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
					done <- err
					return
				}
				for j := len(layers) - 1; j >= 0; j-- {
					if err := layers[j].Flush(); err != nil {
						done <- err
						return
					}
				}
			}
			<-next
			for j := len(layers) - 1; j >= 0; j-- {
				layers[j].Close()
			}
			done <- pw.Close()
		}()
		buf := make([]byte, 32<<10)
		for i := range 3 {
			next <- true
			want := fmt.Sprintf("data: %d\n\n", i)
			if _, err := io.ReadFull(r, buf[:len(want)]); err != nil || string(buf[:len(want)]) != want {
				t.Errorf("%s: %q, %v", coding, buf[:len(want)], err)
			}
		}
		next <- true
		if b, err := io.ReadAll(r); len(b) != 0 || err != nil {
			t.Errorf("%s: %q, %v after the end", coding, b, err)
		}
		if err := errors.Join(<-done, r.Close()); err != nil {
			t.Error(coding, err)
		}
	}
}

// TestGzipMemberPerEvent holds that the end of a member is not waited past.
func TestGzipMemberPerEvent(t *testing.T) {
	pr, pw := io.Pipe()
	r, err := Decode("x-gzip", pr)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for _, event := range []string{"data: 1\n\n", "data: 2\n\n"} {
		wrote := make(chan error, 1)
		go func() {
			_, err := io.WriteString(pw, encode(t, "gzip", event))
			wrote <- err
		}()
		if n, err := r.Read(buf); string(buf[:n]) != event || err != nil {
			t.Errorf("%q, %v", buf[:n], err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	}
	pw.Close()
	if n, err := r.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
}

func TestCodingsThatAreRefused(t *testing.T) {
	for _, coding := range []string{"deflate", "compress", "gzip, deflate", "dcb", "gzip,gzip,gzip,gzip", "gzip;q=1", "*"} {
		if _, err := Decode(coding, nil); !errors.Is(err, ErrCoding) {
			t.Errorf("%s: %v", coding, err)
		}
	}
	for _, coding := range []string{"", "identity", " , identity"} {
		r, err := Decode(coding, strings.NewReader("text"))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); string(b) != "text" || err != nil || r.Close() != nil {
			t.Errorf("%q: %q, %v", coding, b, err)
		}
	}
}

// TestCodedBodyCutShort holds that a broken body is an error, never a short one.
func TestCodedBodyCutShort(t *testing.T) {
	text := strings.Repeat("some text ", 50)
	for _, coding := range []string{"gzip", "br", "zstd"} {
		whole := encode(t, coding, text)
		for cut := 1; cut < len(whole); cut++ {
			r, err := Decode(coding, strings.NewReader(whole[:cut]))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(r); err == nil {
				t.Errorf("%s cut at %d of %d: %d bytes and no error", coding, cut, len(whole), len(b))
			}
			r.Close()
		}
		r, _ := Decode(coding, strings.NewReader(whole))
		r.Close()
		if _, err := r.Read(make([]byte, 1)); coding != "br" && err == nil {
			t.Errorf("%s: read after Close", coding)
		}
	}
}

func TestWindowTooLarge(t *testing.T) {
	for window, ok := range map[byte]bool{13 << 3: true, 13<<3 | 1: false, 16 << 3: false, 31<<3 | 7: false} { // RFC 8878 section 3.1.1.1.2
		empty := []byte{0x28, 0xB5, 0x2F, 0xFD, 0, window, 1, 0, 0}
		r, err := Decode("zstd", bytes.NewReader(empty))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); (err == nil) != ok {
			t.Errorf("window %#x: %v", window, err)
		}
		r.Close()
	}
}

// again reads the same bytes over and over.
type again struct {
	text  []byte
	left  int
	times int
}

func (a *again) Read(p []byte) (int, error) {
	if a.left == 0 {
		if a.times == 0 {
			return 0, io.EOF
		}
		a.times--
		a.left = len(a.text)
	}
	n := copy(p, a.text[len(a.text)-a.left:])
	a.left -= n
	return n, nil
}

// peak notes how large the heap gets while it is written to.
type peak struct{ written, heap uint64 }

func (p *peak) Write(b []byte) (int, error) {
	if p.written += uint64(len(b)); p.written>>23 != (p.written-uint64(len(b)))>>23 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p.heap = max(p.heap, m.HeapAlloc)
	}
	return len(b), nil
}

func TestDecompressionBomb(t *testing.T) {
	p := Compile(plainValue)
	for _, test := range []struct {
		coding      string
		size, times int
	}{{"gzip", 16 << 20, 16}, {"zstd", 16 << 20, 16}, {"br", 64 << 20, 1}, {"gzip, gzip, gzip", 64 << 20, 1}} {
		t.Run(test.coding, func(t *testing.T) {
			if testing.Short() {
				test.size >>= 2
			}
			bomb := encode(t, test.coding, strings.Repeat("\x00", test.size)) // members and frames may be repeated
			runtime.GC()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := Decode(test.coding, &again{text: []byte(bomb), times: test.times})
			if err != nil {
				t.Fatal(err)
			}
			out := new(peak)
			w := p.NewWriter(out, p.NewScrubber(), nil)
			if n, err := io.Copy(w, r); n != int64(test.size*test.times) || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if err := errors.Join(w.Close(), r.Close()); err != nil {
				t.Error(err)
			}
			grown := int64(out.heap) - int64(before.HeapAlloc)
			t.Logf("%d bytes inflate to %d MiB; the heap grew by %.1f MiB", len(bomb)*test.times, out.written>>20, float64(grown)/(1<<20))
			if grown > 40<<20 {
				t.Error("memory is not flat")
			}
		})
	}
}

package stream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ErrCoding is returned for content codings that cannot be undone.
var ErrCoding = errors.New("content coding is not supported")

const (
	maxCodings = 3
	// zstdWindow is the largest window that RFC 9659 lets a sender use.
	zstdWindow = 8 << 20
)

// Decode undoes the content codings of r that coding, the values of
// Content-Encoding joined with commas, lists in the order of their making: gzip
// (x-gzip), br and zstd, at most three. Nothing or identity returns r's bytes as
// they are. Others are an error that wraps [ErrCoding].
//
// Nothing is read before the first Read, and a Read returns what can be decoded
// without waiting for more. Memory stays under 20 MiB per coding, whatever r
// inflates to. Close frees it; it does not close r.
func Decode(coding string, r io.Reader) (io.ReadCloser, error) {
	names, err := codings(coding)
	if err != nil {
		return nil, err
	}
	d := decoded{Reader: r}
	for _, name := range slices.Backward(names) {
		c := newDecoder(name, d.Reader)
		d.Reader = c
		d.layers = append(d.layers, c)
	}
	return &d, nil
}

func codings(list string) (names []string, err error) {
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.ToLower(strings.Trim(name, " \t")); name {
		case "", "identity":
		case "x-gzip":
			names = append(names, "gzip")
		case "gzip", "br", "zstd":
			names = append(names, name)
		default:
			return nil, fmt.Errorf("content coding %.32q: %w", name, ErrCoding)
		}
	}
	if len(names) > maxCodings {
		return nil, fmt.Errorf("%d content codings: %w", len(names), ErrCoding)
	}
	return names, nil
}

type decoded struct {
	io.Reader
	layers []io.Closer
}

func (d *decoded) Close() error {
	var errs []error
	for _, c := range slices.Backward(d.layers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func newDecoder(name string, r io.Reader) io.ReadCloser {
	r = onlyReader{r} // hides in-memory readers, which zstd would decode at once
	switch name {
	case "gzip":
		return &gzipReader{in: bufio.NewReader(r)}
	case "br":
		return io.NopCloser(brotli.NewReader(r))
	default:
		return &zstdReader{in: r}
	}
}

type onlyReader struct{ io.Reader }

// gzipReader reads member after member. gzip.Reader would too, but looks for the
// next before it hands out the last bytes of the one that has ended.
type gzipReader struct {
	in     *bufio.Reader
	z      gzip.Reader
	inside bool
	err    error
}

func (g *gzipReader) Read(p []byte) (n int, err error) {
	for n == 0 && g.err == nil && len(p) > 0 {
		if !g.inside {
			if g.err = g.z.Reset(g.in); g.err != nil { // io.EOF: no further member
				break
			}
			g.z.Multistream(false)
			g.inside = true
		}
		if n, err = g.z.Read(p); err == io.EOF {
			g.inside = false
		} else {
			g.err = err
		}
	}
	return n, g.errAfter(n)
}

// errAfter keeps an error for the next Read when there are bytes to hand out.
func (g *gzipReader) errAfter(n int) error {
	if n > 0 {
		return nil
	}
	return g.err
}

func (g *gzipReader) Close() error {
	g.err = io.ErrClosedPipe
	return nil
}

// zstdReader makes its decoder when it is first read: it is large.
type zstdReader struct {
	in  io.Reader
	z   *zstd.Decoder
	err error
}

func (d *zstdReader) Read(p []byte) (int, error) {
	if d.z == nil && d.err == nil {
		// One goroutine, the caller's: nothing runs ahead or is left behind.
		d.z, d.err = zstd.NewReader(d.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecodeBuffersBelow(0))
	}
	if d.err != nil {
		return 0, d.err
	}
	return d.z.Read(p)
}

func (d *zstdReader) Close() error {
	if d.z != nil {
		d.z.Close()
	}
	d.err = io.ErrClosedPipe
	return nil
}

package proxy

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/inject/stream"
)

// Scrub says where the credentials of a rule are masked in what comes back.
type Scrub uint8

// The extents of masking.
const (
	ScrubAll     Scrub = iota // headers, trailers and bodies
	ScrubHeaders              // headers and trailers
	ScrubOff
)

// mask is what one rule masks under one Set of secrets. The patterns are made
// when the first request needs them.
type mask struct {
	values   []secret.Value
	patterns func() *stream.Patterns
}

// newMask returns the mask of r under set, or old if it would be the same.
func newMask(r *Rule, set *secret.Set, old *mask) *mask {
	if r.Scrub == ScrubOff || len(r.Attach) == 0 {
		return nil
	}
	var values []secret.Value
	for i := range r.Attach {
		for _, ref := range r.Attach[i].Injector.Secrets() {
			e, _ := set.Entry(ref)
			for _, v := range []secret.Value{e.Current, e.Previous} {
				if !v.IsZero() {
					values = append(values, v)
				}
			}
		}
	}
	if old != nil && sameValues(old.values, values) {
		return old
	}
	return &mask{values: values, patterns: sync.OnceValue(func() *stream.Patterns {
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = v.Reveal()
		}
		return stream.Compile(texts...)
	})}
}

func sameValues(a, b []secret.Value) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Same(b[i]) {
			return false
		}
	}
	return true
}

// compileMasks works out the masks of s, keeping those of old that are the same.
func (s *Snapshot) compileMasks(old *Snapshot) {
	former := map[string]*mask{}
	if old != nil {
		for i, spec := range old.Policy.Rules() {
			former[spec.ID] = old.masks[i]
		}
	}
	s.masks = make([]*mask, len(s.Rules))
	for i, spec := range s.Policy.Rules() {
		s.masks[i] = newMask(&s.Rules[i], s.Secrets, former[spec.ID])
	}
}

// scrubber masks the answer of one exchange. The zero scrubber masks nothing.
type scrubber struct {
	patterns *stream.Patterns
	bodies   bool
	headers  int            // stretches masked in headers
	writer   *stream.Writer // of the body; nil where bodies pass
}

// tlsRecord is the most plaintext that one TLS record holds (RFC 8446 §5.1).
// Masking holds back a few bytes of each record read, so what it lets go is a
// little over or under a record each time, and crypto/tls would send a second one,
// in a system call of its own, for the few bytes over.
const tlsRecord = 16 << 10

// maskWith makes x mask by its rule.
func (x *exchange) maskWith() {
	if x.rule == nil {
		return
	}
	if m := x.snap.masks[x.decision.Rule]; m != nil {
		x.scrub.patterns = m.patterns()
		x.scrub.bodies = x.rule.Scrub == ScrubAll && !x.scrub.patterns.Empty()
	}
}

// askPlain asks the upstream for answers that can be read: with codings undone
// HEAD, 304, 206, ETag and lengths would no longer be true.
func (s *scrubber) askPlain(out *http.Request) {
	if !s.bodies {
		return
	}
	out.Header.Set("Accept-Encoding", "identity")
	out.Header.Del("Grpc-Accept-Encoding")
	out.Header.Del("Connect-Accept-Encoding")
	out.Header.Del("Sec-Websocket-Extensions")
}

func (s *scrubber) header(h http.Header) {
	if s.patterns != nil {
		s.headers += s.patterns.MaskHeader(h)
	}
}

func (s *scrubber) count() int {
	n := s.headers
	if s.writer != nil {
		n += s.writer.Count()
	}
	return n
}

// lost ends the masking and is why, nil if what came could be followed: a
// message was compressed, or no frame.
func (s *scrubber) lost() *refusal {
	if s.writer == nil {
		return nil
	}
	err := s.writer.Close()
	for _, known := range []error{stream.ErrCompressed, stream.ErrFrame} {
		if errors.Is(err, known) {
			return &refusal{reasonResponseCoding, known.Error()}
		}
	}
	return nil
}

// scrubResponse prepares the answer's header and body for masking. An error is
// a refusal: the body is in a coding that hides what it holds.
func (x *exchange) scrubResponse(res *http.Response) error {
	s := &x.scrub
	if s.patterns == nil {
		if res.StatusCode != http.StatusSwitchingProtocols && x.upgrades() { // ReverseProxy copies its trailers
			res.Body = &scrubbedBody{ReadCloser: res.Body, x: x, res: res}
		}
		return nil
	}
	s.header(res.Header)
	s.header(res.Trailer) // the names that are announced
	if res.StatusCode == http.StatusSwitchingProtocols {
		// ReverseProxy would write the upstream's own phrase behind the code.
		res.Status = strconv.Itoa(res.StatusCode) + " " + http.StatusText(res.StatusCode)
		return nil
	}
	if s.bodies && hasBody(x.in.Method, res) {
		if err := decodeBody(res); err != nil {
			return &refusal{reasonResponseCoding, err.Error()}
		}
		s.writer = s.patterns.NewWriter(unmasked{x.out}, s.transformer(res.Header), x.out.flush)
		s.writer.Unit = tlsRecord
	}
	res.Body = &scrubbedBody{ReadCloser: res.Body, x: x, res: res}
	return nil
}

// room returns memory to read the next of the body into, nil if none need be used.
func (s *scrubber) room() []byte {
	if s.writer == nil {
		return nil
	}
	return s.writer.AvailableBuffer()
}

func hasBody(method string, res *http.Response) bool {
	return method != http.MethodHead && res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusNotModified && res.Body != http.NoBody
}

func (s *scrubber) transformer(h http.Header) stream.Transformer {
	kind, _, _ := strings.Cut(strings.ToLower(h.Get("Content-Type")), ";")
	kind = strings.TrimSpace(kind)
	// gRPC-Web in text is base64 around the frames; it is masked as text.
	if strings.HasPrefix(kind, "application/grpc") && !strings.HasPrefix(kind, "application/grpc-web-text") || strings.HasPrefix(kind, "application/connect+") {
		coding := h.Get("Grpc-Encoding")
		if coding == "" {
			coding = h.Get("Connect-Content-Encoding")
		}
		return s.patterns.NewGRPC(coding)
	}
	return s.patterns.NewScrubber()
}

// decodeBody undoes the codings of an upstream that answers in one though it
// was asked not to, and what they made of the header.
func decodeBody(res *http.Response) error {
	coding := strings.Join(res.Header.Values("Content-Encoding"), ",")
	if coding == "" || strings.EqualFold(coding, "identity") {
		return nil
	}
	if res.StatusCode == http.StatusPartialContent {
		return errPartialCoding
	}
	body, err := stream.Decode(coding, res.Body)
	if err != nil {
		return err
	}
	res.Body = &decodedBody{Reader: body, decoder: body, encoded: res.Body}
	res.ContentLength = -1
	for _, name := range []string{"Content-Encoding", "Content-Length", "Accept-Ranges"} {
		res.Header.Del(name)
	}
	dropDigests(res.Header)
	dropDigests(res.Trailer) // as announced
	if tag := res.Header.Get("Etag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		res.Header.Set("Etag", "W/"+tag)
	}
	return nil
}

// dropDigests removes what is true only of the coded bytes.
func dropDigests(h http.Header) {
	for _, name := range []string{"Digest", "Content-Digest", "Repr-Digest", "Content-Md5"} {
		h.Del(name)
	}
}

var errPartialCoding = errors.New("a part of a compressed body cannot be decoded") // a constant: never assigned again

// decodedBody is a body whose codings are undone.
type decodedBody struct {
	io.Reader
	decoder io.Closer
	encoded io.Closer
}

func (b *decodedBody) Close() error {
	_ = b.decoder.Close()
	return b.encoded.Close()
}

// scrubbedBody lets the held-back end of a body go when it has been read, and
// masks the trailers that came behind it.
type scrubbedBody struct {
	io.ReadCloser
	x   *exchange
	res *http.Response
}

func (b *scrubbedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.trailer()
	}
	if w := b.x.scrub.writer; w != nil && err == io.EOF {
		w.Ending()
	}
	return n, err
}

func (b *scrubbedBody) trailer() {
	b.x.scrub.header(b.res.Trailer)
	if _, decoded := b.ReadCloser.(*decodedBody); decoded {
		dropDigests(b.res.Trailer)
	}
	stripTrailer(b.res.Trailer)
}

// Close comes when the body has been copied, and before ReverseProxy copies the trailers.
func (b *scrubbedBody) Close() error {
	if w := b.x.scrub.writer; w != nil {
		_ = w.Close()
	}
	err := b.ReadCloser.Close()
	b.trailer()
	return err
}

// upgradedWriter is what the upstream's side of an upgraded connection is
// written to.
func (s *scrubber) upgradedWriter(w io.Writer, protocol string) io.Writer {
	if !s.bodies {
		return w
	}
	var t stream.Transformer = s.patterns.NewScrubber()
	if strings.EqualFold(protocol, "websocket") {
		t = s.patterns.NewWebSocket()
	}
	s.writer = s.patterns.NewWriter(w, t, nil)
	return s.writer
}

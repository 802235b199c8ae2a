package proxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// send sends an ordinary request on and streams its answer back. It does what
// httputil.ReverseProxy does, which takes upgrades (see upgrade), with a third of
// the allocations: one copy of the request in place of three, one trace, headers
// filtered as they are copied.
func (x *exchange) send() {
	out := x.outgoing()
	if out.Body != nil {
		// The transport may read on when this handler has returned.
		defer out.Body.Close()
	}
	x.compose(x.in, out)
	res, err := x.RoundTrip(out)
	x.interim.end()
	if err != nil {
		x.failed(nil, nil, err)
		return
	}
	removeHopByHop(res.Header)
	if err := x.modifyResponse(res); err != nil {
		_ = res.Body.Close()
		x.failed(nil, nil, err)
		return
	}
	x.answer(res)
}

// outgoing copies the request without what is meant for one hop, or removed by
// the rule.
func (x *exchange) outgoing() *http.Request {
	in := x.in
	out := in.WithContext(x.ctx)
	u := *in.URL
	out.URL, out.Close = &u, false
	out.Header = x.endToEnd(in.Header)
	out.Body = nil // for no length; http.Transport looks into a body to find that it is empty
	if in.ContentLength != 0 {
		out.Body = &lentBody{r: &x.body}
	}
	return out
}

// endToEnd copies h without the headers of one hop (RFC 9110 §7.6.1).
func (x *exchange) endToEnd(h http.Header) http.Header {
	listed := h["Connection"]
	out := make(http.Header, len(h)+2)
	for name, values := range h {
		if !hopByHop(name) && (len(listed) == 0 || !lists(listed, name)) {
			out[name] = values[:len(values):len(values)]
		}
	}
	// RFC 9110 §10.1.4: trailers may come back, if the client takes them.
	if te, ok := h["Te"]; ok && lists(te, "trailers") {
		out["Te"] = []string{"trailers"}
	}
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = []string{""} // or net/http would name itself
	}
	return out
}

// hopByHop reports the headers that are removed whether or not Connection
// lists them, as net/http spells them.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// lists reports whether name stands in a comma-separated field, ";" and what
// follows it aside.
func lists(field []string, name string) bool {
	for _, f := range field {
		for token := range strings.SplitSeq(f, ",") {
			token, _, _ = strings.Cut(token, ";")
			if strings.EqualFold(textproto.TrimString(token), name) {
				return true
			}
		}
	}
	return false
}

func removeHopByHop(h http.Header) {
	if listed := h["Connection"]; len(listed) > 0 {
		for name := range h {
			if lists(listed, name) {
				delete(h, name)
			}
		}
	}
	for name := range h {
		if hopByHop(name) {
			delete(h, name)
		}
	}
}

// answer writes the upstream's answer to the client.
func (x *exchange) answer(res *http.Response) {
	h := x.out.Header()
	for name, values := range res.Header {
		h[name] = append(h[name], values...)
	}
	if _, typed := h["Content-Type"]; !typed {
		h["Content-Type"] = nil // or net/http would guess one
	}
	announced := len(res.Trailer)
	if announced > 0 {
		names := make([]string, 0, announced)
		for name := range res.Trailer {
			names = append(names, name)
		}
		h["Trailer"] = append(h["Trailer"], strings.Join(names, ", "))
	}
	x.out.WriteHeader(res.StatusCode)
	if err := x.copyBody(res); err != nil {
		_ = res.Body.Close()
		panic(http.ErrAbortHandler) // an answer that has begun cannot be taken back, only broken off
	}
	_ = res.Body.Close() // before the trailers: it completes them
	stripTrailer(res.Trailer)
	if len(res.Trailer) == 0 {
		return
	}
	x.out.flush() // an answer with trailers is chunked, however short
	prefix := ""
	if len(res.Trailer) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range res.Trailer {
		name = prefix + name
		h[name] = append(h[name], values...)
	}
}

// Answers of unknown length are flushed with every part of them that comes.
// Those of known length are flushed when whole, or when their bytes have waited
// for more this long. A small one comes whole, or as good as: it is not worth a
// timer.
const (
	flushAfter = 5 * time.Millisecond
	flushSmall = 2 << 10 // bytes
)

func (x *exchange) copyBody(res *http.Response) error {
	if res.Body == http.NoBody {
		return nil
	}
	var to io.Writer = x.out
	unknown := res.ContentLength < 0 || isEventStream(res.Header)
	if unknown || res.ContentLength > flushSmall {
		f := &flusher{w: x.out, always: unknown}
		f.arm() // the header must not wait for the body
		defer f.stop()
		to = f
	}
	lent := x.p.buffers.Get()
	// Not after a write that failed: HTTP/2 may be sending from it yet, and the next answer would be in it.
	defer func() {
		if x.out.err == nil {
			x.p.buffers.Put(lent)
		}
	}()
	b := lent
	for {
		if room := x.scrub.room(); room != nil {
			b = room
		}
		n, err := res.Body.Read(b)
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF { // not what merely wraps it: that is no clean end
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func isEventStream(h http.Header) bool {
	kind := h["Content-Type"]
	return len(kind) > 0 && strings.HasPrefix(strings.ToLower(kind[0]), "text/event-stream")
}

// flusher flushes what it wrote: at once, or when nothing more came for flushAfter.
type flusher struct {
	w      *writer
	always bool

	mu      sync.Mutex // the timer's flush and writing take turns
	timer   *time.Timer
	pending bool
	stopped bool
}

func (f *flusher) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.w.Write(b)
	if f.always {
		f.pending = false
		_ = f.w.FlushError()
		return n, err
	}
	f.armed()
	return n, err
}

func (f *flusher) arm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed()
}

// armed makes the timer flush. The caller holds f.mu.
func (f *flusher) armed() {
	if f.pending {
		return
	}
	f.pending = true
	if f.timer == nil {
		f.timer = time.AfterFunc(flushAfter, f.late)
		return
	}
	f.timer.Reset(flushAfter)
}

func (f *flusher) late() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending && !f.stopped {
		f.pending = false
		_ = f.w.FlushError()
	}
}

func (f *flusher) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	f.timer.Stop()
}

// interim passes 1xx answers on while the round trip lasts. The transport
// reports them from a goroutine of its own.
type interim struct {
	mu   sync.Mutex
	over bool
}

func (i *interim) end() {
	i.mu.Lock()
	i.over = true
	i.mu.Unlock()
}

func (x *exchange) got1xx(code int, header textproto.MIMEHeader) error {
	x.interim.mu.Lock()
	defer x.interim.mu.Unlock()
	if x.interim.over {
		return nil // the header map belongs to the answer now
	}
	if code == http.StatusSwitchingProtocols {
		return errSwitched
	}
	h := x.out.Header()
	ours := maps.Clone(h) // of the answer
	clear(h)
	maps.Copy(h, header)
	removeHopByHop(h) // which http.Transport leaves to us, and HTTP/2 clients reject
	x.out.WriteHeader(code)
	clear(h)
	maps.Copy(h, ours)
	return nil
}

// lentBody is the client's body as the transport has it: Close does not close
// the client's, which may have to be read yet, but ends reading.
type lentBody struct {
	r      io.Reader
	closed atomic.Bool
}

func (b *lentBody) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, errLent
	}
	return b.r.Read(p)
}

func (b *lentBody) Close() error {
	b.closed.Store(true)
	return nil
}

var (
	errLent     = errors.New("the request is over") // constants: never assigned again
	errSwitched = errors.New("101 over HTTP/2")     // RFC 9113 §8.6 has none
)

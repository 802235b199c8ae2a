package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// requestBody is a request's body on its way: counted, limited, its trailers
// freed of what the client may not set. The transport reads it from a goroutine of
// its own.
type requestBody struct {
	io.ReadCloser
	bytes atomic.Int64
	asked atomic.Bool // a Read began: net/http has answered 100 for it
	ended atomic.Bool // read to its end
	gone  atomic.Bool // the client went away before that
	limit int64       // bytes; ≤ 0: none
	fail  atomic.Pointer[refusal]

	trailerIn, trailerOut http.Header
}

var errBodyTooLarge = errors.New("limits.request_body") // a constant: never assigned again

func (b *requestBody) Read(p []byte) (int, error) {
	if !b.asked.Load() {
		b.asked.Store(true)
	}
	n, err := b.ReadCloser.Read(p)
	total := b.bytes.Add(int64(n))
	if b.limit > 0 && total > b.limit {
		b.fail.Store(&refusal{reasonBodyTooLarge, ""})
		return 0, errBodyTooLarge
	}
	if err == io.EOF {
		b.ended.Store(true)
		for k := range b.trailerOut {
			b.trailerOut[k] = b.trailerIn[k]
		}
	} else if err != nil {
		b.failed(err)
	}
	return n, err
}

// failed notes why the body could not be read.
func (b *requestBody) failed(err error) {
	var network net.Error
	switch {
	case errors.Is(err, errFraming):
		b.fail.CompareAndSwap(nil, &refusal{reasonBadRequest, "the body's framing"})
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.As(err, &network):
		b.gone.Store(true)
	default:
		b.fail.CompareAndSwap(nil, &refusal{reasonBodyAborted, ""})
	}
}

// failure is why the body could not be read, nil if it could, or if the client went away: the request's context tells that.
func (b *requestBody) failure() *refusal { return b.fail.Load() }

// brokenOff is why the request is not whole, nil if it is as far as it was read.
func (b *requestBody) brokenOff() *refusal {
	if f := b.failure(); f != nil || !b.gone.Load() {
		return f
	}
	return &refusal{string(cancelled), ""}
}

// trailers makes out announce the trailers that in announced, but for those
// that r removes. Their values are known when the body has been read, and
// ReverseProxy's clone would not get them.
func (b *requestBody) trailers(in, out *http.Request, r *Rule) {
	out.Trailer = nil
	if len(in.Trailer) == 0 {
		return
	}
	b.trailerIn, b.trailerOut = in.Trailer, make(http.Header, len(in.Trailer))
	for k := range in.Trailer {
		if !r.removes(k) {
			b.trailerOut[k] = nil
		}
	}
	out.Trailer = b.trailerOut
}

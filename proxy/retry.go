package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/inject/secret"
)

// A vendor that revokes a key at the moment of its rotation answers 401 to what
// was on its way with the old one. Such a request is sent once more, with the
// new one, if that is there or found at once. Nothing is lost by it: the
// upstream has refused to do what was asked (RFC 9110 §15.5.2).

const (
	retryBody  = 64 << 10 // the largest request body that is kept to be sent again
	retryDrain = 4 << 10  // of an answer that is thrown away, so that its connection is kept
)

// replay is what a second attempt needs.
type replay struct {
	possible bool
	body     []byte
}

// keepForRetry reads the body of a request that may be sent a second time, so
// that it is there whole before the first. It is called before credentials are
// attached: signers read the body too.
func (x *exchange) keepForRetry(out *http.Request) {
	r := x.rule
	switch {
	case r == nil || r.NoRetry401 || len(r.Attach) == 0,
		out.ContentLength < 0 || out.ContentLength > retryBody, len(out.Trailer) > 0,
		out.Header.Get("Upgrade") != "", x.in.Header.Get("Expect") != "",
		strings.HasPrefix(strings.ToLower(out.Header.Get("Content-Type")), "application/grpc"):
		return
	case out.Body == nil || out.Body == http.NoBody || out.ContentLength == 0:
		x.replay.possible = true
		return
	}
	body := make([]byte, out.ContentLength)
	n, err := io.ReadFull(out.Body, body)
	if err == nil {
		var end [1]byte // net/http learns the end from a read beyond it
		var more int
		if more, err = out.Body.Read(end[:]); more == 0 && errors.Is(err, io.EOF) {
			x.replay = replay{true, body}
			out.Body = io.NopCloser(bytes.NewReader(body))
			return
		}
		body = append(body, end[:more]...)
		n += more
	}
	rest := io.Reader(out.Body)
	if err != nil { // whoever reads on must see the same
		rest = failing{err}
	}
	out.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body[:n]), rest), out.Body}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// again returns the request to send in place of one that was answered 401, nil
// if the 401 passes.
func (x *exchange) again(out *http.Request) *http.Request {
	if !x.replay.possible {
		return nil
	}
	x.replay.possible = false // once
	fresh := x.rotated()
	for _, v := range x.carried() {
		if fresh != nil || x.p.opts.Reread == nil {
			break
		}
		if x.p.opts.Reread(out.Context(), v) {
			fresh = x.rotated()
		}
	}
	if fresh == nil || out.Context().Err() != nil {
		return nil
	}
	next := out.Clone(out.Context())
	next.Body, next.ContentLength = http.NoBody, int64(len(x.replay.body))
	if len(x.replay.body) > 0 {
		next.Body = io.NopCloser(bytes.NewReader(x.replay.body))
	}
	next.URL.RawQuery = x.query
	x.strip(next)
	before, credentials := x.snap, slices.Clone(x.event.Credentials)
	x.snap = fresh
	if x.inject(next) != nil {
		x.snap, x.event.Credentials = before, credentials
		return nil
	}
	x.maskWith()
	return next
}

// carried are the versions that the request carried.
func (x *exchange) carried() []secret.Value {
	var all []secret.Value
	for i := range x.rule.Attach {
		for _, ref := range x.rule.Attach[i].Injector.Secrets() {
			if e, ok := x.snap.Secrets.Entry(ref); ok && !e.Current.IsZero() {
				all = append(all, e.Current)
			}
		}
	}
	return all
}

// rotated is the Snapshot in force, if it has the same configuration and
// another version of what the request carried; else nil.
func (x *exchange) rotated() *Snapshot {
	now := x.p.live.Load()
	if now.Generation != x.snap.Generation {
		return nil
	}
	newer := false
	for _, v := range x.carried() {
		e, ok := now.Secrets.Entry(secret.Ref(v.Name()))
		switch {
		case !ok || e.Current.IsZero():
			return nil
		case e.Current.Same(v):
		case e.Previous.Same(v):
			newer = true
		default:
			return nil // two versions on: the answer's mask would not know what the first attempt carried
		}
	}
	if !newer {
		return nil
	}
	return now
}

// discard ends an answer that nobody will see.
func discard(res *http.Response) {
	if res.ContentLength >= 0 && res.ContentLength <= retryDrain {
		_, _ = io.CopyN(io.Discard, res.Body, retryDrain)
	}
	_ = res.Body.Close()
}

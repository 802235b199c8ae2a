package proxy

import (
	"bytes"
	"io"
	"net/http"

	"github.com/attache-proxy/attache/proxy/audit"
)

// unhandled reports whether b begins an answer that net/http gives by itself to an HTTP/1 request that it
// shows to no handler. (Over HTTP/2 it does so in frames, which we do not see.)
func (c *conn) unhandled(b []byte) bool {
	return !c.answering.Load() && bytes.HasPrefix(b, []byte("HTTP/1."))
}

// answerUnhandled writes to the client, in place of net/http's own answer, one that says why (promise 15).
// The connection ends with it.
func (c *conn) answerUnhandled(theirs []byte, to io.Writer) (int, error) {
	c.answering.Store(true) // what may follow is no second answer
	reason := reasonBadRequest
	_, status, _ := bytes.Cut(theirs, []byte(" "))
	switch {
	case bytes.HasPrefix(status, []byte("431")):
		reason = reasonHeaderTooLarge
	case bytes.HasPrefix(status, []byte("417")):
		reason = reasonExpectation
	}
	x := c.proxy.newUnhandled(c, reason, "")
	if c.refused != "" {
		x.event.RequestID, x.event.Detail = c.refused, framingDetail
	}
	res := x.rejection()
	if c.refused == "" {
		c.proxy.record(&x.event)
	}
	c.linger.Store(true)
	if err := res.Write(to); err != nil {
		return 0, err
	}
	return len(theirs), nil
}

// newUnhandled is the refusal of a request that no handler is shown.
func (p *Proxy) newUnhandled(c *conn, reason, detail string) *exchange {
	x := &exchange{p: p, snap: p.live.Load(), conn: c, in: &http.Request{ProtoMajor: 1, ProtoMinor: 1}, start: p.now()}
	x.event = audit.Event{Type: audit.Request, Time: x.start, RequestID: p.ids.next(x.start), Listener: c.listener, Protocol: "http/1.1"}
	if x.snap != nil {
		x.event.ConfigGeneration = x.snap.Generation
	}
	x.setTarget(c.target)
	x.noteCaller("")
	x.reject(reason, detail)
	x.event.Status = p.reasons[reason].Status
	return x
}

const framingDetail = "HTTP/1 framing (RFC 9112 §6.3)"

// refusedFraming leaves the event of a request that net/http is not shown, and answers.
func (p *Proxy) refusedFraming(c *conn) {
	x := p.newUnhandled(c, reasonBadRequest, framingDetail)
	c.refused = x.event.RequestID
	p.record(&x.event)
}

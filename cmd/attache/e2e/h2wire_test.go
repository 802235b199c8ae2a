package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2wire is an HTTP/2 connection inside a tunnel on which a test writes
// header fields of its own making, which no client library would.
type h2wire struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	enc    *hpack.Encoder
	block  bytes.Buffer
	stream uint32
	path   string // of floods
}

// h2 opens CONNECT host:443, TLS and HTTP/2 in it.
func (s *server) h2(host string) *h2wire {
	s.t.Helper()
	w := s.dial()
	if a := w.connect(host+":443", ""); a.StatusCode != http.StatusOK {
		s.t.Fatalf("CONNECT %s: %s", host, a.Status)
	}
	inner, err := w.over(&tls.Config{ServerName: host, NextProtos: []string{"h2"}})
	ok(s.t, err)
	inner.send(http2.ClientPreface)
	h := &h2wire{t: s.t, conn: inner.conn, framer: http2.NewFramer(inner.conn, inner.r), stream: 1}
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.enc = hpack.NewEncoder(&h.block)
	ok(s.t, h.framer.WriteSettings())
	return h
}

// h2answer is what one stream gave.
type h2answer struct {
	status string // empty where the stream was reset
	reset  http2.ErrCode
	body   string
}

// ask sends one request of the fields "name: value" and reads its answer.
func (h *h2wire) ask(fields ...string) h2answer {
	h.t.Helper()
	id := h.stream
	h.stream += 2
	h.block.Reset()
	for _, f := range fields {
		i := strings.Index(f[1:], ": ") + 1
		ok(h.t, h.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: f[i+2:]}))
	}
	ok(h.t, h.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: h.block.Bytes(), EndHeaders: true, EndStream: true,
	}))
	var a h2answer
	for {
		f, err := h.framer.ReadFrame()
		if err != nil {
			h.t.Fatalf("stream %d: %v", id, err)
		}
		if done := h.take(f, id, &a); done {
			return a
		}
	}
}

// take reads one frame into a and reports whether it ends the stream.
func (h *h2wire) take(f http2.Frame, id uint32, a *h2answer) bool {
	h.t.Helper()
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			ok(h.t, h.framer.WriteSettingsAck())
		}
	case *http2.GoAwayFrame:
		h.t.Fatalf("GOAWAY %v %q", f.ErrCode, f.DebugData())
	case *http2.RSTStreamFrame:
		if f.StreamID == id {
			a.reset = f.ErrCode
			return true
		}
	case *http2.MetaHeadersFrame:
		if f.StreamID == id {
			if s := f.PseudoValue("status"); s != "" {
				a.status = s
			}
			return f.StreamEnded()
		}
	case *http2.DataFrame:
		if f.StreamID == id {
			a.body += string(f.Data())
			return f.StreamEnded()
		}
	}
	return false
}

func (a h2answer) String() string {
	if a.status == "" {
		return fmt.Sprintf("reset %v", a.reset)
	}
	return a.status + " " + a.body
}

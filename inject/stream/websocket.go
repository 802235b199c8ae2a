package stream

import (
	"encoding/binary"
	"errors"
)

// ErrFrame is returned for WebSocket frames that a server may not send.
var ErrFrame = errors.New("websocket frame is invalid")

// WebSocket masks values in the frames of a server (RFC 6455 section 5): in
// each control frame, and in each message over all of its frames. Headers stay
// as they are.
type WebSocket struct {
	s      *Scrubber
	frame  []byte // what has come of a header, or of a whole control frame
	left   uint64 // of a data frame's payload
	final  bool   // that frame ends its message
	inside bool   // a message has begun and not ended

	// What stands between the payloads of a message whose last bytes are held
	// back: offsets count its payload.
	fed, sent uint64
	between   []insert
	size      int // of between, in bytes
	ready     []byte

	control matcherCount
}

// An insert is bytes, a header or a control frame, that follow after offset at.
type insert struct {
	at    uint64
	bytes []byte
}

type matcherCount struct {
	m     *matcher
	count int
}

const (
	wsFinal, wsReserved, wsOpcode = 0x80, 0x70, 0x0F // first byte
	wsMasked, wsLength            = 0x80, 0x7F       // second byte

	wsContinuation, wsText, wsBinary, wsClose, wsPong = 0, 1, 2, 8, 10

	// wsBetween bounds between: only a server that sends nothing but empty
	// frames and pings for less than [Silence] each comes near.
	wsBetween = 64 << 10
)

// NewWebSocket returns a transformer for what one server sends after its 101.
func (p *Patterns) NewWebSocket() *WebSocket {
	s := p.NewScrubber()
	return &WebSocket{s: s, control: matcherCount{m: s.m}}
}

// Append implements [Transformer]. Its error is [ErrFrame].
func (w *WebSocket) Append(dst, p []byte) ([]byte, error) {
	for len(p) > 0 {
		if w.left > 0 {
			n := int(min(uint64(len(p)), w.left))
			dst = w.payload(dst, p[:n])
			p = p[n:]
			continue
		}
		size, err := w.frameSize()
		if err != nil {
			return dst, err
		}
		n := min(len(p), size-len(w.frame))
		w.frame = append(w.frame, p[:n]...)
		p = p[n:]
		if size, err = w.frameSize(); err != nil {
			return dst, err
		}
		if len(w.frame) < size {
			continue
		}
		if dst, err = w.begin(dst); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// frameSize returns how many bytes to gather, as far as those that are there
// tell: the header and, of control frames, the payload. At least one is missing
// or it is all there.
func (w *WebSocket) frameSize() (int, error) {
	if len(w.frame) < 2 {
		return 2, nil
	}
	first, second := w.frame[0], w.frame[1]
	opcode, length := first&wsOpcode, int(second&wsLength)
	switch {
	case first&wsReserved != 0, second&wsMasked != 0: // no extension was agreed on; only clients mask
		return 0, ErrFrame
	case wsClose <= opcode && opcode <= wsPong:
		if first&wsFinal == 0 || length > 125 {
			return 0, ErrFrame
		}
		return 2 + length, nil
	case opcode > wsBinary, (opcode == wsContinuation) != w.inside:
		return 0, ErrFrame
	case length == 126:
		return 2 + 2, nil
	case length == 127:
		return 2 + 8, nil
	}
	return 2, nil
}

// begin handles the frame or header that has been gathered.
func (w *WebSocket) begin(dst []byte) ([]byte, error) {
	frame := w.frame
	w.frame = w.frame[:0]
	opcode := frame[0] & wsOpcode
	if opcode >= wsClose {
		spans := w.control.m.all(frame[2:])
		for _, s := range spans {
			mask(frame[2+s.start : 2+s.end])
		}
		w.control.count += len(spans)
		return w.put(dst, frame)
	}
	w.final, w.inside = frame[0]&wsFinal != 0, true
	switch length := frame[1] & wsLength; length {
	case 126:
		w.left = uint64(binary.BigEndian.Uint16(frame[2:]))
	case 127:
		if w.left = binary.BigEndian.Uint64(frame[2:]); w.left>>63 != 0 {
			return dst, ErrFrame
		}
	default:
		w.left = uint64(length)
	}
	dst, err := w.put(dst, frame)
	if err == nil && w.left == 0 && w.final {
		dst = w.end(dst)
	}
	return dst, err
}

// put sends bytes that are no payload when all payload before them is sent.
func (w *WebSocket) put(dst, bytes []byte) ([]byte, error) {
	if w.sent == w.fed {
		return append(dst, bytes...), nil
	}
	if w.size += len(bytes); w.size > wsBetween {
		return dst, ErrFrame
	}
	w.between = append(w.between, insert{w.fed, append([]byte(nil), bytes...)})
	return dst, nil
}

func (w *WebSocket) payload(dst, p []byte) []byte {
	w.left -= uint64(len(p))
	w.fed += uint64(len(p))
	w.ready, _ = w.s.Append(w.ready[:0], p)
	dst = w.send(dst)
	if w.left == 0 && w.final {
		dst = w.end(dst)
	}
	return dst
}

func (w *WebSocket) end(dst []byte) []byte {
	dst = w.Release(dst)
	w.inside = false
	w.fed, w.sent = 0, 0
	return dst
}

// send hands out ready payload and what belongs between it.
func (w *WebSocket) send(dst []byte) []byte {
	ready := w.ready
	done := 0
	for _, b := range w.between {
		n := b.at - w.sent
		if n > uint64(len(ready)) {
			break
		}
		dst = append(append(dst, ready[:n]...), b.bytes...)
		ready = ready[n:]
		w.sent = b.at
		w.size -= len(b.bytes)
		done++
	}
	w.between = append(w.between[:0], w.between[done:]...)
	w.sent += uint64(len(ready))
	return append(dst, ready...)
}

// Release implements [Transformer]. A header or control frame that is not whole
// stays.
func (w *WebSocket) Release(dst []byte) []byte {
	w.ready = w.s.Release(w.ready[:0])
	return w.send(dst)
}

// Held implements [Transformer].
func (w *WebSocket) Held() int { return w.s.Held() + w.size }

// Count implements [Transformer].
func (w *WebSocket) Count() int { return w.s.Count() + w.control.count }

package stream

import (
	"encoding/binary"
	"errors"
)

// ErrCompressed is returned for messages that are compressed although nobody
// offered that: what they contain cannot be masked.
var ErrCompressed = errors.New("message is compressed")

const (
	grpcHeader     = 5 // flags and length: gRPC over HTTP2, "Length-Prefixed-Message"
	grpcCompressed = 1
)

// GRPC masks values in length-prefixed messages: those of gRPC, gRPC-Web and
// Connect streams. A value may be cut in any way but must be in one message.
type GRPC struct {
	s      *Scrubber
	header [grpcHeader]byte
	have   int    // of header
	left   uint32 // of the message
}

// NewGRPC returns a transformer for one direction of one call.
func (p *Patterns) NewGRPC() *GRPC { return &GRPC{s: p.NewScrubber()} }

// Append implements [Transformer]. Its error is [ErrCompressed].
func (g *GRPC) Append(dst, p []byte) ([]byte, error) {
	for len(p) > 0 {
		if g.left == 0 {
			n := copy(g.header[g.have:], p)
			g.have += n
			p = p[n:]
			if g.header[0]&grpcCompressed != 0 {
				return dst, ErrCompressed
			}
			if g.have < grpcHeader {
				return dst, nil
			}
			g.have = 0
			g.left = binary.BigEndian.Uint32(g.header[1:])
			dst = append(dst, g.header[:]...)
			continue
		}
		n := min(uint64(len(p)), uint64(g.left))
		dst, _ = g.s.Append(dst, p[:n])
		p = p[n:]
		g.left -= uint32(n)
		if g.left == 0 {
			dst = g.s.Release(dst)
		}
	}
	return dst, nil
}

// Release implements [Transformer]. A header that is not whole stays.
func (g *GRPC) Release(dst []byte) []byte { return g.s.Release(dst) }

// Held implements [Transformer].
func (g *GRPC) Held() int { return g.s.Held() }

// Count implements [Transformer].
func (g *GRPC) Count() int { return g.s.Count() }

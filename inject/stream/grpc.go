package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// ErrCompressed is returned for compressed messages that cannot be opened: what
// they contain cannot be masked.
var ErrCompressed = errors.New("message is compressed")

const (
	grpcHeader     = 5 // flags and length: gRPC over HTTP2, "Length-Prefixed-Message"
	grpcCompressed = 1
	// grpcPacked bounds a compressed message, packed and unpacked, in bytes: what
	// gRPC's own libraries take by default. It is held whole, since the length of
	// what it unpacks to goes before it.
	grpcPacked = 4 << 20
)

// GRPC masks values in length-prefixed messages: those of gRPC, gRPC-Web and
// Connect streams. A value may be cut in any way but must be in one message.
// Compressed messages go on unpacked, as the protocol lets each message choose.
type GRPC struct {
	s      *Scrubber
	coding string // of compressed messages
	header [grpcHeader]byte
	have   int    // of header
	left   uint32 // of the message
	packed []byte // what has come of a compressed message
}

// NewGRPC returns a transformer for one direction of one call. Its compressed
// messages, as servers answer clients that compress theirs, are in coding, the
// value of Grpc-Encoding or Connect-Content-Encoding.
func (p *Patterns) NewGRPC(coding string) *GRPC { return &GRPC{s: p.NewScrubber(), coding: coding} }

// Append implements [Transformer]. Its error is [ErrCompressed].
func (g *GRPC) Append(dst, p []byte) ([]byte, error) {
	for len(p) > 0 {
		if g.left == 0 {
			n := copy(g.header[g.have:], p)
			g.have += n
			p = p[n:]
			if g.compressed() && !g.opens() {
				return dst, ErrCompressed
			}
			if g.have < grpcHeader {
				return dst, nil
			}
			g.have = 0
			g.left = binary.BigEndian.Uint32(g.header[1:])
			switch {
			case !g.compressed(), g.left == 0:
				dst = append(dst, g.header[:]...)
			case g.left > grpcPacked:
				return dst, ErrCompressed
			}
			continue
		}
		n := min(uint64(len(p)), uint64(g.left))
		if g.compressed() {
			g.packed = append(g.packed, p[:n]...)
		} else {
			dst, _ = g.s.Append(dst, p[:n])
		}
		p = p[n:]
		g.left -= uint32(n)
		if g.left > 0 {
			break
		}
		if g.compressed() {
			var err error
			if dst, err = g.unpack(dst); err != nil {
				return dst, err
			}
		}
		dst = g.s.Release(dst)
	}
	return dst, nil
}

func (g *GRPC) compressed() bool { return g.header[0]&grpcCompressed != 0 }

// opens reports whether compressed messages can be unpacked.
func (g *GRPC) opens() bool {
	names, err := codings(g.coding)
	return err == nil && len(names) == 1
}

// unpack appends the message that has come whole, as one that is not compressed.
func (g *GRPC) unpack(dst []byte) ([]byte, error) {
	r, err := Decode(g.coding, bytes.NewReader(g.packed))
	if err != nil {
		return dst, ErrCompressed
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, grpcPacked+1))
	if err != nil || len(text) > grpcPacked {
		return dst, ErrCompressed
	}
	g.packed = g.packed[:0]
	head := g.header
	head[0] &^= grpcCompressed
	binary.BigEndian.PutUint32(head[1:], uint32(len(text)))
	dst = append(dst, head[:]...)
	dst, _ = g.s.Append(dst, text)
	return dst, nil
}

// Release implements [Transformer]. A header that is not whole stays.
func (g *GRPC) Release(dst []byte) []byte { return g.s.Release(dst) }

// Held implements [Transformer].
func (g *GRPC) Held() int { return g.s.Held() }

// Count implements [Transformer].
func (g *GRPC) Count() int { return g.s.Count() }

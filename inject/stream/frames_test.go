package stream

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func grpcMessage(flags byte, payload string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(payload)))
	return append(b, payload...)
}

func wsFrame(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

var stars = strings.Repeat("*", len(plainValue))

func TestGRPCAndWebSocketMessages(t *testing.T) {
	long := strings.Repeat("long text ", 8000)
	half := len(plainValue) / 2
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := []struct {
		name     string
		new      func(*Patterns) Transformer
		in, want []byte
	}{
		{"grpc", func(p *Patterns) Transformer { return p.NewGRPC("") },
			join(grpcMessage(0, "\x0a\x16"+plainValue), grpcMessage(0, ""), grpcMessage(0, "x"), grpcMessage(0x80, "grpc-message: "+plainValue), grpcMessage(0, long)),
			join(grpcMessage(0, "\x0a\x16"+stars), grpcMessage(0, ""), grpcMessage(0, "x"), grpcMessage(0x80, "grpc-message: "+stars), grpcMessage(0, long))},
		{"grpc, not over messages", func(p *Patterns) Transformer { return p.NewGRPC("") },
			join(grpcMessage(0, plainValue[:half]), grpcMessage(0, plainValue[half:])),
			join(grpcMessage(0, plainValue[:half]), grpcMessage(0, plainValue[half:]))},
		{"websocket", func(p *Patterns) Transformer { return p.NewWebSocket() },
			join(wsFrame(0x81, plainValue), wsFrame(0x82, ""), wsFrame(0x82, long), wsFrame(0x82, long[:200]+plainValue), wsFrame(0x88, "\x03\xe8"+plainValue)),
			join(wsFrame(0x81, stars), wsFrame(0x82, ""), wsFrame(0x82, long), wsFrame(0x82, long[:200]+stars), wsFrame(0x88, "\x03\xe8"+stars))},
		{"websocket fragments, pings between", func(p *Patterns) Transformer { return p.NewWebSocket() },
			join(wsFrame(0x01, "<"+plainValue[:half]), wsFrame(0x89, plainValue), wsFrame(0x00, ""), wsFrame(0x00, plainValue[half:half+1]), wsFrame(0x8A, ""), wsFrame(0x80, plainValue[half+1:]+">"), wsFrame(0x81, "next")),
			join(wsFrame(0x01, "<"+stars[:half]), wsFrame(0x89, stars), wsFrame(0x00, ""), wsFrame(0x00, "*"), wsFrame(0x8A, ""), wsFrame(0x80, stars[half+1:]+">"), wsFrame(0x81, "next"))},
	}
	p := Compile(plainValue)
	for _, test := range tests {
		for _, size := range []int{1, 2, 3, 5, 11, 100, len(test.in)} {
			tr := test.new(p)
			got := scrub(t, tr, test.in, fixed(size))
			if !bytes.Equal(got, test.want) {
				t.Errorf("%s in pieces of %d:\n%.200q, want\n%.200q", test.name, size, got, test.want)
			}
			if tr.Held() != 0 {
				t.Errorf("%s: %d held back after the end", test.name, tr.Held())
			}
			if masked := bytes.Contains(test.want, []byte("*")); masked != (tr.Count() > 0) {
				t.Errorf("%s: %d counted", test.name, tr.Count())
			}
		}
	}
}

// TestMessagesAreNotDelayed holds that the end of a message releases all of it,
// before another byte has come.
func TestMessagesAreNotDelayed(t *testing.T) {
	p := Compile(plainValue)
	for _, test := range []struct {
		tr Transformer
		in []byte
	}{
		{p.NewGRPC(""), grpcMessage(0, "no control byte")},
		{p.NewGRPC(""), grpcMessage(0, "")},
		{p.NewWebSocket(), wsFrame(0x81, "no control byte")},
		{p.NewWebSocket(), wsFrame(0x89, "ping")},
		{p.NewWebSocket(), append(wsFrame(0x01, "begin"), wsFrame(0x80, "")...)},
	} {
		out, err := test.tr.Append(nil, test.in)
		if !bytes.Equal(out, test.in) || err != nil || test.tr.Held() != 0 {
			t.Errorf("%q: %q, %v, %d held", test.in, out, err, test.tr.Held())
		}
	}
}

func TestPingBehindAHeldFragment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := Compile(plainValue), newSink()
		w := p.NewWriter(s, p.NewWebSocket(), s.flush)
		in := append(wsFrame(0x01, "fragment"), wsFrame(0x89, "ping")...)
		write(t, w, string(in))
		time.Sleep(Silence)
		synctest.Wait()
		if got, _, flushed := s.seen(); got != string(in) || flushed != 1 {
			t.Errorf("%q, want %q, %d flushes", got, in, flushed)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFramesThatCannotBeScrubbed(t *testing.T) {
	p := Compile(plainValue)
	masked := []byte("\x81\x96\x01\x02\x03\x04")
	for i, c := range []byte(plainValue) {
		masked = append(masked, c^masked[2+i%4])
	}
	for name, test := range map[string]struct {
		tr   Transformer
		in   []byte
		want error
	}{
		"grpc compressed":          {p.NewGRPC(""), grpcMessage(1, "x"), ErrCompressed},
		"grpc compressed, one bit": {p.NewGRPC(""), grpcMessage(3, "x"), ErrCompressed},
		"websocket compressed":     {p.NewWebSocket(), wsFrame(0xC1, "x"), ErrFrame},
		"websocket masked":         {p.NewWebSocket(), masked, ErrFrame},
		"fragmented ping":          {p.NewWebSocket(), wsFrame(0x09, "x"), ErrFrame},
		"long ping":                {p.NewWebSocket(), wsFrame(0x89, strings.Repeat("x", 126)), ErrFrame},
		"unknown opcode":           {p.NewWebSocket(), wsFrame(0x83, "x"), ErrFrame},
		"unknown control":          {p.NewWebSocket(), wsFrame(0x8B, "x"), ErrFrame},
		"continuation of nothing":  {p.NewWebSocket(), wsFrame(0x80, "x"), ErrFrame},
		"message within message":   {p.NewWebSocket(), append(wsFrame(0x01, "x"), wsFrame(0x81, "y")...), ErrFrame},
		"negative length":          {p.NewWebSocket(), []byte("\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), ErrFrame},
	} {
		out, err := test.tr.Append(nil, test.in)
		if !errors.Is(err, test.want) || bytes.Contains(out, test.in) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// TestCompressedGRPCMessages: a server answers a client that compresses in the
// client's coding, whatever it was asked.
func TestCompressedGRPCMessages(t *testing.T) {
	p := Compile(plainValue)
	in := slices.Concat(grpcMessage(0, "a"+plainValue), grpcMessage(1, packed(t, "b"+plainValue+"c")), grpcMessage(1, ""), grpcMessage(0, "d"))
	stars := strings.Repeat("*", len(plainValue))
	want := slices.Concat(grpcMessage(0, "a"+stars), grpcMessage(0, "b"+stars+"c"), grpcMessage(1, ""), grpcMessage(0, "d"))
	for size := 1; size <= len(in); size++ {
		got, err := pieces(p.NewGRPC("gzip"), in, size)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("in pieces of %d: %q, %v, want %q", size, got, err, want)
		}
	}
	for name, message := range map[string][]byte{
		"a bomb":         grpcMessage(1, packed(t, strings.Repeat("x", grpcPacked+1))),
		"not the coding": grpcMessage(1, "nothing of the kind"),
		"too long":       {1, 0xff, 0xff, 0xff, 0xff},
	} {
		if out, err := p.NewGRPC("gzip").Append(nil, message); !errors.Is(err, ErrCompressed) || len(out) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestEmptyFramesAreBounded holds that frames without payload do not gather
// without end behind a fragment that is held back.
func TestEmptyFramesAreBounded(t *testing.T) {
	w := Compile(plainValue).NewWebSocket()
	_, err := w.Append(nil, wsFrame(0x01, "x"))
	for i := 0; err == nil; i++ {
		if i > wsBetween {
			t.Fatalf("%d bytes held back", w.Held())
		}
		_, err = w.Append(nil, wsFrame(0x00, ""))
	}
	if !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
}

// message is a stretch of a framed stream: payloads whose concatenation is
// masked, at these ranges.
type message []span

// checkFramed holds got, what came out for in, against the ranges of in.
func checkFramed(t *testing.T, p *Patterns, in, got []byte, messages []message, end int) {
	t.Helper()
	want := bytes.Clone(in[:end])
	for _, m := range messages {
		var payload []byte
		for _, r := range m {
			payload = append(payload, in[r.start:r.end]...)
		}
		s := p.NewScrubber()
		payload, _ = s.Append(nil, payload)
		payload = s.Release(payload)
		for _, r := range m {
			payload = payload[copy(want[r.start:r.end], payload):]
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%q became %q, want %q", in, got, want)
	}
}

// pieces puts in through tr in pieces of size bytes and returns what came out,
// until an error.
func pieces(tr Transformer, in []byte, size int) (out []byte, err error) {
	for piece := range chunks(in, size) {
		if out, err = tr.Append(out, piece); err != nil {
			break
		}
	}
	return tr.Release(out), err
}

func FuzzGRPC(f *testing.F) {
	f.Add(append(grpcMessage(0, "a"+plainValue), grpcMessage(0, "b")...), 3)
	f.Add(append(grpcMessage(2, plainValue[:4]), grpcMessage(1, "compressed")...), 1)
	f.Add(grpcMessage(0, plainValue)[:12], 4)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		p := Compile(plainValue, "aaaaaaaaaaaa")
		got, err := pieces(p.NewGRPC(""), in, max(1, size))
		var messages []message
		at := 0
		for len(in)-at >= 5 && in[at]&1 == 0 {
			n := int(min(uint64(binary.BigEndian.Uint32(in[at+1:])), uint64(len(in)-at-5)))
			messages = append(messages, message{{at + 5, at + 5 + n}})
			at += 5 + n
		}
		if bad := at < len(in) && in[at]&1 != 0 && !unfinished(in, messages); bad != (err != nil) {
			t.Fatalf("error %v", err)
		}
		checkFramed(t, p, in, got, messages, at)
	})
}

// unfinished reports whether the last message is longer than what came.
func unfinished(in []byte, messages []message) bool {
	if len(messages) == 0 {
		return false
	}
	last := messages[len(messages)-1][0]
	return uint64(binary.BigEndian.Uint32(in[last.start-4:])) > uint64(last.end-last.start)
}

func FuzzWebSocket(f *testing.F) {
	f.Add(append(wsFrame(0x01, "<"+plainValue[:9]), append(wsFrame(0x89, plainValue), wsFrame(0x80, plainValue[9:])...)...), 2)
	f.Add(append(wsFrame(0x82, strings.Repeat("x", 126)+plainValue), wsFrame(0x80, "")...), 5)
	f.Add(append(wsFrame(0x02, ""), wsFrame(0x00, "aaaaaaaaaaaaaaa")...), 1)
	f.Add([]byte("\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x16"+plainValue), 1)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		p := Compile(plainValue, "aaaaaaaaaaaa")
		got, err := pieces(p.NewWebSocket(), in, max(1, size))
		var messages []message
		var open message
		inside, end := false, 0
		for rest := in; len(rest) >= 2 && rest[0]&0x70 == 0 && rest[1]&0x80 == 0; rest = in[end:] {
			opcode, n, head := rest[0]&15, uint64(rest[1]), 2
			if opcode >= 8 {
				if opcode > 10 || n > 125 || rest[0] < 0x80 || len(rest) < 2+int(n) {
					break
				}
				messages = append(messages, message{{end + 2, end + 2 + int(n)}})
				end += 2 + int(n)
				continue
			}
			if opcode > 2 || (opcode == 0) != inside {
				break
			}
			if n == 126 && len(rest) >= 4 {
				n, head = uint64(binary.BigEndian.Uint16(rest[2:])), 4
			} else if n == 127 && len(rest) >= 10 {
				n, head = binary.BigEndian.Uint64(rest[2:]), 10
			} else if n > 125 {
				break
			}
			if n>>63 != 0 {
				break
			}
			have := int(min(n, uint64(len(rest)-head)))
			open = append(open, span{end + head, end + head + have})
			end += head + have
			if inside = rest[0] < 0x80 || uint64(have) < n; !inside {
				messages = append(messages, open)
				open = nil
			}
			if uint64(have) < n {
				break
			}
		}
		checkFramed(t, p, in, got, append(messages, open), end)
		if err == nil && len(in)-end >= 125+2 && len(open) == 0 {
			t.Fatalf("%d bytes swallowed", len(in)-end)
		}
	})
}

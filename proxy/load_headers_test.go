package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// heap is what lives after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// flat fails the test if attack leaves more than 8 MiB on the heap while its
// connections are still there. Buffers, leaves and sessions are far below it; any
// queue that an attacker fills is far above.
func flat(t *testing.T, attack func()) {
	t.Helper()
	const most = 8 << 20
	before := heap()
	attack()
	if grown := heap() - before; grown > most {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
}

// unharmed fails the test if another client does not get its answer.
func (s *stage) unharmed() {
	s.Helper()
	for _, h2 := range []bool{false, true} {
		res, err := s.client(h2, nil).Get("https://api.test/")
		if err != nil {
			s.Fatalf("another client: %v", err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode != http.StatusOK {
			s.Fatalf("another client: %s", res.Status)
		}
	}
}

// rawH2 speaks HTTP/2 to the proxy frame by frame.
type rawH2 struct {
	*http2.Framer
	net.Conn
	enc   *hpack.Encoder
	block bytes.Buffer
}

func (s *stage) rawH2() *rawH2 {
	s.Helper()
	c := s.open("api.test:443", "api.test", "h2")
	if p := c.ConnectionState().NegotiatedProtocol; p != "h2" {
		s.Fatalf("negotiated %q", p)
	}
	h := &rawH2{Framer: http2.NewFramer(c, c), Conn: c}
	h.AllowIllegalWrites = true
	h.enc = hpack.NewEncoder(&h.block)
	_, _ = io.WriteString(c, http2.ClientPreface)
	if err := h.WriteSettings(); err != nil {
		s.Fatal(err)
	}
	return h
}

// fields encodes a GET for api.test, with more "name: value" fields.
func (h *rawH2) fields(more ...string) []byte {
	h.block.Reset()
	for _, f := range append([]string{":method: GET", ":scheme: https", ":authority: api.test", ":path: /"}, more...) {
		i := strings.Index(f[1:], ": ") + 1
		_ = h.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: f[i+2:]})
	}
	return h.block.Bytes()
}

// headers sends a block in as many frames as it needs.
func (h *rawH2) headers(stream uint32, block []byte) error {
	const most = 16 << 10
	first := block[:min(len(block), most)]
	rest := block[len(first):]
	err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: true, EndHeaders: len(rest) == 0})
	for err == nil && len(rest) > 0 {
		next := rest[:min(len(rest), most)]
		rest = rest[len(next):]
		err = h.WriteContinuation(stream, len(rest) == 0, next)
	}
	return err
}

// outcome, which may run beside a writer, reads until a stream is answered or reset or the connection ends:
// "431", "RST_STREAM X", "GOAWAY X" or "closed".
func (h *rawH2) outcome() string {
	h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := h.ReadFrame()
		if err != nil {
			return "closed"
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			return "GOAWAY " + f.ErrCode.String()
		case *http2.RSTStreamFrame:
			return "RST_STREAM " + f.ErrCode.String()
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		}
	}
}

// counting is an upstream that counts what it is asked.
func counting(t *testing.T) (string, *atomic.Int64) {
	n := new(atomic.Int64)
	return upstream(t, func(_ http.ResponseWriter, _ *http.Request) { n.Add(1) }), n
}

// TestHugeHeaders: one header line over the limit is a 431, at the front and inside.
func TestHugeHeaders(t *testing.T) {
	to, served := counting(t)
	s := newStage(t, Options{}, api(to))
	huge := "X-Huge: " + strings.Repeat("h", 256<<10) + "\r\n\r\n"
	flat(t, func() {
		front := s.dial()
		expect431(t, front, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n"+huge)
		expect431(t, s.open("api.test:443", "api.test"), "GET / HTTP/1.1\r\nHost: api.test\r\n"+huge)
		h := s.rawH2()
		_ = h.headers(1, h.fields("x-huge: "+strings.Repeat("h", 256<<10)))
		if got := h.outcome(); got != "431" && !strings.HasPrefix(got, "GOAWAY") {
			t.Errorf("h2: %s", got)
		}
	})
	if n := served.Load(); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
	s.unharmed()
}

// expect431 sends text, as much of it as the other side takes.
func expect431(t *testing.T, c net.Conn, text string) {
	t.Helper()
	sent := make(chan struct{})
	go func() { defer close(sent); _, _ = io.WriteString(c, text) }()
	answer := make([]byte, 64)
	n, err := io.ReadAtLeast(c, answer, len("HTTP/1.1 431"))
	if got := string(answer[:n]); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("%.20q: %q, %v, want 431", text, got, err)
	}
	_ = c.Close()
	<-sent
}

// TestManyHeaders: as many small fields as would fill memory in a map.
func TestManyHeaders(t *testing.T) {
	to, served := counting(t)
	s := newStage(t, Options{}, api(to))
	var many strings.Builder
	var list []string
	for i := range 20_000 {
		fmt.Fprintf(&many, "X%d: y\r\n", i)
		if i%4 == 0 { // a block of HPACK that net/http reads to its end
			list = append(list, fmt.Sprintf("x%d: y", i))
		}
	}
	flat(t, func() {
		expect431(t, s.dial(), "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n"+many.String()+"\r\n")
		expect431(t, s.open("api.test:443", "api.test"), "GET / HTTP/1.1\r\nHost: api.test\r\n"+many.String()+"\r\n")
		h := s.rawH2()
		_ = h.headers(1, h.fields(list...))
		if got := h.outcome(); got != "431" && !strings.HasPrefix(got, "GOAWAY") {
			t.Errorf("h2: %s", got)
		}
	})
	if n := served.Load(); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
	s.unharmed()
}

// TestHeaderBomb: HPACK lets a byte stand for a field of 4 KiB. What counts is
// what it stands for.
func TestHeaderBomb(t *testing.T) {
	to, served := counting(t)
	s := newStage(t, Options{}, api(to))
	flat(t, func() {
		for range 4 {
			h := s.rawH2()
			block := append([]byte(nil), h.fields("x-bomb: "+strings.Repeat("b", 3900))...)
			// 62 is the newest entry of the dynamic table (RFC 7541 §2.3.3).
			block = append(block, bytes.Repeat([]byte{0x80 | 62}, 64<<10)...) // 250 MiB
			_ = h.headers(1, block)
			if got := h.outcome(); got != "431" && !strings.HasPrefix(got, "GOAWAY") {
				t.Errorf("h2: %s", got)
			}
		}
	})
	if n := served.Load(); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
	s.unharmed()
}

// TestContinuationFlood: a header block that never ends (CVE-2023-45288).
func TestContinuationFlood(t *testing.T) {
	to, served := counting(t)
	s := newStage(t, Options{}, api(to))
	flat(t, func() {
		h := s.rawH2()
		_ = h.SetDeadline(time.Now().Add(patience))
		got := make(chan string, 1)
		go func() { got <- h.outcome() }()
		err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields()})
		fragment := append([]byte(nil), h.fields("x-more: " + strings.Repeat("m", 8<<10))[4:]...)
		sent := 0
		for ; err == nil && sent < 64<<20; sent += len(fragment) {
			err = h.WriteContinuation(1, false, fragment)
		}
		if err == nil {
			t.Errorf("%d MiB of a header block were taken", sent>>20)
		}
		_ = h.Close()
		<-got
		// Empty fragments cost no header bytes; the ping that silence brings ends them.
		e := s.rawH2()
		_ = e.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: e.fields()})
		for range 10_000 {
			if err = e.WriteContinuation(1, false, nil); err != nil {
				break
			}
		}
	})
	if n := served.Load(); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
	s.unharmed()
}

// TestRapidReset: requests that are taken back at once (CVE-2023-44487) never
// run more at once than streams are allowed, and end the connection in the end.
func TestRapidReset(t *testing.T) {
	var now, peak atomic.Int64
	to := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Reset") == "" {
			return
		}
		for n := now.Add(1); ; {
			if p := peak.Load(); n <= p || peak.CompareAndSwap(p, n) {
				break
			}
		}
		<-r.Context().Done()
		now.Add(-1)
	})
	s := newStage(t, Options{Server: ServerLimits{Streams: 20}}, api(to))
	flat(t, func() {
		h := s.rawH2()
		got := make(chan string, 1)
		go func() { got <- h.outcome() }()
		id, err := uint32(1), error(nil)
		for ; err == nil && id < 40_000; id += 2 {
			if err = h.headers(id, h.fields("x-reset: 1")); err == nil {
				err = h.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}
		if err != nil {
			if o := <-got; !strings.HasPrefix(o, "GOAWAY") && o != "closed" {
				t.Errorf("after %d resets: %s", id/2, o)
			}
		}
		t.Logf("%d resets, error %v, at most %d at the upstream", id/2, err, peak.Load())
		s.unharmed()
		_ = h.Close()
		if err == nil {
			<-got
		}
	})
	if p := peak.Load(); p > 2*20 {
		t.Errorf("%d requests were at the upstream at once", p)
	}
	s.settled()
	// How many that would be without the limit is the machine's; so the limit is met without resets too.
	h := s.rawH2()
	for id := uint32(1); id < 2*60; id += 2 {
		_ = h.headers(id, h.fields("x-reset: 1"))
	}
	if o := h.outcome(); !strings.HasPrefix(o, "RST_STREAM") && !strings.HasPrefix(o, "GOAWAY") {
		t.Errorf("60 streams at once: %s", o)
	}
	_ = h.Close()
	s.settled()
}

// settled waits until nothing is being served any more.
func (s *stage) settled() {
	s.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.proxy.InFlight() != 0 || s.proxy.Tunnels() != 0 {
		select {
		case <-tick.C:
		case <-limit.C:
			s.Fatalf("%d requests and %d tunnels remain", s.proxy.InFlight(), s.proxy.Tunnels())
		}
	}
}

// TestSettingsFlood: frames that want an answer, from a client that reads none
// (CVE-2019-9512, CVE-2019-9515).
func TestSettingsFlood(t *testing.T) {
	to, _ := counting(t)
	s := newStage(t, Options{}, api(to))
	for name, write := range map[string]func(*rawH2) error{
		"settings": func(h *rawH2) error {
			return h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		},
		"ping":     func(h *rawH2) error { return h.WritePing(false, [8]byte{1}) },
		"priority": func(h *rawH2) error { return h.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
		"window":   func(h *rawH2) error { return h.WriteWindowUpdate(0, 1) },
	} {
		flat(t, func() {
			h := s.rawH2()
			_ = h.SetDeadline(time.Now().Add(150 * time.Millisecond))
			n, err := 0, error(nil)
			for ; err == nil && n < 1_000_000; n++ {
				err = write(h)
			}
			// Frames that ask for an answer must end, or be held up.
			if err == nil && (name == "settings" || name == "ping") {
				t.Errorf("%s: a million frames were taken", name)
			}
			s.unharmed()
		})
	}
}

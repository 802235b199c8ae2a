package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// floodRoom is what any flood may add to resident memory at its peak, in MiB. It
// is RapidReset that needs it: four connections have 250 requests each under way,
// and some waiting behind them.
const floodRoom = 96

const floodRules = `
secrets: {key: {file: @dir/key}}
rules:
  - {id: api, hosts: api.test, attach: {bearer: key}, upstream: {connect_to: "@site", ca: "@siteca"}}
  - {id: many, hosts: "*.many.test", attach: {bearer: key}, upstream: {connect_to: "@site", ca: "@siteca", server_name: api.test}}
`

// TestFloodsLeaveMemoryFlat: whatever one client or upstream sends, resident
// memory keeps its bound, and another client is served meanwhile (promise 12).
func TestFloodsLeaveMemoryFlat(t *testing.T) {
	if os.Getenv(envRace) != "" {
		t.Skip("memory tells nothing under the race detector: CI runs this test without")
	}
	s, _, _ := serveRules(t, floodRules, siteOptions{Streams: true, Handler: floodSite(t)})
	floods := []struct {
		name  string
		flood func(t *testing.T)
	}{
		{"HugeHeaders", s.hugeHeaders}, {"HeaderBomb", s.headerBomb}, {"ContinuationFlood", s.continuationFlood},
		{"RapidReset", s.rapidReset}, {"SettingsFlood", s.settingsFlood}, {"Slowloris", s.slowloris},
		{"DecompressionBomb", s.decompressionBomb}, {"ReaderWhoStops", s.readerWhoStops}, {"ThousandHosts", s.thousandHosts},
	}
	s.get(s.client(clientOptions{}), "https://api.test/").fine(t)
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			before := s.resident()
			stop := s.probe(t)
			peak := s.peak(func() { f.flood(t) })
			worst := stop()
			t.Logf("resident %d MiB before, %d at the peak; another client waited %s, at most %s", before>>10, peak>>10, worst[len(worst)/2], worst[len(worst)-1])
			if peak-before > floodRoom<<10 {
				t.Errorf("resident memory grew from %d to %d MiB", before>>10, peak>>10)
			}
		})
	}
}

func floodSite(t *testing.T) http.HandlerFunc {
	var bomb bytes.Buffer
	z, err := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	ok(t, err)
	_, err = io.CopyN(z, zeros{}, 256<<20)
	ok(t, err)
	ok(t, z.Close())
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		case "/endless":
			_, _ = io.CopyN(w, zeros{}, 1<<30)
		case "/wait":
			<-r.Context().Done()
		default:
			who(w, r)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// peak is the most that was resident while what went on and half a second
// behind it, in KiB: what was sent may not have been read yet.
func (s *server) peak(what func()) int64 {
	done, end := make(chan struct{}), make(<-chan time.Time)
	go func() { defer close(done); what() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	most := s.resident()
	for {
		select {
		case <-done:
			done, end = nil, time.After(500*time.Millisecond)
		case <-end:
			return most
		case <-tick.C:
			most = max(most, s.resident())
		}
	}
}

// probe calls as another client until stopped, which returns how long each call took, sorted.
func (s *server) probe(t *testing.T) (stop func() []time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	var took []time.Duration
	var wg sync.WaitGroup
	c := s.client(clientOptions{H1: true})
	wg.Go(func() {
		for first := true; first || ctx.Err() == nil; first = false {
			begun := time.Now()
			r, err := http.NewRequest(http.MethodGet, "https://api.test/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			res, err := c.Do(r)
			if err != nil {
				t.Errorf("another client: %v", err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if took = append(took, time.Since(begun)); res.StatusCode != http.StatusOK {
				t.Errorf("another client got %s", res.Status)
			}
			wait(ctx, 20*time.Millisecond)
		}
	})
	return func() []time.Duration {
		cancel()
		wg.Wait()
		slices.Sort(took)
		return took
	}
}

// each runs n of what at once.
func each(n int, what func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { what(i) })
	}
	wg.Wait()
}

// flooder opens a connection for what cannot fail the test: floods are broken off.
func (s *server) flooder(t *testing.T) *h2wire {
	h := s.h2("api.test")
	conn := h.conn
	h.path = "/wait"
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
	return h
}

// fields is a header block for GET h.path of api.test, and what else is given.
func (h *h2wire) fields(more ...string) []byte {
	h.block.Reset()
	for _, f := range append([]string{":method: GET", ":scheme: https", ":authority: api.test", ":path: " + h.path}, more...) {
		i := strings.Index(f[1:], ": ") + 1
		_ = h.enc.WriteField(hpack.HeaderField{Name: f[:i], Value: f[i+2:]})
	}
	return bytes.Clone(h.block.Bytes())
}

// head sends a header block in as many frames as it needs.
func (h *h2wire) head(id uint32, block []byte) error {
	n := min(len(block), 16<<10)
	err := h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndStream: true, EndHeaders: n == len(block)})
	for block = block[n:]; err == nil && len(block) > 0; block = block[n:] {
		n = min(len(block), 16<<10)
		err = h.framer.WriteContinuation(id, n == len(block), block[:n])
	}
	return err
}

func (s *server) hugeHeaders(t *testing.T) {
	huge := "X-Huge: " + strings.Repeat("h", 8<<20) + "\r\n\r\n"
	each(16, func(int) {
		w := s.dial()
		_, _ = io.WriteString(w.conn, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n"+huge)
		_ = w.conn.Close()
		in := s.tunnel("api.test")
		_, _ = io.WriteString(in.conn, "GET / HTTP/1.1\r\nHost: api.test\r\n"+huge)
		_ = in.conn.Close()
	})
}

func (s *server) headerBomb(t *testing.T) {
	each(8, func(int) {
		h := s.flooder(t)
		block := h.fields("x-bomb: " + strings.Repeat("b", 3900))
		_ = h.head(1, append(block, bytes.Repeat([]byte{0x80 | 62}, 64<<10)...)) // stands for 250 MiB
	})
}

func (s *server) continuationFlood(t *testing.T) {
	each(4, func(int) {
		h := s.flooder(t)
		err := h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields()})
		more := h.fields("x-more: " + strings.Repeat("m", 8<<10))[4:]
		sent := 0
		for ; err == nil && sent < 64<<20; sent += len(more) {
			err = h.framer.WriteContinuation(1, false, more)
		}
		if err == nil {
			t.Errorf("%d MiB of a header block were taken", sent>>20)
		}
	})
}

func (s *server) rapidReset(t *testing.T) {
	each(4, func(int) {
		h := s.flooder(t)
		err := error(nil)
		for id := uint32(1); err == nil && id < 10_000; id += 2 {
			if err = h.head(id, h.fields()); err == nil {
				err = h.framer.WriteRSTStream(id, http2.ErrCodeCancel)
			}
		}
	})
}

func (s *server) settingsFlood(t *testing.T) {
	for _, write := range []func(*h2wire) error{
		func(h *h2wire) error {
			return h.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		},
		func(h *h2wire) error { return h.framer.WritePing(false, [8]byte{1}) },
	} {
		h := s.h2("api.test") // which reads none of the answers
		_ = h.conn.SetDeadline(time.Now().Add(time.Second))
		err := error(nil)
		for n := 0; err == nil && n < 1_000_000; n++ {
			err = write(h)
		}
		_ = h.conn.Close()
	}
}

func (s *server) slowloris(t *testing.T) {
	each(400, func(i int) {
		w := s.dial()
		t.Cleanup(func() { _ = w.conn.Close() })
		_, _ = fmt.Fprintf(w.conn, "GET / HTTP/1.1\r\nX-%d: ", i)
	})
}

func (s *server) decompressionBomb(t *testing.T) {
	each(4, func(int) {
		res, err := s.client(clientOptions{H1: true}).Get("https://api.test/bomb")
		if err != nil {
			t.Error(err)
			return
		}
		n, err := io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil || n != 256<<20 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// readerWhoStops asks for more than fits anywhere, and reads none of it.
func (s *server) readerWhoStops(t *testing.T) {
	each(8, func(int) {
		in := s.tunnel("api.test").send("GET /endless HTTP/1.1\r\nHost: api.test\r\n\r\n")
		h := s.h2("api.test")
		_ = h.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
		_ = h.framer.WriteWindowUpdate(0, 1<<30)
		h.path = "/endless"
		_ = h.head(1, h.fields())
		wait(t.Context(), time.Second)
		_, _ = in.conn.Close(), h.conn.Close()
	})
}

func (s *server) thousandHosts(t *testing.T) {
	each(4, func(i int) {
		for n := range 300 {
			w := s.dial()
			host := strconv.Itoa(i*300+n) + ".many.test"
			w.connect(host+":443", "")
			if in, err := w.over(&tls.Config{ServerName: host, NextProtos: []string{"http/1.1"}}); err == nil {
				_ = in.conn.Close()
			}
		}
	})
}

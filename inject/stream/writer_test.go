package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sink notes what it is given, and when.
type sink struct {
	mu      sync.Mutex
	start   time.Time
	got     bytes.Buffer
	log     []string // length and time of each write
	flushed int
	err     error
}

func newSink() *sink { return &sink{start: time.Now()} }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.log = append(s.log, fmt.Sprintf("%d@%v", len(p), time.Since(s.start)))
	return s.got.Write(p)
}

func (s *sink) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushed++
}

// seen returns what came, in which writes, and how often it was flushed.
func (s *sink) seen() (text string, log []string, flushed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String(), slices.Clone(s.log), s.flushed
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
}

func TestHoldBackStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := Compile(plainValue), newSink()
		w := p.NewWriter(s, p.NewScrubber(), s.flush)
		write(t, w, "ready?\n"+plainValue[:1])
		if got, _, _ := s.seen(); got != "ready?\n" {
			t.Errorf("at once: %q", got)
		}
		time.Sleep(Silence)
		synctest.Wait()
		if got, _, flushed := s.seen(); got != "ready?\n"+plainValue[:1] || flushed != 1 {
			t.Errorf("after the silence: %q, %d flushes", got, flushed)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestSilenceCountsFromTheLastWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := Compile(plainValue), newSink()
		w := p.NewWriter(s, p.NewScrubber(), nil)
		defer w.Close()
		for i := range 4 { // 60 ms apart: never 100 ms silent
			write(t, w, plainValue[5*i:5*i+5])
			time.Sleep(60 * time.Millisecond)
			synctest.Wait()
		}
		if _, log, _ := s.seen(); len(log) != 0 {
			t.Errorf("released while bytes came: %q", log)
		}
		write(t, w, plainValue[20:])
		time.Sleep(time.Second)
		synctest.Wait()
		if got, log, _ := s.seen(); got != stars || log[0] != "21@340ms" {
			t.Errorf("%q at %v", got, log)
		}
		write(t, w, "again")
		time.Sleep(time.Second)
		synctest.Wait()
		if _, log, _ := s.seen(); log[1] != "5@1.34s" {
			t.Errorf("second release: %v", log)
		}
	})
}

// TestStandstillIsNoSilence: a process that is not let run for longer than silence still masks a value whose
// rest came meanwhile.
func TestStandstillIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := Compile(plainValue), newSink()
		w := p.NewWriter(s, p.NewScrubber(), nil)
		defer w.Close()
		for _, part := range []string{plainValue[:9], plainValue[9:]} {
			write(t, w, part)
			w.mu.Lock()
			w.last = w.last.Add(-time.Hour)
			w.mu.Unlock()
			time.Sleep(Silence / steps) // the timer that is due by now
			synctest.Wait()
		}
		if got, _, _ := s.seen(); got != "" {
			t.Errorf("released %q", got)
		}
		time.Sleep(Silence)
		synctest.Wait()
		if got, _, _ := s.seen(); got != stars {
			t.Errorf("%q", got)
		}
	})
}

// TestHoldBackOracleInTime is TestHoldBackOracle with the clock.
func TestHoldBackOracleInTime(t *testing.T) {
	delays := func(guess string) (log []string) {
		synctest.Test(t, func(t *testing.T) {
			p, s := Compile(plainValue), newSink()
			w := p.NewWriter(s, p.NewScrubber(), nil)
			for _, c := range []byte("{\"q\":\"" + guess) {
				write(t, w, string(c))
				time.Sleep(30 * time.Millisecond)
				synctest.Wait()
			}
			write(t, w, "\"}")
			time.Sleep(time.Second)
			synctest.Wait()
			write(t, w, guess+"\n"+guess)
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			_, log, _ = s.seen()
		})
		return log
	}
	for n := range len(plainValue) + 1 {
		right, wrong := delays(plainValue[:n]), delays(strings.Repeat("~", n))
		if fmt.Sprint(right) != fmt.Sprint(wrong) {
			t.Errorf("a guess of %d bytes is told from none:\n%v\n%v", n, right, wrong)
		}
	}
}

func TestCloseReleasesAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := Compile(plainValue), newSink()
		w := p.NewWriter(s, p.NewScrubber(), s.flush)
		write(t, w, "a"+plainValue+"b")
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, _, flushed := s.seen(); got != "a"+stars+"b" || w.Count() != 1 || flushed != 0 {
			t.Errorf("%q, %d masked, %d flushes", got, w.Count(), flushed)
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("write after close: %v", err)
		}
		w.Flush()
		err := errors.Join(w.Release(), w.Close())
		if _, log, flushed := s.seen(); err != nil || flushed != 0 || len(log) != 1 {
			t.Errorf("used after close: %v, %d flushes, %v", err, flushed, log)
		}
	})
}

// slow tells that it is being written to and takes its time.
type slow struct {
	begun chan bool
	ended atomic.Bool
}

func (s *slow) Write(p []byte) (int, error) {
	close(s.begun)
	<-time.After(20 * time.Millisecond)
	s.ended.Store(true)
	return len(p), nil
}

// TestCloseWaitsForTheTimer holds that the writer behind is not in use after
// Close, although the timer was writing when it was called.
func TestCloseWaitsForTheTimer(t *testing.T) {
	p, s := Compile(plainValue), &slow{begun: make(chan bool)}
	w := p.NewWriter(s, p.NewScrubber(), nil)
	write(t, w, "held")
	<-s.begun
	if err := w.Close(); err != nil || !s.ended.Load() {
		t.Errorf("Close: %v; the write behind it ended: %v", err, s.ended.Load())
	}
}

func TestErrorsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		p, s := Compile(plainValue), newSink()
		s.err = broken
		w := p.NewWriter(s, p.NewScrubber(), s.flush)
		write(t, w, "held")
		time.Sleep(time.Second) // the timer meets the error
		if n, err := w.Write([]byte("more")); n != 0 || !errors.Is(err, broken) {
			t.Errorf("write: %d, %v", n, err)
		}
		err := w.Close()
		if _, _, flushed := s.seen(); !errors.Is(err, broken) || flushed != 0 {
			t.Errorf("close: %v, %d flushes", err, flushed)
		}
	})
}

// TestUnits holds that a stream cut a little over a TLS record is written in whole
// units, that small writes go at once, and a flush sends the rest.
func TestUnits(t *testing.T) {
	const unit = 16 << 10
	for _, lent := range []bool{false, true} {
		var got, want bytes.Buffer
		var sizes []int
		p := Compile(plainValue)
		w := p.NewWriter(writeFunc(func(p []byte) (int, error) { sizes = append(sizes, len(p)); return got.Write(p) }), p.NewScrubber(), nil)
		w.Unit = unit
		r := rand.New(rand.NewPCG(1, 1))
		send := func(n int) {
			b := make([]byte, n)
			if lent {
				b = w.AvailableBuffer()[:n]
			}
			for i := range b {
				b[i] = byte(r.Uint32()) | 0x80
			}
			b[n-1] = '\n'
			want.Write(b)
			if m, err := w.Write(b); m != n || err != nil {
				t.Fatal(m, err)
			}
		}
		send(100)
		if got.Len() != 100 {
			t.Fatalf("a small write was kept: %d of 100 bytes", got.Len())
		}
		sizes = nil
		for range 50 {
			send(unit - r.IntN(60))
		}
		for _, n := range sizes {
			if n%unit != 0 && n > unit {
				t.Fatalf("a write of %d bytes takes a unit for %d of them", n, n%unit)
			}
		}
		send(unit)
		send(unit - 1)
		if w.Flush(); !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("%d bytes are kept after a flush", want.Len()-got.Len())
		}
		if err := w.Close(); err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("what came out is not what went in: %v", err)
		}
	}
}

// TestNothingIsHeldBackAtTheEnd holds that a stream whose end is known goes in one
// write, masked, with no timer.
func TestNothingIsHeldBackAtTheEnd(t *testing.T) {
	for _, lent := range []bool{false, true} {
		p, s := Compile(plainValue), newSink()
		w := p.NewWriter(s, p.NewScrubber(), nil)
		text := []byte("a" + plainValue + "b" + plainValue[:5])
		if lent {
			text = append(w.AvailableBuffer()[:0], text...)
		}
		w.Ending()
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if got, log, _ := s.seen(); got != "a"+stars+"b"+plainValue[:5] || len(log) != 1 || w.timer != nil {
			t.Errorf("%q, %d writes, timer %v", got, len(log), w.timer)
		}
		if err := w.Close(); err != nil || w.Count() != 1 {
			t.Error(err, w.Count())
		}
	}
}

// TestSilenceReleasesWhileTheBufferIsLent holds that what is read into the lent
// buffer while the timer writes from it comes whole, and what was released before
// is not seen again.
func TestSilenceReleasesWhileTheBufferIsLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := Compile(plainValue), newSink()
		w := p.NewWriter(s, p.NewScrubber(), nil)
		want := ""
		for i := range 100 {
			b := w.AvailableBuffer()
			text := fmt.Sprint("part ", i, ", ", strings.Repeat("x", 997))
			if i%3 == 0 {
				time.Sleep(2 * Silence)
				synctest.Wait()
			}
			n := copy(b, text)
			want += text
			if _, err := w.Write(b[:n]); err != nil {
				t.Fatal(err)
			}
			if i%3 == 2 {
				time.Sleep(2 * Silence)
				synctest.Wait()
				if got, _, _ := s.seen(); got != want {
					t.Fatalf("part %d: not what went in", i)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got, _, _ := s.seen(); got != want || w.AvailableBuffer() != nil {
			t.Error("not what went in, or a buffer is lent after Close")
		}
	})
}

// TestBufferIsNotUsedAfterAnError holds that what the writer behind was given stays
// as it is: HTTP/2 may still be sending it when it has returned an error.
func TestBufferIsNotUsedAfterAnError(t *testing.T) {
	p := Compile(plainValue)
	var given []byte
	w := p.NewWriter(writeFunc(func(b []byte) (int, error) { given = b; return 0, io.ErrUnexpectedEOF }), p.NewScrubber(), nil)
	if _, err := w.Write([]byte("theirs\nheld")); err == nil {
		t.Fatal("no error")
	}
	_ = w.Close()
	for range 4 {
		other := p.NewWriter(io.Discard, p.NewScrubber(), nil)
		write(t, other, strings.Repeat("other\n", 10))
	}
	if w.AvailableBuffer() != nil || string(given) != "theirs\n" {
		t.Errorf("the buffer was used again: %q", given)
	}
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// TestLongWritesAreWhole holds that pieces do not show, and buffers are not
// mixed up between writers.
func TestLongWritesAreWhole(t *testing.T) {
	p := Compile(plainValue)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			text := strings.Repeat(fmt.Sprint("text ", i, " "), 20000)
			at := pieceSize - 7
			text = text[:at] + plainValue + text[at:]
			var got bytes.Buffer
			w := p.NewWriter(&got, p.NewScrubber(), func() {})
			if _, err := io.WriteString(w, text); err != nil {
				t.Error(err)
			}
			w.Flush()
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if want := strings.Replace(text, plainValue, strings.Repeat("*", len(plainValue)), 1); got.String() != want {
				t.Errorf("writer %d: other bytes came out", i)
			}
		})
	}
	group.Wait()
}

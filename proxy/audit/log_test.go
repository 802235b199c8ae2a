package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func event(i int) *Event { return &Event{Type: Request, RequestID: fmt.Sprint(i), Decision: Allow} }

// ids reads the request ids of lines, each of which must be whole.
func ids(t *testing.T, text []byte) []string {
	t.Helper()
	var all []string
	for line := range bytes.Lines(text) {
		var e struct {
			ID string `json:"request_id"`
		}
		if err := json.Unmarshal(line, &e); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, e.ID)
	}
	return all
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writes keeps each call of Write apart.
type writes struct {
	mu    sync.Mutex
	calls []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, string(p))
	return len(p), nil
}

func TestWritesAreOfWholeLines(t *testing.T) {
	w := &writes{}
	l, err := NewLog("-", w, LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				l.Record(event(g*100 + i))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(l.Close(), l.Close()); err != nil || l.Dropped() != 0 {
		t.Fatal(err, l.Dropped())
	}
	for _, c := range w.calls {
		if !strings.HasSuffix(c, "}\n") || len(c) > batchSize {
			t.Errorf("a write of %d bytes, ending in %q", len(c), c[max(0, len(c)-9):])
		}
	}
	seen := map[string]bool{}
	for _, c := range w.calls {
		for _, id := range ids(t, []byte(c)) {
			seen[id] = true
		}
	}
	if len(seen) != 800 {
		t.Errorf("%d of 800 events", len(seen))
	}
	l.Record(event(1))
	if l.Dropped() != 1 {
		t.Error("an event after Close is not counted as lost")
	}
}

func TestFileIsAppendedAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for i := range 2 {
		l, err := NewLog(path, nil, LogOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l.Record(event(i))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := ids(t, readFile(t, path)); len(got) != 2 {
		t.Errorf("%q, want both runs", got)
	}
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", fi.Mode(), err)
	}
	if _, err := NewLog(filepath.Join(path, "x"), nil, LogOptions{}); err == nil || strings.Count(err.Error(), path) != 1 {
		t.Errorf("error %v; want one that names the path once", err)
	}
}

func TestReopen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows does not rename files that are open")
	}
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := NewLog(path, nil, LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	for i := range n {
		l.Record(event(i))
		if i%10 != 5 {
			continue
		}
		if err := os.Rename(path, fmt.Sprint(path, ".", i)); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 6 {
		t.Fatal(files, err)
	}
	var all []string
	for _, f := range files {
		all = append(all, ids(t, readFile(t, f))...)
	}
	if len(all) != n {
		t.Errorf("%d of %d events in all files", len(all), n)
	}
}

// Without anything to write the former file is let go of, too: the rotated one can be compressed.
func TestReopenWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLog(filepath.Join(t.TempDir(), "audit.jsonl"), nil, LogOptions{})
		if err != nil {
			t.Fatal(err)
		}
		former := l.cur.Load().w.(*os.File)
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := former.Write(nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the former file is still open: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestReopenThatFailsKeepsTheFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.jsonl")
	l, err := NewLog(path, nil, LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Skip("this system does not rename a directory in use:", err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("reopened a file in a directory that is gone")
	}
	l.Record(event(1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, readFile(t, filepath.Join(dir+"2", "audit.jsonl"))); len(got) != 1 {
		t.Errorf("%q, want the event in the former file", got)
	}
}

// gate stalls every Write until it is opened.
type gate struct {
	open chan struct{}
	writes
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.writes.Write(p)
}

// A sink that stalls never holds up Record, and costs what on_full says.
func TestAuditSinkBlocked(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint("refuse ", refuse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{open: make(chan struct{})}
				l, err := NewLog("-", g, LogOptions{Refuse: refuse, Queue: 16})
				if err != nil {
					t.Fatal(err)
				}
				l.Record(event(0))
				synctest.Wait() // it is being written
				start := time.Now()
				for i := 1; i <= 14; i++ {
					if l.Full() {
						t.Errorf("full with %d of 16 queued", i-1)
					}
					l.Record(event(i))
				}
				if l.Full() != refuse {
					t.Errorf("Full is %v with 14 of 16 queued", l.Full())
				}
				refusal := event(99)
				refusal.Decision = Refuse
				if l.Record(refusal); (l.Dropped() == 1) != refuse {
					t.Errorf("%d lost; with Refuse the last places are not for refusals", l.Dropped())
				}
				for i := 15; i < 100; i++ {
					l.Record(event(i))
				}
				if time.Since(start) != 0 {
					t.Error("Record waited")
				}
				if want := uint64(100 - 16); l.Dropped() != want && l.Dropped() != want+1 {
					t.Errorf("%d lost, want about %d", l.Dropped(), want)
				}
				close(g.open)
				synctest.Wait()
				if l.Full() {
					t.Error("still full after the sink took all")
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if n := strings.Count(strings.Join(g.calls, ""), "\n"); n != 17 {
					t.Errorf("%d lines written, want 17", n)
				}
			})
		})
	}
}

func TestCloseGivesUpOnASinkThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		l, err := NewLog("-", g, LogOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			l.Record(event(i))
		}
		synctest.Wait()
		start := time.Now()
		err = l.Close()
		if err == nil || !strings.Contains(err.Error(), "5 events not written") {
			t.Errorf("Close: %v; want the number of events", err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("Close took %v", d)
		}
		close(g.open)
		<-l.done
	})
}

// A FIFO that nobody reads: opening it fails at once; once read no more, a write in it
// stalls and Close ends that.
func TestStalledFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if !mkfifo(t, path) {
		return
	}
	if _, err := NewLog(path, nil, LogOptions{}); err == nil {
		t.Fatal("opened a FIFO without reader")
	}
	reader, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	l, err := NewLog(path, nil, LogOptions{Queue: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		l.Record(event(i))
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "not written") {
		t.Errorf("Close: %v; want what was lost", err)
	}
	<-l.done
}

// broken fails after it took some bytes, until mended.
type broken struct {
	bytes.Buffer
	mu   sync.Mutex
	room int // bytes it takes; -1: any
}

func (b *broken) mend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.room = -1
}

func (b *broken) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.room < 0 || len(p) <= b.room {
		if b.room >= 0 {
			b.room -= len(p)
		}
		return b.Buffer.Write(p)
	}
	n, _ := b.Buffer.Write(p[:b.room])
	b.room = 0
	return n, io.ErrShortWrite
}

// A full disk tears a line at most; the next one begins on a line of its own.
func TestDiskFull(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		for room := range 200 {
			synctest.Test(t, func(t *testing.T) {
				w := &broken{room: room}
				l, err := NewLog("-", w, LogOptions{Refuse: refuse})
				if err != nil {
					t.Fatal(err)
				}
				const n = 5
				for i := range n - 1 {
					l.Record(event(i))
				}
				time.Sleep(2 * gather)
				synctest.Wait()
				if l.Full() != refuse {
					t.Fatalf("refuse %v: Full is %v while writes fail", refuse, l.Full())
				}
				w.mend()
				l.Record(event(n - 1))
				time.Sleep(2 * retryMax)
				synctest.Wait()
				if l.Full() {
					t.Error("full after the disk was")
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				whole := 0
				for line := range bytes.Lines(w.Bytes()) {
					if json.Valid(line) {
						whole++
					}
				}
				if lost := int(l.Dropped()); whole+lost != n || refuse && whole != n || !bytes.HasSuffix(w.Bytes(), []byte("}\n")) {
					t.Errorf("room %d, refuse %v: %d whole lines, %d lost, of %d:\n%s", room, refuse, whole, lost, n, w.Bytes())
				}
			})
		}
	}
}

func TestSinksGiveToAll(t *testing.T) {
	a, b := NewRecent(1), NewRecent(1)
	Sinks{a, b}.Record(event(1))
	if len(a.All()) != 1 || len(b.All()) != 1 {
		t.Error("not given to both")
	}
}

func BenchmarkLogToFile(b *testing.B) {
	l, err := NewLog(filepath.Join(b.TempDir(), "audit.jsonl"), nil, LogOptions{Queue: 1 << 16})
	if err != nil {
		b.Fatal(err)
	}
	e := benchmarkEvent()
	b.ReportAllocs()
	for b.Loop() {
		for len(l.lines) == cap(l.lines) { // the write is what is measured
			runtime.Gosched()
		}
		l.Record(e)
	}
	for len(l.lines) > 0 {
		runtime.Gosched()
	}
	b.StopTimer()
	if err := l.Close(); err != nil || l.Dropped() > 0 {
		b.Fatal(err, l.Dropped())
	}
}

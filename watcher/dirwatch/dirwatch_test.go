package dirwatch

import (
	"bytes"
	"errors"
	"go/build"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o600))
}

// replace puts a file in place by rename, as careful writers do.
func replace(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".tmp", text)
	check(t, os.Rename(path+".tmp", path))
}

// relink points a symlink elsewhere by rename, as the kubelet does.
func relink(t *testing.T, target, link string) {
	t.Helper()
	check(t, os.Symlink(target, link+".tmp"))
	check(t, os.Rename(link+".tmp", link))
}

func realDir(t *testing.T) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("symlinks and renames over open directories need privileges on Windows")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	return dir
}

func TestThreeRotations(t *testing.T) {
	for name, c := range map[string]struct {
		path   string // of the secret, in the test's directory
		setUp  func(t *testing.T, dir string)
		rotate func(t *testing.T, dir, text string)
	}{
		"in-place write": {
			"s", func(t *testing.T, dir string) { write(t, dir+"/s", "0") },
			func(t *testing.T, dir, text string) { write(t, dir+"/s", text) },
		},
		"temp+rename": {
			"s", func(t *testing.T, dir string) { write(t, dir+"/s", "0") },
			func(t *testing.T, dir, text string) { replace(t, dir+"/s", text) },
		},
		"..data swap": {
			"s", func(t *testing.T, dir string) {
				write(t, dir+"/..0/s", "0")
				check(t, os.Symlink("..0", dir+"/..data"))
				check(t, os.Symlink("..data/s", dir+"/s"))
			},
			func(t *testing.T, dir, text string) {
				old, err := os.Readlink(dir + "/..data")
				check(t, err)
				write(t, dir+"/.."+text+"/s", text)
				relink(t, ".."+text, dir+"/..data")
				check(t, os.RemoveAll(dir+"/"+old))
			},
		},
		"chain of links": {
			"a/s", func(t *testing.T, dir string) {
				write(t, dir+"/v0/s", "0")
				check(t, os.Symlink(dir+"/v0", dir+"/current"))
				check(t, os.Symlink("current", dir+"/a"))
			},
			func(t *testing.T, dir, text string) {
				write(t, dir+"/v"+text+"/s", text)
				relink(t, dir+"/v"+text, dir+"/current")
			},
		},
		"written behind a link": {
			"link/s", func(t *testing.T, dir string) {
				write(t, dir+"/real/s", "0")
				check(t, os.Symlink("real", dir+"/link"))
			},
			func(t *testing.T, dir, text string) { replace(t, dir+"/real/s", text) },
		},
		"directory recreated": {
			"d/s", func(t *testing.T, dir string) { write(t, dir+"/d/s", "0") },
			func(t *testing.T, dir, text string) {
				check(t, os.RemoveAll(dir+"/d"))
				write(t, dir+"/d/s", text)
			},
		},
		"parent recreated": {
			"p/d/s", func(t *testing.T, dir string) { write(t, dir+"/p/d/s", "0") },
			func(t *testing.T, dir, text string) {
				check(t, os.Rename(dir+"/p", dir+"/old"+text))
				write(t, dir+"/p/d/s", text)
			},
		},
		"appears": {
			"p/d/s", func(*testing.T, string) {},
			func(t *testing.T, dir, text string) {
				check(t, os.RemoveAll(dir+"/p"))
				write(t, dir+"/p/d/s", text)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := realDir(t)
			c.setUp(t, dir)
			w := New(Options{})
			defer w.Close()
			if polling, why := w.Polling(); polling {
				t.Skip("no notices on this machine:", why)
			}
			seen := make(chan struct{}, 1)
			stop := w.Watch([]string{filepath.Join(dir, c.path)}, func() {
				select {
				case seen <- struct{}{}:
				default:
				}
			})
			defer stop()
			for _, text := range []string{"1", "2", "3"} {
				c.rotate(t, dir, text)
				for {
					select {
					case <-seen:
					case <-time.After(3 * time.Second): // less than a poll
						t.Fatalf("rotation %s was not noticed", text)
					}
					got, err := os.ReadFile(filepath.Join(dir, c.path))
					if err == nil && string(got) == text {
						break
					}
				}
			}
		})
	}
}

func TestNoticesOfOthersDoNotWake(t *testing.T) {
	dir := realDir(t)
	write(t, dir+"/s", "0")
	write(t, dir+"/marker", "0")
	w := New(Options{})
	defer w.Close()
	if polling, why := w.Polling(); polling {
		t.Skip("no notices on this machine:", why)
	}
	var calls atomic.Int32
	marked := make(chan struct{}, 9)
	defer w.Watch([]string{dir + "/s"}, func() { calls.Add(1) })()
	defer w.Watch([]string{dir + "/marker"}, func() { marked <- struct{}{} })()
	write(t, dir+"/other", "0")
	write(t, dir+"/marker", "1") // noticed after what stands before it
	<-marked
	if n := calls.Load(); n != 0 {
		t.Errorf("called %d times for another file", n)
	}
}

func TestChain(t *testing.T) {
	dir := realDir(t)
	write(t, dir+"/..1/s", "")
	check(t, os.Symlink("..1", dir+"/..data"))
	check(t, os.Symlink("..data/s", dir+"/s"))
	check(t, os.Symlink(dir+"/loop", dir+"/loop"))
	check(t, os.Symlink(dir+"/./..1/../s", dir+"/abs"))
	for path, want := range map[string][]string{
		"s":         {"s", "..data", "..1/s"},
		"abs":       {"abs", "s", "..data", "..1/s"},
		"gone/d/s":  {"gone"},
		"s/not/dir": {"s", "..data", "..1/s/not"},
	} {
		var got []string
		for _, s := range chain(filepath.Join(dir, path)) {
			if s.needed {
				rel, err := filepath.Rel(dir, filepath.Join(s.dir, s.name))
				check(t, err)
				got = append(got, rel)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if n := len(chain(dir + "/loop")); n > 1000 {
		t.Errorf("a loop has %d steps", n)
	}
}

// fake is the system's side under a test's control.
type fake struct {
	events chan fsnotify.Event
	errors chan error
	mu     sync.Mutex
	dirs   map[string]bool
	fail   error
}

func newFake() *fake {
	return &fake{events: make(chan fsnotify.Event), errors: make(chan error), dirs: map[string]bool{}}
}

func (f *fake) notices() notices {
	return notices{
		events: f.events, errors: f.errors,
		add: func(dir string) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.fail != nil {
				return f.fail
			}
			f.dirs[dir] = true
			return nil
		},
		remove: func(dir string) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.dirs, dir)
			return nil
		},
		close: func() error { close(f.events); close(f.errors); return nil },
	}
}

func TestNoticesAreCoalesced(t *testing.T) {
	dir := realDir(t)
	write(t, dir+"/s", "")
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := newWatcher(Options{}, f.notices())
		defer w.Close()
		start := time.Now()
		var calls []time.Duration
		defer w.Watch([]string{dir + "/s"}, func() { calls = append(calls, time.Since(start)) })()
		ev := fsnotify.Event{Name: dir + "/s", Op: fsnotify.Write}
		for range 3 { // a burst
			f.events <- ev
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(calls, []time.Duration{120 * time.Millisecond}) {
			t.Errorf("a burst of three gave notices at %v", calls)
		}
		calls, start = nil, time.Now()
		for range 50 { // a writer that never pauses
			f.events <- ev
			time.Sleep(50 * time.Millisecond)
		}
		synctest.Wait()
		if len(calls) == 0 || calls[0] != 2*time.Second {
			t.Errorf("under steady writes the first notice came at %v", calls)
		}
	})
}

func TestOverflowMeansLookAgain(t *testing.T) {
	dir := realDir(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := newWatcher(Options{}, f.notices())
		defer w.Close()
		calls := 0
		defer w.Watch([]string{dir + "/s"}, func() { calls++ })()
		f.errors <- fsnotify.ErrEventOverflow
		time.Sleep(time.Second)
		synctest.Wait()
		if calls != 1 {
			t.Errorf("%d notices after an overflow", calls)
		}
	})
}

func TestWatchExhausted(t *testing.T) {
	dir := realDir(t)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := newFake()
		f.fail = &os.PathError{Op: "watch", Path: dir, Err: syscall.ENOSPC}
		w := newWatcher(Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, f.notices())
		defer w.Close()
		calls := 0
		stop := w.Watch([]string{dir + "/s"}, func() { calls++ })
		if polling, why := w.Polling(); !polling || !strings.Contains(why, dir) || !strings.Contains(why, "no space") {
			t.Errorf("polling %t: %q", polling, why)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls < 10 || calls > 15 {
			t.Errorf("%d polls in a minute", calls)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if polling, why := w.Polling(); polling {
			t.Errorf("still polling, though the system has room again: %s", why)
		}
		stop()
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.dirs) != 0 {
			t.Errorf("left watches of %v", f.dirs)
		}
	})
	synctest.Test(t, func(t *testing.T) { // none to be had at all
		w := New(Options{newWatcher: func() (*fsnotify.Watcher, error) { return nil, syscall.EMFILE }})
		defer w.Close()
		if polling, why := w.Polling(); !polling || why != "too many open files" {
			t.Errorf("polling %t: %s", polling, why)
		}
		calls := 0
		defer w.Watch([]string{dir + "/s"}, func() { calls++ })()
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls < 10 {
			t.Errorf("%d polls in a minute", calls)
		}
	})
}

func TestUnreadableAncestorIsNoReasonToPoll(t *testing.T) {
	dir := realDir(t)
	write(t, dir+"/d/s", "")
	f := newFake()
	n := f.notices()
	add := n.add
	n.add = func(d string) error {
		if d != dir+"/d" {
			return syscall.EACCES
		}
		return add(d)
	}
	w := newWatcher(Options{}, n)
	defer w.Close()
	defer w.Watch([]string{dir + "/d/s"}, func() {})()
	if polling, why := w.Polling(); polling {
		t.Error(why)
	}
}

func TestCloseTwice(t *testing.T) {
	w := New(Options{})
	stop := w.Watch([]string{filepath.Join(t.TempDir(), "s")}, func() {})
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	stop()
	w.Watch([]string{t.TempDir()}, func() {})()
}

func TestForbiddenImports(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	check(t, err)
	for _, path := range p.Imports {
		if strings.Contains(path, "attache") {
			t.Errorf("imports %s: this package is a leaf", path)
		}
	}
}

package admin

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// watch opens the stream of events and returns its lines.
func watch(t *testing.T, client *http.Client, url string) (*bufio.Reader, *http.Response) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	r := bufio.NewReader(res.Body)
	if res.StatusCode == http.StatusOK {
		if line, err := r.ReadString('\n'); err != nil || line != ": watching\n" {
			t.Fatalf("%q, %v", line, err)
		}
		_, _ = r.ReadString('\n')
	}
	return r, res
}

func TestEventsCome(t *testing.T) {
	o := newOptions()
	base, client := serve(t, Handler(&fakeState{started: true}, o))
	t.Cleanup(o.Feed.Close)
	r, res := watch(t, client, base+"/api/events")
	if res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("head %v", res.Header)
	}
	o.Feed.Record(&audit.Event{Type: audit.Request, RequestID: "a", Host: "evil.test\n\nevent: forged", Decision: audit.Refuse})
	o.Feed.Record(&audit.Event{Type: audit.SecretRotated, Secret: "stripe-key"})
	for _, want := range []string{"a", ""} {
		kind, _ := r.ReadString('\n')
		data, _ := r.ReadString('\n')
		end, err := r.ReadString('\n')
		var e struct {
			ID string `json:"request_id"`
		}
		text, found := strings.CutPrefix(data, "data: ")
		if err != nil || kind != "event: audit\n" || end != "\n" || !found || json.Unmarshal([]byte(text), &e) != nil || e.ID != want {
			t.Fatalf("%q %q %q %v", kind, data, end, err)
		}
	}
	changes, _ := watch(t, client, base+"/api/events?changes")
	o.Feed.Record(&audit.Event{Type: audit.Request})
	if line, err := changes.ReadString('\n'); err != nil || line != "event: changed\n" {
		t.Errorf("%q, %v", line, err)
	}
}

func TestEventsAreBounded(t *testing.T) {
	o := newOptions()
	base, client := serve(t, Handler(&fakeState{started: true}, o))
	t.Cleanup(o.Feed.Close)
	var first *bufio.Reader
	for i := range feedSubscribers {
		r, res := watch(t, client, base+"/api/events")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("number %d: %d", i, res.StatusCode)
		}
		if first == nil {
			first = r
		}
	}
	if _, res := watch(t, client, base+"/api/events"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d", res.StatusCode)
	}
	o.Feed.Close() // as when the process stops: streams end, so that the server can shut down
	if _, err := io.Copy(io.Discard, first); err != nil {
		t.Errorf("the stream ends with %v", err)
	}
	if _, res := watch(t, client, base+"/api/events"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after the end: %d", res.StatusCode)
	}
}

// One who does not read is let go, and holds nobody up.
func TestSlowWatcherIsLetGo(t *testing.T) {
	f := NewFeed()
	slow, quick := f.subscribe(true), f.subscribe(true)
	for range feedQueue + 1 {
		f.Record(&audit.Event{Type: audit.Request})
		<-quick.lines
	}
	select {
	case <-slow.gone:
	default:
		t.Error("it is kept")
	}
	select {
	case <-quick.gone:
		t.Error("the quick one went too")
	default:
	}
	f.drop(slow) // again, as its handler does
	f.drop(quick)
	if f.watching.Load() != 0 {
		t.Error("somebody still watches")
	}
}

// recorder is a ResponseWriter that remembers when something was written.
type recorder struct {
	began time.Time
	mu    sync.Mutex
	at    []time.Duration
}

func (r *recorder) writes() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.at)
}

func (r *recorder) Header() http.Header              { return http.Header{} }
func (r *recorder) WriteHeader(int)                  {}
func (r *recorder) Flush()                           {}
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }
func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Since(r.began))
	return len(b), nil
}

// However much happens, the page is told of it once a second at most; and every ten seconds, since what it shows
// grows older.
func TestChangesAreToldCalmly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFeed()
		s := f.subscribe(false)
		w := &recorder{began: time.Now()}
		var done sync.WaitGroup
		done.Go(func() {
			stream{w, http.NewResponseController(w)}.changes(httptest.NewRequest("GET", "/", nil), s)
		})
		for range 5000 { // five seconds
			f.Record(&audit.Event{Type: audit.Request})
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if at := w.writes(); len(at) < 4 || len(at) > 5 {
			t.Errorf("told %d times in five seconds of much: %v", len(at), at)
		}
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if at := w.writes(); len(at) < 6 || len(at) > 8 {
			t.Errorf("told %d times, after 25 s of nothing: %v", len(at), at)
		}
		f.Close()
		done.Wait()
	})
}

func BenchmarkFeedUnwatched(b *testing.B) {
	f, e := NewFeed(), request(nil)
	for b.Loop() {
		f.Record(e)
	}
}

func BenchmarkFeedWatched(b *testing.B) {
	f, e := NewFeed(), request(nil)
	f.subscribe(false)
	s := f.subscribe(true)
	for b.Loop() {
		f.Record(e)
		<-s.lines
	}
}

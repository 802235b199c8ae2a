package watcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/attache-proxy/attache/inject/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a source under a test's control.
type fake struct {
	mu    sync.Mutex
	text  string
	err   error
	read  func(n int) (string, error) // if set, gives the nth read
	reads int
	hang  chan struct{} // if set, reads wait for it and not for their context
	files []string
}

func (f *fake) Read(context.Context) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.hang != nil {
		hang := f.hang
		f.mu.Unlock()
		<-hang
		f.mu.Lock()
	}
	if f.read != nil {
		text, err := f.read(f.reads)
		return []byte(text), err
	}
	return []byte(f.text), f.err
}

func (f *fake) Paths() []string  { return f.files }
func (f *fake) Describe() string { return "fake" }

func (f *fake) put(text string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text, f.err = text, err
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// notices stands in for the directory watcher.
type notices struct {
	mu    sync.Mutex
	calls map[int]func()
	n     int
}

func (n *notices) Watch(_ []string, notify func()) func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calls == nil {
		n.calls = map[int]func(){}
	}
	n.n++
	id := n.n
	n.calls[id] = notify
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.calls, id)
	}
}

func (n *notices) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, notify := range n.calls {
		notify()
	}
}

// recorder takes down what a Store tells. Its log must stay free of canaries.
type recorder struct {
	mu      sync.Mutex
	sets    []*secret.Set
	changes []Change
	inside  bool
	log     bytes.Buffer
}

func (r *recorder) options(n Notices) Options {
	return Options{
		Log:     slog.New(slog.NewJSONHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Notices: n,
		OnSet:   func(s *secret.Set) { r.alone(func() { r.sets = append(r.sets, s) }) },
		OnChange: func(c Change) {
			r.alone(func() { r.changes = append(r.changes, c) })
		},
	}
}

func (r *recorder) alone(f func()) {
	r.mu.Lock()
	if r.inside {
		panic("two callbacks at a time")
	}
	r.inside = true
	r.mu.Unlock()
	f()
	r.mu.Lock()
	r.inside = false
	r.mu.Unlock()
}

func (r *recorder) results() []string {
	var all []string
	for _, c := range r.changes {
		all = append(all, c.Result)
	}
	return all
}

func reveal(s *Store, name secret.Ref) string {
	v, err := s.Set().Lookup(name)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s g%d", v.Reveal(), v.Generation())
}

func expect(t *testing.T, s *Store, name secret.Ref, want string) {
	t.Helper()
	if got := reveal(s, name); got != want {
		t.Errorf("%s is %q, want %q", name, got, want)
	}
}

func expectState(t *testing.T, s *Store, want ...string) {
	t.Helper()
	var got []string
	for _, st := range s.Status() {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", st.Name, st.State, st.Reason)))
	}
	if !slices.Equal(got, want) {
		t.Errorf("status %q, want %q", got, want)
	}
}

func TestApplyPublishesBeforeItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		s := New(r.options(nil))
		defer s.Close()
		if s.Set() == nil || len(s.Status()) != 0 {
			t.Error("a new Store is not empty")
		}
		good, bad, maybe := &fake{text: "k\n"}, &fake{err: errors.New("not set (env X)")}, &fake{err: errors.New("not set (env Y)")}
		s.Apply(t.Context(), []Spec{
			{Name: "good", Source: good}, {Name: "bad", Source: bad, Owner: "sales"}, {Name: "maybe", Source: maybe, Optional: true},
		})
		if len(r.sets) != 1 || r.sets[0] != s.Set() {
			t.Errorf("%d sets", len(r.sets))
		}
		expect(t, s, "good", "k g1")
		expect(t, s, "bad", `secret "bad": not set (env X)`)
		expectState(t, s, "bad LOADING not set (env X)", "good READY", "maybe LOADING not set (env Y)")
		if warm, cold := s.Warm(); warm || !slices.Equal(cold, []string{"bad"}) {
			t.Error(warm, cold)
		}
		bad.put("b", nil)
		time.Sleep(1100 * time.Millisecond) // retried fast
		synctest.Wait()
		expect(t, s, "bad", "b g1")
		if warm, cold := s.Warm(); !warm {
			t.Error(cold)
		}
	})
}

func TestBadNewVersionNeverReplacesGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		s := New(r.options(nil))
		defer s.Close()
		f := &fake{text: "one"}
		s.Apply(t.Context(), []Spec{{Name: "k", Source: f}})
		for _, bad := range []string{canary + "\x00", canary + "\r\nx", "\xef\xbb\xbf" + canary, strings.Repeat(canary, 1<<14)} {
			f.put(bad, nil)
			s.Refresh(t.Context())
			expect(t, s, "k", "one g1")
			if st := s.Status()[0]; st.State != Stale || st.Reason == "" || st.StaleSince.IsZero() {
				t.Errorf("%+v", st)
			}
		}
		f.put("", errors.New("not found (file x)"))
		s.Refresh(t.Context())
		expectState(t, s, "k STALE not found (file x)")
		if warm, _ := s.Warm(); !warm {
			t.Error("a stale secret makes the Store cold")
		}
		f.put("one", nil)
		s.Refresh(t.Context())
		expectState(t, s, "k READY")
		expect(t, s, "k", "one g1")
		f.put("two", nil)
		s.Refresh(t.Context())
		expect(t, s, "k", "two g2")
		if e, _ := s.Set().Entry("k"); e.Previous.Reveal() != "one" {
			t.Errorf("previous is %v", e.Previous)
		}
		if got := strings.Join(r.results(), " "); got != "rotated error error error error error unchanged rotated" {
			t.Error(got)
		}
		if len(r.sets) != 2 {
			t.Errorf("%d sets published, want one per version", len(r.sets))
		}
		status, _ := json.Marshal(s.Status())
		if all := r.log.String() + string(status) + fmt.Sprintf("%+v", r.changes); strings.Contains(all, "cAnArY") {
			t.Errorf("secret bytes are told: %s", all)
		}
	})
}

func TestEmptyReadIsHeldASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		n := &notices{}
		s := New(r.options(n))
		defer s.Close()
		f := &fake{text: "one", files: []string{"/f"}}
		s.Apply(t.Context(), []Spec{{Name: "k", Source: f, Poll: time.Hour}})
		look := func(text string) {
			f.put(text, nil)
			n.tell()
			synctest.Wait()
		}
		look("")
		time.Sleep(500 * time.Millisecond)
		look("\n")
		expectState(t, s, "k SETTLING")
		look("two")
		expect(t, s, "k", "two g2")
		look("")
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		expectState(t, s, "k STALE empty (file /f)")
		expect(t, s, "k", "two g2")
		if got := strings.Join(r.results(), " "); got != "rotated rotated error" {
			t.Error(got)
		}
	})
	synctest.Test(t, func(t *testing.T) { // nothing to hold on to at the start
		s := New(Options{})
		defer s.Close()
		s.Apply(t.Context(), []Spec{{Name: "k", Source: &fake{}}})
		expectState(t, s, "k LOADING empty")
	})
}

func TestReadsMustAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notices{}
		s := New(Options{Notices: n})
		defer s.Close()
		f := &fake{text: "one", files: []string{"/f"}}
		s.Apply(t.Context(), []Spec{{Name: "k", Source: f, Poll: time.Hour}})
		if f.count() != 2 {
			t.Errorf("%d reads of a file at rest", f.count())
		}
		f.mu.Lock()
		f.reads, f.read = 0, func(n int) (string, error) { return strings.Repeat("t", min(n, 4)), nil }
		f.mu.Unlock()
		n.tell()
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		expect(t, s, "k", "tttt g2")
		f.mu.Lock()
		f.read = func(n int) (string, error) { return strings.Repeat("u", n), nil }
		f.mu.Unlock()
		n.tell()
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		expect(t, s, "k", "tttt g2")
		expectState(t, s, "k STALE changes with every read")
	})
}

func TestPollWithoutNotices(t *testing.T) {
	for _, c := range []struct {
		spec      Spec
		low, high time.Duration
	}{
		{Spec{Source: &fake{files: []string{"/f"}}}, 10 * time.Second, 30 * time.Second},
		{Spec{Source: &fake{}}, 4 * time.Minute, 6 * time.Minute},
		{Spec{Source: &fake{files: []string{"/f"}}, Poll: 2 * time.Second}, 1800 * time.Millisecond, 2200 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			var looks []time.Time
			c.spec.Name = "k"
			c.spec.Source.(*fake).read = func(int) (string, error) {
				if now := time.Now(); len(looks) == 0 || !now.Equal(looks[len(looks)-1]) {
					looks = append(looks, now)
				}
				return "one", nil
			}
			s := New(Options{Notices: &notices{}})
			s.Apply(t.Context(), []Spec{c.spec})
			time.Sleep(20 * c.high)
			s.Close()
			gaps := map[time.Duration]bool{}
			for i := range looks[1:] {
				gap := looks[i+1].Sub(looks[i])
				gaps[gap] = true
				if gap < c.low || gap > c.high {
					t.Errorf("a look after %v, want %v to %v", gap, c.low, c.high)
				}
			}
			if len(looks) < 20 || len(gaps) < len(looks)/2 {
				t.Errorf("%d looks, %d different gaps: no jitter", len(looks), len(gaps))
			}
		})
	}
}

func TestRetryBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		defer s.Close()
		f := &fake{err: errors.New("not set")}
		s.Apply(t.Context(), []Spec{{Name: "k", Source: f, Poll: 10 * time.Second}})
		time.Sleep(time.Minute)
		synctest.Wait()
		// at 0, 1, 3, 7 s, then every 8 to 11 s
		if n := f.count(); n < 8 || n > 11 {
			t.Errorf("%d looks in a minute", n)
		}
		if st := s.Status()[0]; st.Reason != "not set" || time.Until(st.NextLook) > 11*time.Second {
			t.Errorf("%+v", st)
		}
	})
}

func TestSecretsThatChangeTogetherArePublishedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		n := &notices{}
		s := New(r.options(n))
		defer s.Close()
		user, password := &fake{text: "u1", files: []string{"/d/user"}}, &fake{text: "p1", files: []string{"/d/password"}}
		s.Apply(t.Context(), []Spec{{Name: "user", Source: user}, {Name: "password", Source: password}})
		for i := 2; i < 5; i++ {
			user.put(fmt.Sprint("u", i), nil)
			password.put(fmt.Sprint("p", i), nil)
			n.tell()
			synctest.Wait()
			expect(t, s, "user", fmt.Sprintf("u%d g%d", i, i))
			expect(t, s, "password", fmt.Sprintf("p%d g%d", i, i))
		}
		if len(r.sets) != 4 {
			t.Errorf("%d sets for 3 rotations", len(r.sets))
		}
	})
}

func TestApplyKeepsWhatDidNotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		s := New(r.options(nil))
		defer s.Close()
		a, b := &fake{text: "a"}, &fake{text: "b"}
		s.Apply(t.Context(), []Spec{{Name: "a", Source: a, Key: "1"}, {Name: "b", Source: b, Key: "1"}, {Name: "gone", Source: a, Key: "1"}})
		b.put("b2", nil)
		s.Refresh(t.Context())
		reads := a.count()
		same, elsewhere, bad := &fake{text: "never read"}, &fake{text: "c"}, &fake{err: errors.New("not found")}
		s.Apply(t.Context(), []Spec{{Name: "a", Source: same, Key: "1", Owner: "new"}, {Name: "b", Source: elsewhere, Key: "2"}})
		if a.count() != reads || same.count() != 0 {
			t.Error("an unchanged secret was read")
		}
		expect(t, s, "a", "a g1")
		expect(t, s, "b", "c g3")
		expect(t, s, "gone", `secret "gone": not configured`)
		if e, _ := s.Set().Entry("b"); e.Previous.Reveal() != "b2" {
			t.Errorf("previous is %v", e.Previous)
		}
		if st := s.Status(); st[0].Owner != "new" {
			t.Errorf("%+v", st[0])
		}
		// The same content from elsewhere is the same version.
		before, _ := s.Set().Lookup("b")
		s.Apply(t.Context(), []Spec{{Name: "b", Source: &fake{text: "c\n"}, Key: "3"}})
		if after, _ := s.Set().Lookup("b"); !after.Same(before) {
			t.Errorf("%v became %v", before, after)
		}
		// What came from elsewhere is not served for what cannot be read.
		s.Apply(t.Context(), []Spec{{Name: "b", Source: bad, Key: "4"}})
		expect(t, s, "b", `secret "b": not found`)
		if e, _ := s.Set().Entry("b"); e.Previous.Reveal() != "c" {
			t.Errorf("previous is %v: it is no longer masked", e.Previous)
		}
		bad.put("d", nil)
		s.Refresh(t.Context())
		expect(t, s, "b", "d g4")
		// Another field of the same source is another secret, even if the Keys agree.
		s.Apply(t.Context(), []Spec{{Name: "b", Source: &fake{text: "x: 1"}, Key: "4", Field: "x"}})
		expect(t, s, "b", "1 g5")
	})
}

func TestHungSourceHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Notices: &notices{}})
		hung := &fake{text: "h", hang: make(chan struct{})}
		good := &fake{text: "one", files: []string{"/f"}}
		start := time.Now()
		s.Apply(t.Context(), []Spec{{Name: "hung", Source: hung, Poll: time.Second}, {Name: "good", Source: good, Poll: time.Second}})
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Apply took %v", took)
		}
		expect(t, s, "good", "one g1")
		expectState(t, s, "good READY", "hung LOADING no answer in time")
		good.put("two", nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		expect(t, s, "good", "two g2")
		time.Sleep(time.Minute)
		if n := hung.count(); n != 1 {
			t.Errorf("%d reads pile up", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		s.Refresh(ctx)
		if took := time.Since(start); took != time.Second {
			t.Errorf("Refresh outlived its context: %v", took)
		}
		close(hung.hang)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		expect(t, s, "hung", "h g1")
		s.Close()
	})
}

func TestNoticeDuringALookIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notices{}
		s := New(Options{Notices: n})
		defer s.Close()
		f := &fake{text: "one", files: []string{"/f"}}
		s.Apply(t.Context(), []Spec{{Name: "k", Source: f, Poll: time.Hour}})
		hang := make(chan struct{})
		f.mu.Lock()
		f.hang, f.reads = hang, 0
		f.read = func(n int) (string, error) {
			if n <= 2 {
				return "two", nil
			}
			return "three", nil
		}
		f.mu.Unlock()
		n.tell()
		synctest.Wait() // the look is under way
		n.tell()
		synctest.Wait()
		close(hang)
		synctest.Wait()
		expect(t, s, "k", "three g3")
	})
}

func TestCloseTwiceAndUseAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		f := &fake{text: "one"}
		s.Apply(t.Context(), []Spec{{Name: "k", Source: f}})
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		expect(t, s, "k", "one g1")
		f.put("two", nil)
		s.Refresh(t.Context())
		s.Apply(t.Context(), []Spec{{Name: "other", Source: f}})
		time.Sleep(time.Hour)
		expect(t, s, "k", "one g1")
	})
}

func TestConcurrentUse(t *testing.T) {
	var r recorder
	n := &notices{}
	s := New(r.options(n))
	f := &fake{files: []string{"/f"}, read: func(n int) (string, error) { return fmt.Sprint(n / 8), nil }}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 20 {
				s.Apply(t.Context(), []Spec{{Name: "a", Source: f, Key: "1"}, {Name: "b", Source: f, Key: fmt.Sprint(i, j/7)}})
			}
		})
		wg.Go(func() {
			for range 20 {
				s.Refresh(t.Context())
				n.tell()
				_, _ = s.Warm()
				_, _ = s.Set(), s.Status()
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	last := uint64(0)
	for _, set := range r.sets {
		if e, _ := set.Entry("a"); e.Current.Generation() < last {
			t.Fatalf("generation %d after %d", e.Current.Generation(), last)
		} else {
			last = e.Current.Generation()
		}
	}
}

func TestForbiddenImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		ours, ok := strings.CutPrefix(dep, "github.com/attache-proxy/attache/")
		if ok && ours != "inject/secret" && !strings.HasPrefix(ours, "watcher") || dep == "net/http" {
			t.Errorf("imports %s: the watcher knows no HTTP requests, credential kinds or rules", dep)
		}
	}
}

package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// TestClientGoneWithoutABody: a request that has no body, and of which nothing is read any more, ends with its client too,
// whichever way the client goes and however far the answer has come.
func TestClientGoneWithoutABody(t *testing.T) {
	leakless(t)
	begun, ended := make(chan struct{}), make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = io.WriteString(w, "begin")
			_ = http.NewResponseController(w).Flush()
		}
		begun <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
		panic(http.ErrAbortHandler) // or an answer could yet come before the end of the connection
	})
	s := newStage(t, Options{}, api(to))
	for _, path := range []string{"/head", "/body"} {
		for _, f := range []fault{fin, reset} {
			s.events.forget()
			tc := s.open("api.test:443", "api.test")
			fmt.Fprintf(tc, "GET %s HTTP/1.1\r\nHost: api.test\r\n\r\n", path)
			<-begun
			raw := tc.NetConn().(*net.TCPConn)
			if f == reset {
				_ = raw.SetLinger(0)
			}
			_ = raw.Close()
			<-ended
			if e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request }); e.Reason != "client_cancelled" || e.Fault != string(FaultCaller) {
				t.Errorf("%s, %v: event %+v", path, f, e)
			}
		}
	}
	s.settled()
}

// TestWhatComesDuringARequestIsTheNext: while a request lasts its client is looked for; what it sends meanwhile is not lost, and the
// connection serves on.
func TestWhatComesDuringARequestIsTheNext(t *testing.T) {
	leakless(t)
	begun, release := make(chan struct{}), make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	answers := bufio.NewReader(tc)
	answered := func(want string) {
		t.Helper()
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != want {
			t.Fatalf("%q, %v, want %q", b, err, want)
		}
	}
	for range 2 { // the second finds what the first left
		fmt.Fprint(tc, "GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n")
		<-begun
		l := s.lookout()
		l.until(t, func() bool { return l.look != nil }) // something is looking
		fmt.Fprint(tc, "GET /second HTTP/1.1\r\nHost: api.test\r\n\r\n")
		l.until(t, func() bool {
			select {
			case <-l.look:
				return true
			default:
				return false
			}
		})
		release <- struct{}{}
		answered("/slow")
		answered("/second")
		fmt.Fprint(tc, "GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n") // nothing comes meanwhile
		<-begun
		l.until(t, func() bool { return l.look != nil })
		release <- struct{}{}
		answered("/slow")
	}
	fmt.Fprint(tc, "GET /last HTTP/1.1\r\nHost: api.test\r\n\r\n")
	answered("/last")
}

// lookout is that of the only intercepted connection.
func (s *stage) lookout() *lookout {
	s.proxy.conns.mu.Lock()
	defer s.proxy.conns.mu.Unlock()
	for c := range s.proxy.conns.open {
		if c.lookout != nil {
			return c.lookout
		}
	}
	s.Fatal("no intercepted connection")
	return nil
}

// until waits for what a timer of the product is about to bring.
func (l *lookout) until(t *testing.T, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		l.mu.Lock()
		done := is()
		l.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

// TestNothingIsReadBeforeALookIsDue: begin waits for net/http's own read, which alone may tell that no byte is on its way to it.
func TestNothingIsReadBeforeALookIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		us, client := net.Pipe()
		defer client.Close()
		l := &lookout{src: us}
		gone := make(chan struct{})
		begin := func() bool { return l.begin(func() { close(gone) }) }
		if begin() {
			t.Error("looks though net/http may be reading")
		}
		l.putOffLook()
		if !begin() || begin() {
			t.Error("want one look")
		}
		_, _ = client.Write([]byte("G"))
		l.end()
		b := make([]byte, 10)
		if n, err := l.Read(b); n != 1 || err != nil || b[0] != 'G' {
			t.Errorf("%q, %v", b[:n], err)
		}
		if begin() {
			t.Error("looks though net/http has read since")
		}
		l.putOffLook()
		begin()
		l.end() // nothing came
		go func() { _, _ = client.Write([]byte("ET")) }()
		if n, err := l.Read(b); string(b[:n]) != "ET" || err != nil {
			t.Errorf("%q, %v", b[:n], err)
		}
		_ = us.SetReadDeadline(time.Now())
		if _, err := l.Read(b); !os.IsTimeout(err) {
			t.Error(err)
		}
		_ = us.SetReadDeadline(time.Time{})
		l.putOffLook()
		begin()
		_ = client.Close()
		<-gone
		l.end()
		if _, err := l.Read(b); err != io.EOF {
			t.Error(err)
		}
	})
}

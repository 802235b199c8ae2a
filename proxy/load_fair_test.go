package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/proxy/policy"
)

// TestIdleConnectionsMakeRoom: one client that takes every connection, in each way
// that costs it nothing, does not keep others out.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	const most = 24
	to, _ := counting(t)
	s := newStage(t, Options{Server: ServerLimits{Connections: most}},
		rule{spec: policy.Spec{ID: "pass", Hosts: []string{"other.test"}, Action: policy.Tunnel}, to: to}, api(to))
	for i := range 4 * most {
		switch i % 5 {
		case 0: // nothing
			s.dial()
		case 1: // no handshake
			c := s.dial()
			host := []string{"api.test", "other.test"}[i%2]
			fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", host, host)
			_, _ = http.ReadResponse(bufio.NewReader(c), nil)
		case 2: // no request
			s.open("api.test:443", "api.test")
		case 3: // none after the first
			s.say(s.open("api.test:443", "api.test"), "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
		case 4:
			s.rawH2()
		}
	}
	start := time.Now()
	s.unharmed()
	if d := time.Since(start); d > soon {
		t.Errorf("another client waited %v", d)
	}
	s.proxy.conns.mu.Lock()
	n := len(s.proxy.conns.open)
	s.proxy.conns.mu.Unlock()
	if n > most+1 { // one waits for room
		t.Errorf("%d connections are open, of %d", n, most)
	}
}

// TestConnectionsInUseStay: what is under way is never closed to make room; new
// clients wait for it.
func TestConnectionsInUseStay(t *testing.T) {
	const most = 4
	begun, finish := make(chan struct{}, most), make(chan struct{})
	to := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-finish
		}
	})
	s := newStage(t, Options{Server: ServerLimits{Connections: most}}, api(to))
	var wg sync.WaitGroup
	for i := range most {
		c := s.client(i%2 == 0, nil)
		wg.Go(func() {
			res, err := c.Get("https://api.test/slow")
			if err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("a request under way: %v, %v", res, err)
				return
			}
			_ = res.Body.Close()
		})
	}
	for range most {
		<-begun
	}
	late := s.dial()
	_, _ = io.WriteString(late, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = late.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := late.Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the limit was served")
	}
	close(finish)
	wg.Wait() // their connections are idle now
	_ = late.SetReadDeadline(time.Now().Add(patience))
	if res, err := http.ReadResponse(bufio.NewReader(late), nil); err != nil || res.StatusCode != http.StatusBadRequest {
		t.Errorf("the one that waited: %v, %v", res, err)
	}
	s.unharmed()
}

// from is a connection from an address of the test's choice.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }
func (from) Close() error           { return nil }

// TestShareOfOneAddress: an address beyond this machine gets half of the
// connections, and its share again when it gives some back.
func TestShareOfOneAddress(t *testing.T) {
	s := newConns(10)
	open := func(ip string) *conn {
		c := &conn{Conn: from{addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}}
		if s.admit(c, nil) {
			return c
		}
		return nil
	}
	var last *conn
	for i := range 5 {
		if last = open("192.0.2.1"); last == nil {
			t.Fatalf("connection %d was refused", i+1)
		}
	}
	if open("192.0.2.1") != nil || open("::ffff:192.0.2.1") != nil {
		t.Error("more than its half")
	}
	if open("192.0.2.2") == nil {
		t.Error("another address was refused")
	}
	s.remove(last)
	s.remove(last) // once
	if open("192.0.2.1") == nil || open("192.0.2.1") != nil {
		t.Error("want one more after one was given back")
	}
	for range 4 {
		if open("127.0.0.1") == nil {
			t.Error("loopback was refused")
		}
	}
	if len(s.slots) != 10 || len(s.from) != 2 {
		t.Errorf("%d slots, %d addresses", len(s.slots), len(s.from))
	}
}

// TestOneClientTakesAllPlaces: a client that keeps as many requests at an upstream as it can get, by
// one connection or by many, leaves room there. Others are answered, and at once.
func TestOneClientTakesAllPlaces(t *testing.T) {
	const most, share = 20, 16
	for _, of := range []struct {
		name string
		h2   bool // one connection
		user *url.Userinfo
	}{
		{"a connection", true, nil},
		{"a caller's connections", false, url.UserPassword("app", "open-sesame")},
	} {
		t.Run(of.name, func(t *testing.T) {
			begun, finish := make(chan struct{}, most), make(chan struct{})
			to := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					begun <- struct{}{}
					<-finish
				}
			})
			narrow := api(to)
			narrow.most = most
			s := newStage(t, Options{}, narrow)
			abuser := s.client(of.h2, of.user)
			get := func(c *http.Client, path string) (int, string) {
				res, err := c.Get("https://api.test" + path)
				if err != nil {
					t.Error(err)
					return 0, ""
				}
				b, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				return res.StatusCode, string(b)
			}
			get(abuser, "/") // so that over HTTP/2 there is one connection
			var wg sync.WaitGroup
			for range share {
				wg.Go(func() {
					if status, body := get(abuser, "/slow"); status != http.StatusOK {
						t.Errorf("one of its share: %d %s", status, body)
					}
				})
				<-begun
			}
			for range 3 {
				if status, body := get(abuser, "/"); status != http.StatusTooManyRequests || reasonOf(t, body) != "client_busy" {
					t.Errorf("more than its share: %d %s", status, body)
				}
			}
			other, start := s.client(!of.h2, nil), time.Now()
			for range 50 {
				if status, body := get(other, "/"); status != http.StatusOK {
					t.Fatalf("another client: %d %s", status, body)
				}
			}
			if d := time.Since(start); d > soon {
				t.Errorf("50 requests of another client took %v", d)
			}
			close(finish)
			wg.Wait()
			if status, body := get(abuser, "/"); status != http.StatusOK {
				t.Errorf("the client, once it held nothing: %d %s", status, body)
			}
		})
	}
}

// TestWhoSharesAsOne: what counts as one client.
func TestWhoSharesAsOne(t *testing.T) {
	at := func(ip string, p *identity.Peer) *conn {
		return &conn{Conn: from{addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}, peer: p}
	}
	checkout := &identity.Peer{Callers: []identity.Caller{{Name: "checkout", ID: checkoutID}}}
	stranger := &identity.Peer{Stranger: identity.Caller{ID: checkoutID}}
	local := at("127.0.0.1", nil)
	for _, c := range []struct {
		name string
		a, b *conn
		same bool
	}{
		{"one SPIFFE ID at two addresses", at("192.0.2.1", checkout), at("192.0.2.2", checkout), true},
		{"one SPIFFE ID, known as a caller or not", at("192.0.2.1", checkout), at("127.0.0.1", stranger), true},
		{"two addresses", at("192.0.2.1", nil), at("192.0.2.2", nil), false},
		{"two connections of an address", at("192.0.2.1", nil), at("::ffff:192.0.2.1", nil), true},
		{"an address, with and without a SPIFFE ID", at("192.0.2.1", nil), at("192.0.2.1", checkout), false},
		{"two connections on loopback", local, at("127.0.0.1", nil), false},
		{"two streams of a connection on loopback", local.part(nil), local.part(nil), true},
	} {
		if (clientOf(c.a) == clientOf(c.b)) != c.same {
			t.Errorf("%s: the same: %t", c.name, !c.same)
		}
	}
}

// TestLastAnswerIsOut: net/http calls an HTTP/2 connection idle before it has written the
// end of the last answer.
func TestLastAnswerIsOut(t *testing.T) {
	to, _ := counting(t)
	s := newStage(t, Options{Server: ServerLimits{Connections: 1}}, api(to))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				res, err := s.client(true, nil).Get("https://api.test/")
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestRetiredConnectionEndsItsAnswer: a connection whose client's proof has ended is closed when it has been spare for
// long enough that its last answer is out, and not if it came into use again.
func TestRetiredConnectionEndsItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newConns(1)
		socket, far := net.Pipe()
		defer func() { _ = far.Close() }()
		ended := make(chan struct{})
		go func() { defer close(ended); _, _ = far.Read(make([]byte, 1)) }()
		closed := func() bool {
			synctest.Wait()
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
		c := &conn{Conn: socket}
		s.admit(c, nil)
		s.retire(c)
		s.idle(c, true) // its answer is being written
		time.Sleep(spareTime / 2)
		if closed() {
			t.Fatal("closed at once")
		}
		s.idle(c, false)
		time.Sleep(2 * spareTime)
		if closed() {
			t.Fatal("closed in use")
		}
		s.idle(c, true)
		time.Sleep(spareTime)
		if !closed() {
			t.Error("it stays open")
		}
	})
}

package proxy

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject/stream"
	"github.com/attache-proxy/attache/proxy/audit"
)

// turns times the pieces of an answer of which each is sent once the one before has come.
type turns struct {
	last time.Time
	took []time.Duration
}

func newTurns() *turns { return &turns{last: time.Now()} }

// turn is called when a piece has come.
func (c *turns) turn() {
	now := time.Now()
	c.took, c.last = append(c.took, now.Sub(c.last)), now
}

// prompt fails the test if pieces were held back: then most of them take as long as silence, which a machine
// that does other things makes of a few only.
func (c *turns) prompt(s *stage, what string) {
	s.Helper()
	slices.Sort(c.took)
	if mid := c.took[len(c.took)/2]; mid >= stream.Silence {
		s.Errorf("%s: half of %d took %v and more: they were held back", what, len(c.took), mid)
	}
}

// pause is an upstream that answers text, waits until it is told to go on, and
// tells when it wrote.
type pause struct {
	wrote chan time.Time
	done  chan struct{}
}

func (p pause) serve(w http.ResponseWriter, r *http.Request, text string) {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush()
	p.wrote <- time.Now()
	select {
	case <-p.done:
	case <-r.Context().Done():
	}
}

// TestHoldBackStall: a message that ends in what may begin a secret is
// delivered though the upstream waits for an answer to it.
func TestHoldBackStall(t *testing.T) {
	p := pause{make(chan time.Time, 1), make(chan struct{})}
	const message = "ping? "
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, message+canary[:1]) })
	s := newStage(t, Options{}, api(to))
	s.both(func(s *stage, h2 bool) {
		res, err := s.client(h2, nil).Get("https://api.test/")
		if err != nil {
			s.Fatal(err)
		}
		defer res.Body.Close()
		got := make([]byte, len(message)+1)
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != message+canary[:1] {
			s.Errorf("%q, %v", got, err)
		}
		if took := time.Since(<-p.wrote); took > stream.Silence+soon {
			s.Errorf("delivered after %v", took)
		}
		p.done <- struct{}{}
	})
}

// TestHoldBackOracle: how long an echo takes tells nothing of whether it is how
// the secret begins. Either is held until silence; neither lets a byte pass before.
func TestHoldBackOracle(t *testing.T) {
	p := pause{make(chan time.Time, 1), make(chan struct{})}
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, r.Header.Get("X-Guess")) })
	s := newStage(t, Options{}, api(to))
	s.both(func(s *stage, h2 bool) {
		c := s.client(h2, nil)
		for _, n := range []int{1, 8, len(canary) - 1} {
			for _, guess := range []string{canary[:n], strings.Repeat("z", n), canary[:n-1] + "z"} {
				req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
				req.Header.Set("X-Guess", guess)
				before := time.Now() // the proxy cannot have had the guess before
				res, err := c.Do(req)
				if err != nil {
					s.Fatal(err)
				}
				got := make([]byte, n)
				if _, err := io.ReadFull(res.Body, got[:1]); err != nil {
					s.Fatal(err)
				}
				if held := time.Since(before); held < stream.Silence || held > stream.Silence+soon {
					s.Errorf("%d bytes, right: %v: held for %v", n, guess == canary[:n], held)
				}
				if _, err := io.ReadFull(res.Body, got[1:]); err != nil || string(got) != guess {
					s.Errorf("%q came as %q, %v", guess, got, err)
				}
				<-p.wrote
				p.done <- struct{}{}
				_ = res.Body.Close()
			}
		}
	})
}

// grpcMessage is a length-prefixed message.
func grpcMessage(flags byte, text string) string {
	b := binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(text)))
	return string(b) + text
}

// TestGRPCMessages: masked in each message and in the trailers, with the frames
// intact and each delivered before the next is sent; what is compressed though
// nobody offered it is broken off.
func TestGRPCMessages(t *testing.T) {
	all := spellings(canary)
	next := make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.Header().Set("X-Offers", strings.Join(append(r.Header["Grpc-Accept-Encoding"], r.Header["Connect-Accept-Encoding"]...), ","))
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		for _, s := range all {
			m := grpcMessage(0, s.text)
			for _, part := range []string{m[:3], m[3 : 5+s.start+1], m[5+s.start+1:]} {
				_, _ = io.WriteString(w, part)
				_ = http.NewResponseController(w).Flush()
			}
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
		if r.URL.Path == "/compressed" {
			_, _ = io.WriteString(w, grpcMessage(1, canary))
			return
		}
		w.Header().Set("Grpc-Status", "13")
		w.Header().Set("Grpc-Message", all[1].text)
	})
	s := newStage(t, Options{}, api(to))
	for _, kind := range []string{"application/grpc", "application/grpc+proto", "application/grpc-web+proto", "application/connect+json"} {
		for _, path := range []string{"/plain", "/compressed"} {
			req, _ := http.NewRequest(http.MethodPost, "https://api.test"+path, strings.NewReader(grpcMessage(0, "")))
			req.Header.Set("Content-Type", kind)
			req.Header.Set("Grpc-Accept-Encoding", "gzip")
			req.Header.Set("Connect-Accept-Encoding", "gzip")
			res, err := s.client(true, nil).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if got := res.Header.Get("X-Offers"); got != "" {
				t.Errorf("the upstream was offered %s", got)
			}
			clock := newTurns()
			for _, want := range all {
				m := grpcMessage(0, want.masked())
				got := make([]byte, len(m))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != m {
					t.Fatalf("%s, %s: %q, %v, want %q", kind, want.name, got, err, m)
				}
				clock.turn()
				next <- struct{}{}
			}
			clock.prompt(s, kind)
			rest, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			searchFor(t, "the answer", dump(res, rest), canary)
			if path == "/compressed" {
				if err == nil {
					t.Errorf("%s: a compressed message came as %q", kind, rest)
				}
				s.events.wait(t, func(e audit.Event) bool { return e.Reason == reasonResponseCoding })
			} else if err != nil || res.Trailer.Get("Grpc-Status") != "13" || res.Trailer.Get("Grpc-Message") != all[1].masked() {
				t.Errorf("%s: at the end %q, %v, trailers %v", kind, rest, err, res.Trailer)
			}
		}
	}
}

// wsFrame is a server's frame.
func wsFrame(first byte, text string) string {
	switch n := len(text); {
	case n < 126:
		return string([]byte{first, byte(n)}) + text
	default:
		return string(binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))) + text
	}
}

// TestWebSocketMessages: masked within frames and over the frames of a message,
// with the frames intact and each message delivered before the next is sent.
func TestWebSocketMessages(t *testing.T) {
	var sent, want []string
	for _, s := range spellings(canary) {
		m := s.masked()
		mid := (s.start + s.end) / 2
		sent = append(sent,
			wsFrame(0x81, s.text),
			wsFrame(0x01, s.text[:mid])+wsFrame(0x89, "ping")+wsFrame(0x80, s.text[mid:]),
			wsFrame(0x82, strings.Repeat("\xff", 300)+s.text))
		want = append(want,
			wsFrame(0x81, m),
			wsFrame(0x01, m[:mid])+wsFrame(0x89, "ping")+wsFrame(0x80, m[mid:]),
			wsFrame(0x82, strings.Repeat("\xff", 300)+m))
	}
	sent = append(sent, wsFrame(0x8a, canary), wsFrame(0x88, "\x03\xe8"+canary))
	want = append(want, wsFrame(0x8a, strings.Repeat("*", len(canary))), wsFrame(0x88, "\x03\xe8"+strings.Repeat("*", len(canary))))
	to := hijacked(t, func(c *bufio.ReadWriter, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for _, m := range sent {
			_, _ = io.WriteString(c, m[:len(m)/2])
			_ = c.Flush()
			_, _ = io.WriteString(c, m[len(m)/2:])
			_ = c.Flush()
			if _, err := c.ReadByte(); err != nil {
				return
			}
		}
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, upgradeRequest)
	r := bufio.NewReader(tc)
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	clock := newTurns()
	for i, m := range want {
		got := make([]byte, len(m))
		if n, err := io.ReadFull(r, got); err != nil || string(got) != m {
			t.Fatalf("message %d: %q, %v, want %q", i, got[:n], err, m)
		}
		clock.turn()
		_, _ = tc.Write([]byte{1})
	}
	clock.prompt(s, "messages")
	_ = tc.CloseWrite()
	if e := s.events.wait(t, func(e audit.Event) bool { return e.Type == audit.Request && e.Status == 101 }); e.Redacted < len(want) {
		t.Errorf("%d redacted, want %d and more", e.Redacted, len(want))
	}
}

// TestWebSocketEndsInWhatIsHeld: the upstream goes in the middle of a message;
// what there is of it arrives, masked.
func TestWebSocketEndsInWhatIsHeld(t *testing.T) {
	frame := wsFrame(0x81, "held "+canary+" more")
	want := wsFrame(0x81, "held "+strings.Repeat("*", len(canary))+" more")
	to := hijacked(t, func(c *bufio.ReadWriter, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+frame[:len(frame)-2])
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, upgradeRequest)
	r := bufio.NewReader(tc)
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	if got, err := io.ReadAll(r); string(got) != want[:len(want)-2] {
		t.Errorf("%q, %v, want %q", got, err, want[:len(want)-2])
	}
}

// TestWebSocketBadFrame: what cannot be followed cannot be masked.
func TestWebSocketBadFrame(t *testing.T) {
	to := hijacked(t, func(c *bufio.ReadWriter, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"+
			wsFrame(0xc1, canary)+canary)
		_ = c.Flush()
		_, _ = c.ReadByte() // until the proxy closes
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, upgradeRequest)
	all, err := io.ReadAll(tc)
	if err != nil {
		t.Errorf("the connection was not closed: %v", err)
	}
	searchFor(t, "the answer", all, canary)
	if !bytes.HasPrefix(all, []byte("HTTP/1.1 101 ")) {
		t.Errorf("%q", all)
	}
	s.events.wait(t, func(e audit.Event) bool {
		return e.Type == audit.Request && e.Status == 101 && e.Reason == reasonResponseCoding
	})
}

// TestGRPCWebText: base64 around the frames is masked as text.
func TestGRPCWebText(t *testing.T) {
	frame := grpcMessage(0, "hi "+canary)
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc-web-text+proto")
		_, _ = io.WriteString(w, base64.StdEncoding.EncodeToString([]byte(frame)))
	})
	newStage(t, Options{}, api(to)).both(func(s *stage, h2 bool) {
		if _, body := s.get(h2, "/"); !strings.Contains(body, strings.Repeat("*", len(canary))) || len(body) != base64.StdEncoding.EncodedLen(len(frame)) {
			s.Errorf("%q", body)
		}
	})
}

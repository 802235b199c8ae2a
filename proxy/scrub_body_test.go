package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/attache-proxy/attache/proxy/audit"
)

// coder is what compressors have in common.
type coder interface {
	io.WriteCloser
	Flush() error
}

type uncoded struct{ io.Writer }

func (uncoded) Flush() error { return nil }
func (uncoded) Close() error { return nil }

func newCoder(coding string, w io.Writer) coder {
	switch coding {
	case "gzip":
		return gzip.NewWriter(w)
	case "br":
		return brotli.NewWriter(w)
	case "zstd":
		z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		return z
	}
	return uncoded{w}
}

// echo answers what its query asks for: the spelling at index form, in a
// coding, cut after byte cut, each part on its own on the wire.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Accept-Encoding") != "identity" {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	q := r.URL.Query()
	form, _ := strconv.Atoi(q.Get("form"))
	cut, _ := strconv.Atoi(q.Get("cut"))
	coding := q.Get("coding")
	text := spellings(canary)[form].text
	w.Header().Set("Content-Type", "text/plain")
	if coding != "identity" {
		w.Header().Set("Content-Encoding", coding)
	} else if cut == 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	}
	c := newCoder(coding, w)
	if cut > 0 {
		_, _ = io.WriteString(c, text[:cut])
		_ = c.Flush()
		_ = http.NewResponseController(w).Flush()
		text = text[cut:]
	}
	_, _ = io.WriteString(c, text)
	_ = c.Close()
}

// TestReflectedInBody: every spelling in every coding, whole and cut.
func TestReflectedInBody(t *testing.T) {
	s := newStage(t, Options{}, api(upstream(t, echo)))
	s.both(func(s *stage, h2 bool) {
		c := s.client(h2, nil)
		for i, form := range spellings(canary) {
			for _, coding := range []string{"identity", "gzip", "br", "zstd"} {
				n := len(form.text)
				for _, cut := range []int{0, 1, form.start, form.start + 1, (form.start + form.end) / 2, form.end - 1, form.end, n - 1} {
					req, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("https://api.test/?form=%d&coding=%s&cut=%d", i, coding, cut), nil)
					req.Header.Set("Accept-Encoding", "gzip, br, zstd")
					res, body := s.fetch(c, req)
					if body != form.masked() {
						s.Errorf("%s, %s, cut at %d: %s, came as %q, want %q", form.name, coding, cut, res.Status, body, form.masked())
					}
					if want := int64(n); coding == "identity" && cut == 0 && res.ContentLength != want {
						s.Errorf("%s: Content-Length %d, want %d", form.name, res.ContentLength, want)
					}
					if got := res.Header.Get("Content-Encoding"); got != "" {
						s.Errorf("%s, %s: came in %s", form.name, coding, got)
					}
				}
			}
		}
	})
}

// TestReflectedInEvents: each event of a stream is masked, and delivered before
// the next is sent: were each held until silence, the stream would take seconds.
func TestReflectedInEvents(t *testing.T) {
	all := spellings(canary)
	const rounds = 40
	next := make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		coding := r.URL.Query().Get("coding")
		if coding != "identity" {
			w.Header().Set("Content-Encoding", coding)
		}
		c := newCoder(coding, w)
		defer c.Close()
		for i := range rounds {
			_, _ = io.WriteString(c, "data: "+all[i%len(all)].text+"\n\n")
			_ = c.Flush()
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	})
	s := newStage(t, Options{}, api(to))
	s.both(func(s *stage, h2 bool) {
		for _, coding := range []string{"identity", "gzip", "br", "zstd"} {
			req, _ := http.NewRequest(http.MethodGet, "https://api.test/?coding="+coding, nil)
			req.Header.Set("Accept-Encoding", "gzip")
			res, err := s.client(h2, nil).Do(req)
			if err != nil {
				s.Fatal(err)
			}
			lines := bufio.NewReader(res.Body)
			clock := newTurns()
			for i := range rounds {
				line, err := lines.ReadString('\n')
				if want := "data: " + all[i%len(all)].masked() + "\n"; err != nil || line != want {
					s.Fatalf("%s, event %d: %q, %v, want %q", coding, i, line, err, want)
				}
				_, _ = lines.ReadString('\n')
				clock.turn()
				next <- struct{}{}
			}
			if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
				s.Errorf("%s: at the end %q, %v", coding, rest, err)
			}
			_ = res.Body.Close()
			clock.prompt(s, coding)
		}
	})
}

// TestFirstByteIsNotDelayed: of a long text without a line's end no more is
// held than a value may be long.
func TestFirstByteIsNotDelayed(t *testing.T) {
	more := make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		for range 20 {
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
		}
	})
	s := newStage(t, Options{}, api(to))
	s.both(func(s *stage, h2 bool) {
		res, err := s.client(h2, nil).Get("https://api.test/")
		if err != nil {
			s.Fatal(err)
		}
		defer res.Body.Close()
		clock := newTurns()
		had, buf := 0, make([]byte, 4096)
		for i := range 20 {
			for had < 1000*i+800 { // most of it: what is held back is under 150 bytes here
				n, err := res.Body.Read(buf)
				if err != nil {
					s.Fatal(err)
				}
				had += n
			}
			clock.turn()
			more <- struct{}{}
		}
		clock.prompt(s, "pieces")
	})
}

// TestCodedAnswers: what is decoded no longer says that it is coded, nor how
// long or of what digest; what cannot be decoded is refused.
func TestCodedAnswers(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, "you sent "+canary)
	_ = z.Close()
	gone := []string{"Content-Encoding", "Content-Length", "Accept-Ranges", "Digest", "Content-Digest", "Repr-Digest", "Content-Md5"}
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for _, name := range gone {
			w.Header().Set(name, "as it was")
		}
		w.Header().Set("Etag", q.Get("etag"))
		w.Header().Set("Content-Encoding", q.Get("coding"))
		w.Header().Set("Trailer", "Content-Digest, X-Late")
		w.Header().Set("Content-Length", strconv.Itoa(packed.Len()))
		if q.Get("trailers") != "" {
			w.Header().Del("Content-Length")
		}
		if q.Get("status") == "206" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/9999", packed.Len()-1))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(packed.Bytes())
		w.Header().Set("Content-Digest", "as it was")
		w.Header().Set(http.TrailerPrefix+"Repr-Digest", "as it was")
		w.Header().Set("X-Late", "kept")
	})
	s := newStage(t, Options{}, api(to))
	s.both(func(s *stage, h2 bool) {
		if res, _ := s.get(h2, "/?coding=gzip&trailers=1"); len(res.Trailer) != 1 || res.Trailer.Get("X-Late") != "kept" {
			s.Errorf("trailers came as %v", res.Trailer)
		}
		for etag, want := range map[string]string{`"v1"`: `W/"v1"`, `W/"v1"`: `W/"v1"`} {
			for _, coding := range []string{"gzip", "x-gzip", "GZIP", "identity, gzip"} {
				res, body := s.get(h2, "/?coding="+strings.ReplaceAll(coding, " ", "+")+"&etag="+strings.ReplaceAll(etag, `"`, "%22"))
				if body != "you sent "+strings.Repeat("*", len(canary)) {
					s.Errorf("%s: %s, body %q", coding, res.Status, body)
				}
				for _, name := range gone {
					if got, there := res.Header[name]; there && got[0] == "as it was" || there && name == "Content-Encoding" {
						s.Errorf("%s: %s came: %q", coding, name, got)
					}
				}
				if got := res.Header.Get("Etag"); got != want {
					s.Errorf("ETag %s came as %s", etag, got)
				}
			}
		}
		for _, query := range []string{"coding=compress", "coding=deflate", "coding=dcb", "coding=gzip,+exi", "coding=gzip,gzip,gzip,gzip", "coding=gzip&status=206", "coding=" + url.QueryEscape(canary)} {
			res, body := s.get(h2, "/?"+query)
			if res.StatusCode != 502 || reasonOf(s.T, body) != reasonResponseCoding {
				s.Errorf("%s: %s %s, want 502 response_coding", query, res.Status, body)
			}
		}
	})
	s.events.wait(t, func(e audit.Event) bool {
		return e.Reason == reasonResponseCoding && e.Fault == "upstream" && e.UpstreamStatus == 200
	})
}

// TestLengthsStayTrue: HEAD, 304 and a part of what is not compressed say what
// they said, and a part is masked.
func TestLengthsStayTrue(t *testing.T) {
	content := "0123456789" + canary + "0123456789"
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			w.Header().Set("X-Wrong", got)
		}
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(w, r, "x.txt", time.Time{}, strings.NewReader(content))
	})
	newStage(t, Options{}, api(to)).both(func(s *stage, h2 bool) {
		c := s.client(h2, nil)
		ask := func(method string, header ...string) (*http.Response, string) {
			req, _ := http.NewRequest(method, "https://api.test/", nil)
			req.Header.Set("Accept-Encoding", "gzip")
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			res, body := s.fetch(c, req)
			if wrong := res.Header.Get("X-Wrong"); wrong != "" || res.Header.Get("Etag") != `"v1"` {
				s.Errorf("%s %v: the upstream was asked for %q; ETag %s", method, header, wrong, res.Header.Get("Etag"))
			}
			return res, body
		}
		want := "0123456789" + strings.Repeat("*", len(canary)) + "0123456789"
		if res, body := ask("GET"); res.ContentLength != int64(len(content)) || body != want || res.Header.Get("Accept-Ranges") != "bytes" {
			s.Errorf("GET: %d, %q", res.ContentLength, body)
		}
		if res, _ := ask("HEAD"); res.ContentLength != int64(len(content)) {
			s.Errorf("HEAD: length %d, want %d", res.ContentLength, len(content))
		}
		if res, body := ask("GET", "If-None-Match", `"v1"`); res.StatusCode != 304 || body != "" {
			s.Errorf("304: %s", res.Status)
		}
		res, body := ask("GET", "Range", "bytes=5-"+strconv.Itoa(14+len(canary)))
		if res.StatusCode != 206 || res.ContentLength != int64(10+len(canary)) || body != want[5:15+len(canary)] ||
			res.Header.Get("Content-Range") != fmt.Sprintf("bytes 5-%d/%d", 14+len(canary), len(content)) {
			s.Errorf("206: %s, %d, %v, %q", res.Status, res.ContentLength, res.Header, body)
		}
	})
}

// TestDecompressionBomb: a small answer that inflates a thousandfold streams
// through, and takes no memory with it; nor does one that nobody reads.
func TestDecompressionBomb(t *testing.T) {
	const inflated = 48 << 20
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	chunk := bytes.Repeat([]byte("a"), 1<<20)
	for range inflated / len(chunk) {
		_, _ = z.Write(chunk)
	}
	_ = z.Close()
	gone := make(chan struct{}, 4)
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
		gone <- struct{}{}
	})
	s := newStage(t, Options{}, api(to))
	s.both(func(s *stage, h2 bool) {
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
		req.Header.Set("Accept-Encoding", "gzip")
		c := s.client(h2, nil)
		c.Timeout = 4 * patience // under the race detector
		res, err := c.Do(req)
		if err != nil {
			s.Fatal(err)
		}
		var total, peak int64
		buf := make([]byte, 64<<10)
		for next := int64(0); ; {
			n, err := res.Body.Read(buf)
			if total += int64(n); total >= next {
				next += 8 << 20
				runtime.ReadMemStats(&now)
				peak = max(peak, int64(now.HeapInuse)-int64(before.HeapInuse))
			}
			if err == io.EOF {
				break
			} else if err != nil {
				s.Fatal(err)
			}
		}
		_ = res.Body.Close()
		if total != inflated {
			s.Errorf("%d bytes came, want %d", total, inflated)
		}
		if peak > 24<<20 {
			s.Errorf("%d MiB of memory for an answer of %d MiB", peak>>20, inflated>>20)
		}
		<-gone
		// One that nobody reads to its end.
		if res, err = s.client(h2, nil).Do(req); err != nil {
			s.Fatal(err)
		}
		_, _ = io.ReadFull(res.Body, buf)
		_ = res.Body.Close()
		<-gone
	})
}

// TestAnswersEndWhileTheTimerRuns: the silence timer, ReverseProxy's flushes
// and the handler's end meet; under the race detector nothing may.
func TestAnswersEndWhileTheTimerRuns(t *testing.T) {
	const begin, rest = "held back: ", "the rest"
	whole := strings.Repeat("x", 3000) + begin + rest
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("sized") != "" {
			w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
		}
		wait, _ := time.ParseDuration(q.Get("wait"))
		_, _ = io.WriteString(w, strings.TrimSuffix(whole, rest))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
			return
		}
		if q.Get("abort") != "" {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, rest)
		w.Header().Set(http.TrailerPrefix+"X-Late", canary)
	})
	s := newStage(t, Options{}, api(to))
	s.both(func(s *stage, h2 bool) {
		var wg sync.WaitGroup
		c := s.client(h2, nil)
		for i := range 60 {
			wg.Go(func() {
				query := fmt.Sprintf("?wait=%dms", 94+i%12)
				sized, abort, leave := i%3 == 0, i%5 == 0, i%7 == 0
				if sized {
					query += "&sized=1"
				}
				if abort {
					query += "&abort=1"
				}
				res, err := c.Get("https://api.test/" + query)
				if err != nil {
					if !abort { // which may overtake the header
						s.Error(err)
					}
					return
				}
				defer res.Body.Close()
				if leave {
					_, _ = io.ReadFull(res.Body, make([]byte, 2000))
					return
				}
				b, err := io.ReadAll(res.Body)
				switch {
				case abort && err == nil:
					s.Errorf("%s: an answer broken off came as whole", query)
				case !abort && (err != nil || string(b) != whole):
					s.Errorf("%s: %d bytes, %v", query, len(b), err)
				}
				if !strings.HasPrefix(whole, string(b)) {
					s.Errorf("%s: %d bytes of something else", query, len(b))
				}
			})
		}
		wg.Wait()
	})
}

package proxy

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/inject/stream"
	"github.com/attache-proxy/attache/proxy/audit"
)

// spelling is a text that holds a secret, and where: between is what must
// come as asterisks.
type spelling struct {
	name, text string
	start, end int
}

func (s spelling) masked() string {
	return s.text[:s.start] + strings.Repeat("*", s.end-s.start) + s.text[s.end:]
}

// spellings are the forms of DESIGN §6, written by encoders that know nothing of ours.
func spellings(secret string) []spelling {
	var all []spelling
	add := func(name, before, form, after string) {
		all = append(all, spelling{name, before + form + after, len(before), len(before) + len(form)})
	}
	minimal := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(secret)
	quoted, _ := json.Marshal(secret)
	var unicode, lower strings.Builder
	for _, c := range []byte(secret) {
		fmt.Fprintf(&unicode, `\u%04X`, c)
		fmt.Fprintf(&lower, `\u%04x`, c)
	}
	add("raw", "you sent <", secret, ">")
	add("query", "?key=", url.QueryEscape(secret), "&x=1")
	add("path", "/v1/", url.PathEscape(secret), "/x")
	add("percent, lower case", "?key=", percentLower(secret), "&x=1")
	add("JSON", `{"k":"`, minimal, `"}`)
	add("JSON as Go writes it", `{"k":"`, strings.Trim(string(quoted), `"`), `"}`)
	add(`JSON with \/`, `{"k":"`, strings.ReplaceAll(minimal, "/", `\/`), `"}`)
	add("JSON, all escaped", `{"k":"`, unicode.String(), `"}`)
	add("JSON, all escaped, lower case", `{"k":"`, lower.String(), `"}`)
	add("HTML", "<p>", html.EscapeString(secret), "</p>")
	add("hex", "0x", hex.EncodeToString([]byte(secret)), ";")
	add("HEX", "0x", strings.ToUpper(hex.EncodeToString([]byte(secret))), ";")
	inBase64 := func(name, head string, enc *base64.Encoding, before string) {
		text := enc.EncodeToString([]byte(before + secret + "tail"))
		all = append(all, spelling{name, head + text, len(head) + (8*len(before)+5)/6, len(head) + 8*(len(before)+len(secret))/6})
	}
	for offset := range 3 {
		inBase64(fmt.Sprintf("base64 at %d", offset), "b64:", base64.StdEncoding, "xy"[:offset])
		inBase64(fmt.Sprintf("base64url at %d", offset), "b64:", base64.RawURLEncoding, "xy"[:offset])
	}
	inBase64("rendered Basic", "Authorization: Basic ", base64.StdEncoding, "user:")
	return all
}

func percentLower(s string) string {
	b := []byte(url.QueryEscape(s))
	for i := range b {
		if b[i] == '%' {
			copy(b[i+1:], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// searchFor fails the test if a secret stands in what, in any spelling.
func searchFor(t *testing.T, where string, what []byte, secret string) {
	t.Helper()
	if name, i := stands(what, secret); name != "" {
		t.Errorf("the secret stands in %s (%s), after %q", where, name, what[max(0, i-60):i])
	}
}

// stands gives the spelling in which the secret stands in what, and where; or no name.
func stands(what []byte, secret string) (name string, at int) {
	for _, s := range spellings(secret) {
		if i := bytes.Index(what, []byte(s.text[s.start:s.end])); i >= 0 {
			return s.name, i
		}
	}
	return "", 0
}

// dump is all that came with an answer whose body was read to its end.
func dump(res *http.Response, body []byte) []byte {
	head, _ := httputil.DumpResponse(res, false)
	b := bytes.NewBuffer(append(head, body...))
	_ = res.Trailer.Write(b)
	return b.Bytes()
}

// fetch makes one request through the proxy, searches all that comes for the
// canary, and returns it. An answer that took longer than silence tells nothing if the
// canary stands in it, since its parts may have: then it is asked for again.
func (s *stage) fetch(c *http.Client, req *http.Request) (*http.Response, string) {
	s.Helper()
	for try := 1; ; try++ {
		began := time.Now()
		res, b := s.fetchOnce(c, req)
		all, took := dump(res, b), time.Since(began)
		if name, _ := stands(all, canary); name != "" && took >= stream.Silence && try < 20 {
			continue
		}
		searchFor(s.T, "the answer", all, canary)
		return res, string(b)
	}
}

func (s *stage) fetchOnce(c *http.Client, req *http.Request) (*http.Response, []byte) {
	s.Helper()
	res, err := c.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatalf("reading the body: %v", err)
	}
	return res, b
}

func (s *stage) get(h2 bool, path string) (*http.Response, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, "https://api.test"+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip, br, zstd") // or net/http would decode, and hide what came
	return s.fetch(s.client(h2, nil), req)
}

// both runs a test over HTTP/1.1 and HTTP/2.
func (s *stage) both(test func(s *stage, h2 bool)) {
	for _, h2 := range []bool{false, true} {
		s.Run(map[bool]string{false: "h1", true: "h2"}[h2], func(t *testing.T) {
			sub := *s
			sub.T = t
			test(&sub, h2)
		})
	}
}

// redacted waits for the event of the next masked answer.
func (s *stage) redacted() {
	s.Helper()
	s.events.wait(s.T, func(e audit.Event) bool { return e.Redacted > 0 })
}

func TestReflectedInHeader(t *testing.T) {
	all := spellings(canary)
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Auth", r.Header.Get("Authorization"))
		for _, s := range all {
			w.Header().Add("X-Echo", s.text)
		}
	})
	s := newStage(t, Options{}, api(to))
	s.both(func(s *stage, h2 bool) {
		res, _ := s.get(h2, "/")
		if got := res.Header.Get("X-Auth"); got != "Bearer "+strings.Repeat("*", len(canary)) {
			s.Errorf("X-Auth: %s", got)
		}
		for i, got := range res.Header["X-Echo"] {
			if got != all[i].masked() {
				s.Errorf("%s: came as %s, want %s", all[i].name, got, all[i].masked())
			}
		}
		s.redacted()
	})
}

func TestReflectedInSetCookie(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "k="+url.QueryEscape(canary)+"; Path=/; HttpOnly")
		w.Header().Add("Set-Cookie", "other=1")
	})
	newStage(t, Options{}, api(to)).both(func(s *stage, h2 bool) {
		res, _ := s.get(h2, "/")
		want := []string{"k=" + strings.Repeat("*", len(url.QueryEscape(canary))) + "; Path=/; HttpOnly", "other=1"}
		if got := res.Header["Set-Cookie"]; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			s.Errorf("came as %q", got)
		}
	})
}

func TestReflectedInLocation(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://elsewhere.test/cb?key="+url.QueryEscape(canary)+"#"+url.PathEscape(canary))
		w.WriteHeader(http.StatusFound)
	})
	newStage(t, Options{}, api(to)).both(func(s *stage, h2 bool) {
		res, _ := s.get(h2, "/")
		if got := res.Header.Get("Location"); res.StatusCode != 302 || !strings.HasPrefix(got, "https://elsewhere.test/cb?key=***") {
			s.Errorf("%s: %s", res.Status, got)
		}
	})
}

// TestReflectedInTrailer: in announced and unannounced ones, in values and in names.
func TestReflectedInTrailer(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Late, X-Plain-Key-000000")
		_, _ = io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Late", canary)
		w.Header().Set("X-Plain-Key-000000", "1")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", base64.StdEncoding.EncodeToString([]byte(canary)))
	})
	r := api(to)
	r.attach = append(bearer(), header{"X-Api-Key", "", "plain"})
	newStage(t, Options{}, r).both(func(s *stage, h2 bool) {
		var announced []string
		c := s.client(h2, nil)
		req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
		res, err := c.Do(req)
		if err != nil {
			s.Fatal(err)
		}
		for name := range res.Trailer {
			announced = append(announced, name)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		all := dump(res, append(b, strings.Join(announced, ",")...))
		searchFor(s.T, "the answer", all, canary)
		if bytes.Contains(bytes.ToLower(all), []byte("plain-key-000000")) {
			s.Errorf("a secret came as a trailer's name: %s", all)
		}
		if got := res.Trailer.Get("X-Late"); got != strings.Repeat("*", len(canary)) {
			s.Errorf("X-Late: %q of %v", got, res.Trailer)
		}
		if got := res.Trailer.Get("X-Unannounced"); !strings.HasPrefix(got, "*****") {
			s.Errorf("X-Unannounced: %q of %v", got, res.Trailer)
		}
	})
}

func TestReflectedIn1xx(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</"+url.PathEscape(canary)+">; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "ok")
	})
	newStage(t, Options{}, api(to)).both(func(s *stage, h2 bool) {
		var mu sync.Mutex
		var links []string
		ctx := httptrace.WithClientTrace(s.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
			mu.Lock()
			defer mu.Unlock()
			links = append(links, h["Link"]...)
			return nil
		}})
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.test/", nil)
		s.fetch(s.client(h2, nil), req)
		mu.Lock()
		defer mu.Unlock()
		if want := "</" + strings.Repeat("*", len(url.PathEscape(canary))) + ">; rel=preload"; len(links) != 1 || links[0] != want {
			s.Errorf("103 came with %q, want %s", links, want)
		}
	})
}

// hijacked is an upstream that answers in bytes of its own.
func hijacked(t *testing.T, answer func(c *bufio.ReadWriter, r *http.Request)) string {
	return upstream(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return // HTTP/2
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		answer(rw, r)
		_ = rw.Flush()
	})
}

const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

// TestReflectedInUpgradeResponse: in the header of a 101, and in its reason phrase.
func TestReflectedInUpgradeResponse(t *testing.T) {
	to := hijacked(t, func(c *bufio.ReadWriter, r *http.Request) {
		fmt.Fprintf(c, "HTTP/1.1 101 %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Extensions: %d\r\nX-Echo: %s\r\n\r\n",
			canary, len(r.Header["Sec-Websocket-Extensions"]), canary)
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, upgradeRequest)
	all, _ := io.ReadAll(tc)
	searchFor(t, "the answer", all, canary)
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), nil)
	if err != nil || res.StatusCode != 101 || res.Header.Get("X-Echo") != strings.Repeat("*", len(canary)) {
		t.Errorf("%v, %q", err, all)
	}
	if got := res.Header.Get("X-Extensions"); got != "0" {
		t.Error("the upstream was offered extensions")
	}
}

// TestReflectedInReasonPhrase: HTTP/1.1 lets an upstream put anything there.
func TestReflectedInReasonPhrase(t *testing.T) {
	to := hijacked(t, func(c *bufio.ReadWriter, _ *http.Request) {
		fmt.Fprintf(c, "HTTP/1.1 418 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", canary)
	})
	s := newStage(t, Options{}, api(to))
	tc := s.open("api.test:443", "api.test")
	_, _ = io.WriteString(tc, "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n")
	all, _ := io.ReadAll(tc)
	searchFor(t, "the answer", all, canary)
	if !bytes.HasPrefix(all, []byte("HTTP/1.1 418 ")) {
		t.Errorf("%q", all)
	}
}

// TestScrubExtents: headers alone, or nothing, where the rule says so; and
// nothing where the rule attaches nothing.
func TestScrubExtents(t *testing.T) {
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", canary)
		w.Header().Set("X-Asked", r.Header.Get("Accept-Encoding"))
		_, _ = io.WriteString(w, canary)
	})
	for name, tc := range map[string]struct {
		change       func(*rule)
		header, body bool // masked
	}{
		"all":            {func(*rule) {}, true, true},
		"headers":        {func(r *rule) { r.change = func(r *Rule) { r.Scrub = ScrubHeaders } }, true, false},
		"false":          {func(r *rule) { r.change = func(r *Rule) { r.Scrub = ScrubOff } }, false, false},
		"nothing to add": {func(r *rule) { r.attach = nil }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := api(to)
			tc.change(&r)
			newStage(t, Options{}, r).both(func(s *stage, h2 bool) {
				req, _ := http.NewRequest(http.MethodGet, "https://api.test/", nil)
				req.Header.Set("Accept-Encoding", "gzip, br")
				res, err := s.client(h2, nil).Do(req)
				if err != nil {
					s.Fatal(err)
				}
				b, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if got := res.Header.Get("X-Echo") != canary; got != tc.header {
					s.Errorf("header masked: %v", got)
				}
				if got := string(b) != canary; got != tc.body {
					s.Errorf("body masked: %v", got)
				}
				if got := res.Header.Get("X-Asked"); (got == "identity") != tc.body {
					s.Errorf("the upstream was asked for %s", got)
				}
			})
		})
	}
}

// TestReflectedPreviousVersion: what was in use before a rotation is masked
// after it, and a stream that began before it goes on being masked.
func TestReflectedPreviousVersion(t *testing.T) {
	next := `next/+=%&<"\` + "Hk83nfKq2"
	begun, rotated := make(chan struct{}), make(chan struct{})
	to := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			_, _ = io.WriteString(w, "begun\n")
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
			select {
			case <-rotated:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(w, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+" before: "+canary)
	})
	s := newStage(t, Options{}, api(to))
	first := secret.New("key", 1, time.Now(), []byte(canary))
	second := secret.New("key", 2, time.Now(), []byte(next))
	s.both(func(s *stage, h2 bool) {
		s.live.SetSecrets(secret.NewSet(map[string]secret.Entry{"key": {Current: first}}))
		got := make(chan string, 1)
		go func() {
			_, body := s.get(h2, "/stream")
			got <- body
		}()
		<-begun
		s.live.SetSecrets(secret.NewSet(map[string]secret.Entry{"key": {Current: second, Previous: first}}))
		rotated <- struct{}{}
		stars := strings.Repeat("*", len(canary))
		if body := <-got; body != "begun\n"+stars+" before: "+stars {
			s.Errorf("mid-stream: %q", body)
		}
		if _, body := s.get(h2, "/after"); body != strings.Repeat("*", len(next))+" before: "+stars {
			s.Errorf("after: %q", body)
		}
	})
}

// TestOverlappingSecrets: the union of values that overlap is masked.
func TestOverlappingSecrets(t *testing.T) {
	const a, b = "abcdefgh-01234567", "01234567-zyxwvuts"
	const both = "abcdefgh-01234567-zyxwvuts"
	to := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Echo", "<"+both+">")
		_, _ = io.WriteString(w, "<"+both+">")
	})
	r := api(to)
	r.attach = []inject.Injector{header{"X-A", "", "key"}, header{"X-B", "", "plain"}}
	s := newStage(t, Options{}, r)
	s.live.SetSecrets(secret.NewSet(map[string]secret.Entry{
		"key":   {Current: secret.New("key", 1, time.Now(), []byte(a))},
		"plain": {Current: secret.New("plain", 1, time.Now(), []byte(b))},
	}))
	s.both(func(s *stage, h2 bool) {
		want := "<" + strings.Repeat("*", len(both)) + ">"
		if res, body := s.get(h2, "/"); body != want || res.Header.Get("X-Echo") != want {
			s.Errorf("%q, %q", body, res.Header.Get("X-Echo"))
		}
	})
}

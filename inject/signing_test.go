package inject_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/attache-proxy/attache/inject"
)

func sha(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func mac(key, text string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(text))
	return string(m.Sum(nil))
}

// bodyOf reads a body and puts it back.
func bodyOf(r *http.Request) []byte {
	if r.Body == nil {
		return nil
	}
	text, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(text))
	return text
}

// verifySigV4 computes the signature as AWS documents it, from the request as
// it arrived, and compares. It shares no code with the signer.
func verifySigV4(r *http.Request, key string) string {
	auth, ok := strings.CutPrefix(authorization(r), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "no signature: " + authorization(r)
	}
	part := map[string]string{}
	for p := range strings.SplitSeq(auth, ", ") {
		name, value, _ := strings.Cut(p, "=")
		part[name] = value
	}
	scope, ok := strings.CutPrefix(part["Credential"], key+"/")
	if !ok {
		return "credential: " + part["Credential"]
	}
	body := bodyOf(r)
	if got := r.Header.Get("X-Amz-Content-Sha256"); got != sha(body) {
		return fmt.Sprintf("hash %s of %d bytes", got, len(body))
	}
	if r.URL.Query().Has("X-Amz-Signature") || r.URL.Query().Has("X-Amz-Credential") {
		return "the client's own signature is still there"
	}
	signed := strings.Split(part["SignedHeaders"], ";")
	var canonical strings.Builder
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			if value = r.Host; value == "" {
				value = r.URL.Host
			}
		}
		canonical.WriteString(name + ":" + value + "\n")
	}
	for name := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			return name + " is not signed"
		}
	}
	s := strings.Split(scope, "/")
	path := r.URL.EscapedPath()
	if s[2] != "s3" {
		path = strings.ReplaceAll(url.PathEscape(path), "%2F", "/")
	}
	query := ""
	if r.URL.RawQuery != "" {
		pairs := strings.Split(strings.ReplaceAll(r.URL.Query().Encode(), "+", "%20"), "&")
		slices.Sort(pairs)
		query = strings.Join(pairs, "&")
	}
	request := strings.Join([]string{r.Method, path, query, canonical.String(), part["SignedHeaders"], sha(body)}, "\n")
	toSign := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, sha([]byte(request))}, "\n")
	k := mac(mac(mac(mac("AWS4"+key, s[0]), s[1]), s[2]), s[3])
	if want := hex.EncodeToString([]byte(mac(k, toSign))); part["Signature"] != want {
		return "another signature of\n" + request
	}
	return "valid"
}

func verifyHMAC(encode func([]byte) string) func(*http.Request, string) string {
	return func(r *http.Request, key string) string {
		message := r.Header.Get("X-Timestamp") + "\n" + r.Method + "\n" + r.URL.RequestURI() + "\n" + string(bodyOf(r))
		want := "sha256=" + encode([]byte(mac(key, message)))
		if got := strings.Join(r.Header["X-Signature"], "|"); got != want {
			return fmt.Sprintf("%q of %q", got, message)
		}
		return "valid"
	}
}

// signer is a proxy in front of an upstream, no more than it takes to sign
// what arrives over a real connection. The upstream answers what verify says.
func signer(t *testing.T, i inject.Injector, verify func(*http.Request, string) string) (proxy string, served func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		mu.Unlock()
		length := r.ContentLength
		size := len(bodyOf(r))
		fmt.Fprintf(w, "%s %d %d", verify(r, "key"), length, size)
	}))
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	set := setOf(i, 1, "key")
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.RequestURI = ""
		out.URL.Scheme, out.URL.Host, out.Host = target.Scheme, target.Host, "api.test"
		if err := i.Inject(r.Context(), out, set); err != nil {
			status := http.StatusBadGateway
			if _, ok := errors.AsType[*inject.BodyTooLargeError](err); ok {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, err.Error(), status)
			return
		}
		answer, err := transport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		_, _ = io.Copy(w, answer.Body)
	}))
	t.Cleanup(front.Close)
	return front.URL, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func TestStreamedBodySigning(t *testing.T) {
	for name, c := range map[string]struct {
		kind, options string
		verify        func(*http.Request, string) string
	}{
		"sigv4 s3":    {"sigv4", `{"access_key":"id","secret_key":"s","region":"r","service":"s3","body_limit":1000}`, verifySigV4},
		"sigv4 other": {"sigv4", `{"access_key":"id","secret_key":"s","region":"r","service":"lambda","body_limit":1000}`, verifySigV4},
		"hmac":        {"hmac", `{"header":"X-Signature","secret":"s","prefix":"sha256=","body_limit":1000}`, verifyHMAC(hex.EncodeToString)},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, served := signer(t, build(t, c.kind, c.options), c.verify)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			send := func(method string, body io.Reader, trailer http.Header) string {
				r, err := http.NewRequestWithContext(t.Context(), method, proxy+"/a%2Fb/c%20d?z=1&a=%2F&b=x+y&b=%c3%a9", body)
				if err != nil {
					t.Fatal(err)
				}
				r.Trailer = trailer
				r.Header.Set("Content-Type", "text/plain; charset=utf-8")
				answer, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				text, err := io.ReadAll(answer.Body)
				if err != nil {
					t.Fatal(err)
				}
				if answer.StatusCode != 200 {
					return answer.Status
				}
				return string(text)
			}
			chunked := func(n int) io.Reader { return struct{ io.Reader }{strings.NewReader(strings.Repeat("b", n))} }
			for _, r := range []struct {
				name, method string
				body         io.Reader
				trailer      http.Header
				want         string
			}{
				{"none", "GET", nil, nil, "valid 0 0"},
				{"empty", "POST", strings.NewReader(""), nil, "valid 0 0"},
				{"empty chunked", "POST", chunked(0), nil, "valid 0 0"},
				{"sized", "POST", strings.NewReader("a\nb"), nil, "valid 3 3"},
				{"chunked", "POST", chunked(999), nil, "valid 999 999"},
				{"as large as may be", "POST", chunked(1000), nil, "valid 1000 1000"},
				{"with trailers", "POST", chunked(10), http.Header{"X-Sum": {"1"}}, "valid -1 10"},
				{"larger, sized", "POST", strings.NewReader(strings.Repeat("b", 1001)), nil, "413 Request Entity Too Large"},
				{"larger, chunked", "POST", chunked(1001), nil, "413 Request Entity Too Large"},
				{"much larger", "POST", chunked(100_000), nil, "413 Request Entity Too Large"},
			} {
				if got := send(r.method, r.body, r.trailer); got != r.want {
					t.Errorf("%s: %s, want %s", r.name, got, r.want)
				}
			}
			before := served()
			for _, half := range []string{
				"Content-Length: 100\r\n\r\nonly half",
				"Transfer-Encoding: chunked\r\n\r\n64\r\nonly half",
				"Transfer-Encoding: chunked\r\n\r\n9\r\nonly half\r\n",
				"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
			} {
				if got := abort(t, proxy, half); strings.Contains(got, "200 OK") {
					t.Errorf("half a body: %s", got)
				}
			}
			if n := served() - before; n != 0 {
				t.Errorf("%d requests with half a body were sent", n)
			}
			var wg sync.WaitGroup
			for n := range 8 {
				wg.Go(func() {
					for m := range 10 {
						size := n*100 + m
						if got, want := send("POST", chunked(size), nil), fmt.Sprintf("valid %d %d", size, size); got != want {
							t.Errorf("beside others: %s, want %s", got, want)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// abort sends half a request's body, closes its side and reads the answer.
func abort(t *testing.T, proxy, rest string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(proxy, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: api.test\r\n"+rest); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func TestAbortedBodyIsABodyError(t *testing.T) {
	for _, s := range samples() {
		if s.verify == nil {
			continue
		}
		i := build(t, s.kind, s.options)
		for name, tamper := range map[string]func(*http.Request){
			"read error": func(r *http.Request) {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader("amou"), failing{}))
			},
			"too short": func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("amou")) },
			"too long":  func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("amount=1000")) },
		} {
			r := request(t)
			tamper(r)
			err := i.Inject(t.Context(), r, setOf(i, 1, s.text))
			if _, ok := errors.AsType[*inject.BodyError](err); !ok || len(r.Header["Authorization"])+len(r.Header["X-Signature"]) > 0 {
				t.Errorf("%s, %s: %v", s.kind, name, err)
			}
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, context.Canceled }

func TestAWSChunkedIsRefused(t *testing.T) {
	i := build(t, "sigv4", `{"access_key":"id","secret_key":"s","region":"r","service":"s3"}`)
	r := request(t)
	r.Header.Set("Content-Encoding", "AWS-chunked,gzip")
	err := i.Inject(t.Context(), r, setOf(i, 1, "key"))
	if _, ok := errors.AsType[*inject.RequestError](err); !ok {
		t.Error(err)
	}
}

// TestRotatedKeyOfSameID holds that a new secret key is used though the
// access key's ID is what it was: the signer's own cache would not.
func TestRotatedKeyOfSameID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // one time for both
		i := build(t, "sigv4", `{"access_key":"id","secret_key":"s","region":"r","service":"s3"}`)
		seen := map[string]bool{}
		for _, key := range []string{"one", "two", "one"} {
			entries := map[string]string{"id": "same", "s": key}
			r := request(t)
			if err := i.Inject(t.Context(), r, setFrom(entries)); err != nil {
				t.Fatal(err)
			}
			seen[authorization(r)] = true
		}
		if len(seen) != 2 {
			t.Errorf("%d signatures with two keys", len(seen))
		}
	})
}

func TestClientsOtherAmzHeadersAreSigned(t *testing.T) {
	i := build(t, "sigv4", `{"access_key":"id","secret_key":"s","region":"r","service":"dynamodb"}`)
	r := request(t)
	r.Header.Set("X-Amz-Target", "Tables.List")
	if err := i.Inject(t.Context(), r, setOf(i, 1, "key")); err != nil {
		t.Fatal(err)
	}
	if got := authorization(r); !strings.Contains(got, ";x-amz-target") || strings.Contains(got, "x-other") {
		t.Error(got)
	}
}

package inject_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
)

// sample is how the conformance test makes a credential of a kind. Every kind
// of the table has at least one.
type sample struct {
	kind    string
	options string
	text    string // content of every secret: what the kind can carry, with teeth
	want    func(text string) string
	got     func(*http.Request) string
	decoy   func(*http.Request) // what a client might send in its place

	// verify stands for want and got where what arrives depends on the
	// request; it gives "valid" or what is wrong.
	verify func(r *http.Request, text string) string
}

func (s sample) arrived(r *http.Request, text string) (got, want string) {
	if s.verify != nil {
		return s.verify(r, text), "valid"
	}
	return s.got(r), s.want(text)
}

// canary holds what differs in every spelling.
const canary = `cAnArY/+=%&<"\4711`

func authorization(r *http.Request) string {
	return strings.Join(r.Header.Values("Authorization"), "|")
}

func setHeader(name string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, "from the client") }
}

func samples() []sample {
	return []sample{
		{
			kind: "bearer", options: `{"secret":"s"}`, text: canary,
			want: func(s string) string { return "Bearer " + s }, got: authorization, decoy: setHeader("Authorization"),
		},
		{
			kind: "header", options: `{"name":"x-api-key","secret":"s"}`, text: canary,
			want: func(s string) string { return s }, decoy: setHeader("X-Api-Key"),
			got: func(r *http.Request) string { return strings.Join(r.Header["X-Api-Key"], "|") },
		},
		{
			kind: "header", options: `{"name":"Authorization","secret":"s","prefix":"token "}`, text: canary,
			want: func(s string) string { return "token " + s }, got: authorization, decoy: setHeader("Authorization"),
		},
		{
			kind: "basic", options: `{"user":"AC1","password":"s"}`, text: canary + "é:",
			want: func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("AC1:"+s)) },
			got:  authorization, decoy: setHeader("Authorization"),
		},
		{
			kind: "basic", options: `{"user_secret":"s"}`, text: canary,
			want: func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s+":")) },
			got:  authorization, decoy: setHeader("Authorization"),
		},
		{
			kind: "basic", options: `{"user_secret":"s","password":"t"}`, text: canary,
			want: func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s+":"+s)) },
			got:  authorization, decoy: setHeader("Authorization"),
		},
		{
			kind: "query", options: `{"name":"api key","secret":"s"}`, text: canary + " ",
			want:  func(s string) string { return s },
			got:   func(r *http.Request) string { return strings.Join(r.URL.Query()["api key"], "|") },
			decoy: func(r *http.Request) { r.URL.RawQuery = "api+key=x&z=%2F&api%20key=y" },
		},
		{
			kind: "cookie", options: `{"name":"session","secret":"s"}`, text: `cAnArY/+=%&<4711`,
			want: func(s string) string { return s },
			got: func(r *http.Request) string {
				var all []string
				for _, c := range r.CookiesNamed("session") {
					all = append(all, c.Value)
				}
				return strings.Join(all, "|")
			},
			decoy: func(r *http.Request) { r.Header.Set("Cookie", "a=1; session=x; b=2") },
		},
		{
			kind: "sigv4", options: `{"access_key":"id","secret_key":"s","region":"eu-test-1","service":"s3"}`, text: `cAnArY/+=%&<4711`,
			verify: verifySigV4, decoy: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=x&z=%2F&X-Amz-Credential=y" },
		},
		{
			kind:    "sigv4",
			options: `{"access_key":"id","secret_key":"s","session_token":"t","region":"eu-test-1","service":"dynamodb"}`, text: `cAnArY/+=%&<4711`,
			verify: verifySigV4, decoy: func(r *http.Request) {
				r.Header = http.Header{"X-Amz-Security-Token": {"x"}, "X-Amz-Date": {"x"}, "X-Amz-Target": {"Tables.List"}, "Authorization": {"x", "y"}}
			},
		},
		{
			kind: "hmac", options: `{"header":"X-Signature","secret":"s","prefix":"sha256="}`, text: canary,
			verify: verifyHMAC(hex.EncodeToString), decoy: setHeader("X-Signature"),
		},
		{
			kind: "hmac", options: `{"header":"x-signature","secret":"s","prefix":"sha256=","encoding":"base64"}`, text: canary,
			verify: verifyHMAC(base64.StdEncoding.EncodeToString), decoy: setHeader("X-Timestamp"),
		},
		{
			kind: "jwt_svid", options: `{"audience":"https://api.test"}`, text: canary,
			want: func(s string) string { return "Bearer " + s }, got: authorization, decoy: setHeader("Authorization"),
		},
	}
}

func build(t testing.TB, name, options string) inject.Injector {
	t.Helper()
	i, err := tryBuild(name, options)
	if err != nil {
		t.Fatalf("%s %s: %v", name, options, err)
	}
	return i
}

func tryBuild(name, options string) (inject.Injector, error) {
	for _, k := range inject.Kinds() {
		if k.Name == name {
			return k.New(func(o any) error {
				d := json.NewDecoder(strings.NewReader(options))
				d.DisallowUnknownFields()
				return d.Decode(o)
			})
		}
	}
	return nil, fmt.Errorf("no kind %q", name)
}

func setOf(i inject.Injector, generation uint64, text string) *secret.Set {
	entries := map[string]secret.Entry{}
	for _, ref := range i.Secrets() {
		entries[string(ref)] = secret.Entry{Current: secret.New(string(ref), generation, time.Time{}, []byte(text))}
	}
	return secret.NewSet(entries)
}

func setFrom(texts map[string]string) *secret.Set {
	entries := map[string]secret.Entry{}
	for name, text := range texts {
		entries[name] = secret.Entry{Current: secret.New(name, 1, time.Time{}, []byte(text))}
	}
	return secret.NewSet(entries)
}

func request(t testing.TB) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "https://api.test/v1/charges?z=1&a=%2F", strings.NewReader("amount=1"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Accept": {"*/*"}, "X-Other": {"1", "2"}}
	return r
}

func TestEveryKindHasASample(t *testing.T) {
	for _, k := range inject.Kinds() {
		if !slices.ContainsFunc(samples(), func(s sample) bool { return s.kind == k.Name }) {
			t.Errorf("kind %s has no sample in the conformance test", k.Name)
		}
	}
}

// each runs a promise over every sample.
func each(t *testing.T, promise func(*testing.T, sample, inject.Injector)) {
	for _, s := range samples() {
		t.Run(s.kind+s.options, func(t *testing.T) { promise(t, s, build(t, s.kind, s.options)) })
	}
}

func TestCredentialArrives(t *testing.T) {
	each(t, func(t *testing.T, s sample, i inject.Injector) {
		for _, tamper := range []func(*http.Request){func(*http.Request) {}, s.decoy} {
			r := request(t)
			tamper(r)
			if err := i.Inject(t.Context(), r, setOf(i, 1, s.text)); err != nil {
				t.Fatal(err)
			}
			if got, want := s.arrived(r, s.text); got != want {
				t.Errorf("arrives as %q, want %q", got, want)
			}
		}
	})
}

// TestInputUntouched holds that nothing changes but what Owns names.
func TestInputUntouched(t *testing.T) {
	each(t, func(t *testing.T, s sample, i inject.Injector) {
		r := request(t)
		s.decoy(r)
		before := r.Clone(t.Context())
		header, query, cookies := r.Header.Clone(), r.URL.RawQuery, r.Header["Cookie"]
		if err := i.Inject(t.Context(), r, setOf(i, 1, s.text)); err != nil {
			t.Fatal(err)
		}
		owned := i.Owns()
		if len(owned.Headers)+len(owned.Query)+len(owned.Cookies) == 0 {
			t.Fatal("owns nothing")
		}
		for _, name := range owned.Headers {
			header.Del(name)
			r.Header.Del(name)
		}
		inject.StripCookies(header, owned.Cookies)
		inject.StripCookies(r.Header, owned.Cookies)
		if !reflect.DeepEqual(header, r.Header) {
			t.Errorf("headers: %v became %v", header, r.Header)
		}
		for _, q := range []*string{&query, &r.URL.RawQuery} {
			rest, err := inject.StripQuery(*q, owned.Query)
			if err != nil {
				t.Fatal(err)
			}
			*q = rest
		}
		if query != r.URL.RawQuery {
			t.Errorf("query: %q became %q", query, r.URL.RawQuery)
		}
		if len(cookies) > 0 && (len(owned.Cookies) > 0) && cookies[0] != "a=1; session=x; b=2" {
			t.Error("wrote into the client's slice")
		}
		r.URL.RawQuery = before.URL.RawQuery
		if *r.URL != *before.URL || r.Method != before.Method || r.Host != before.Host || r.ContentLength != before.ContentLength {
			t.Errorf("request line: %v became %v", before, r)
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "amount=1" {
			t.Errorf("body: %q %v", body, err)
		}
	})
}

// TestSecondCallIndependent holds that a request carries only its own version,
// and that nobody who writes to one request writes to another.
func TestSecondCallIndependent(t *testing.T) {
	each(t, func(t *testing.T, s sample, i inject.Injector) {
		for n, text := range []string{s.text, s.text + "2", s.text} {
			set := setOf(i, uint64(n), text)
			for range 2 {
				r := request(t)
				if err := i.Inject(t.Context(), r, set); err != nil {
					t.Fatal(err)
				}
				if got, want := s.arrived(r, text); got != want {
					t.Fatalf("call %d: %q, want %q", n, got, want)
				}
				for _, values := range r.Header {
					for j := range values {
						values[j] = "scribble"
					}
					_ = append(values[:0], "scribble", "scribble")
				}
				r.URL.RawQuery = "scribble"
			}
		}
	})
}

func TestConcurrentRequestsUseOneWholeVersion(t *testing.T) {
	each(t, func(t *testing.T, s sample, i inject.Injector) {
		var wg sync.WaitGroup
		for g := range 8 {
			text := fmt.Sprintf("%s%d", s.text, g%2)
			set := setOf(i, uint64(g), text)
			wg.Go(func() {
				for range 50 {
					r := request(t)
					if err := i.Inject(t.Context(), r, set); err != nil {
						t.Error(err)
					} else if got, want := s.arrived(r, text); got != want {
						t.Errorf("%q, want %q", got, want)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestMissingSecretIsAnError(t *testing.T) {
	each(t, func(t *testing.T, s sample, i inject.Injector) {
		if len(i.Secrets()) == 0 {
			t.Fatal("reads no secret")
		}
		for _, ref := range i.Secrets() {
			entries := map[string]secret.Entry{}
			for _, other := range i.Secrets() {
				entries[string(other)] = secret.Entry{Current: secret.New(string(other), 1, time.Time{}, []byte(s.text))}
			}
			entries[string(ref)] = secret.Entry{Problem: "not found (file /run/secrets/x)"}
			for _, set := range []*secret.Set{secret.NewSet(entries), secret.NewSet(nil), nil} {
				r := request(t)
				before := r.Clone(t.Context())
				err := i.Inject(t.Context(), r, set)
				if _, ok := errors.AsType[*secret.MissingError](err); !ok {
					t.Errorf("error %v, want a MissingError", err)
				}
				if !reflect.DeepEqual(before.Header, r.Header) || *before.URL != *r.URL {
					t.Error("the request changed all the same")
				}
			}
		}
	})
}

func TestCRLFInSecretRefused(t *testing.T) {
	each(t, func(t *testing.T, s sample, i inject.Injector) {
		for _, bad := range []string{"\r\nX-Evil: 1", "\n", "\r", "\x00", "\x7f", "\x1b[2J", "\t", ""} {
			for _, text := range []string{bad + s.text, s.text + bad, s.text + bad + s.text} {
				if bad == "" {
					text = ""
				}
				r := request(t)
				before := r.Clone(t.Context())
				err := i.Inject(t.Context(), r, setOf(i, 1, text))
				if err == nil {
					t.Fatalf("%q passes", text)
				}
				if shows(err.Error(), s.text) {
					t.Errorf("the error shows the secret: %v", err)
				}
				if !reflect.DeepEqual(before.Header, r.Header) || *before.URL != *r.URL {
					t.Error("the request changed all the same")
				}
			}
		}
	})
}

// TestErrorMessagesAndPanics prints the injector itself as well: what it has
// rendered must not show.
func TestErrorMessagesAndPanics(t *testing.T) {
	each(t, func(t *testing.T, s sample, i inject.Injector) {
		set := setOf(i, 1, s.text)
		if err := i.Inject(t.Context(), request(t), set); err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			if out := fmt.Sprintf(format, i); shows(out, s.text) {
				t.Errorf("%s shows the secret: %s", format, out)
			}
		}
		if out, _ := json.Marshal(i); shows(string(out), s.text) {
			t.Errorf("json shows the secret: %s", out)
		}
		bad := request(t)
		bad.URL.RawQuery = "x=%zz"
		if err := i.Inject(t.Context(), bad, set); err != nil && shows(err.Error(), s.text) {
			t.Errorf("the error shows the secret: %v", err)
		}
	})
}

func shows(out, text string) bool {
	forms := []string{
		text, "cAnArY", "4711", hex.EncodeToString([]byte(text)), url.QueryEscape(text),
		base64.StdEncoding.EncodeToString([]byte(text)), fmt.Sprint([]byte(text)),
	}
	return slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(out, f) })
}

func TestOptionsRefused(t *testing.T) {
	for _, c := range []struct{ kind, options, option, problem string }{
		{"bearer", `{}`, "secret", "required"},
		{"header", `{"secret":"s"}`, "name", "required"},
		{"header", `{"name":"X-Key"}`, "secret", "required"},
		{"header", `{"name":"X Key","secret":"s"}`, "name", "not a header name"},
		{"header", `{"name":"X-Key:","secret":"s"}`, "name", "not a header name"},
		{"header", `{"name":"X-Kéy","secret":"s"}`, "name", "not a header name"},
		{"header", `{"name":"X-Key\r\nA","secret":"s"}`, "name", "not a header name"},
		{"header", `{"name":"host","secret":"s"}`, "name", "Host cannot carry"},
		{"header", `{"name":"Content-Length","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"Transfer_Encoding","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"CONNECTION","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"Proxy-Authorization","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"TE","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"Trailer","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"Upgrade","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"Expect","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"Cookie","secret":"s"}`, "name", "cannot carry"},
		{"header", `{"name":"X-Key","secret":"s","prefix":"a\r\nb"}`, "prefix", "visible ASCII"},
		{"header", `{"name":"X-Key","secret":"s","prefix":" a"}`, "prefix", "visible ASCII"},
		{"header", `{"name":"Authorization","secret":"s","prefix":"NTLM "}`, "prefix", "authenticates a connection"},
		{"header", `{"name":"Authorization","secret":"s","prefix":"negotiate "}`, "prefix", "authenticates a connection"},
		{"basic", `{"password":"s"}`, "user", "required"},
		{"basic", `{"user":"a:b","password":"s"}`, "user", "colon"},
		{"basic", `{"user":"a\nb","password":"s"}`, "user", "control"},
		{"basic", `{"user":"a"}`, "password", "required"},
		{"basic", `{"user":"a","user_secret":"s"}`, "user_secret", "beside user"},
		{"query", `{"secret":"s"}`, "name", "required"},
		{"query", `{"name":"a\n","secret":"s"}`, "name", "control"},
		{"query", `{"name":"a"}`, "secret", "required"},
		{"cookie", `{"name":"a b","secret":"s"}`, "name", "not a cookie name"},
		{"cookie", `{"name":"a=b","secret":"s"}`, "name", "not a cookie name"},
		{"cookie", `{"secret":"s"}`, "name", "required"},
		{"sigv4", `{"secret_key":"s","region":"r","service":"s3"}`, "access_key", "required"},
		{"sigv4", `{"access_key":"s","region":"r","service":"s3"}`, "secret_key", "required"},
		{"sigv4", `{"access_key":"s","secret_key":"s","service":"s3"}`, "region", "required"},
		{"sigv4", `{"access_key":"s","secret_key":"s","region":"r/x","service":"s3"}`, "region", "not a name"},
		{"sigv4", `{"access_key":"s","secret_key":"s","region":"r","service":"s3","body_limit":-1}`, "body_limit", "between"},
		{"hmac", `{"secret":"s"}`, "header", "required"},
		{"hmac", `{"header":"X-S"}`, "secret", "required"},
		{"hmac", `{"header":"X-S","secret":"s","encoding":"rot13"}`, "encoding", "unknown"},
		{"hmac", `{"header":"X-Timestamp","secret":"s"}`, "timestamp_header", "header of the signature"},
		{"hmac", `{"header":"X-S","secret":"s","timestamp_header":"Host"}`, "timestamp_header", "cannot carry"},
		{"hmac", `{"header":"X-S","secret":"s","body_limit":67108865}`, "body_limit", "between"},
		{"jwt_svid", `{}`, "audience", "required"},
		{"jwt_svid", `{"audience":"a\nb"}`, "audience", "control"},
	} {
		_, err := tryBuild(c.kind, c.options)
		o, ok := errors.AsType[*inject.OptionError](err)
		if !ok || o.Option != c.option || !strings.Contains(o.Problem, c.problem) {
			t.Errorf("%s %s: %v, want %s: … %s", c.kind, c.options, err, c.option, c.problem)
		}
	}
}

// TestContentRefused has what a kind cannot carry though no control byte.
func TestContentRefused(t *testing.T) {
	for _, c := range []struct{ kind, options, text, problem string }{
		{"bearer", `{"secret":"s"}`, "two words", "holds a space"},
		{"bearer", `{"secret":"s"}`, "gr\u00fcn", "beyond ASCII"},
		{"header", `{"name":"X-Key","secret":"s"}`, "\ufeffabc", "beyond ASCII"},
		{"header", `{"name":"X-Key","secret":"s"}`, " abc", "space"},
		{"header", `{"name":"X-Key","secret":"s"}`, "abc ", "space"},
		{"basic", `{"user_secret":"s"}`, "a:b", "colon"},
		{"cookie", `{"name":"a","secret":"s"}`, "x; other=y", "cookie cannot carry"},
		{"cookie", `{"name":"a","secret":"s"}`, `x"y`, "cookie cannot carry"},
		{"sigv4", `{"access_key":"s","secret_key":"t","region":"r","service":"s3"}`, "a,b", "comma"},
	} {
		i := build(t, c.kind, c.options)
		err := i.Inject(t.Context(), request(t), setOf(i, 1, c.text))
		if e, ok := errors.AsType[*inject.ContentError](err); !ok || !strings.Contains(e.Problem, c.problem) {
			t.Errorf("%s with %q: %v, want %s", c.kind, c.text, err, c.problem)
		}
	}
	i := build(t, "header", `{"name":"X-Key","secret":"s"}`)
	if err := i.Inject(t.Context(), request(t), setOf(i, 1, "id=1, key=2")); err != nil {
		t.Errorf("a space inside a header's value is refused: %v", err)
	}
}

// TestOptionsDecodeIntoTaggedFields holds what the configuration relies on.
func TestOptionsDecodeIntoTaggedFields(t *testing.T) {
	for _, k := range inject.Kinds() {
		options := reflect.TypeOf(k.Options())
		if options.Kind() != reflect.Pointer || options.Elem().Kind() != reflect.Struct {
			t.Errorf("%s: Options gives a %v", k.Name, options)
			continue
		}
		names := map[string]bool{}
		for f := range fields(options.Elem()) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names[name] = true
			if name == "" || f.Tag.Get("jsonschema") == "" {
				t.Errorf("%s: field %s lacks its tags", k.Name, f.Name)
			}
		}
		if !names[k.Main] {
			t.Errorf("%s: main option %q is none of %v", k.Name, k.Main, slices.Sorted(maps.Keys(names)))
		}
		decodeErr := errors.New("line 3: unknown key")
		if _, err := k.New(func(any) error { return decodeErr }); !errors.Is(err, decodeErr) {
			t.Errorf("%s: an error of decode becomes %v", k.Name, err)
		}
	}
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

func BenchmarkInject(b *testing.B) {
	for _, s := range samples() {
		b.Run(s.kind+"/"+strings.Trim(s.options, "{}"), func(b *testing.B) {
			i := build(b, s.kind, s.options)
			set := setOf(i, 1, s.text)
			r := request(b)
			body := &rewound{[]byte("amount=1"), bytes.NewReader(nil)}
			query := r.URL.RawQuery
			b.ReportAllocs()
			for b.Loop() {
				r.URL.RawQuery = query
				body.Reset(body.text)
				r.Body = body
				delete(r.Header, "Cookie")
				if err := i.Inject(b.Context(), r, set); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// rewound is a body that can be sent many times without an allocation.
type rewound struct {
	text []byte
	*bytes.Reader
}

func (*rewound) Close() error { return nil }

// audiences is a TokenSource.
type audiences struct{}

func (audiences) Token(_ context.Context, audience string) (string, time.Time, error) {
	return "token for " + audience, time.Unix(1, 0), nil
}

// TestMinters: whatever fetches its secret names it once, and as no configured secret is named.
func TestMinters(t *testing.T) {
	minters := 0
	for _, s := range samples() {
		m, ok := build(t, s.kind, s.options).(inject.Minter)
		if !ok {
			continue
		}
		minters++
		if refs := m.Secrets(); len(refs) != 1 || !strings.Contains(string(refs[0]), ":") {
			t.Errorf("%s: secrets %q", s.kind, refs)
		}
		token, expires, err := m.Mint(t.Context(), audiences{})
		if token != "token for https://api.test" || !expires.Equal(time.Unix(1, 0)) || err != nil {
			t.Errorf("%s mints %q, %s, %v", s.kind, token, expires, err)
		}
	}
	if minters == 0 {
		t.Error("there are none")
	}
}

// TestOneAllocation holds the commonest kind to the slice that a request's
// header map needs.
func TestOneAllocation(t *testing.T) {
	i := build(t, "bearer", `{"secret":"s"}`)
	set, r := setOf(i, 1, canary), request(t)
	if n := testing.AllocsPerRun(100, func() { _ = i.Inject(t.Context(), r, set) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

package inject_test

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/inject"
)

func TestDuplicateAndCaseVariantHeaders(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"Authorization", "authorization", true},
		{"Author_ization", "author-ization", true},
		{"X-API_KEY", "x_api-key", true},
		{"X-Api-Key", "X-Api-Keys", false},
		{"X-Api-Key", "XApi-Key", false},
		{"", "", true},
		{"K", "\u212a", false}, // the Kelvin sign folds to k in Unicode, not in HTTP
	} {
		if got := inject.SameHeader(c.a, c.b); got != c.same {
			t.Errorf("SameHeader(%q, %q) = %t", c.a, c.b, got)
		}
	}
}

func TestDuplicateQueryParameter(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"api_key=x", ""},
		{"api_key", ""},
		{"api_key=x&api_key=y", ""},
		{"a=1&api_key=x&b=2&api_key=y&c=3", "a=1&b=2&c=3"},
		{"%61pi_key=x&a=1", "a=1"},
		{"api%5Fkey=x&a=1", "a=1"},
		{"api%5fkey=x&a=1", "a=1"},
		{"API_KEY=x", "API_KEY=x"},
		{"xapi_key=x&api_keyx=y", "xapi_key=x&api_keyx=y"},
		{"q=api_key=x", "q=api_key=x"},
		{"z=1&y=%2F&y=%2f&&b=+&=&a", "z=1&y=%2F&y=%2f&&b=+&=&a"},
		{"&api_key=x&", "&"},
	} {
		got, err := inject.StripQuery(c.in, []string{"api_key", "other"})
		if err != nil || got != c.want {
			t.Errorf("StripQuery(%q) = %q, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestQueryKeptVerbatim(t *testing.T) {
	i := build(t, "query", `{"name":"api_key","secret":"s"}`)
	for in, want := range map[string]string{
		"":                              "api_key=K",
		"z=1&b=%2f&a=2&y=%2F&z=+":       "z=1&b=%2f&a=2&y=%2F&z=+&api_key=K",
		"z=1&api_key=x&b&%61pi_key=&&c": "z=1&b&&c&api_key=K",
	} {
		r := request(t)
		r.URL.RawQuery = in
		if err := i.Inject(t.Context(), r, setOf(i, 1, "K")); err != nil || r.URL.RawQuery != want {
			t.Errorf("%q became %q, %v; want %q", in, r.URL.RawQuery, err, want)
		}
	}
	for _, in := range []string{"z=1&b=%zz&a=2;c=3&y=%2F", "b=%zz", "b=%", "%zz=1", "a=2;api_key=x", "a=1&;"} {
		r := request(t)
		r.URL.RawQuery = in
		err := i.Inject(t.Context(), r, setOf(i, 1, "K"))
		if _, ok := errors.AsType[*inject.QueryError](err); !ok || r.URL.RawQuery != in {
			t.Errorf("%q became %q, %v; want a QueryError", in, r.URL.RawQuery, err)
		}
	}
}

func TestOtherCookiesKept(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{nil, nil},
		{[]string{"a=1; b=2"}, []string{"a=1; b=2"}},
		{[]string{"session=x"}, nil},
		{[]string{"a=1; session=x; b=2"}, []string{"a=1; b=2"}},
		{[]string{"session=x;b=2;session=y"}, []string{"b=2"}},
		{[]string{" session = x ; b=2"}, []string{"b=2"}},
		{[]string{"session; b=2"}, []string{"b=2"}},
		{[]string{"a=1", "session=x", "b=2"}, []string{"a=1", "b=2"}},
		{[]string{"Session=x; sessions=y"}, []string{"Session=x; sessions=y"}},
		{[]string{`a="q  r" ;session=x;  c=3 ;`}, []string{`a="q  r" ;  c=3 ;`}},
	} {
		h := http.Header{}
		if c.in != nil {
			h["Cookie"] = slices.Clone(c.in)
		}
		shared := h["Cookie"]
		inject.StripCookies(h, []string{"session"})
		if !slices.Equal(h["Cookie"], c.want) {
			t.Errorf("%q became %q, want %q", c.in, h["Cookie"], c.want)
		}
		if !slices.Equal(shared, c.in) {
			t.Errorf("%q: the slice itself was changed", c.in)
		}
	}
}

func FuzzStripQuery(f *testing.F) {
	for _, s := range []string{"", "a=1&k=2&b=3", "%6b=1", "k", "&&k=&", "a=%zz", "a;k=1", "k%00=1", "+k=1", "k=k=k&k%3D=1"} {
		f.Add(s, "k")
	}
	f.Fuzz(func(t *testing.T, raw, name string) {
		got, err := inject.StripQuery(raw, []string{name})
		if _, perr := url.ParseQuery(raw); (perr == nil) != (err == nil) {
			t.Fatalf("StripQuery(%q): %v, but url.ParseQuery says %v", raw, err, perr)
		}
		if err != nil {
			return
		}
		// What is left is what was there, in order, byte for byte.
		var want []string
		for part := range strings.SplitSeq(raw, "&") {
			key, _, _ := strings.Cut(part, "=")
			if key, _ = url.QueryUnescape(key); part == "" || key != name {
				want = append(want, part)
			}
		}
		if got != strings.Join(want, "&") {
			t.Fatalf("StripQuery(%q, %q) = %q, want %q", raw, name, got, strings.Join(want, "&"))
		}
		before, _ := url.ParseQuery(raw)
		after, err := url.ParseQuery(got)
		delete(before, name)
		if err != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("StripQuery(%q, %q) = %q: %v became %v, %v", raw, name, got, before, after, err)
		}
	})
}

func FuzzStripCookies(f *testing.F) {
	for _, s := range []string{"", "a=1; s=2; b=3", "s", " s = x", `a="s=1; s=2"`, ";;s=;", "a=1,s=2"} {
		f.Add(s, "s")
	}
	control := func(r rune) bool { return r <= ' ' || r == 0x7f }
	f.Fuzz(func(t *testing.T, line, name string) {
		if name == "" || strings.ContainsFunc(name, control) || strings.ContainsAny(name, ";=") {
			return
		}
		h := http.Header{"Cookie": {line}}
		inject.StripCookies(h, []string{name})
		var want, got []string
		for part := range strings.SplitSeq(line, ";") {
			key, _, _ := strings.Cut(part, "=")
			if strings.TrimFunc(key, control) != name {
				want = append(want, part)
			}
		}
		if lines := h["Cookie"]; len(lines) == 1 {
			got = strings.Split(lines[0], ";")
		}
		trim := func(s []string) string { return strings.Trim(strings.Join(s, ";"), " \t") }
		if trim(got) != trim(want) {
			t.Fatalf("%q without %q became %q, want %q", line, name, got, want)
		}
		for _, c := range (&http.Request{Header: h}).Cookies() {
			if c.Name == name {
				t.Fatalf("%q without %q became %q: still there", line, name, got)
			}
		}
	})
}

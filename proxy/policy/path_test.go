package policy

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestPathPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{"/", []string{"/"}, []string{"/a"}},
		{"/v1", []string{"/v1", "/%761", "/v%31"}, []string{"/v1/", "/v1/x", "/V1", "/", "/v", "/v11"}},
		{"/v1/", []string{"/v1/"}, []string{"/v1", "/v1/x"}},
		{"/v1/*", []string{"/v1/x", "/v1/%78", "/v1/*", "/v1/é"}, []string{"/v1", "/v1/", "/v1/x/", "/v1/x/y"}},
		{"/v1/*/items", []string{"/v1/x/items"}, []string{"/v1//items", "/v1/x/y/items", "/v1/items"}},
		{"/v1/**", []string{"/v1", "/v1/", "/v1/x", "/v1/x/y/", "/v1/x/y"}, []string{"/v", "/v12", "/v2/x", "/"}},
		{"/**", []string{"/", "/a", "/a/b/"}, nil},
		{"/*/**", []string{"/a", "/a/", "/a/b"}, []string{"/"}},
		{"/a b/é", []string{"/a%20b/%C3%A9", "/a%20b/é", "/a b/%c3%a9"}, []string{"/a+b/é", "/a%20b/e%CC%81"}},
		{"/100%", []string{"/100%25"}, []string{"/100"}},
		{"/@scope/...", []string{"/@scope/...", "/%40scope/%2e.%2E"}, nil},
	} {
		p, f := parsePathPattern(tt.pattern)
		if f != nil {
			t.Errorf("%q: %s", tt.pattern, f.problem)
			continue
		}
		for _, got := range tt.yes {
			if !p.matches(got) {
				t.Errorf("%q does not match %q", tt.pattern, got)
			}
		}
		for _, got := range tt.no {
			if p.matches(got) {
				t.Errorf("%q matches %q", tt.pattern, got)
			}
		}
	}
}

func TestPathPatternsThatAreRefused(t *testing.T) {
	for _, pattern := range []string{
		"", "v1", "*", "**", "/v1/**/x", "/**/", "/v*", "/v1/a*b", "/***", "/v1/*.json", "/v1//x", "//", "/./x", "/v1/..", "/v1/../x",
		"/a;b", "/a\\b", "/a?b=c", "/a#b", "/a%20b", "/a%2fb", "/a\x00b", "/a\nb", "/\xff", "https://api.test/v1",
	} {
		if _, f := parsePathPattern(pattern); f == nil {
			t.Errorf("%q is taken", pattern)
		} else if f.problem == "" {
			t.Errorf("%q: no problem told", pattern)
		}
	}
}

// ambiguousPaths is the corpus of PathTraversalPastRule.
var ambiguousPaths = []string{
	"/v1/../admin", "/v1/./x", "/v1/..", "/v1/.", "/..", "/.", "/../v1/x", "/v1/x/../../admin",
	"/v1/%2e%2e/admin", "/v1/%2E%2E/admin", "/v1/.%2e/admin", "/v1/%2e./admin", "/v1/%2e", "/v1/%2e%2e",
	"/v1//x", "//v1/x", "/v1/x//", "//", "/v1/%2fadmin", "/v1%2fadmin", "/v1%2Fx", "/v1/..%2fadmin", "/v1/%2e%2e%2fadmin",
	"/v1/;x=", "/v1;x=y/z", "/v1/..;/admin", "/v1/%3b/x", "/v1/..%3b/admin", "/v1/x;",
	`/v1\..\admin`, `/v1/..\admin`, "/v1/%5c..%5cadmin", "/v1/%5C", `/\admin`,
	"/v1/%00", "/v1/x%00.json", "/v1/\x00", "/v1/%0a", "/v1/%0d%0aX:1", "/v1/\t", "/v1/%09..", "/v1/%7f",
	"/v1/%", "/v1/%2", "/v1/%zz", "/v1/%2z", "/v1/%u002e", "/v1/%%32%65",
	"/v1/%ff", "/v1/\xff", "/v1/%c0%ae%c0%ae/admin", "/v1/%c0%af", "/v1/%e0%80%ae", "/v1/%c3", "/v1/%c3/x", "/v1/\xc3%", "/v1/%ed%a0%80", "/v1/%f4%90%80%80",
	// decoded twice
	"/v1/%252e%252e/admin", "/v1/%252e.%2fadmin", "/v1/%252fadmin", "/v1/%255cadmin", "/v1/%2500", "/v1/%253bx", "/v1/%252f", "/v1/.%252e", "/v1/%25%32%65./admin",
	"/v1/%25ff", "/v1/%25c0%25ae", "/v1/%25c3x", "/v1/%250a", "/v1/%2525/%252e", "/v1/%2%35", "/v1/%25%32%66admin",
	// and again
	"/v1/%25252e%25252e/admin", "/v1/%25252f", "/v1/%2525252e", "/v1/%252541",
	// not paths
	"*", "v1/x", "api.test:443", "http://evil.test/v1/x", "/v1/x?y", "/v1/x#y",
}

var plainPaths = []string{
	"/", "/v1", "/v1/", "/v1/x", "/v1/x/", "/v1/...", "/v1/..x", "/v1/x..", "/v1/.x", "/v1/x.", "/.well-known/x", "/v1/a.b..c",
	"/v1/%41", "/v1/a%20b", "/v1/é", "/v1/%C3%A9", "/v1/%f0%9f%98%80", "/v1/\U0001F600", "/v1/100%25", "/v1/%25", "/v1/%2525", "/v1/%25zz", "/v1/%2541",
	"/v1/%EF%BF%BD", "/v1/a+b", "/v1/a=b&c,d:e@f!$'()*~", "/v1/%3f", "/v1/%23", "/v1/%25%25", "/v1/-_", "/@scope%40x", "/v1/%252525"[:len("/v1/%2525")],
}

func TestPathTraversalPastRule(t *testing.T) {
	p := mustNew(t,
		Spec{ID: "admin", Hosts: []string{"api.test"}, Paths: []string{"/admin/**"}, Action: Deny},
		Spec{ID: "v1", Hosts: []string{"api.test"}, Paths: []string{"/v1/**"}},
		Spec{ID: "free", Hosts: []string{"api.test", "free.test"}},
	)
	for _, path := range ambiguousPaths {
		r := Request{Scheme: "https", Host: "api.test", Port: 443, Method: "GET", Path: path}
		// The rule that asks comes first; that a later one would take anything does not help.
		want := Decision{Rule: -1, Reason: PathAmbiguous, Nearest: 0, Differs: Path}
		if d := p.Decide(&r); d != want {
			t.Errorf("%q: %+v", path, d)
		}
		r.Host = "free.test"
		if d := p.Decide(&r); !d.Allowed {
			t.Errorf("%q on a host without paths: %+v", path, d)
		}
	}
	for _, path := range plainPaths {
		r := Request{Scheme: "https", Host: "api.test", Port: 443, Method: "GET", Path: path}
		if d := p.Decide(&r); !d.Allowed {
			t.Errorf("%q: %+v", path, d)
		}
	}
}

// FuzzPathPattern holds that what a pattern matches is, decoded and cleaned in
// any of the ways an upstream may, still what the pattern matches.
func FuzzPathPattern(f *testing.F) {
	for i, p := range ambiguousPaths {
		f.Add([]string{"/v1/**", "/v1/*", "/**", "/admin"}[i%4], p)
	}
	for _, p := range plainPaths {
		f.Add("/v1/*", p)
	}
	f.Fuzz(func(t *testing.T, pattern, sent string) {
		p, bad := parsePathPattern(pattern)
		if !isPlainPath(sent) {
			return
		}
		u, err := url.PathUnescape(sent)
		if err != nil {
			t.Fatalf("%q is plain: %v", sent, err)
		}
		for range 3 {
			if clean := path.Clean(u); clean != strings.TrimSuffix(u, "/") && u != "/" {
				t.Fatalf("%q is plain, but cleans to %q", sent, clean)
			}
			if strings.ContainsAny(u, ";\\\x00") || strings.Count(u, "/") != strings.Count(sent, "/") {
				t.Fatalf("%q is plain, but is %q", sent, u)
			}
			if u, err = url.PathUnescape(u); err != nil {
				break
			}
		}
		if bad != nil {
			return
		}
		once, _ := url.PathUnescape(sent)
		if got, want := p.matches(sent), slowMatch(pattern, once); got != want {
			t.Fatalf("%q against %q: %v", pattern, sent, got)
		}
	})
}

// slowMatch says again what pathPattern.matches says, plainly.
func slowMatch(pattern, decoded string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(decoded, "/")
	if want[len(want)-1] == "**" {
		want = want[:len(want)-1]
		if len(got) < len(want) {
			return false
		}
		got = got[:len(want)]
	}
	if len(want) != len(got) {
		return false
	}
	for i, w := range want {
		if w == "*" && got[i] != "" || w != "*" && w == got[i] {
			continue
		}
		return false
	}
	return true
}

// TestPlainPathReadsWhatDecodingReads holds layers to decoding the whole text
// again and again.
func TestPlainPathReadsWhatDecodingReads(t *testing.T) {
	for _, s := range append(append([]string{"%%%", "%2%32%65", "%25%32%35%36%31", "%2", "%", "%2525252525", "%a%61%"}, ambiguousPaths...), plainPaths...) {
		want := s
		for level := range maxDecodings + 2 {
			l := layers{raw: s}
			var got []byte
			for c, _, ok := l.next(level); ok; c, _, ok = l.next(level) {
				got = append(got, c)
			}
			if string(got) != want {
				t.Errorf("%q at level %d: %q, want %q", s, level, got, want)
			}
			want = leniently(want)
		}
	}
}

func leniently(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

package policy

import (
	"fmt"
	"testing"
)

// The rules of DESIGN §7.
func designRules() []Spec {
	return []Spec{
		{ID: "no-refunds", Hosts: []string{"api.stripe.com"}, Paths: []string{"/v1/refunds", "/v1/refunds/**"}, Action: Deny, Hint: "Refunds go through billing-api."},
		{ID: "stripe", Hosts: []string{"api.stripe.com"}, Methods: []string{"GET", "POST"}, Paths: []string{"/v1/**"}, Callers: []string{"pod", "checkout"}},
		{ID: "crm", Hosts: []string{"*.crm.example"}, Query: map[string]string{"tenant": "a b"}},
		{ID: "packages", Hosts: []string{"registry.npmjs.org"}, Action: Tunnel},
		{ID: "clear", Hosts: []string{"http://legacy.test"}},
	}
}

func TestDecide(t *testing.T) {
	p := mustNew(t, designRules()...)
	pod := []string{"pod"}
	refused := func(nearest int, differs Criterion, reason Reason) Decision {
		return Decision{Rule: -1, Reason: reason, Nearest: nearest, Differs: differs}
	}
	stripe := Decision{Allowed: true, Rule: 1, Caller: "pod", Nearest: -1}
	for _, tt := range []struct {
		name string
		r    Request
		want Decision
	}{
		{"allowed", Request{"https", "api.stripe.com", 443, "POST", "/v1/charges", "", pod}, stripe},
		{"GET implies HEAD", Request{"https", "api.stripe.com", 443, "HEAD", "/v1/charges", "", pod}, stripe},
		{"first of the rule's callers", Request{"https", "api.stripe.com", 443, "GET", "/v1", "", []string{"ci", "checkout", "pod"}}, stripe},
		{"denied", Request{"https", "api.stripe.com", 443, "POST", "/v1/refunds", "", pod}, Decision{Rule: 0, Reason: DeniedByRule, Nearest: -1}},
		{"denied below", Request{"https", "api.stripe.com", 443, "POST", "/v1/%72efunds/re_1", "", nil}, Decision{Rule: 0, Reason: DeniedByRule, Nearest: -1}},
		{"method", Request{"https", "api.stripe.com", 443, "DELETE", "/v1/charges", "", pod}, refused(1, Method, MethodNotAllowed)},
		{"methods have a case", Request{"https", "api.stripe.com", 443, "post", "/v1/charges", "", pod}, refused(1, Method, MethodNotAllowed)},
		{"path", Request{"https", "api.stripe.com", 443, "GET", "/v2/charges", "", pod}, refused(1, Path, PathNotAllowed)},
		{"paths have a case", Request{"https", "api.stripe.com", 443, "GET", "/V1/charges", "", pod}, refused(1, Path, PathNotAllowed)},
		{"no path is the root", Request{"https", "api.stripe.com", 443, "GET", "", "", pod}, refused(1, Path, PathNotAllowed)},
		{"caller", Request{"https", "api.stripe.com", 443, "GET", "/v1/charges", "", []string{"ci"}}, refused(1, Caller, CallerNotAllowed)},
		{"no caller", Request{"https", "api.stripe.com", 443, "GET", "/v1/charges", "", nil}, refused(1, Caller, CallerNotAllowed)},
		{"ambiguous path before its method", Request{"https", "api.stripe.com", 443, "DELETE", "/v1/../x", "", nil}, refused(0, Path, PathAmbiguous)},
		{"another host", Request{"https", "evil.test", 443, "GET", "/v1/charges", "", pod}, refused(-1, None, NoRule)},
		{"another port", Request{"https", "api.stripe.com", 8443, "GET", "/v1/charges", "", pod}, refused(-1, None, NoRule)},
		{"PlainHTTPUpgradeOfRule", Request{"http", "api.stripe.com", 80, "GET", "/v1/charges", "", pod}, refused(-1, None, NoRule)},
		{"PlainHTTPUpgradeOfRule on 443", Request{"http", "api.stripe.com", 443, "GET", "/v1/charges", "", pod}, refused(-1, None, NoRule)},
		{"TLS to a clear rule", Request{"https", "legacy.test", 80, "GET", "/", "", pod}, refused(-1, None, NoRule)},
		{"clear", Request{"http", "legacy.test", 80, "GET", "/../x", "", nil}, Decision{Allowed: true, Rule: 4, Nearest: -1}},
		{"unknown scheme", Request{"ftp", "legacy.test", 80, "GET", "/", "", nil}, refused(-1, None, NoRule)},
		{"a host that is not normalised", Request{"https", "API.stripe.com", 443, "GET", "/v1/charges", "", pod}, refused(-1, None, NoRule)},
		{"a host with its dot", Request{"https", "a.crm.example.", 443, "GET", "/", "tenant=a+b", pod}, refused(-1, None, NoRule)},
		{"an empty label", Request{"https", ".crm.example", 443, "GET", "/", "tenant=a+b", pod}, refused(-1, None, NoRule)},
		{"tunnel rules are skipped", Request{"https", "registry.npmjs.org", 443, "GET", "/", "", pod}, refused(-1, None, NoRule)},
		{"query", Request{"https", "a.crm.example", 443, "GET", "/", "x=1&tenant=a+b&y", nil}, Decision{Allowed: true, Rule: 2, Nearest: -1}},
		{"query missing", Request{"https", "a.crm.example", 443, "GET", "/", "", nil}, refused(2, Query, QueryNotAllowed)},
		{"query ambiguous", Request{"https", "a.crm.example", 443, "GET", "/", "tenant=a+b&tenant=c", nil}, refused(2, Query, QueryAmbiguous)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if d := p.Decide(&tt.r); d != tt.want {
				t.Errorf("\n got %+v\nwant %+v", d, tt.want)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	p := mustNew(t, Spec{ID: "q", Hosts: []string{"api.test"}, Query: map[string]string{"a b": "1&2", "flag": ""}})
	for query, want := range map[string]Reason{
		"a+b=1%262&flag":           "",
		"flag=&a%20b=%31%262":      "",
		"&&flag&%61+b=1%262&":      "",
		"a+b=1%262":                QueryNotAllowed,
		"a+b=1&2&flag":             QueryNotAllowed,
		"A+b=1%262&flag":           QueryNotAllowed,
		"a+b=1%262&flag=x":         QueryNotAllowed,
		"a+b=1%262&flag&flag":      QueryAmbiguous,
		"a+b=1%262&a%20b=3&flag":   QueryAmbiguous,
		"a+b=1%262&%61%20b&flag=1": QueryAmbiguous,
		"a+b=1%262&flag;x":         QueryAmbiguous,
		"a+b=1%262&flag&x=%zz":     QueryAmbiguous,
		"a+b=1%262&flag&x=%":       QueryAmbiguous,
		"a+b=1%262&flag&x=%2":      QueryAmbiguous,
		"":                         QueryNotAllowed,
	} {
		d := p.Decide(&Request{Scheme: "https", Host: "api.test", Port: 443, Method: "GET", Path: "/", RawQuery: query})
		if d.Reason != want || d.Allowed != (want == "") {
			t.Errorf("%q: %+v, want %q", query, d, want)
		}
	}
}

// What refuses at once is refused even if a later rule would take it.
func TestQueryAmbiguousNeverFallsThrough(t *testing.T) {
	p := mustNew(t,
		Spec{ID: "deny", Hosts: []string{"api.test"}, Query: map[string]string{"admin": "1"}, Methods: []string{"POST"}, Action: Deny},
		Spec{ID: "allow", Hosts: []string{"api.test"}},
	)
	for _, query := range []string{"admin=0&admin=1", "x;admin=1", "admin=%zz"} {
		want := Decision{Rule: -1, Reason: QueryAmbiguous, Nearest: 0, Differs: Query}
		if d := p.Decide(&Request{Scheme: "https", Host: "api.test", Port: 443, Method: "GET", Path: "/", RawQuery: query}); d != want {
			t.Errorf("%q: %+v", query, d)
		}
	}
	if d := p.Decide(&Request{Scheme: "https", Host: "api.test", Port: 443, Method: "GET", Path: "/", RawQuery: "b=1&b=2"}); !d.Allowed {
		t.Errorf("a repeated name that no rule asks for: %+v", d)
	}
}

func TestNearestIsTheFurthest(t *testing.T) {
	p := mustNew(t,
		Spec{ID: "deny", Hosts: []string{"api.test"}, Callers: []string{"eve"}, Action: Deny},
		Spec{ID: "tunnel", Hosts: []string{"api.test"}, Callers: []string{"eve"}, Action: Tunnel},
		Spec{ID: "method", Hosts: []string{"api.test"}, Methods: []string{"PUT"}},
		Spec{ID: "path", Hosts: []string{"api.test"}, Paths: []string{"/v1"}},
		Spec{ID: "path too", Hosts: []string{"api.test"}, Paths: []string{"/v2"}},
		Spec{ID: "query", Hosts: []string{"api.test"}, Query: map[string]string{"a": "b"}},
	)
	want := Decision{Rule: -1, Reason: PathNotAllowed, Nearest: 3, Differs: Path}
	if d := p.Decide(&Request{Scheme: "https", Host: "api.test", Port: 443, Method: "GET", Path: "/"}); d != want {
		t.Errorf("%+v", d)
	}
}

// A rule in front decides, however its host is written.
func TestFirstMatchAcrossHostPatterns(t *testing.T) {
	p := mustNew(t,
		Spec{ID: "deep", Hosts: []string{"**.x.test"}, Callers: []string{"deep"}},
		Spec{ID: "exact", Hosts: []string{"a.b.x.test"}, Callers: []string{"exact"}},
		Spec{ID: "one", Hosts: []string{"*.b.x.test", "**.b.x.test"}, Callers: []string{"one", "exact"}},
		Spec{ID: "top", Hosts: []string{"**.test"}},
	)
	for _, tt := range []struct {
		host   string
		caller string
		want   int
	}{
		{"a.b.x.test", "deep", 0}, {"a.b.x.test", "exact", 1}, {"a.b.x.test", "one", 2}, {"a.b.x.test", "", 3},
		{"c.b.x.test", "exact", 2}, {"c.d.b.x.test", "exact", 2}, {"b.x.test", "one", 3}, {"x.test", "deep", 3},
		{"z.a.b.x.test", "one", 2}, {"z.y.test", "", 3}, {"test", "", -1},
	} {
		r := Request{Scheme: "https", Host: tt.host, Port: 443, Callers: []string{tt.caller}}
		if d := p.Decide(&r); d.Rule != tt.want {
			t.Errorf("%s as %q: %+v, want rule %d", tt.host, tt.caller, d, tt.want)
		}
	}
}

// manyRules are n rules, half exact, half wildcards, each restricted in
// everything.
func manyRules(n int) []Spec {
	specs := make([]Spec, n)
	for i := range specs {
		specs[i] = Spec{
			ID: fmt.Sprint("r", i), Hosts: []string{fmt.Sprintf("%sapi%d.test", [...]string{"", "*."}[i%2], i)},
			Methods: []string{"GET", "POST"}, Paths: []string{"/v1/refunds/*", "/v1/**"}, Query: map[string]string{"tenant": "shop"}, Callers: []string{"pod"},
		}
	}
	return specs
}

// sameHost are n rules for one host, of which only the last matches.
func sameHost(n int) []Spec {
	specs := manyRules(n)
	for i := range specs {
		specs[i].Hosts = []string{"api.test"}
		if i < n-1 {
			specs[i].Paths = []string{fmt.Sprintf("/v1/items/%d/**", i)}
		}
	}
	return specs
}

func requestOf(n int) Request {
	return Request{Scheme: "https", Host: fmt.Sprintf("x.api%d.test", n-1), Port: 443, Method: "HEAD", Path: "/v1/a%20b/é/%2525",
		RawQuery: "limit=10&tenant=%73hop&x=%2520", Callers: []string{"ci", "pod"}}
}

func TestDecisionsAllocateNothing(t *testing.T) {
	p := mustNew(t, manyRules(1000)...)
	many, one := requestOf(1000), requestOf(1000)
	one.Host = "api.test"
	q := mustNew(t, sameHost(1000)...)
	unknown, wrong, odd := many, many, many
	unknown.Host, wrong.Path, odd.RawQuery = "a.b.c.evil.test", "/v1/%252e%252e/x", "tenant=1&tenant=2"
	for name, decide := range map[string]func() bool{
		"allowed":   func() bool { return p.Decide(&many).Allowed },
		"same host": func() bool { return q.Decide(&one).Allowed },
		"unknown":   func() bool { return p.Decide(&unknown).Reason == NoRule },
		"path":      func() bool { return p.Decide(&wrong).Reason == PathAmbiguous },
		"query":     func() bool { return p.Decide(&odd).Reason == QueryAmbiguous },
		"connect":   func() bool { return p.DecideConnect(many.Host, 443, many.Callers).Verdict == ConnectIntercept },
		"refused":   func() bool { return p.DecideConnect("evil.test", 443, nil).Verdict == ConnectRefuse },
		"named":     func() bool { return p.Named(many.Host, 443) },
	} {
		if !decide() {
			t.Errorf("%s: another decision", name)
		}
		if n := testing.AllocsPerRun(100, func() { decide() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			p, r := mustNew(b, manyRules(n)...), requestOf(n)
			r.Path, r.RawQuery = "/v1/charges/ch_1/lines", "limit=10&tenant=shop"
			benchmarkDecide(b, p, &r)
		})
	}
	b.Run("rules=1000/escaped", func(b *testing.B) {
		p, r := mustNew(b, manyRules(1000)...), requestOf(1000)
		benchmarkDecide(b, p, &r)
	})
	b.Run("rules=1000/same-host", func(b *testing.B) {
		p, r := mustNew(b, sameHost(1000)...), requestOf(1000)
		r.Host = "api.test"
		benchmarkDecide(b, p, &r)
	})
	b.Run("rules=1000/unknown-host", func(b *testing.B) {
		p, r := mustNew(b, manyRules(1000)...), requestOf(1000)
		r.Host = "a.b.evil.test"
		b.ReportAllocs()
		for b.Loop() {
			p.Decide(&r)
		}
	})
}

func benchmarkDecide(b *testing.B, p *Policy, r *Request) {
	b.ReportAllocs()
	for b.Loop() {
		if d := p.Decide(r); !d.Allowed {
			b.Fatal(d)
		}
	}
}

package policy

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
)

func mustNew(t testing.TB, specs ...Spec) *Policy {
	t.Helper()
	p, faults := New(specs)
	for _, f := range faults {
		t.Fatalf("rule %d: %v", f.Rule, f)
	}
	return p
}

func TestAllFaultsAtOnce(t *testing.T) {
	p, faults := New([]Spec{
		{ID: "a", Pos: "x.yaml:3", Hosts: []string{"api.test", "*", "127.1"}, Methods: []string{"GET", "post", "G T"}, Paths: []string{"/ok", "v1", "/a/**/b"},
			Query: map[string]string{"": "x"}, Callers: []string{"pod", ""}},
		{ID: "a", Hosts: []string{"other.test"}},
		{ID: "t", Action: Tunnel, Hosts: []string{"http://clear.test"}, Methods: []string{"GET"}, Paths: []string{"/"}, Query: map[string]string{"a": "b"}},
		{Hosts: nil, Action: 9},
	})
	if p != nil {
		t.Error("a policy in spite of faults")
	}
	var got []string
	for _, f := range faults {
		got = append(got, fmt.Sprint(f.Rule, " ", f.Field, " ", f.Index))
		if f.Problem == "" {
			t.Errorf("%+v tells no problem", f)
		}
	}
	want := []string{"0 hosts 1", "0 hosts 2", "0 methods 1", "0 methods 2", "0 paths 1", "0 paths 2", "0 query -1", "0 callers 1",
		"1 id -1", "2 hosts 0", "2 methods -1", "2 paths -1", "2 query -1", "3 id -1", "3 action -1", "3 hosts -1"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestFaultsSayWhatToWrite(t *testing.T) {
	for _, tt := range []struct {
		spec          Spec
		problem, hint string
	}{
		{Spec{Hosts: []string{"https://api.test"}}, `host "https://api.test": the scheme is not written`, `a host means https: write "api.test"`},
		{Spec{Hosts: []string{"*.com"}}, `host "*.com": "com" is a public suffix: anyone can have a name below it`, "name the hosts, or a domain of one owner"},
		{Spec{Hosts: []string{"a.test"}, Methods: []string{"post"}}, `method "post": methods are case-sensitive`, "write POST"},
		{Spec{Hosts: []string{"a.test"}, Paths: []string{"v1"}}, `path "v1": a path begins with /`, "write /v1"},
		{Spec{Hosts: []string{"a.test"}, Paths: []string{"/a/x*"}}, `path "/a/x*": * must be a whole segment`, "write /v1/*/items; a part of a segment cannot be left open"},
	} {
		tt.spec.ID = "r"
		_, faults := New([]Spec{tt.spec})
		if len(faults) != 1 || faults[0].Problem != tt.problem || faults[0].Hint != tt.hint {
			t.Errorf("%+v: %+v", tt.spec, faults)
		}
	}
}

func TestPolicyIsItsOwn(t *testing.T) {
	specs := []Spec{{ID: "a", Hosts: []string{"api.test"}, Callers: []string{"pod"}, Query: map[string]string{"k": "v"}, Methods: []string{"GET"}}}
	want := cloned(specs[0])
	p := mustNew(t, specs...)
	specs[0].Hosts[0], specs[0].Callers[0], specs[0].Query["k"], specs[0].Methods[0] = "evil.test", "eve", "x", "PUT"
	if !reflect.DeepEqual(p.Rules()[0], want) {
		t.Errorf("%+v", p.Rules()[0])
	}
	if d := p.Decide(&Request{Scheme: "https", Host: "evil.test", Port: 443, Method: "GET"}); d.Reason != NoRule {
		t.Errorf("%+v", d)
	}
}

func TestZeroPolicyRefuses(t *testing.T) {
	var p Policy
	if d := p.Decide(&Request{Scheme: "https", Host: "api.test", Port: 443}); d.Allowed || d.Rule != -1 || d.Nearest != -1 || d.Reason != NoRule {
		t.Errorf("%+v", d)
	}
	if d := p.DecideConnect("api.test", 443, nil); d.Verdict != ConnectRefuse || d.Reason != NoRule {
		t.Errorf("%+v", d)
	}
}

func TestInterceptedHosts(t *testing.T) {
	p := mustNew(t,
		Spec{ID: "a", Hosts: []string{"API.test:8443", "*.x.test", "http://clear.test"}},
		Spec{ID: "b", Hosts: []string{"api.test", "**.x.test", "10.0.0.1", "[::1]"}},
		Spec{ID: "c", Hosts: []string{"denied.test"}, Action: Deny},
		Spec{ID: "d", Hosts: []string{"tunnelled.test"}, Action: Tunnel},
	)
	if got, want := p.InterceptedHosts(), []string{"api.test", "*.x.test", "**.x.test", "10.0.0.1", "::1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestNamed(t *testing.T) {
	p := mustNew(t,
		Spec{ID: "a", Hosts: []string{"api.test", "http://clear.test"}},
		Spec{ID: "b", Hosts: []string{"**.denied.test"}, Action: Deny},
		Spec{ID: "c", Hosts: []string{"tunnelled.test:8443"}, Action: Tunnel},
	)
	for _, tt := range []struct {
		host string
		port uint16
		want bool
	}{{"api.test", 443, true}, {"api.test", 80, false}, {"clear.test", 80, true}, {"clear.test", 443, false}, {"x.y.denied.test", 443, true},
		{"denied.test", 443, false}, {"tunnelled.test", 8443, true}, {"other.test", 443, false}, {"", 443, false}} {
		if got := p.Named(tt.host, tt.port); got != tt.want {
			t.Errorf("%s:%d: %v", tt.host, tt.port, got)
		}
	}
}

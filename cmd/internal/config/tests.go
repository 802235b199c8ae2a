package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/proxy/policy"
)

// Words that a test may expect beside a rule's id and a reason.
const (
	expectAllowed = "allowed"
	expectRefused = "refused"
	expectGateway = "gateway" // left to the gateway
)

// outcomes are all words that a test may expect beside a rule's id.
func outcomes() []string {
	return []string{
		expectAllowed, expectRefused, expectGateway,
		string(policy.NoRule), string(policy.DeniedByRule), string(policy.MethodNotAllowed), string(policy.PathNotAllowed),
		string(policy.QueryNotAllowed), string(policy.CallerNotAllowed), string(policy.PathAmbiguous), string(policy.QueryAmbiguous),
	}
}

func (b *builder) buildTests() {
	for _, doc := range b.docs {
		for _, s := range doc.Tests {
			if s == nil || s.Node == nil || s.Node.faulty() {
				continue
			}
			t := Test{Caller: s.Caller, Expect: s.Expect, Pos: s.Node.where()}
			method, target, spaced := strings.Cut(s.Call, " ")
			t.Method, t.URL = method, withScheme(target)
			if _, err := splitURL(t.URL); !spaced || err != nil || !headerName(method) || method != strings.ToUpper(method) {
				b.fail(s.Node.at("call"), `as in "POST api.stripe.com/v1/charges"`, "tests: call: must be a method and a URL")
			}
			if s.Caller != "" && b.callers[s.Caller] == nil {
				b.undefined(s.Node.at("caller"), "caller", s.Caller, b.callers)
			}
			if b.ids[s.Expect] == nil && !slices.Contains(outcomes(), s.Expect) {
				hint := perhaps(s.Expect, append(defined(b.ids), outcomes()...))
				b.fail(s.Node.at("expect"), hint, "tests: expect: neither a rule nor a reason, allowed or refused")
			}
			b.cfg.Tests = append(b.cfg.Tests, t)
		}
	}
}

func withScheme(target string) string {
	if strings.Contains(target, "://") {
		return target
	}
	return "https://" + target
}

// splitURL takes a URL apart without changing the spelling of its path and
// query, which the policy judges as they are sent.
func splitURL(raw string) (policy.Request, error) {
	var r policy.Request
	scheme, rest, ok := strings.Cut(raw, "://")
	port := uint16(443)
	switch r.Scheme = strings.ToLower(scheme); {
	case r.Scheme == "http":
		port = 80
	case r.Scheme != "https" || !ok:
		return r, errors.New("must be an https:// or http:// URL")
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority := rest[:end]
	r.Path, r.RawQuery, _ = strings.Cut(rest[end:], "?")
	if r.Path == "" {
		r.Path = "/"
	}
	if strings.Contains(authority, "@") {
		return r, errors.New("must not hold credentials")
	}
	if strings.ContainsFunc(rest, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return r, errors.New("must not hold spaces")
	}
	if _, err := url.PathUnescape(r.Path); err != nil {
		return r, errors.New("has a broken escape in its path")
	}
	var err error
	r.Host, r.Port, err = policy.SplitAuthority(authority, port)
	return r, err
}

// Verdict is what a configuration makes of one call.
type Verdict struct {
	policy.Decision                        // the one that counts
	Request         policy.Request         // what was decided on
	Connect         policy.ConnectDecision // what becomes of the CONNECT before it; zero for http://
	Tunnelled       bool                   // passed on unopened: method, path and query are not looked at
	Unnamed         bool                   // no rule names the host: unmatched.observe_until lets it pass while it lasts
	Gateway         bool                   // passed on unopened to the gateway, which decides
}

// Decide tells what c makes of a call by someone who has proven to be callers,
// through the functions that the proxy itself decides with. The scheme may be
// left out of the URL; it is then https. An error says what is wrong with the URL.
func Decide(c *Config, method, target string, callers []string) (Verdict, error) {
	r, err := splitURL(withScheme(target))
	if err != nil {
		return Verdict{}, fmt.Errorf("URL: %w", err)
	}
	r.Method, r.Callers = method, callers
	v := Verdict{Request: r, Unnamed: !c.Policy.Named(r.Host, r.Port)}
	if r.Scheme == "https" {
		v.Connect = c.Policy.DecideConnect(r.Host, r.Port, callers)
		if v.Connect.Verdict != policy.ConnectIntercept {
			v.Decision, v.Tunnelled = v.Connect.Decision, v.Connect.Verdict == policy.ConnectTunnel
			v.Gateway = v.Unnamed && c.passesOn()
			return v, nil
		}
	}
	v.Decision = c.Policy.Decide(&v.Request)
	return v, nil
}

// TestResult is the outcome of one of the configuration's tests.
type TestResult struct {
	Test
	Held    bool
	Got     string  // what became of the call: "rule stripe", "refused, no_rule"
	Verdict Verdict // for details
}

// RunTests decides every call under tests:.
func (c *Config) RunTests() []TestResult {
	results := make([]TestResult, len(c.Tests))
	for i, t := range c.Tests {
		var callers []string
		if t.Caller != "" {
			callers = []string{t.Caller}
		}
		v, err := Decide(c, t.Method, t.URL, callers)
		results[i] = TestResult{Test: t, Verdict: v}
		if err != nil {
			results[i].Got = err.Error()
			continue
		}
		results[i].Held, results[i].Got = c.judge(t, v)
	}
	return results
}

// judge compares a verdict with what a test expects.
func (c *Config) judge(t Test, v Verdict) (held bool, got string) {
	id := ""
	if v.Rule >= 0 {
		id = c.Rules[v.Rule].ID
	}
	switch {
	case v.Gateway:
		return t.Expect == expectGateway, "left to the gateway"
	case v.Allowed:
		got = "allowed by " + id
	case id != "":
		got = fmt.Sprintf("refused by %s, %s", id, v.Reason)
	default:
		got = fmt.Sprintf("refused, %s", v.Reason)
	}
	switch t.Expect {
	case expectAllowed:
		return v.Allowed, got
	case expectRefused:
		return !v.Allowed, got
	case string(v.Reason):
		return !v.Allowed, got
	}
	return id != "" && t.Expect == id, got
}

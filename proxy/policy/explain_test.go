package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestExplain(t *testing.T) {
	p := mustNew(t, designRules()...)
	steps := p.Explain(&Request{Scheme: "https", Host: "api.stripe.com", Port: 443, Method: "POST", Path: "/v1/refunds", Callers: []string{"pod"}})
	want := []Step{
		{Rule: 0, Met: [5]Answer{Yes, Any, Any, Yes, Any}, Decides: true, Reached: true},
		{Rule: 1, Met: [5]Answer{Yes, Any, Yes, Yes, Yes}},
		{Rule: 2, Met: [5]Answer{No, No, Any, Any, Any}},
		{Rule: 3, Met: [5]Answer{No, Any, Any, Any, Any}},
		{Rule: 4, Met: [5]Answer{No, Any, Any, Any, Any}},
	}
	if !slices.Equal(steps, want) {
		t.Errorf("\n got %+v\nwant %+v", steps, want)
	}
	steps = p.Explain(&Request{Scheme: "https", Host: "api.stripe.com", Port: 443, Method: "PUT", Path: "/v1/../x"})
	if s := steps[0]; s.Met[Path-1] != Unclear || !s.Decides || steps[1].Reached {
		t.Errorf("%+v", steps)
	}
}

// choices makes rules and requests of bytes, from few enough texts that they meet.
type choices []byte

func (c *choices) next(n int) int {
	if len(*c) == 0 {
		return 0
	}
	b := (*c)[0]
	*c = (*c)[1:]
	return int(b) % n
}

func pick[T any](c *choices, from ...T) T { return from[c.next(len(from))] }

func (c *choices) some(from ...string) []string {
	var some []string
	for mask, i := c.next(1<<len(from)), 0; i < len(from); i++ {
		if mask&(1<<i) != 0 {
			some = append(some, from[i])
		}
	}
	return some
}

func (c *choices) specs() []Spec {
	specs := make([]Spec, 1+c.next(6))
	for i := range specs {
		s := &specs[i]
		s.ID = fmt.Sprint("r", i)
		s.Action = pick(c, Allow, Deny, Tunnel)
		for range 1 + c.next(3) {
			s.Hosts = append(s.Hosts, pick(c, "x.test", "*.x.test", "**.x.test", "a.x.test", "*.a.x.test", "**.a.x.test", "b.a.x.test", "**.test", "*.test",
				"x.test:444", "10.0.0.1")+pick(c, "", "", ":8443"))
		}
		for j, h := range s.Hosts {
			if len(h) > 9 && h[len(h)-9:] == ":444:8443" {
				s.Hosts[j] = "x.test:444"
			}
		}
		s.Callers = c.some("pod", "ci")
		if s.Action == Tunnel {
			continue
		}
		if c.next(5) == 4 {
			s.Hosts = append(s.Hosts, pick(c, "http://x.test:443", "http://*.x.test:443"))
		}
		s.Methods = c.some("GET", "HEAD", "POST")
		s.Paths = c.some("/v1", "/v1/*", "/v1/**", "/**", "/v1/x/y", "/", "/*/x/**")
		switch c.next(4) {
		case 1:
			s.Query = map[string]string{"a": "1"}
		case 2:
			s.Query = map[string]string{"a": "1", "b": "2"}
		}
	}
	return specs
}

func (c *choices) request() Request {
	return Request{
		Scheme:   pick(c, "https", "https", "https", "http", ""),
		Host:     pick(c, "x.test", "a.x.test", "b.a.x.test", "c.b.a.x.test", "test", "c.x.test", "10.0.0.1", "y.test", "A.x.test", "a.x.test.", ".x.test"),
		Port:     pick(c, uint16(443), 443, 8443, 444),
		Method:   pick(c, "GET", "HEAD", "POST", "PUT", "get"),
		Path:     pick(c, "/v1", "/v1/", "/v1/x", "/v1/x/y", "/v1/%78", "/", "", "/v2/x/z", "/v1/../v1", "/v1%2fx", "*", "/v1//", "/%2576%31"),
		RawQuery: pick(c, "", "a=1", "a=1&b=2", "b=2&a=%31", "a=1&a=1", "a=2&b=2", "a=1;b=2", "a=%", "c&a=1"),
		Callers:  c.some("pod", "ci", "eve"),
	}
}

// agree holds everything that reads the rules to everything else.
func agree(t *testing.T, c choices) {
	specs := c.specs()
	p, faults := New(specs)
	if len(faults) > 0 {
		t.Fatalf("%+v: %v", specs, faults[0])
	}
	shadows := p.Unreachable()
	for range 20 {
		r := c.request()
		got, want := p.Decide(&r), fromSteps(p, p.Explain(&r))
		got.Caller = ""
		if got != want {
			t.Fatalf("%+v\nrules %+v\ndecided   %+v\nexplained %+v", r, specs, got, want)
		}
		connect, want2 := p.DecideConnect(r.Host, r.Port, r.Callers), slowConnect(p, &r)
		if connect.Verdict != want2.Verdict || connect.Rule != want2.Rule || connect.Reason != want2.Reason {
			t.Fatalf("%+v\nrules %+v\nCONNECT %+v\nslowly  %+v", r, specs, connect, want2)
		}
		named := slices.ContainsFunc(p.rules, func(ru rule) bool {
			return ru.meetHost("https", r.Host, r.Port) == Yes || ru.meetHost("http", r.Host, r.Port) == Yes
		})
		if p.Named(r.Host, r.Port) != named {
			t.Fatalf("Named(%s, %d) is not %v, rules %+v", r.Host, r.Port, named, specs)
		}
		for _, s := range shadows {
			if s.By >= s.Rule || got.Rule == s.Rule || connect.Rule == s.Rule {
				t.Fatalf("%+v\nrules %+v\n%+v decides: %+v, CONNECT %+v", r, specs, s, got, connect)
			}
		}
	}
}

// fromSteps reads a Decision off an explanation.
func fromSteps(p *Policy, steps []Step) Decision {
	d := Decision{Rule: -1, Nearest: -1, Reason: NoRule}
	for i, s := range steps {
		if p.specs[i].Action == Tunnel || s.Met[Host-1] == No || !s.Reached {
			continue
		}
		for c, reason := range map[Criterion]Reason{Query: QueryAmbiguous, Path: PathAmbiguous} {
			if s.Met[c-1] == Unclear && (c == Query || s.Met[Query-1] != Unclear) {
				return Decision{Rule: -1, Nearest: i, Reason: reason, Differs: c}
			}
		}
		differs := Criterion(1 + slices.Index(s.Met[:], No))
		switch {
		case differs == None && p.specs[i].Action == Deny:
			return Decision{Rule: i, Nearest: -1, Reason: DeniedByRule}
		case differs == None:
			return Decision{Allowed: true, Rule: i, Nearest: -1}
		case p.specs[i].Action == Allow && differs > d.Differs:
			d.Nearest, d.Differs = i, differs
			d.Reason = map[Criterion]Reason{Query: QueryNotAllowed, Method: MethodNotAllowed, Path: PathNotAllowed, Caller: CallerNotAllowed}[differs]
		}
	}
	return d
}

// slowConnect says DESIGN §4.2 again, plainly and without the index.
func slowConnect(p *Policy, r *Request) ConnectDecision {
	first, opened, named := -1, false, false
	for i := range p.rules {
		if p.rules[i].meetHost("https", r.Host, r.Port) == No {
			continue
		}
		opened = opened || p.specs[i].Action == Allow
		named = named || p.specs[i].Action != Deny
		callers := p.specs[i].Callers
		if first < 0 && (len(callers) == 0 || slices.ContainsFunc(callers, func(n string) bool { return slices.Contains(r.Callers, n) })) {
			first = i
		}
	}
	d := Decision{Rule: first}
	switch {
	case first >= 0 && p.specs[first].Action == Tunnel:
		return ConnectDecision{ConnectTunnel, d}
	case opened:
		return ConnectDecision{ConnectIntercept, d}
	case first >= 0:
		d.Reason = DeniedByRule
	case named:
		d.Reason = CallerNotAllowed
	default:
		d.Reason = NoRule
	}
	return ConnectDecision{ConnectRefuse, d}
}

// TestExplainAndDecideNeverDisagree also holds the index to trying every rule,
// DecideConnect to the design, and Unreachable to what is reached.
func TestExplainAndDecideNeverDisagree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5_000 {
		data := make(choices, 300)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		agree(t, data)
	}
}

func FuzzExplainAndDecideNeverDisagree(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Add([]byte{2, 1, 0, 0, 0, 1, 4, 3, 2, 200, 17, 3, 9, 1, 1, 1, 0, 0, 0, 5})
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data) })
}

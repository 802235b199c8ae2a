package policy

import "testing"

func TestDecideConnect(t *testing.T) {
	host := func(s Spec) Spec { s.Hosts = []string{"api.test"}; return s }
	allow, deny, tunnel := host(Spec{}), host(Spec{Action: Deny}), host(Spec{Action: Tunnel})
	as := func(s Spec, caller string) Spec { s.Callers = []string{caller}; return s }
	below := func(s Spec) Spec { s.Paths = []string{"/admin/**"}; return s }
	asking := func(s Spec) Spec { s.Query = map[string]string{"a": "b"}; return s }
	posting := func(s Spec) Spec { s.Methods = []string{"POST"}; return s }
	clear := Spec{Hosts: []string{"http://api.test:443"}}

	for _, tt := range []struct {
		name    string
		rules   []Spec
		verdict ConnectVerdict
		rule    int
		reason  Reason
		nearest int
	}{
		{"none", nil, ConnectRefuse, -1, NoRule, -1},
		{"allow", []Spec{allow}, ConnectIntercept, 0, "", -1},
		{"allow some requests", []Spec{posting(below(asking(allow)))}, ConnectIntercept, 0, "", -1},
		{"tunnel", []Spec{tunnel}, ConnectTunnel, 0, "", -1},
		{"tunnel first", []Spec{tunnel, allow}, ConnectTunnel, 0, "", -1},
		{"allow first", []Spec{allow, tunnel}, ConnectIntercept, 0, "", -1},
		{"deny", []Spec{deny}, ConnectRefuse, 0, DeniedByRule, -1},
		{"deny before tunnel", []Spec{deny, tunnel}, ConnectRefuse, 0, DeniedByRule, -1},
		{"deny behind tunnel", []Spec{tunnel, deny}, ConnectTunnel, 0, "", -1},
		{"deny on an opened host is told inside", []Spec{deny, allow}, ConnectIntercept, 0, "", -1},
		{"deny some requests on an opened host", []Spec{below(deny), allow}, ConnectIntercept, 0, "", -1},
		{"deny some requests before a tunnel: cannot be seen", []Spec{below(deny), tunnel}, ConnectRefuse, 0, DeniedByRule, -1},
		{"deny a method before a tunnel", []Spec{posting(deny), tunnel}, ConnectRefuse, 0, DeniedByRule, -1},
		{"deny a query before a tunnel", []Spec{asking(deny), tunnel}, ConnectRefuse, 0, DeniedByRule, -1},
		{"deny some requests before a tunnel, opened later", []Spec{below(deny), tunnel, allow}, ConnectIntercept, 0, "", -1},
		{"deny another caller before a tunnel", []Spec{as(deny, "eve"), tunnel}, ConnectTunnel, 1, "", -1},
		{"deny this caller before a tunnel", []Spec{as(deny, "pod"), tunnel}, ConnectRefuse, 0, DeniedByRule, -1},
		{"deny another caller only", []Spec{as(deny, "eve")}, ConnectRefuse, -1, NoRule, -1},
		{"deny on a host opened for others", []Spec{deny, as(allow, "eve")}, ConnectIntercept, 0, "", -1},
		{"opened for others: refused inside", []Spec{as(allow, "eve")}, ConnectIntercept, -1, "", 0},
		{"tunnel for others", []Spec{as(tunnel, "eve")}, ConnectRefuse, -1, CallerNotAllowed, 0},
		{"tunnel for this caller", []Spec{as(tunnel, "pod"), allow}, ConnectTunnel, 0, "", -1},
		{"tunnel for others, opened for this", []Spec{as(tunnel, "eve"), allow}, ConnectIntercept, 1, "", -1},
		{"opened for others, tunnel for this", []Spec{as(allow, "eve"), tunnel}, ConnectTunnel, 1, "", -1},
		{"a clear rule is no https rule", []Spec{clear}, ConnectRefuse, -1, NoRule, -1},
		{"a clear rule opens nothing", []Spec{deny, clear}, ConnectRefuse, 0, DeniedByRule, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rules := append([]Spec(nil), tt.rules...)
			for i := range rules {
				rules[i].ID = string(rune('a' + i))
			}
			d := mustNew(t, rules...).DecideConnect("api.test", 443, []string{"pod"})
			if d.Verdict != tt.verdict || d.Rule != tt.rule || d.Reason != tt.reason || d.Nearest != tt.nearest ||
				d.Allowed != (tt.verdict != ConnectRefuse) || (d.Nearest >= 0) != (d.Differs == Caller) {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestDecideConnectTellsTheCaller(t *testing.T) {
	p := mustNew(t, Spec{ID: "t", Hosts: []string{"*.api.test"}, Callers: []string{"ci", "pod"}, Action: Tunnel})
	if d := p.DecideConnect("a.api.test", 443, []string{"pod"}); d.Verdict != ConnectTunnel || d.Caller != "pod" {
		t.Errorf("%+v", d)
	}
	for _, host := range []string{"api.test", "a.b.api.test", "A.api.test", "a.api.test.", ""} {
		if d := p.DecideConnect(host, 443, []string{"pod"}); d.Verdict != ConnectRefuse || d.Reason != NoRule {
			t.Errorf("%s: %+v", host, d)
		}
	}
	if d := p.DecideConnect("a.api.test", 8443, []string{"pod"}); d.Verdict != ConnectRefuse {
		t.Errorf("another port: %+v", d)
	}
}

package config

import (
	"testing"

	"github.com/attache-proxy/attache/proxy/policy"
)

const decided = `version: 1
callers: {ci: {uid: 1}}
rules:
  - {id: refunds, hosts: api.stripe.com, paths: /v1/refunds/**, deny: Ask}
  - {id: stripe, hosts: api.stripe.com, methods: POST, paths: /v1/**, callers: ci}
  - {id: packages, hosts: registry.npmjs.org, tunnel: true}
  - {id: local, hosts: "http://local.example:8080"}
tests:
  - {call: POST api.stripe.com/v1/charges, caller: ci, expect: stripe}
  - {call: POST api.stripe.com/v1/charges, expect: stripe}
  - {call: POST api.stripe.com/v1/refunds/x, caller: ci, expect: refunds}
  - {call: POST api.stripe.com/v1/refunds/x, caller: ci, expect: allowed}
  - {call: GET api.stripe.com/v1/charges, caller: ci, expect: method_not_allowed}
  - {call: GET registry.npmjs.org/x?y, expect: packages}
  - {call: GET registry.npmjs.org:444/x, expect: refused}
  - {call: GET http://local.example:8080, expect: local}
  - {call: GET https://local.example:8080, expect: no_rule}
`

// A configuration's tests hold or fail as the calls would.
func TestTestsHoldOrFail(t *testing.T) {
	want := []struct {
		held bool
		got  string
	}{
		{true, "allowed by stripe"},
		{false, "refused, caller_not_allowed"},
		{true, "refused by refunds, denied_by_rule"},
		{false, "refused by refunds, denied_by_rule"},
		{true, "refused, method_not_allowed"},
		{true, "allowed by packages"},
		{true, "refused, no_rule"},
		{true, "allowed by local"},
		{true, "refused, no_rule"},
	}
	for i, r := range loadText(t, decided).RunTests() {
		if r.Held != want[i].held || r.Got != want[i].got {
			t.Errorf("%s %s as %q: held %v, %s; want %+v", r.Method, r.URL, r.Caller, r.Held, r.Got, want[i])
		}
	}
}

func TestDecide(t *testing.T) {
	cfg := loadText(t, decided)
	v, err := Decide(cfg, "GET", "registry.npmjs.org/left-pad", nil)
	if err != nil || !v.Tunnelled || !v.Allowed || v.Connect.Verdict != policy.ConnectTunnel {
		t.Errorf("tunnel: %+v, %v", v, err)
	}
	v, err = Decide(cfg, "GET", "https://unnamed.example", nil)
	if err != nil || v.Allowed || !v.Unnamed || v.Reason != policy.NoRule {
		t.Errorf("unnamed: %+v, %v", v, err)
	}
	v, err = Decide(cfg, "POST", "api.stripe.com/v1/a%2Fb?x=%zz", []string{"ci"})
	if err != nil || v.Request.Path != "/v1/a%2Fb" || v.Request.RawQuery != "x=%zz" {
		t.Errorf("the spelling is not kept: %+v, %v", v, err)
	}
	for _, bad := range []string{"", "https://", "ftp://a.example", "https://me:pw@a.example/", "https://a.example/ b", "https://a.example:99999/"} {
		if _, err := Decide(cfg, "GET", bad, nil); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

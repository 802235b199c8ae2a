package identity

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/identity/identitytest"
)

func TestMeantFor(t *testing.T) {
	api := identitytest.Start(t)
	token := api.Token("spiffe://acme.example/app", "gateway", time.Minute)
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for name, c := range map[string]struct {
		value, audience string
		want            bool
	}{
		"bearer":            {"Bearer " + token, "gateway", true},
		"password":          {basic("jwt", token), "gateway", true},
		"other audience":    {"Bearer " + token, "gatewa", false},
		"no audience":       {"Bearer " + token, "", false},
		"another user":      {basic("app", token), "gateway", false},
		"a caller's token":  {basic("app", "open-sesame"), "gateway", false},
		"nothing":           {"", "gateway", false},
		"unsigned":          {"Bearer " + base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(token, ".")[1] + ".", "gateway", false},
		"expired all right": {"Bearer " + api.Token("spiffe://acme.example/app", "gateway", -time.Minute), "gateway", true}, // not ours to judge
	} {
		if got := MeantFor(c.value, c.audience); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzMeantFor: whatever a client sends, nothing panics, and nothing is for an audience that it does not name.
func FuzzMeantFor(f *testing.F) {
	f.Add("Bearer a.b.c")
	f.Add("Bearer " + base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"aud":["gateway"]}`)) + ".AA")
	f.Add("Basic and0OmEuYi5j")
	f.Fuzz(func(t *testing.T, value string) {
		if MeantFor(value, "an audience that no seed names") {
			t.Errorf("%q", value)
		}
		MeantFor(value, "gateway")
	})
}

package clients_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/attache-proxy/attache/cmd/internal/clients"
)

func place(t *testing.T, direct ...string) clients.Place {
	t.Helper()
	u, err := url.Parse("http://run:token@127.0.0.1:4711")
	if err != nil {
		t.Fatal(err)
	}
	return clients.Place{Proxy: u, Direct: direct, Trust: "/my trust", Slash: true}
}

func value(p clients.Place, name string, had map[string]string) string {
	for _, s := range clients.Environment(p, func(n string) (string, bool) { v, ok := had[n]; return v, ok }) {
		if s.Name == name {
			return s.Value
		}
	}
	return ""
}

// TestJavaGetsNoToken: a JVM prints JAVA_TOOL_OPTIONS, and has no use for a password there.
func TestJavaGetsNoToken(t *testing.T) {
	had := map[string]string{"JAVA_TOOL_OPTIONS": "-Dmine=1"}
	got := value(place(t, "localhost", "127.0.0.1", "::1", ".svc", "10.0.0.0/8", "10.1.2.0/23"), "JAVA_TOOL_OPTIONS", had)
	if strings.Contains(got, "token") {
		t.Error("the token is in it")
	}
	for _, want := range []string{
		"-Dmine=1 -D", "-Dhttps.proxyPort=4711 ", "-Dhttp.nonProxyHosts=localhost|127.*|[::1]|*.svc|10.* ",
		`"-Djavax.net.ssl.trustStore=/my trust/truststore.p12"`, "-Djdk.http.auth.tunneling.disabledSchemes=",
	} {
		if !strings.Contains(got+" ", want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
}

// TestWhatAddedRootsAddsThemStill: a variable that adds roots has one value; what it added is in the bundle.
func TestWhatAddedRootsAddsThemStill(t *testing.T) {
	if got := value(place(t), "NODE_EXTRA_CA_CERTS", nil); got != "/my trust/ca.pem" {
		t.Errorf("%s", got)
	}
	if got := value(place(t), "NODE_EXTRA_CA_CERTS", map[string]string{"NODE_EXTRA_CA_CERTS": "/corp.pem"}); got != "/my trust/bundle.pem" {
		t.Errorf("%s", got)
	}
	if !slices.Contains(clients.Roots(), "NODE_EXTRA_CA_CERTS") {
		t.Error("what it names is not read")
	}
}

// TestLoopbackHostOfRuleIsProxied: NO_PROXY must not lead past a rule.
func TestLoopbackHostOfRuleIsProxied(t *testing.T) {
	for _, c := range []struct{ host, want string }{
		{"api.test", "localhost 127.0.0.1 ::1"}, {"http://localhost:8080", "127.0.0.1 ::1"},
		{"127.0.0.1:8443", "localhost ::1"}, {"http://[::1]", "localhost 127.0.0.1"},
	} {
		if got := strings.Join(clients.Loopback([]string{c.host}), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.host, got, c.want)
		}
	}
}

func TestHeedless(t *testing.T) {
	for version, heeds := range map[string]bool{
		"v18.19.0": false, "v20.20.2": false, "v22.20.9": false, "v22.21.0": true, "v23.11.0": false, "v24.4.1": false,
		"v24.5.0": true, "v26.1.0": true, "": true, "nonsense": true,
	} {
		if got := clients.Heedless("node", version) == ""; got != heeds {
			t.Errorf("node %s: heeds %t", version, got)
		}
	}
	if clients.Heedless("docker", "") == "" || clients.Heedless("podman", "") == "" || clients.Heedless("curl", "") != "" {
		t.Error("docker or curl")
	}
}

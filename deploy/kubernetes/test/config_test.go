package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// binary is the product, as ATTACHE_BINARY names it.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("ATTACHE_BINARY")
	if path != "" {
		return path
	}
	if os.Getenv("ATTACHE_CI") != "" || *update {
		t.Fatal("ATTACHE_BINARY names no attache")
	}
	t.Skip("ATTACHE_BINARY names no attache")
	return ""
}

// run gives what attache prints about a configuration, which is a directory as in the pod.
func run(t *testing.T, files map[string]string, command string, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary(t), append([]string{command, "--config", dir}, args...)...)
	cmd.Env = []string{"ATTACHE_VAR_ns=shop", "ATTACHE_VAR_sa=shop"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestConfigurationsHold: "attache check --production" accepts every configuration that a ConfigMap
// holds, and its tests hold.
func TestConfigurationsHold(t *testing.T) {
	for name, all := range manifests(t) {
		for _, o := range all {
			c, ok := o.(*corev1.ConfigMap)
			if !ok {
				continue
			}
			out, err := run(t, c.Data, "check", "--production")
			if err != nil {
				t.Errorf("%s %s: %v\n%s", name, c.Name, err, out)
			}
			for line := range strings.Lines(out) {
				// A gateway's CA must outlive its pods, so it is given.
				if strings.Contains(line, "warning") && !strings.Contains(line, "cannot limit or renew a given") {
					t.Errorf("%s %s: %s", name, c.Name, line)
				}
			}
			t.Logf("%s %s:\n%s", name, c.Name, out)
		}
	}
}

const environment = "../chart/attache/files/env.yaml"

// writeEnvironment makes the chart's list of variables anew.
func writeEnvironment(t *testing.T) {
	t.Helper()
	out, err := run(t, map[string]string{"a.yaml": "version: 1\nrules: [{id: any, hosts: api.example.com}]\n"}, "env", "--format", "k8s", "--trust", "/run/attache/trust")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out = "# As attache env --format k8s prints it: go test . -update in ../../../test writes it.\n" + out
	if err := os.WriteFile(environment, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEnvironmentAgrees: the app's containers have exactly the variables that "attache env" prints for
// the configuration of their pod, and no others.
func TestEnvironmentAgrees(t *testing.T) {
	for name, all := range manifests(t) {
		i := slices.IndexFunc(all, func(o runtime.Object) bool { _, ok := o.(*corev1.ConfigMap); return ok })
		if i < 0 || len(workloads(name, all)) == 0 || strings.HasPrefix(name, "gateway") {
			continue
		}
		out, err := run(t, all[i].(*corev1.ConfigMap).Data, "env", "--format", "k8s", "--trust", "/run/attache/trust")
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
			continue
		}
		var want []corev1.EnvVar
		if err := yaml.UnmarshalStrict([]byte(out), &want); err != nil || len(want) < 30 {
			t.Fatalf("%d variables, %v\n%s", len(want), err, out)
		}
		for _, pod := range workloads(name, all) {
			for _, c := range containers(pod) {
				if !own(c) {
					sameEnv(t, pod.name+", "+c.Name, c.Env, want)
				}
			}
		}
	}
}

func sameEnv(t *testing.T, who string, got, want []corev1.EnvVar) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w corev1.EnvVar
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("%s: variable %d is %s=%q, want %s=%q", who, i, g.Name, g.Value, w.Name, w.Value)
			return
		}
	}
}

// TestEnvironmentFollowsValues: hosts called directly and placeholders of client_env reach the app as
// "attache env" has them.
func TestEnvironmentFollowsValues(t *testing.T) {
	rules := `version: 1
secrets: {key: {file: /run/secrets/stripe/key}}
rules: [{id: stripe, hosts: api.stripe.com, callers: app, attach: {bearer: key}, client_env: {STRIPE_SECRET_KEY: sk_test_placeholder}}]
callers: {app: {uid: 1000}}
`
	files, err := render(t, "shop", "shop", map[string]any{"attache": map[string]any{
		"noProxy": []any{"10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fd00::1", "db.internal", ".corp.example"},
		"config":  map[string]any{"10-rules.yaml": rules},
	}})
	if err != nil {
		t.Fatal(err)
	}
	pods := workloads("", objects(t, files["shop/templates/report.yaml"]))
	config := objects(t, files["shop/charts/attache/templates/configmap.yaml"])[0].(*corev1.ConfigMap)
	out, err := run(t, config.Data, "env", "--format", "k8s")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want []corev1.EnvVar
	if err := yaml.UnmarshalStrict([]byte(out), &want); err != nil {
		t.Fatal(err)
	}
	sameEnv(t, "report", pods[0].spec.Containers[0].Env, want)
}

// TestValuesAreChecked: a value that the chart does not know, or of the wrong type, is refused by name.
func TestValuesAreChecked(t *testing.T) {
	for want, values := range map[string]map[string]any{
		"replcas":     {"replcas": 2},
		"trustdomain": {"spiffe": map[string]any{"trustdomain": "acme.example"}},
		"secrets":     {"secrets": []any{"github"}},
		"mode":        {"mode": "daemonset"},
		"trustDomain": {"spiffe": map[string]any{"enabled": true}},
		"caSecret":    {"mode": "gateway", "spiffe": map[string]any{"enabled": true, "trustDomain": "acme.example"}},
		"namespace":   {"gateway": map[string]any{"name": "egress"}},
		"listen":      {"pod": map[string]any{"listen": map[string]any{"proxy": "0.0.0.0:15001"}}},
	} {
		if _, err := render(t, "attache", "x", values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", values, err)
		}
	}
}

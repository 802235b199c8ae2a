package kubernetes

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
)

// eachPod runs check for every pod of the manifests.
func eachPod(t *testing.T, check func(t *testing.T, pod workload)) {
	seen := 0
	for name, all := range manifests(t) {
		for _, pod := range workloads(name, all) {
			seen++
			t.Run(pod.name, func(t *testing.T) { check(t, pod) })
		}
	}
	if seen == 0 {
		t.Fatal("the manifests hold no pod")
	}
}

// own reports whether c is Attaché's container.
func own(c corev1.Container) bool { return c.Name == "attache" }

func containers(pod workload) []corev1.Container {
	return slices.Concat(pod.spec.InitContainers, pod.spec.Containers)
}

// TestPodsAreRestricted: Pod Security admits every pod at its strictest level.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	eachPod(t, func(t *testing.T, pod workload) {
		if result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.meta, &pod.spec)); !result.Allowed {
			t.Error(result.ForbiddenDetail())
		}
		for _, c := range containers(pod) {
			if own(c) && !*c.SecurityContext.ReadOnlyRootFilesystem {
				t.Error("its root file system can be written")
			}
		}
	})
}

// TestSidecarIsNative: Attaché starts before every other container and is asked whether it has, so
// that init containers have it; the kubelet stops it after them, so that Jobs end.
func TestSidecarIsNative(t *testing.T) {
	eachPod(t, func(t *testing.T, pod workload) {
		if slices.ContainsFunc(pod.spec.Containers, own) {
			return // the gateway: nothing runs beside it
		}
		if len(pod.spec.InitContainers) == 0 || !own(pod.spec.InitContainers[0]) {
			t.Fatal("Attaché is not the first init container")
		}
		c := pod.spec.InitContainers[0]
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			t.Error("it is no sidecar: restartPolicy is not Always")
		}
	})
}

// TestProbesAskHealth: each probe asks the path that means it, on the port of listen.health.
func TestProbesAskHealth(t *testing.T) {
	eachPod(t, func(t *testing.T, pod workload) {
		for _, c := range containers(pod) {
			if !own(c) {
				continue
			}
			for path, probe := range map[string]*corev1.Probe{"/startupz": c.StartupProbe, "/readyz": c.ReadinessProbe, "/livez": c.LivenessProbe} {
				if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "attache-health" {
					t.Errorf("no probe of %s", path)
				}
			}
			if i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == "attache-health" }); i < 0 || c.Ports[i].ContainerPort != 15090 {
				t.Error("the port attache-health is not 15090")
			}
		}
	})
}

// TestKeysStayWithAttache: what holds keys is mounted by Attaché's container alone, as a directory
// that follows rotations; the CA's key is in memory; the app can read the trust and not write it.
func TestKeysStayWithAttache(t *testing.T) {
	eachPod(t, func(t *testing.T, pod workload) {
		volumes := map[string]corev1.Volume{}
		for _, v := range pod.spec.Volumes {
			volumes[v.Name] = v
		}
		for _, c := range containers(pod) {
			for _, m := range c.VolumeMounts {
				v, ok := volumes[m.Name]
				switch {
				case !ok:
					t.Errorf("%s mounts %s, which is no volume", c.Name, m.Name)
				case m.SubPath != "" || m.SubPathExpr != "":
					t.Errorf("%s mounts %s by subPath: it would never change", c.Name, m.Name)
				case own(c):
				case m.Name != "attache-trust":
					t.Errorf("%s has %s", c.Name, m.Name)
				case !m.ReadOnly:
					t.Errorf("%s can write the trust", c.Name)
				}
				if own(c) && v.Secret != nil && !m.ReadOnly {
					t.Errorf("%s can be written", m.Name)
				}
			}
		}
		for name, v := range volumes {
			// A gateway's CA is given, and so is the trust of what is behind it.
			given := v.Secret != nil || v.ConfigMap != nil || v.Projected != nil
			if (name == "attache-ca" || name == "attache-trust") && !given && (v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumMemory || v.EmptyDir.SizeLimit == nil) {
				t.Errorf("%s is not memory of a limited size", name)
			}
		}
	})
}

// TestAppsHaveTheTrust: every container of an app finds the CA where its variables say, and is given
// no value from elsewhere. TestEnvironmentAgrees holds the variables.
func TestAppsHaveTheTrust(t *testing.T) {
	eachPod(t, func(t *testing.T, pod workload) {
		for _, c := range containers(pod) {
			if own(c) {
				continue
			}
			for _, e := range c.Env {
				if e.ValueFrom != nil {
					t.Errorf("%s takes %s from elsewhere", c.Name, e.Name)
				}
			}
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == "attache-trust" && m.MountPath == "/run/attache/trust"
			}) {
				t.Errorf("%s has no /run/attache/trust", c.Name)
			}
		}
	})
}

// TestSelectorsFindThePods: the NetworkPolicy and the PodMonitor select every pod with Attaché.
func TestSelectorsFindThePods(t *testing.T) {
	for name, all := range manifests(t) {
		for _, o := range all {
			var selector metav1.LabelSelector
			pods := workloads(name, all)
			switch o := o.(type) {
			case *networkingv1.NetworkPolicy:
				selector = o.Spec.PodSelector
			case *monitoring.PodMonitor:
				selector = o.Spec.Selector
				pods = workloads("sidecar", manifests(t)["sidecar"]) // it stands in a file of its own
				if len(o.Spec.PodMetricsEndpoints) != 1 || *o.Spec.PodMetricsEndpoints[0].Port != "attache-health" {
					t.Errorf("%s does not ask the port attache-health", o.Name)
				}
			default:
				continue
			}
			s, err := metav1.LabelSelectorAsSelector(&selector)
			if err != nil {
				t.Fatal(err)
			}
			if s.Empty() || len(pods) == 0 {
				t.Errorf("%s: a selector of all, or no pods", name)
			}
			for _, pod := range pods {
				if !s.Matches(labels.Set(pod.meta.Labels)) {
					t.Errorf("%s: %s is not selected by %T", name, pod.name, o)
				}
			}
		}
	}
}

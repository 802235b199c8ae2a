package kubernetes

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// only gives the one object of its type.
func only[T any](t *testing.T, all []runtime.Object) T {
	t.Helper()
	var found []T
	for _, o := range all {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T", len(found), *new(T))
	}
	return found[0]
}

// TestGatewayIsTheOnlyWayOut: a pod behind a gateway may reach the resolver and the gateway's pods, at
// the port where they listen, and nothing else.
func TestGatewayIsTheOnlyWayOut(t *testing.T) {
	all := manifests(t)
	gateway := workloads("gateway", all["gateway"])[0]
	policy := only[*networkingv1.NetworkPolicy](t, all["sidecar-gateway"])
	if !slices.Equal(policy.Spec.PolicyTypes, []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}) {
		t.Errorf("it is about %v", policy.Spec.PolicyTypes)
	}
	reached := false
	for _, way := range policy.Spec.Egress {
		if len(way.To) == 0 || len(way.Ports) == 0 {
			t.Fatalf("a way to everywhere: %+v", way)
		}
		for _, to := range way.To {
			if to.IPBlock != nil || to.PodSelector == nil {
				t.Fatalf("a way to %+v", to)
			}
			selector, err := metav1.LabelSelectorAsSelector(to.PodSelector)
			if err != nil {
				t.Fatal(err)
			}
			if selector.Matches(labels.Set(gateway.meta.Labels)) {
				reached = true
				if len(way.Ports) != 1 || way.Ports[0].Port.IntVal != 15443 || to.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] != "egress" {
					t.Errorf("the gateway is looked for at %+v", way)
				}
				continue
			}
			for _, port := range way.Ports {
				if port.Port.IntVal != 53 {
					t.Errorf("a way to port %s of %+v", port.Port, to)
				}
			}
		}
	}
	if !reached {
		t.Error("no way to the gateway")
	}
}

// TestEdgeFindsTheGateway: the edge's configuration names the gateway's Service and the SPIFFE ID of its
// service account, and its own pods have one that a rule of the gateway names.
func TestEdgeFindsTheGateway(t *testing.T) {
	all := manifests(t)
	service := only[*corev1.Service](t, all["gateway"])
	account := only[*corev1.ServiceAccount](t, all["gateway"])
	edge := only[*corev1.ConfigMap](t, all["sidecar-gateway"]).Data["00-pod.yaml"]
	for _, want := range []string{
		"address: " + service.Name + ".egress.svc:15443\n",
		"peer: spiffe://acme.example/ns/egress/sa/" + account.Name + "\n",
	} {
		if !strings.Contains(edge, want) {
			t.Errorf("no %q in\n%s", want, edge)
		}
	}
	pod := workloads("gateway", all["gateway"])[0]
	if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.meta.Labels)) || service.Spec.Ports[0].Port != 15443 {
		t.Error("the Service does not lead to the gateway")
	}
	if pod.spec.ServiceAccountName != account.Name {
		t.Errorf("the gateway runs as %s", pod.spec.ServiceAccountName)
	}
	rules := only[*corev1.ConfigMap](t, all["gateway"]).Data["10-rules.yaml"]
	for _, app := range workloads("", all["sidecar-gateway"]) {
		if !strings.Contains(rules, "spiffe://acme.example/ns/shop/sa/"+app.spec.ServiceAccountName+`"`) {
			t.Errorf("no rule of the gateway is for %s", app.spec.ServiceAccountName)
		}
	}
}

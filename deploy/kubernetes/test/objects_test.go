package kubernetes

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// objects reads a manifest into the API's own types, strictly: a key that the API does not know, or
// one that stands twice, is an error.
func objects(t *testing.T, text string) []runtime.Object {
	t.Helper()
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	var all []runtime.Object
	documents := yaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(text)))
	defer documents.Close()
	buffer := make([]byte, 1<<20)
	for {
		n, err := documents.Read(buffer)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if onlyComments(string(buffer[:n])) {
			continue
		}
		o, _, err := decoder.Decode(buffer[:n], nil, nil)
		if err != nil {
			t.Errorf("%v\n%s", err, buffer[:n])
			continue
		}
		all = append(all, o)
	}
}

func onlyComments(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// manifests reads all of ../manifests.
func manifests(t *testing.T) map[string][]runtime.Object {
	t.Helper()
	files, err := filepath.Glob("../manifests/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d manifests, %v", len(files), err)
	}
	all := map[string][]runtime.Object{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".yaml")] = objects(t, string(text))
	}
	return all
}

// TestObjectsAreStrict: every object is one that the API's own types hold, to the last key.
func TestObjectsAreStrict(t *testing.T) {
	for name, all := range manifests(t) {
		if len(all) == 0 {
			t.Errorf("%s holds no object", name)
		}
		for _, o := range all {
			if named, ok := o.(metav1.Object); !ok || named.GetName() == "" {
				t.Errorf("%s: %T without a name", name, o)
			}
		}
	}
}

// workload is a pod as some object describes it.
type workload struct {
	name string
	meta metav1.ObjectMeta
	spec corev1.PodSpec
}

func workloads(name string, all []runtime.Object) []workload {
	var pods []workload
	add := func(o metav1.Object, template corev1.PodTemplateSpec) {
		pods = append(pods, workload{name + " " + o.GetName(), template.ObjectMeta, template.Spec})
	}
	for _, o := range all {
		switch o := o.(type) {
		case *appsv1.Deployment:
			add(o, o.Spec.Template)
		case *batchv1.Job:
			add(o, o.Spec.Template)
		}
	}
	return pods
}

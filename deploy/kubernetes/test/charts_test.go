package kubernetes

import (
	"cmp"
	"flag"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
)

var update = flag.Bool("update", false, "write ../manifests anew")

// rendering is one file of ../manifests: a chart with the values of ../values.
type rendering struct {
	name    string // of the manifest, and of its values if it has any
	chart   string
	release string
	only    []string // templates; none: all
}

func renderings() []rendering {
	return []rendering{
		{name: "sidecar", chart: "shop", release: "shop"},
		{name: "sidecar-spiffe", chart: "shop", release: "shop"},
		{name: "sidecar-gateway", chart: "shop", release: "shop"},
		{name: "gateway", chart: "attache", release: "egress"},
		{name: "monitoring", chart: "shop", release: "shop", only: []string{"podmonitor.yaml", "prometheusrule.yaml"}},
	}
}

// load reads a chart and what it depends on, which lies beside it.
func load(t *testing.T, name string) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(filepath.Join("../chart", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range c.Metadata.Dependencies {
		if !slices.ContainsFunc(c.Dependencies(), func(c *chart.Chart) bool { return c.Name() == d.Name }) {
			c.AddDependency(load(t, d.Name))
		}
	}
	return c
}

// render gives the objects of a chart, by the templates they come from.
func render(t *testing.T, name, release string, values map[string]any) (map[string]string, error) {
	t.Helper()
	c := load(t, name)
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return nil, err
	}
	top, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: release, Namespace: release, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(c, top)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(files, func(file, text string) bool {
		return !strings.HasSuffix(file, ".yaml") || strings.TrimSpace(text) == ""
	})
	return files, nil
}

func valuesOf(t *testing.T, name string) map[string]any {
	t.Helper()
	f, err := os.Open(filepath.Join("../values", name+".yaml"))
	if os.IsNotExist(err) {
		return map[string]any{}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values, err := loader.LoadValues(f)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// manifest is a rendering as one file.
func (r rendering) manifest(t *testing.T) string {
	t.Helper()
	files, err := render(t, r.chart, r.release, valuesOf(t, r.name))
	if err != nil {
		t.Fatalf("%s: %v", r.name, err)
	}
	var b strings.Builder
	b.WriteString("# Rendered from the chart " + r.chart + ": change it there, then go test . -update in ../test.\n")
	for _, file := range slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(files[a]), place(files[b])), cmp.Compare(a, b))
	}) {
		if r.only == nil || slices.Contains(r.only, path.Base(file)) {
			b.WriteString("---\n" + strings.TrimSpace(files[file]) + "\n")
		}
	}
	return b.String()
}

// place is where an object stands in a manifest: what others need comes first.
func place(text string) int {
	order := []string{"ServiceAccount", "ConfigMap", "NetworkPolicy", "Service"}
	for i, kind := range order {
		if strings.Contains(text, "\nkind: "+kind+"\n") {
			return i
		}
	}
	return len(order)
}

// TestManifestsAreTheChart: rendering the charts gives the manifests as they are committed.
func TestManifestsAreTheChart(t *testing.T) {
	if *update {
		writeEnvironment(t)
	}
	var names []string
	for _, r := range renderings() {
		file := filepath.Join("../manifests", r.name+".yaml")
		names = append(names, r.name)
		want := r.manifest(t)
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the chart renders: run go test . -update", file)
		}
	}
	for _, dir := range []string{"../manifests", "../values"} {
		files, err := filepath.Glob(dir + "/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if !slices.Contains(names, strings.TrimSuffix(filepath.Base(file), ".yaml")) {
				t.Errorf("%s belongs to no rendering", file)
			}
		}
	}
}

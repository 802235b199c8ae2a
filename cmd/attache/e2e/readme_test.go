package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// TestReadmeTables: the README's tables of kinds and sources are those of
// docs/, which are made from the code. ATTACHE_UPDATE=1 copies them anew.
func TestReadmeTables(t *testing.T) {
	readme := string(mustRead(t, root+"/README.md"))
	made := readme
	for _, name := range []string{"kinds", "sources"} {
		begin, end := "<!-- "+name+": as in docs/"+name+".md -->\n", "<!-- end of "+name+" -->\n"
		before, rest, found := strings.Cut(made, begin)
		_, after, foundEnd := strings.Cut(rest, end)
		if !found || !foundEnd {
			t.Fatalf("README.md lacks the markers of %s", name)
		}
		made = before + begin + firstTable(t, root+"/docs/"+name+".md") + end + after
	}
	if made == readme {
		return
	}
	if os.Getenv("ATTACHE_UPDATE") == "" {
		t.Fatal("README.md's tables are not those of docs/: run ATTACHE_UPDATE=1 go test ./cmd/attache/e2e -run TestReadmeTables")
	}
	ok(t, os.WriteFile(root+"/README.md", []byte(made), 0o644))
}

func firstTable(t *testing.T, file string) string {
	t.Helper()
	table := regexp.MustCompile(`(?m)(^\|.*\n)+`).FindString(string(mustRead(t, file)))
	if table == "" {
		t.Fatalf("%s has no table", file)
	}
	return table
}

// TestReadmeConfigurations: every configuration that the README shows is valid.
func TestReadmeConfigurations(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```|<<END\n(.*?)END\n").FindAllStringSubmatch(string(mustRead(t, root+"/README.md")), -1)
	checked := 0
	for _, b := range blocks {
		text := strings.ReplaceAll(b[1]+b[2], "$(id -u)", "1000")
		if !strings.HasPrefix(text, "version: 1\n") {
			continue
		}
		check(t, text)
		checked++
	}
	if checked != 3 {
		t.Errorf("the README shows %d configurations, want one for each way of running", checked)
	}
}

// TestIdentityConfigurations: so is every one in docs/identity.md.
func TestIdentityConfigurations(t *testing.T) {
	checked := 0
	for _, b := range regexp.MustCompile("(?s)```yaml\n(version: 1\n.*?)```").FindAllStringSubmatch(string(mustRead(t, root+"/docs/identity.md")), -1) {
		check(t, b[1])
		checked++
	}
	if checked != 4 {
		t.Errorf("docs/identity.md shows %d configurations, want 4", checked)
	}
}

func check(t *testing.T, config string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "attache.yaml")
	ok(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(os.Getenv(envBinary), "check", "--config", file)
	cmd.Env = cleanEnv(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, config)
	}
}

// TestComposeExample: the files are those that the README shows.
func TestComposeExample(t *testing.T) {
	readme := string(mustRead(t, root+"/README.md"))
	for _, name := range []string{"compose.yaml", "config/attache.yaml"} {
		if !strings.Contains(readme, "```yaml\n"+string(mustRead(t, root+"/deploy/compose/"+name))+"```\n") {
			t.Errorf("README.md does not show deploy/compose/%s as it is", name)
		}
	}
}

// TestReadmeCommands: what the README has people type exists.
func TestReadmeCommands(t *testing.T) {
	readme := string(mustRead(t, root+"/README.md"))
	help, err := exec.Command(os.Getenv(envBinary), "--help").CombinedOutput()
	ok(t, err)
	for _, m := range regexp.MustCompile("(?:\\./|`|cmd/)attache ([a-z]+)").FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(string(help), "\n  "+m[1]+" ") {
			t.Errorf("README.md names the command %q, which does not exist", m[1])
		}
	}
}

// TestReadmeOnMachine: what the README has people type on their machine runs as written, in a place that knows
// nothing of Attaché. What asks the network or stays in the foreground is left out.
func TestReadmeOnMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("callers by uid: on Linux")
	}
	_, section, _ := strings.Cut(string(mustRead(t, root+"/README.md")), "\n## On your machine\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		script.WriteString(block[1])
	}
	for _, explained := range regexp.MustCompile("`(\\./attache [a-z].*?)`").FindAllStringSubmatch(section, -1) {
		script.WriteString(explained[1] + "\n")
	}
	var typed []string
	for line := range strings.Lines(script.String()) {
		if line != "./attache serve\n" && !strings.HasPrefix(line, "go build ") && !strings.HasPrefix(line, "curl ") {
			typed = append(typed, line)
		}
	}
	dir := t.TempDir()
	ok(t, os.Symlink(os.Getenv(envBinary), filepath.Join(dir, "attache")))
	cmd := exec.Command(need(t, "bash"), "-euo", "pipefail", "-c", strings.Join(typed, "")+`echo "$HTTPS_PROXY $SSL_CERT_FILE"`)
	cmd.Dir, cmd.Env = dir, append(cleanEnv(t), "GITHUB_TOKEN=ghp_readme_canary_00")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, strings.Join(typed, ""), out)
	}
	for _, want := range []string{"Ready.", "method_not_allowed", "http://127.0.0.1:15001 " + filepath.Join(dir, "trust", "bundle.pem")} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not print %q:\n%s", want, out)
		}
	}
}

// TestReadmesNameOneKubernetes: the least version is the chart's.
func TestReadmesNameOneKubernetes(t *testing.T) {
	least := regexp.MustCompile(`kubeVersion: ">=(\d+\.\d+)`).FindStringSubmatch(string(mustRead(t, root+"/deploy/kubernetes/chart/attache/Chart.yaml")))
	if least == nil {
		t.Fatal("the chart names no version")
	}
	for _, document := range []string{"README.md", "deploy/kubernetes/README.md"} {
		for _, m := range regexp.MustCompile(`\(Kubernetes (\d+\.\d+)\)`).FindAllStringSubmatch(string(mustRead(t, root+"/"+document)), -1) {
			if m[1] != least[1] {
				t.Errorf("%s names Kubernetes %s, the chart %s", document, m[1], least[1])
			}
		}
	}
}

// TestKeysPutHereStayHere: what the READMEs have people write in a clone is neither committed nor copied into an image's builder.
func TestKeysPutHereStayHere(t *testing.T) {
	all := string(mustRead(t, root+"/.gitignore")) + string(mustRead(t, root+"/deploy/compose/.gitignore"))
	for _, name := range []string{"/attache.yaml", "/github-token", "/ca/", "/trust/", "secrets/", "*.env"} {
		if !strings.Contains(all, "\n"+name+"\n") && !strings.HasPrefix(all, name+"\n") {
			t.Errorf("no .gitignore names %s", name)
		}
	}
	docker := string(mustRead(t, root+"/.dockerignore"))
	for _, name := range []string{"/attache.yaml", "/github-token", "/ca", "/trust", "**/secrets", "**/*.env"} {
		if !strings.Contains(docker, "\n"+name+"\n") {
			t.Errorf(".dockerignore does not name %s", name)
		}
	}
}

// TestDocumentsNameTests: a test that a document names as holding a promise exists.
func TestDocumentsNameTests(t *testing.T) {
	tests := testNames(t)
	for _, document := range []string{"docs/threat-model.md", "docs/attacks.md"} {
		named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z0-9]\w*`).FindAllString(string(mustRead(t, filepath.Join(root, document))), -1)
		if len(named) == 0 {
			t.Errorf("%s names no test", document)
		}
		for _, name := range named {
			if !slices.Contains(tests, name) {
				t.Errorf("%s names %s, which does not exist", document, name)
			}
		}
	}
}

// TestDocumentsLinkToFiles: links inside the repository lead somewhere.
func TestDocumentsLinkToFiles(t *testing.T) {
	documents, err := filepath.Glob(root + "/docs/*.md")
	ok(t, err)
	top, err := filepath.Glob(root + "/*.md")
	ok(t, err)
	deploy, err := filepath.Glob(root + "/deploy/*/*.md")
	ok(t, err)
	for _, document := range slices.Concat(documents, top, deploy) {
		for _, m := range regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(string(mustRead(t, document)), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", filepath.Base(document), m[1])
			}
		}
	}
}

func testNames(t *testing.T) []string {
	t.Helper()
	var names []string
	pattern := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	ok(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range pattern.FindAllStringSubmatch(string(mustRead(t, path)), -1) {
			names = append(names, m[1])
		}
		return nil
	}))
	return names
}

package preset

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Found is a preset that a project seems to use.
type Found struct {
	Preset string `json:"preset"`
	Why    string `json:"why"` // "package.json: stripe", ".env: STRIPE_SECRET_KEY"
}

// maxFile bounds a file that is looked at.
const maxFile = 4 << 20

// manifest is a kind of file that names dependencies.
type manifest struct {
	name      string // a pattern of path.Match
	ecosystem string
	read      func(string) []string
}

func manifests() []manifest {
	return []manifest{
		{"package.json", "npm", readObjects("dependencies", "devDependencies", "optionalDependencies", "peerDependencies")},
		{"composer.json", "composer", readObjects("require", "require-dev")},
		{"requirements*.txt", "pypi", readPython},
		{"pyproject.toml", "pypi", readPyproject},
		{"go.mod", "go", readLines(`^\s*(?:require\s+)?([a-z0-9.-]+\.[a-z]+/[^\s]+?)(?:/v[0-9]+)?\s+v[0-9]`)},
		{"Gemfile", "gem", readLines(`^\s*gem\s+["']([A-Za-z0-9_-]+)["']`)},
		{"Cargo.toml", "cargo", readLines(`^\s*([A-Za-z0-9_-]+)(?:\.workspace)?\s*=`)},
	}
}

// Detect looks at a project's files: at the names of its dependencies, and at the names of the variables in its
// files of variables. It never keeps a value.
func Detect(dir string) []Found {
	var found []Found
	add := func(name, why string) {
		if !slices.ContainsFunc(found, func(f Found) bool { return f.Preset == name }) {
			found = append(found, Found{name, why})
		}
	}
	all, builds := All(), false
	for _, m := range manifests() {
		for _, path := range matches(dir, m.name) {
			text, ok := readText(path)
			if !ok {
				continue
			}
			builds = true
			dependencies := m.read(text)
			for _, p := range all {
				for _, use := range p.Uses {
					if ecosystem, name, _ := strings.Cut(use, ":"); ecosystem == m.ecosystem && slices.ContainsFunc(dependencies, same(name)) {
						add(p.Name, filepath.Base(path)+": "+name)
					}
				}
			}
		}
	}
	for _, pattern := range []string{".env", ".env.*", ".envrc"} {
		for _, path := range matches(dir, pattern) {
			names := variables(path)
			for _, p := range all {
				for _, s := range p.Secrets {
					for _, name := range s.Env {
						if slices.Contains(names, name) {
							add(p.Name, filepath.Base(path)+": "+name)
						}
					}
				}
			}
		}
	}
	if builds {
		add("packages", "what builds it is downloaded")
	}
	order := Names()
	slices.SortStableFunc(found, func(a, b Found) int { return slices.Index(order, a.Preset) - slices.Index(order, b.Preset) })
	return found
}

// same compares names of dependencies: Go modules may name a package below, and a major version.
func same(name string) func(string) bool {
	return func(dependency string) bool {
		return strings.EqualFold(dependency, name) || strings.Contains(name, "/") && strings.HasPrefix(dependency, name+"/")
	}
}

func matches(dir, pattern string) []string {
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return nil
	}
	return paths
}

// open opens a regular file, read up to its bound.
func open(path string) (io.Reader, func(), bool) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil, false
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, false
	}
	return io.LimitReader(f, maxFile), func() { f.Close() }, true
}

func readText(path string) (string, bool) {
	r, done, ok := open(path)
	if !ok {
		return "", false
	}
	defer done()
	data, err := io.ReadAll(r)
	return string(data), err == nil
}

// variables are the names that a file of variables sets. What stands behind the = is not looked at.
func variables(path string) []string {
	r, done, ok := open(path)
	if !ok {
		return nil
	}
	defer done()
	pattern := regexp.MustCompile(`^\s*#?\s*(?:export\s+)?([A-Z][A-Z0-9_]*)$`)
	var names []string
	in := bufio.NewReader(r)
	for {
		name, err := in.ReadString('=')
		if m := pattern.FindStringSubmatch(lastLine(strings.TrimSuffix(name, "="))); m != nil && err == nil {
			names = append(names, m[1])
		}
		if err != nil {
			return names
		}
		for prefix := true; prefix && err == nil; {
			_, prefix, err = in.ReadLine()
		}
	}
}

func lastLine(s string) string { return s[strings.LastIndexByte(s, '\n')+1:] }

// readObjects reads the keys of members of a JSON object.
func readObjects(members ...string) func(string) []string {
	return func(text string) []string {
		var doc map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &doc) != nil {
			return nil
		}
		var names []string
		for _, m := range members {
			var object map[string]json.RawMessage
			if json.Unmarshal(doc[m], &object) == nil {
				for name := range object {
					names = append(names, name)
				}
			}
		}
		return names
	}
}

// readLines reads what a pattern matches first on each line.
func readLines(pattern string) func(string) []string {
	return func(text string) []string {
		var names []string
		for _, m := range regexp.MustCompile(`(?m)`+pattern).FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		return names
	}
}

// readPython reads names of requirements (PEP 508), normalised (PEP 503).
func readPython(text string) []string {
	return normalized(readLines(`^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[|[=<>!~;@ ]|$)`)(text))
}

// readPyproject reads the requirements in quotes of PEP 621, and the keys of Poetry's tables.
func readPyproject(text string) []string {
	quoted := readLines(`["']([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:[=<>!~;@ ][^"']*)?["']`)(text)
	return normalized(append(quoted, readLines(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*=`)(text)...))
}

func normalized(names []string) []string {
	for i, n := range names {
		names[i] = strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(n))
	}
	return names
}

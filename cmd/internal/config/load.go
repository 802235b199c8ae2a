package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/watcher/source"
)

// Env is what loading needs of the process.
type Env struct {
	Getenv  func(string) (string, bool) // for ATTACHE_VAR_* and env secrets; nil: nothing is set
	Version string                      // of the binary, for requires; "" or "devel": satisfies all
	Now     func() time.Time            // nil: time.Now
}

// Load reads a file, or a directory's *.yaml and *.yml files in order of name.
// The error is an [Errors], or of the file system where nothing could be read
// at all. Nothing is contacted and no secret is read.
func Load(path string, env Env) (*Config, error) {
	files, err := readFiles(path)
	if err != nil {
		return nil, err
	}
	return load(files, env, newTables(inject.Kinds(), source.Kinds()))
}

// load is Load for content at hand and any kinds.
func load(files []file, env Env, kinds tables) (*Config, error) {
	if env.Getenv == nil {
		env.Getenv = func(string) (string, bool) { return "", false }
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	r := newReport(files)
	roots := parseAll(files, r)
	if early := tooNew(roots, env.Version); early != nil {
		return nil, early
	}
	if len(roots) == 0 {
		return nil, Errors(r.sorted(r.errors))
	}
	vars := declare(roots, env.Getenv, r)
	d := &decoder{report: r, kinds: kinds, structs: map[reflect.Type]*structure{}}
	docs := make([]*document, len(roots))
	for i, root := range roots {
		vars.fill(root)
		docs[i] = &document{}
		d.decodeStruct(root, docs[i], &trail{})
		if n := root.at("requires"); docs[i].Requires != "" && !n.faulty() {
			if _, ok := parseRelease(docs[i].Requires); !ok {
				r.fail(n, `as in "1.4"`, "requires: must be a release")
			}
		}
	}
	b := newBuilder(d, docs, env)
	b.singletons()
	var cfg *Config
	if !b.incomplete(files) { // half the files would give false alarms about names
		cfg = b.build()
	}
	if len(r.errors) > 0 {
		return nil, Errors(r.sorted(r.errors))
	}
	for _, f := range files {
		cfg.Files = append(cfg.Files, f.path)
	}
	cfg.Warnings = r.sorted(r.warnings)
	return cfg, nil
}

// parseAll parses the files and returns the roots of those that are sound.
// A file that holds nothing is fine beside others.
func parseAll(files []file, r *report) []*node {
	var roots []*node
	for _, f := range files {
		if root := parse(f, r); root != nil {
			roots = append(roots, root)
		}
	}
	if len(roots) == 0 && len(r.errors) == 0 {
		r.fail(files[0].place(1, 1), "begin with version: 1", "holds no configuration")
	}
	return roots
}

// tooNew looks for what says that a file was written for another release, and
// says only that: the rest may not make sense to this one.
func tooNew(roots []*node, version string) Errors {
	var found Errors
	for _, root := range roots {
		if n := root.get("requires").value; n != nil && n.shape == text && older(version, n.text) {
			return Errors{n.problem("this is "+strings.TrimPrefix(version, "v"), "this file needs attache %s or later", n.text)}
		}
		if n := root.get("version").value; n != nil && n.shape == number && n.text != "1" {
			found = append(found, n.problem("this attache knows version 1", "version: not known"))
		}
	}
	return found
}

// readFiles reads the file, or the files of the directory.
func readFiles(path string) ([]file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, pathError(err)
	}
	if !info.IsDir() {
		f, err := readFile(path, path)
		return []file{f}, err
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, pathError(err)
	}
	// Kubernetes swaps ..data while we read: all files come from one version.
	data, _ := filepath.EvalSymlinks(filepath.Join(path, "..data"))
	var files []file
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		name := filepath.Join(path, e.Name())
		from := name
		if target, err := os.Readlink(name); err == nil && data != "" && filepath.Dir(target) == "..data" {
			from = filepath.Join(data, filepath.Base(target))
		}
		if info, err := os.Stat(from); err == nil && info.IsDir() {
			continue
		}
		f, err := readFile(name, from)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("configuration %q: no *.yaml file in this directory", path)
	}
	return files, nil
}

// readFile reads one file, known by name, from where it lies. Of one that is
// too large it reads enough to notice.
func readFile(name, from string) (file, error) {
	f, err := os.Open(from)
	if err != nil {
		return file{}, pathError(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return file{}, pathError(err)
	}
	return newFile(name, data), nil
}

// pathError writes an error of the file system as ours are written.
func pathError(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("configuration %q: %w", e.Path, e.Err)
	}
	return err
}

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
	Profile string                      // NAME.<profile>.yaml is laid over NAME.yaml; "": none
	Dir     string                      // where relative paths start; "": the directory of the process
	MayRun  bool                        // secrets may come from commands

	repository string // that the files came with, "": none
}

// Load reads the files of a configuration, as [Read] does, and loads them.
// The error is an [Errors], or of the file system where nothing could be read
// at all. Nothing is contacted and no secret is read.
func Load(path string, env Env) (*Config, error) {
	files, err := Read(path, env.Profile)
	if err != nil {
		return nil, err
	}
	return LoadFiles(files, env)
}

// LoadFiles is [Load] for files that have been read. The error is an [Errors].
func LoadFiles(files []File, env Env) (*Config, error) {
	if len(files) > 0 { // they lie in one directory
		home, _ := env.complete().Getenv("HOME")
		env.repository = source.Repository(filepath.Dir(files[0].Path), home)
	}
	all := make([]file, len(files))
	for i, f := range files {
		all[i] = newFile(f.Path, f.Data)
		all[i].layer = f.Layer
	}
	return load(all, env, newTables(inject.Kinds(), source.Kinds()))
}

// load is Load for content at hand and any kinds.
func load(files []file, env Env, kinds tables) (*Config, error) {
	env = env.complete()
	r := newReport(files)
	roots := parseAll(files, r)
	if early := tooNew(roots, env.Version); early != nil {
		return nil, early
	}
	if len(roots) == 0 {
		return nil, Errors(r.sorted(r.errors))
	}
	parsed := roots
	roots = r.layered(files, roots)
	b, vars := decodeAll(roots, env, r, kinds)
	b.singletons()
	var cfg *Config
	if !b.incomplete(files, parsed) { // half the files would give false alarms about names
		cfg = b.build()
	}
	if len(r.errors) > 0 {
		return nil, Errors(r.sorted(r.errors))
	}
	for _, f := range files {
		cfg.Files = append(cfg.Files, f.path)
	}
	cfg.Warnings = r.sorted(r.warnings)
	cfg.Production = r.sorted(cfg.Production)
	cfg.Vars = vars.values()
	return cfg, nil
}

// complete fills in what nil stands for.
func (env Env) complete() Env {
	if env.Getenv == nil {
		env.Getenv = func(string) (string, bool) { return "", false }
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	return env
}

// decodeAll fills variables in and decodes the roots, for a builder.
func decodeAll(roots []*node, env Env, r *report, kinds tables) (*builder, *variables) {
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
	return b, vars
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

// readDir reads the files of a directory.
func readDir(path string) ([]file, error) {
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

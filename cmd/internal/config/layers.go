package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// localLayer names the layer that is for one machine and not committed. It is no profile.
const localLayer = "local"

// File is one file's content, as it was when it was read.
type File struct {
	Path string
	Data []byte
	// Layer says that the file stands over another: its entries replace those of the same name.
	Layer bool
}

// Frozen is a configuration as it was at one moment: nothing of it is read from disk again.
type Frozen struct {
	Files  []File
	Named  map[string][]byte // content of the files of [Config.Named]
	Dir    string            // where relative paths start
	MayRun bool              // secrets may come from commands
}

// Paths are the files that [Read] looks for, whether they are there or not. Of a directory it is the
// directory itself.
func Paths(path, profile string) []string {
	paths := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return paths
	}
	if profile != "" {
		paths = append(paths, layerPath(path, profile))
	}
	return append(paths, layerPath(path, localLayer))
}

// Read reads what a configuration is made of, each file once. Of a directory these are its *.yaml and
// *.yml files in order of name. Of a file NAME.yaml they are the file itself; NAME.<profile>.yaml, where a profile is
// asked for; and NAME.local.yaml, if there is one.
func Read(path, profile string) ([]File, error) {
	read, err := readAll(path, profile)
	if err != nil {
		return nil, err
	}
	files := make([]File, len(read))
	for i, f := range read {
		files[i] = File{Path: f.path, Data: f.data, Layer: f.layer}
	}
	return files, nil
}

func readAll(path, profile string) ([]file, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, pathError(err)
	}
	if info.IsDir() {
		if profile != "" {
			return nil, fmt.Errorf("profile %q: configuration %q is a directory, and profiles stand beside a file", profile, path)
		}
		return readDir(path)
	}
	if profile == localLayer || profile != "" && !validName(profile) {
		return nil, fmt.Errorf("profile %q: not the name of a profile", profile)
	}
	base, err := readFile(path, path)
	if err != nil {
		return nil, err
	}
	files := []file{base}
	for _, layer := range []string{profile, localLayer} {
		if layer == "" {
			continue
		}
		name := layerPath(path, layer)
		f, err := readFile(name, name)
		switch {
		case err == nil:
			f.layer = true
			files = append(files, f)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		case layer == profile:
			return nil, fmt.Errorf("profile %q: there is no %s%s", profile, name, others(path))
		}
	}
	return files, nil
}

// Profiles are the names of the profiles that stand beside the configuration at path, in order.
func Profiles(path string) []string {
	beside, err := os.ReadDir(filepath.Dir(path))
	if info, wrong := os.Stat(path); err != nil || wrong != nil || info.IsDir() {
		return nil
	}
	ext := filepath.Ext(path)
	before := strings.TrimSuffix(filepath.Base(path), ext) + "."
	var names []string
	for _, f := range beside {
		name, is := strings.CutPrefix(f.Name(), before)
		name, ends := strings.CutSuffix(name, ext)
		if is && ends && name != localLayer && validName(name) {
			names = append(names, name)
		}
	}
	return names
}

// others names the profiles that are there, for who asked for another.
func others(path string) string {
	names := Profiles(path)
	if len(names) == 0 {
		return "; there are no profiles here"
	}
	return "; there are: " + strings.Join(names, ", ")
}

// layerPath is attache.staging.yaml for attache.yaml and staging.
func layerPath(path, layer string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "." + layer + ext
}

// layered merges the layers into the file below them. Entries are replaced whole, by name or id, and
// never merged into each other: who reads one sees all of it.
func (r *report) layered(files []file, roots []*node) []*node {
	var merged []*node
	for _, root := range roots {
		layer := slices.ContainsFunc(files, func(f file) bool { return f.layer && f.name == root.file })
		switch {
		case !layer:
			merged = append(merged, root)
		case len(merged) > 0: // else the file below is broken, which has been reported
			r.header(root)
			merged[0] = overlay(merged[0], root)
		}
	}
	return merged
}

// header checks what a layer must say of itself; [tooNew] has seen to later versions.
func (r *report) header(root *node) {
	switch n := root.get("version").value; {
	case n == nil:
		r.fail(root, "begin with version: 1", "version: missing")
	case n.shape != number || n.text != "1":
		r.fail(n, "", "version: must be 1")
	}
	if n := root.get("requires").value; n != nil {
		if _, ok := parseRelease(n.text); !ok {
			r.fail(n, `as in "1.4"`, "requires: must be a release")
		}
	}
}

// overlay is base with what stands over it.
func overlay(base, over *node) *node {
	merged := *base
	merged.entries = slices.Clone(base.entries)
	for _, e := range over.entries {
		i := slices.IndexFunc(merged.entries, func(b entry) bool { return b.key.text == e.key.text })
		if e.key.text == "version" || e.key.text == "requires" {
			continue
		}
		if i < 0 {
			merged.entries = append(merged.entries, e)
			continue
		}
		if b := merged.entries[i]; isMap(e.key.text) && b.value.shape == dict && e.value.shape == dict {
			merged.entries[i].value = overNames(b.value, e.value)
		} else if id := itemID(e.key.text); id != nil {
			merged.entries[i].value = overItems(b.value, e.value, id)
		} else {
			merged.entries[i] = e
		}
	}
	return &merged
}

// isMap reports whether a key at the top holds named things.
func isMap(key string) bool {
	f := structureOf(documentType()).find(key)
	return f != nil && f.typ.Kind() == reflect.Map
}

// itemID tells by what the items under a key at the top are known; nil if it holds no list of items.
func itemID(key string) func(*node) string {
	switch key {
	case "rules":
		return func(n *node) string { return n.get("id").scalar() }
	case "tests":
		return func(n *node) string {
			call := n.get("call").scalar()
			if call == "" {
				return ""
			}
			return call + " as " + n.get("caller").scalar()
		}
	}
	return nil
}

func (e entry) scalar() string {
	if e.value == nil {
		return ""
	}
	return e.value.text
}

// overNames replaces entries by name.
func overNames(base, over *node) *node {
	merged := *base
	merged.entries = slices.Clone(base.entries)
	for _, e := range over.entries {
		if i := slices.IndexFunc(merged.entries, func(b entry) bool { return b.key.text == e.key.text }); i >= 0 {
			merged.entries[i] = e
		} else {
			merged.entries = append(merged.entries, e)
		}
	}
	return &merged
}

// overItems replaces items by their id, where they stand; new ones go last.
func overItems(base, over *node, id func(*node) string) *node {
	merged := *base
	merged.shape, merged.items, merged.entries = list, slices.Clone(itemsOf(base)), nil
	replaced := map[int]bool{}
	for _, item := range itemsOf(over) {
		name := id(item)
		i := slices.IndexFunc(merged.items, func(b *node) bool { return name != "" && id(b) == name })
		if i < 0 || replaced[i] || i >= len(itemsOf(base)) { // twice in one file is a mistake to be told of
			merged.items = append(merged.items, item)
			continue
		}
		merged.items[i], replaced[i] = item, true
	}
	return &merged
}

// itemsOf are the items of a list, which one item may stand for.
func itemsOf(n *node) []*node {
	if n.shape == list {
		return n.items
	}
	return []*node{n}
}

func documentType() reflect.Type { return reflect.TypeFor[document]() }

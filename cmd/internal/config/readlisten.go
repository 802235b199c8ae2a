package config

import (
	"bytes"
	"slices"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/watcher/source"
)

// ReadListen returns what a configuration says under listen, be the rest of it
// as faulty as it may: a proxy that was started with it before serves on, and
// can be asked there. It reports whether anything could be read.
func ReadListen(path string, env Env) (Listen, bool) {
	files, err := readAll(path, env.Profile)
	if err != nil {
		return Listen{}, false
	}
	r := newReport(files)
	var roots []*node
	for _, f := range files {
		if root := parseListen(f, r); root != nil {
			roots = append(roots, root)
		}
	}
	if len(roots) == 0 {
		return Listen{}, false
	}
	b, _ := decodeAll(r.layered(files, roots), env.complete(), r, newTables(inject.Kinds(), source.Kinds()))
	b.buildListen()
	return b.cfg.Listen, true
}

// maxSections bounds the lines of which one is left out to see whether it is the one at fault.
const maxSections = 100

// parseListen is parse for who wants to know the listeners alone. Where the file cannot be parsed, its sections of them and of
// variables may be; else listen by itself, whole or but for one line.
func parseListen(f file, r *report) *node {
	try := func(lines [][]byte) *node { return parse(newFile(f.path, bytes.Join(lines, nil)), r) }
	all := slices.Collect(bytes.Lines(f.data))
	if root := try(all); root != nil {
		return root
	}
	lines := linesOf(all, "listen:")
	if len(lines) == 0 || len(lines) > maxSections {
		return nil
	}
	if root := try(append(linesOf(all, "vars:"), lines...)); root != nil {
		return root
	}
	if root := try(lines); root != nil {
		return root
	}
	for i := range lines {
		if root := try(slices.Delete(slices.Clone(lines), i, i+1)); root != nil {
			return root
		}
	}
	return nil
}

// linesOf are the lines from one that begins with key to the next that begins with another.
func linesOf(lines [][]byte, key string) [][]byte {
	var all [][]byte
	inside := false
	for _, line := range lines {
		if c := line[0]; c != ' ' && c != '\t' && c != '#' && c != '\r' && c != '\n' && c != '}' && c != ']' {
			inside = bytes.HasPrefix(line, []byte(key))
		}
		if inside {
			all = append(all, line)
		}
	}
	return all
}

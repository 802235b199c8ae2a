package project

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/watcher/source"
)

// maxNamed bounds a file that a configuration names: a bundle of roots has some hundred KiB.
const maxNamed = 4 << 20

// Project is a configuration that was read once. What it says and what was judged are the same bytes.
type Project struct {
	Path    string         // of attache.yaml, absolute
	Dir     string         // where its relative paths start
	Profile string         // "": none
	Config  *config.Config // loaded from Frozen
	Frozen  *config.Frozen
	Uses    []Use    // what it allows a command to use, and where
	Also    []string // what else it does, a line each

	digests map[string]string // name → what it holds, for the record
	home    string            // of the user, for people
	tree    string            // what came with the configuration: the repository around it, else Dir
}

// freeze reads a configuration, every file once.
func freeze(path, profile string, env config.Env) (*Project, error) {
	path, err := locate(path)
	if err != nil {
		return nil, err
	}
	if err := judge(path, profile); err != nil {
		return nil, err
	}
	files, err := config.Read(path, profile)
	if err != nil {
		return nil, err
	}
	p := &Project{Path: path, Dir: filepath.Dir(path), Profile: profile, digests: map[string]string{}}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		p.Dir = path
	}
	if env.Getenv != nil {
		p.home, _ = env.Getenv("HOME")
	}
	p.tree = cmp.Or(source.Repository(p.Dir, p.home), p.Dir)
	p.Frozen = &config.Frozen{Files: files, Named: map[string][]byte{}, Dir: p.Dir}
	env.Dir, env.Profile = p.Dir, profile
	if p.Config, err = config.LoadFiles(files, env); err != nil {
		return nil, err
	}
	for _, f := range files {
		p.digests[filepath.Base(f.Path)] = digest(f.Data)
	}
	// A variable may name the host that a key goes to.
	for name, value := range p.Config.Vars {
		p.digests["${"+name+"}"] = digest([]byte(value))
	}
	for _, name := range p.Config.Named() {
		data, err := readNamed(name)
		if err != nil {
			return nil, p.cannotRead(name, err)
		}
		p.Frozen.Named[name] = data
		p.note(p.short(name), name, data)
	}
	for _, path := range p.touched() {
		if to := leadsOut(path, p.tree); to != "" {
			p.note("link "+p.short(path), "link "+path, []byte(to))
		}
	}
	p.Uses, p.Also = uses(p), also(p)
	return p, nil
}

// judge refuses what is not a file of ours, before it is opened: a pipe would block.
func judge(path, profile string) error {
	paths := config.Paths(path, profile)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if paths, err = filepath.Glob(filepath.Join(path, "*.y*ml")); err != nil {
			return err
		}
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			continue // reading tells
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", p)
		}
	}
	return nil
}

// cannotRead says where the configuration names a file that cannot be read.
func (p *Project) cannotRead(name string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	for _, r := range p.Config.Rules {
		if r.Upstream.CA == name {
			return fmt.Errorf("%s: rule %q: upstream.ca %q: %w", r.Pos, r.ID, name, err)
		}
	}
	return fmt.Errorf("%s: egress.ca %q: %w", filepath.Base(p.Path), name, err)
}

// readNamed reads a file that a configuration names.
func readNamed(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("no regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxNamed+1))
	if err == nil && len(data) > maxNamed {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("over 4 MiB")}
	}
	return data, err
}

// note records what name holds. Where something else is told by that name, it is recorded by its path.
func (p *Project) note(name, path string, data []byte) {
	if _, taken := p.digests[name]; taken {
		name = path
	}
	p.digests[name] = digest(data)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// short is a path as it is told: from the project's directory where it lies there, or from home.
func (p *Project) short(path string) string {
	if rel, err := filepath.Rel(p.Dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	if rel, err := filepath.Rel(p.home, path); err == nil && p.home != "" && filepath.IsLocal(rel) {
		return filepath.Join("~", rel)
	}
	return path
}

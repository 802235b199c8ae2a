package project

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// touched are the files whose content is not frozen: those that secrets and identities are read from, and the log.
func (p *Project) touched() []string {
	f := p.Config.Identity.Files
	all := []string{f.PEM, f.Cert, f.Key, f.Dir, strings.TrimPrefix(p.Config.Audit.File, "-")}
	for _, s := range p.Config.Secrets {
		all = append(all, s.Source.Paths()...)
	}
	return all
}

// told is short with where a link leads that came with the project: who allows keys/demo must see that it is a key
// of their own.
func (p *Project) told(path string) string {
	if to := leadsOut(path, p.tree); to != "" {
		return p.short(path) + " (a link to " + p.short(to) + ")"
	}
	return p.short(path)
}

// leadsOut is where a path in a directory leads out of it through links, "" if it does not. A file may be missing:
// a log is made where a link to nothing leads.
func leadsOut(path, dir string) string {
	if path == "" {
		return ""
	}
	path, err := filepath.Abs(path)
	if err != nil || !within(path, dir) {
		return ""
	}
	if to := follow(path, 0); !within(to, dir) {
		return to
	}
	return ""
}

func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// maxLinks is how many links in a row are followed, as Linux has it.
const maxLinks = 40

// follow is filepath.EvalSymlinks for what may be missing at its end.
func follow(path string, links int) string {
	to, err := filepath.EvalSymlinks(path)
	if err == nil {
		return to
	}
	up := filepath.Dir(path)
	if !errors.Is(err, fs.ErrNotExist) || up == path || links > maxLinks {
		return path
	}
	path = filepath.Join(follow(up, links+1), filepath.Base(path))
	if to, err = os.Readlink(path); err != nil {
		return path
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(path), to)
	}
	return follow(to, links+1)
}

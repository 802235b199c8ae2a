package dirwatch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// step is one directory entry on the way to a file.
type step struct {
	dir  string // free of symlinks
	name string
	// needed steps are those that a rotation changes: the links, the leaf, and
	// the first that is missing. The other directories are watched as well
	// where that is cheap, for the parent that is moved away and made anew.
	needed bool
	leaf   bool // the file itself
}

// maxLinks is how many symlinks are followed, as many as Linux does.
const maxLinks = 40

// chain returns the entries on the way to path, which is absolute, as the
// system would walk it, up to the leaf or to what is missing.
func chain(path string) []step {
	var steps []step
	volume := filepath.VolumeName(path)
	dir := volume + string(filepath.Separator)
	rest := split(path[len(volume):])
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		full := filepath.Join(dir, name)
		info, err := os.Lstat(full)
		link := err == nil && info.Mode()&fs.ModeSymlink != 0
		leaf := err == nil && !link && len(rest) == 0
		steps = append(steps, step{dir, name, err != nil || link || leaf, leaf && info.Mode().IsRegular()})
		if err != nil {
			return steps
		}
		if !link {
			dir = full
			continue
		}
		target, err := os.Readlink(full)
		if links++; err != nil || links > maxLinks {
			return steps
		}
		if filepath.IsAbs(target) {
			volume = filepath.VolumeName(target)
			dir = volume + string(filepath.Separator)
			target = target[len(volume):]
		}
		rest = append(split(target), rest...)
	}
	return steps
}

func split(path string) []string {
	return strings.Split(filepath.ToSlash(path), "/")
}

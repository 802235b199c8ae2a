package app

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fingerprint changes whenever the content of one of the files, or of the *.yaml files of one of the
// directories, changes. What cannot be read counts as its error.
func fingerprint(paths ...string) string {
	h := sha256.New()
	add := func(path string) {
		content, err := os.ReadFile(path)
		fmt.Fprintf(h, "%q %d %v\n", path, len(content), err)
		h.Write(content)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			add(path)
			continue
		}
		entries, err := os.ReadDir(path)
		fmt.Fprintf(h, "%q %v\n", path, err)
		for _, e := range entries {
			if name := e.Name(); strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
				add(filepath.Join(path, name))
			}
		}
	}
	return string(h.Sum(nil))
}

//go:build !linux

package source

import (
	"os"
	"time"
)

// quiet is how long a file must have been left alone: these systems do not tell
// whether someone has it open for writing.
const quiet = 150 * time.Millisecond

// settled reports whether the file was left alone for a moment. Clocks of file
// servers may run ahead: the future does not count.
func settled(_ *os.File, info os.FileInfo) bool {
	age := time.Since(info.ModTime())
	return age < 0 || age >= quiet
}

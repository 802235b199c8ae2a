//go:build !linux

package dirwatch

// isMountPoint is false: only Linux mounts single files.
func isMountPoint(string) bool { return false }

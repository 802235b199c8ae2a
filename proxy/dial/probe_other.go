//go:build !unix

package dial

const canProbe = false

func (p *probe) readNow(uintptr) bool { return true }

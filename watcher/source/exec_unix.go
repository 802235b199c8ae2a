//go:build unix

package source

import (
	"os/exec"
	"syscall"
)

// apart gives a command a session of its own: it cannot ask on our terminal, Ctrl-C does not reach it,
// and what it has started is killed with it.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

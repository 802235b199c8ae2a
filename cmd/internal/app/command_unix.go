//go:build unix

package app

import (
	"os"
	"syscall"
)

// passedOn are the signals that people and supervisors send. Those that stop a process do so to its
// whole process group, which the command is in.
func passedOn() []os.Signal {
	return []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
	}
}

func brokenPipe() []os.Signal { return []os.Signal{syscall.SIGPIPE} }

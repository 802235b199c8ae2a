package app

import (
	"log/slog"

	"golang.org/x/sys/unix"
)

// harden keeps the process's memory from core dumps and from other processes of the same user. From
// then on /dev/stdout and /proc/self/fd cannot be opened, so it comes after the audit log is open.
func harden(log *slog.Logger) {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		log.Warn("core dumps stay possible", "error", err)
	}
	hide(log)
}

// hide is the part of harden that processes started from here do not inherit. It keeps memory from core
// dumps too.
func hide(log *slog.Logger) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		log.Warn("processes of this user can read this one's memory", "error", err)
	}
}

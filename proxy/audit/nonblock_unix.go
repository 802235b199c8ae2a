//go:build unix

package audit

import "syscall"

// nonblock lets the opening of a FIFO that nobody reads fail at once, and lets Close
// end a write that stalls. It changes nothing for files.
const nonblock = syscall.O_NONBLOCK

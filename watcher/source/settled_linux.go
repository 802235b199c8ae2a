package source

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// quiet is how long a file must have been left alone where the system does not
// tell whether someone has it open for writing.
const quiet = 150 * time.Millisecond

// settled reports whether nobody is writing to the open file. Linux grants a
// read lease (fcntl(2), F_SETLEASE) only while nobody has the file open for
// writing; it is given back at once. Who is not the owner gets none.
func settled(in *os.File, info os.FileInfo) bool {
	conn, err := in.SyscallConn()
	if err != nil {
		return true
	}
	var lease error
	if err := conn.Control(func(fd uintptr) {
		if _, lease = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK); lease == nil {
			_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		}
	}); err != nil {
		return true
	}
	switch {
	case lease == nil:
		return true
	case errors.Is(lease, unix.EAGAIN):
		return false
	}
	return left(info)
}

// left reports whether the file was left alone for a moment. Clocks of file
// servers may run ahead: the future does not count.
func left(info os.FileInfo) bool {
	age := time.Since(info.ModTime())
	return age < 0 || age >= quiet
}

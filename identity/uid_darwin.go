package identity

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID is the uid of the process that connected a unix socket.
func peerUID(c Conn) (uid uint32, ok bool) {
	u, is := socket(c.Net).(*net.UnixConn)
	if !is {
		return 0, false
	}
	ok = control(u, func(fd int) bool {
		cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil {
			return false
		}
		uid = cred.Uid
		return true
	})
	return uid, ok
}

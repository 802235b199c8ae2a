package identity

import (
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// overflowUID is what Linux tells for a user who has no number in our user namespace
// (/proc/sys/kernel/overflowuid).
const overflowUID = 65534

// peerUID is the uid of whoever made the socket at the other end: by SO_PEERCRED of a unix
// socket, by sock_diag of a TCP connection over loopback.
func peerUID(c Conn) (uint32, bool) {
	var uid uint32
	var ok bool
	switch s := socket(c.Net).(type) {
	case *net.UnixConn:
		ok = control(s, func(fd int) bool {
			cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
			if err != nil {
				return false
			}
			uid = cred.Uid
			return true
		})
	case *net.TCPConn:
		uid, ok = tcpUID(c.Remote, c.Local)
		// Had the client gone meanwhile, its port could have been taken by another: an answer
		// counts only if our end never saw the connection close.
		ok = ok && control(s, established)
	}
	if ok && uid == overflowUID && !allUsersMapped() {
		return 0, false // anybody
	}
	return uid, ok
}

func established(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == tcpEstablished
}

// allUsersMapped reports whether every uid has a number here, so that 65534 is one user.
func allUsersMapped() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	f := strings.Fields(string(m))
	return len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}

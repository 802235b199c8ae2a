package identity

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The parts of linux/sock_diag.h and linux/inet_diag.h that are used; see sock_diag(7).
const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY

	nlmsgHeader = 16
	diagRequest = 56 // struct inet_diag_req_v2
	diagMessage = 72 // struct inet_diag_msg

	tcpEstablished = 1
	diagSequence   = 1 // each socket asks once
)

// tcpUID asks the kernel for the uid of the owner of the socket whose local address is client and
// whose peer is server: the client's end of a connection over loopback.
func tcpUID(client, server net.Addr) (uint32, bool) {
	ca, cp := addrPort(client)
	sa, sp := addrPort(server)
	if !ca.IsLoopback() || !sa.IsLoopback() || ca.Is4() != sa.Is4() {
		return 0, false // the other end is not ours to look at
	}
	src, dst := netip.AddrPortFrom(ca, cp), netip.AddrPortFrom(sa, sp)
	// An IPv6 socket connected to ::ffff:127.0.0.1 is found under both families.
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if family == unix.AF_INET && !ca.Is4() {
			continue
		}
		if uid, ok := askDiag(family, src, dst); ok {
			return uid, true
		}
	}
	return 0, false
}

// askDiag makes one exact query over a netlink socket of its own.
func askDiag(family byte, src, dst netip.AddrPort) (uint32, bool) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	kernel := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	// The kernel answers while it handles sendto; the limit only guards against its not doing so.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	if err := unix.Sendto(fd, diagQuery(family, src, dst), 0, kernel); err != nil {
		return 0, false
	}
	buf := make([]byte, 1024)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, false
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			return 0, false // not from the kernel
		}
		return diagUID(buf[:n], src, dst)
	}
}

// diagQuery is the netlink message that asks for one TCP socket.
func diagQuery(family byte, src, dst netip.AddrPort) []byte {
	b := make([]byte, nlmsgHeader+diagRequest)
	ne, be := binary.NativeEndian, binary.BigEndian
	ne.PutUint32(b[0:], uint32(len(b)))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST)
	ne.PutUint32(b[8:], diagSequence)
	r := b[nlmsgHeader:]
	r[0], r[1] = family, unix.IPPROTO_TCP
	ne.PutUint32(r[4:], 1<<tcpEstablished)
	be.PutUint16(r[8:], src.Port())
	be.PutUint16(r[10:], dst.Port())
	putAddr(r[12:28], family, src.Addr())
	putAddr(r[28:44], family, dst.Addr())
	ne.PutUint64(r[48:], ^uint64(0)) // INET_DIAG_NOCOOKIE, twice; idiag_if stays 0: any
	return b
}

func putAddr(b []byte, family byte, a netip.Addr) {
	if family == unix.AF_INET {
		a4 := a.As4()
		copy(b, a4[:])
		return
	}
	a16 := a.As16() // an IPv4 address mapped
	copy(b, a16[:])
}

// diagUID reads the answer. It must be the one that was asked for, to the last
// field: a lookup that finds no connection falls back to a listener, and a
// socket that is closing or has no owner any more tells uid 0.
func diagUID(b []byte, src, dst netip.AddrPort) (uint32, bool) {
	ne, be := binary.NativeEndian, binary.BigEndian
	if len(b) < nlmsgHeader+diagMessage {
		return 0, false
	}
	size := ne.Uint32(b[0:])
	if size < nlmsgHeader+diagMessage || uint64(size) > uint64(len(b)) ||
		ne.Uint16(b[4:]) != sockDiagByFamily || ne.Uint32(b[8:]) != diagSequence {
		return 0, false
	}
	m := b[nlmsgHeader:]
	gotSrc, ok1 := getAddr(m[8:24], m[0])
	gotDst, ok2 := getAddr(m[24:40], m[0])
	if !ok1 || !ok2 || gotSrc != src.Addr() || gotDst != dst.Addr() ||
		be.Uint16(m[4:]) != src.Port() || be.Uint16(m[6:]) != dst.Port() {
		return 0, false
	}
	uid, inode := ne.Uint32(m[64:]), ne.Uint32(m[68:])
	if m[1] != tcpEstablished || inode == 0 {
		return 0, false
	}
	return uid, true
}

func getAddr(b []byte, family byte) (netip.Addr, bool) {
	switch family {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(b)), true
	case unix.AF_INET6:
		return netip.AddrFrom16([16]byte(b)).Unmap(), true
	}
	return netip.Addr{}, false
}

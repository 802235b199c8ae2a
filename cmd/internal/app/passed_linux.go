package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	firstPassed = 3 // SD_LISTEN_FDS_START
	maxPassed   = 64
)

// newPassed takes over the sockets that LISTEN_FDS counts, if LISTEN_PID says that they are for this
// process. Anything but a listening stream socket is refused.
func newPassed(getenv func(string) (string, bool), pid int) (passedSockets, error) {
	count, set := getenv("LISTEN_FDS")
	if to, _ := getenv("LISTEN_PID"); !set || to != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxPassed {
		return nil, fmt.Errorf("LISTEN_FDS: must be a number from 0 to %d", maxPassed)
	}
	list, _ := getenv("LISTEN_FDNAMES")
	names := strings.Split(list, ":")
	var all passedSockets
	var faults []error
	for i := range n {
		fd := firstPassed + i
		name := "descriptor " + strconv.Itoa(fd)
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		unix.CloseOnExec(fd)
		address, err := listensOn(fd)
		if err != nil {
			faults = append(faults, fmt.Errorf("socket %q: passed on by the service manager: %w", name, err))
			continue
		}
		all = append(all, passedSocket{name, address, os.NewFile(uintptr(fd), name)})
	}
	return all, errors.Join(faults...)
}

// listensOn is the address of a listening stream socket.
func listensOn(fd int) (string, error) {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return "", fmt.Errorf("not a socket: %w", err)
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM || listening == 0 {
		return "", errors.New("not a listening stream socket; use ListenStream= and Accept=no")
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return canonicalAddress(net.JoinHostPort(net.IP(a.Addr[:]).String(), strconv.Itoa(a.Port))), nil
	case *unix.SockaddrInet6:
		return canonicalAddress(net.JoinHostPort(net.IP(a.Addr[:]).String(), strconv.Itoa(a.Port))), nil
	case *unix.SockaddrUnix:
		if !strings.HasPrefix(a.Name, "/") {
			return "", errors.New("a unix socket without a path")
		}
		return canonicalAddress("unix:" + a.Name), nil
	}
	return "", errors.New("neither TCP nor a unix socket")
}
